/*
 * cflockctl watch [GLOB]: the table of `list`, each second anew; on a terminal as
 * a screen, elsewhere as blocks, with --json as lines.
 *
 * What keeps it from being shown first is an error as with `list`; after that, a
 * service that is gone is told of, and asked again.
 */
#include "config.h"

#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "ctl/locks.h"
#include "ctl/screen.h"
#include "log.h"
#include "ready.h"

#define EVERY_NS NS_PER_S

#define TO_TOP "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"

struct watch {
	struct ctl *ctl;
	struct locks locks; /* as they were when they could be seen last */
	time_t seen;
	char trouble[STORE_ERROR_MAX]; /* why not now; "" */
	int64_t next_ns;               /* when to look again */
};

/*
 * Looks at `most` of them.  Returns 0, or a negative errno with watch->trouble
 * set, and the locks as they were; but -ECANCELED leaves that as it was, too.
 */
static int look(struct watch *watch, size_t most)
{
	int64_t begun_ns = clock_boot_ns(), ended_ns;
	struct locks locks;
	int err = locks_look(watch->ctl, most, false, &locks);

	if (err == -ECANCELED)
		return err;
	/* Where it takes long, the service has as much time for others. */
	ended_ns = clock_boot_ns();
	watch->next_ns = begun_ns + EVERY_NS;
	if (watch->next_ns < ended_ns + (ended_ns - begun_ns))
		watch->next_ns = ended_ns + (ended_ns - begun_ns);
	if (err) {
		log_printable(ctl_error(watch->ctl, err), watch->trouble,
			      sizeof(watch->trouble));
		return err;
	}
	watch->trouble[0] = '\0';
	locks_free(&watch->locks);
	watch->locks = locks;
	table_measure(&watch->locks.table);
	watch->seen = time(NULL);
	return 0;
}

/* === as blocks ========================================================== */

static int show_block(struct watch *watch)
{
	if (watch->ctl->json) {
		look_print_json_line(watch->locks.list);
	} else {
		if (watch->locks.found)
			table_print(&watch->locks.table,
				    table_terminal_width());
		putchar('\n');
	}
	return ctl_flush();
}

/* Each trouble is told once.  Ends only with an error, or by a signal. */
static int watch_as_blocks(struct watch *watch)
{
	char told[STORE_ERROR_MAX] = "";
	int err = 0, code;

	for (;;) {
		code = err ? 0 : show_block(watch);
		if (code)
			return code;
		if (*watch->trouble && strcmp(told, watch->trouble))
			log_line(LOG_WARNING, "%s; trying again",
				 watch->trouble);
		memcpy(told, watch->trouble, sizeof(told));
		wait_until_ready(-1, 0, watch->next_ns, -1);
		err = look(watch, SIZE_MAX);
	}
}

/* === as a screen ======================================================== */

static const char *format_clock(time_t at, char buffer[16])
{
	struct tm local;

	if (!localtime_r(&at, &local) ||
	    !strftime(buffer, 16, "%H:%M:%S", &local))
		strcpy(buffer, "?");
	return buffer;
}

/* Server, time and count; when it cannot be asked, why. */
static void print_header(const struct watch *watch, int columns, FILE *stream)
{
	size_t found = watch->locks.found;
	char now[16], seen[16], count[64], glob[256] = "";
	char text[STORE_ERROR_MAX + 512];

	if (watch->ctl->count)
		log_printable(locks_glob(watch->ctl), glob, sizeof(glob));
	snprintf(count, sizeof(count), "%zu lock%s", found,
		 found == 1 ? "" : "s");
	format_clock(time(NULL), now);
	if (*watch->trouble)
		snprintf(text, sizeof(text), "%s  %s as of %s: %s", now, count,
			 format_clock(watch->seen, seen), watch->trouble);
	else
		snprintf(text, sizeof(text), "%s  %s  %s%s%s",
			 watch->ctl->server, now, count, *glob ? " like " : "",
			 glob);
	log_printable(text, text, sizeof(text));
	text_print(text, columns, stream);
}

/* As many rows as there is room for, and how many there are more. */
static void print_rows(const struct watch *watch, int rows, int columns,
		       FILE *stream)
{
	const struct table *table = &watch->locks.table;
	size_t room = rows > 2 ? (size_t)rows - 2 : 0, shown, row;
	char more[64];

	/* Of each line, what the one before ends with comes first. */
	shown = watch->locks.found > room && room ? room - 1
						  : watch->locks.found;
	if (shown > table->rows - 1)
		shown = table->rows - 1;
	for (row = 0; row <= shown && (int)row < rows - 1; row++) {
		fputs("\r\n", stream);
		table_print_row(table, row, columns, stream);
		fputs(CLEAR_LINE, stream);
	}
	if (shown < watch->locks.found && room) {
		snprintf(more, sizeof(more), "and %zu more",
			 watch->locks.found - shown);
		fputs("\r\n", stream);
		text_print(more, columns, stream);
		fputs(CLEAR_LINE, stream);
	}
}

static void draw(const struct watch *watch, struct screen *screen)
{
	int rows, columns;
	char *bytes = NULL;
	size_t length = 0;
	FILE *stream = open_memstream(&bytes, &length);

	if (!stream)
		return;
	screen_size(&rows, &columns);
	fputs(TO_TOP, stream);
	print_header(watch, columns, stream);
	fputs(CLEAR_LINE, stream);
	print_rows(watch, rows, columns, stream);
	fputs(CLEAR_BELOW, stream);
	if (fclose(stream) == 0)
		screen_put(screen, bytes, length);
	free(bytes);
}

/* No more than may be shown: to look at thousands takes its time. */
static size_t rows_of_screen(void)
{
	int rows, columns;

	screen_size(&rows, &columns);
	return (size_t)rows;
}

/* Returns what has ended it: 0 for q, or a signal. */
static int watch_on_screen(struct watch *watch, struct screen *screen)
{
	struct screen_news news;

	for (;;) {
		if (screen_is_ours(screen))
			draw(watch, screen);
		if (clock_boot_ns() < watch->next_ns)
			wait_until_ready(-1, 0, watch->next_ns, screen->events);
		else if (screen->is_entered)
			look(watch, rows_of_screen());
		else
			watch->next_ns = clock_boot_ns() + EVERY_NS;
		screen_take(screen, &news);
		if (news.quit || news.signal)
			return news.signal;
		if (news.changed)
			watch->next_ns = clock_boot_ns();
	}
}

static int watch_as_screen(struct watch *watch)
{
	struct screen screen;
	int err = screen_open(&screen), signal = 0;

	if (!err) {
		store_set_cancel_fd(watch->ctl->store, screen.events);
		signal = watch_on_screen(watch, &screen);
	}
	screen_leave(&screen);
	if (signal)
		signals_die_of(signal);
	if (!err)
		return EXIT_SUCCESS;
	log_line(LOG_FATAL, "cannot use the terminal: %s", strerror(-err));
	return EXIT_OS_ERROR;
}

int ctl_watch(struct ctl *ctl)
{
	struct watch watch = { .ctl = ctl };
	bool as_screen = !ctl->json && screen_is_possible();
	int err, code;

	err = look(&watch, as_screen ? rows_of_screen() : SIZE_MAX);
	if (err)
		return ctl_fail_store(ctl, err);
	code = as_screen ? watch_as_screen(&watch) : watch_as_blocks(&watch);
	locks_free(&watch.locks);
	return code;
}
