#include "config.h"

#include "ctl/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "log.h"

#define GAP 2

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

/* The first `width` characters; all of them when it is negative. */
static void print_cut(const char *text, int width)
{
	const char *end = text;

	while (*end) {
		if (((unsigned char)*end & 0xc0) != 0x80 && width-- == 0)
			break;
		end++;
	}
	fwrite(text, 1, (size_t)(end - text), stdout);
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
	int left = width, i;
	size_t row;

	for (i = 0; i < last; i++) {
		widths[i] = widest(table, i) + GAP;
		left -= widths[i];
	}
	for (row = 0; row < table->rows; row++) {
		for (i = 0; i < last; i++) {
			const char *cell = table->cells[row][i];

			printf("%s%*s", cell, widths[i] - width_of(cell), "");
		}
		print_cut(table->cells[row][last], width == 0 ? -1
						   : left > 0 ? left
							      : 0);
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
