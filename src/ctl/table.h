/*
 * A table for people: columns as wide as they need to be, the last one cut
 * where the terminal ends, or going on in the next line.
 */
#ifndef CFLOCK_CTL_TABLE_H
#define CFLOCK_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#define TABLE_COLUMNS_MAX 8

struct table {
	int columns;
	bool wraps; /* the last one, between words */
	size_t rows, room;
	char *(*cells)
		[TABLE_COLUMNS_MAX]; /* by rows; the first may be headings */
};

/*
 * Appends a row of table->columns texts, which are copied, made safe for a
 * terminal.  Returns 0 or -ENOMEM.
 */
int table_add(struct table *table, const char *const *cells);

/* Writes it to stdout; a `width` of 0: as wide as it is. */
void table_print(const struct table *table, int width);

void table_free(struct table *table);

/* The width of the terminal that stdout is; 0 when it is none. */
int table_terminal_width(void);

#endif
