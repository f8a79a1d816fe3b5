#include "config.h"

#include "ctl/table.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "log.h"

#define GAP 2

/* A column that wraps is not narrower, whatever the terminal is. */
#define WRAP_MIN 20

/* Characters, not bytes; wide ones count as one. */
static int width_of(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static int widest(const struct table *table, int column)
{
	int most = 0;
	size_t row;

	for (row = 0; row < table->rows; row++) {
		int width = width_of(table->cells[row][column]);

		if (width > most)
			most = width;
	}
	return most;
}

/*
 * Writes `text`, at most *left characters of it (a negative number: all), and
 * takes them off *left.
 */
static void print_cut(FILE *stream, const char *text, int *left)
{
	const char *end = text;

	for (; *end; end++) {
		if (((unsigned char)*end & 0xc0) == 0x80)
			continue;
		if (*left == 0)
			break;
		if (*left > 0)
			--*left;
	}
	fwrite(text, 1, (size_t)(end - text), stream);
}

/* The rest of the text behind its first `width` characters. */
static const char *skip(const char *text, int width)
{
	for (; *text; text++)
		if (((unsigned char)*text & 0xc0) != 0x80 && width-- == 0)
			break;
	return text;
}

/* In lines of `width` characters; all but the first begin with `indent` blanks. */
static void print_wrapped(const char *text, int width, int indent)
{
	const char *end, *blank;

	while (*(end = skip(text, width))) {
		for (blank = end; blank > text && *blank != ' '; blank--)
			;
		if (blank > text)
			end = blank;
		printf("%.*s\n%*s", (int)(end - text), text, indent, "");
		text = end + strspn(end, " ");
	}
	fputs(text, stdout);
}

int table_add(struct table *table, const char *const *cells)
{
	char *(*grown)[TABLE_COLUMNS_MAX];
	int i;

	if (table->rows == table->room) {
		table->room = table->room ? 2 * table->room : 16;
		grown = reallocarray(table->cells, table->room,
				     sizeof(*table->cells));
		if (!grown)
			return -ENOMEM;
		table->cells = grown;
	}
	for (i = 0; i < table->columns; i++) {
		size_t size = strlen(cells[i]) + 1;
		char *copy = malloc(size);

		if (!copy) {
			while (i-- > 0)
				free(table->cells[table->rows][i]);
			return -ENOMEM;
		}
		table->cells[table->rows][i] =
			log_printable(cells[i], copy, size);
	}
	table->rows++;
	return 0;
}

void table_measure(struct table *table)
{
	int i;

	for (i = 0; i < table->columns; i++)
		table->widths[i] = widest(table, i);
}

void table_print_row(const struct table *table, size_t row, int width,
		     FILE *stream)
{
	int last = table->columns - 1, left = width ? width : -1, i;

	for (i = 0; i <= last; i++) {
		const char *cell = table->cells[row][i];
		int gap = table->widths[i] + GAP - width_of(cell);

		print_cut(stream, cell, &left);
		for (; i < last && gap > 0; gap--)
			print_cut(stream, " ", &left);
	}
}

void table_print(struct table *table, int width)
{
	int indent = 0, last = table->columns - 1, i;
	size_t row;

	table_measure(table);
	for (i = 0; i < last; i++)
		indent += table->widths[i] + GAP;
	for (row = 0; row < table->rows; row++) {
		if (table->wraps && width) {
			table_print_row(table, row, indent, stdout);
			print_wrapped(table->cells[row][last],
				      width - indent < WRAP_MIN
					      ? WRAP_MIN
					      : width - indent,
				      indent);
		} else {
			table_print_row(table, row, width, stdout);
		}
		putchar('\n');
	}
}

void text_print(const char *text, int width, FILE *stream)
{
	int left = width ? width : -1;

	print_cut(stream, text, &left);
}

void table_free(struct table *table)
{
	size_t row;
	int i;

	for (row = 0; row < table->rows; row++)
		for (i = 0; i < table->columns; i++)
			free(table->cells[row][i]);
	free(table->cells);
}

int table_terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		return 0;
	return size.ws_col;
}
