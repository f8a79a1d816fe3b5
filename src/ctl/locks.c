#include "config.h"

#include "ctl/locks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define PROGRESS_NS (200 * NS_PER_MS)

/* Before they take all memory. */
#define NAMES_MOST 1000000

struct names {
	char **names;
	size_t count, room;
	bool progress;
	int64_t shown_ns; /* when the count was shown last */
	bool is_shown;
};

/* On a terminal, a count: thousands take their time. */
static void show_progress(struct names *names, const char *what, size_t count)
{
	int64_t now_ns = clock_boot_ns();

	if (!names->progress || now_ns - names->shown_ns < PROGRESS_NS ||
	    !isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r%s %zu ...\033[K", what, count);
	names->shown_ns = now_ns;
	names->is_shown = true;
}

static void hide_progress(struct names *names)
{
	if (names->is_shown)
		fputs("\r\033[K", stderr);
	names->is_shown = false;
}

static int add_name(void *context, const char *name)
{
	struct names *names = context;
	char **grown;

	/* Others may have keys that look so. */
	if (!name_is_valid(name))
		return 0;
	if (names->count == NAMES_MOST)
		return -EOVERFLOW;
	if (names->count == names->room) {
		names->room = names->room ? 2 * names->room : 256;
		grown = reallocarray(names->names, names->room,
				     sizeof(*names->names));
		if (!grown)
			return -ENOMEM;
		names->names = grown;
	}
	names->names[names->count] = strdup(name);
	if (!names->names[names->count])
		return -ENOMEM;
	names->count++;
	show_progress(names, "found", names->count);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_out(struct names *names)
{
	size_t i, kept = 0;

	if (names->count)
		qsort(names->names, names->count, sizeof(*names->names),
		      by_name);
	for (i = 0; i < names->count; i++) {
		if (kept && !strcmp(names->names[i], names->names[kept - 1]))
			free(names->names[i]);
		else
			names->names[kept++] = names->names[i];
	}
	names->count = kept;
}

static int add_row(struct table *table, json_object *lock)
{
	json_object *first = look_item(look_list(lock, "holders"), 0);
	char state[64], holder[600] = "", since[64] = "-", waiting[24];
	char left[DURATION_TEXT_MAX] = "-";
	int64_t left_ms = look_number(lock, "left_ms");
	const char *const cells[] = {
		look_text(lock, "name"),    state, holder, since, left, waiting,
		look_text(first, "command")
	};

	look_format_state(lock, state, sizeof(state));
	if (first)
		snprintf(holder, sizeof(holder), "%s@%s:%s",
			 look_text(first, "user"), look_text(first, "host"),
			 look_text(first, "pid"));
	else
		snprintf(holder, sizeof(holder), "-");
	if (look_number(first, "since_ms") > 0)
		holder_format_since(look_number(first, "since_ms"), since,
				    sizeof(since));
	if (left_ms >= 0)
		duration_format(left_ms * NS_PER_MS, left, sizeof(left));
	snprintf(waiting, sizeof(waiting), "%lld",
		 (long long)look_number(lock, "waiting"));
	return table_add(table, cells);
}

/* Found, but free by now. */
static bool is_gone(json_object *lock)
{
	return !strcmp(look_text(lock, "state"), "free") &&
	       look_number(lock, "waiting") == 0 &&
	       !json_object_object_get_ex(lock, "cooldown", NULL);
}

/* Takes `lock` over.  0 or -ENOMEM. */
static int add_lock(struct locks *locks, json_object *lock)
{
	int err;

	if (locks->list && json_object_array_add(locks->list, lock) == 0)
		return 0;
	err = locks->list ? -ENOMEM : add_row(&locks->table, lock);
	json_object_put(lock);
	return err;
}

/* 0 or a negative errno as look_at() returns it. */
static int look_at_names(struct ctl *ctl, struct names *names, size_t most,
			 struct locks *locks)
{
	size_t i, shown = 0;
	json_object *lock;
	int err;

	locks->found = names->count;
	for (i = 0; i < names->count && shown < most; i++) {
		show_progress(names, "looked at", i);
		err = look_at(ctl, names->names[i],
			      ctl->json ? LOOK_WAITERS_MAX : 0, &lock);
		if (err)
			return err;
		if (is_gone(lock)) {
			json_object_put(lock);
			locks->found--;
			continue;
		}
		err = add_lock(locks, lock);
		if (err)
			return err;
		shown++;
	}
	return 0;
}

const char *locks_glob(const struct ctl *ctl)
{
	return ctl->count ? ctl->operands[0] : "*";
}

int locks_look(struct ctl *ctl, size_t most, bool progress, struct locks *locks)
{
	static const char *const headings[] = { "LOCK",   "STATE", "HOLDER",
						"SINCE",  "LEFT",  "WAITING",
						"COMMAND" };
	struct names names = {
		.progress = progress,
		.shown_ns = clock_boot_ns(),
	};
	size_t i;
	int err;

	memset(locks, 0, sizeof(*locks));
	locks->table.columns = sizeof(headings) / sizeof(*headings);
	if (ctl->json)
		locks->list = json_object_new_array();
	err = table_add(&locks->table, headings);
	if (!err)
		err = store_list(ctl->store, locks_glob(ctl), CTL_REQUEST_NS,
				 add_name, &names);
	sort_out(&names);
	if (!err)
		err = look_at_names(ctl, &names, most, locks);
	hide_progress(&names);
	for (i = 0; i < names.count; i++)
		free(names.names[i]);
	free(names.names);
	if (err)
		locks_free(locks);
	return err;
}

void locks_free(struct locks *locks)
{
	table_free(&locks->table);
	json_object_put(locks->list);
	memset(locks, 0, sizeof(*locks));
}
