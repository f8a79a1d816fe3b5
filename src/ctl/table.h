/*
 * A table for people: columns as wide as they need to be, lines cut where the
 * terminal ends, or the last column going on in the next line.
 */
#ifndef CFLOCK_CTL_TABLE_H
#define CFLOCK_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 8

struct table {
	int columns;
	bool wraps; /* the last one, between words */
	size_t rows, room;
	char *(*cells)[TABLE_COLUMNS_MAX]; /* rows; the first may be headings */
	int widths[TABLE_COLUMNS_MAX];     /* by table_measure() */
};

/*
 * Appends a row of table->columns texts, which are copied, made safe for a
 * terminal.  Returns 0 or -ENOMEM.
 */
int table_add(struct table *table, const char *const *cells);

/* Writes it to stdout; a `width` of 0: as wide as it is. */
void table_print(struct table *table, int width);

/* A row, without a newline, of a table that has all of its rows and is measured. */
void table_measure(struct table *table);
void table_print_row(const struct table *table, size_t row, int width,
		     FILE *stream);

/* A text that is safe for a terminal, cut in the same way. */
void text_print(const char *text, int width, FILE *stream);

void table_free(struct table *table);

/* The width of the terminal that stdout is; 0 when it is none. */
int table_terminal_width(void);

#endif
