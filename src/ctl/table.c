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

void table_print(const struct table *table, int width)
{
	int widths[TABLE_COLUMNS_MAX], last = table->columns - 1;
	int indent = 0, left, i;
	size_t row;

	for (i = 0; i < last; i++) {
		widths[i] = widest(table, i) + GAP;
		indent += widths[i];
	}
	left = width == 0 ? INT_MAX : width > indent ? width - indent : 0;
	for (row = 0; row < table->rows; row++) {
		const char *cell;

		for (i = 0; i < last; i++) {
			cell = table->cells[row][i];
			printf("%s%*s", cell, widths[i] - width_of(cell), "");
		}
		cell = table->cells[row][last];
		if (table->wraps)
			print_wrapped(cell, left < WRAP_MIN ? WRAP_MIN : left,
				      indent);
		else
			fwrite(cell, 1, (size_t)(skip(cell, left) - cell),
			       stdout);
		putchar('\n');
	}
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
