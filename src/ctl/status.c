/*
 * cflockctl status NAME: one lock, its holders, and the line.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "ctl/look.h"
#include "holder.h"

#define LEFT_TEXT_MAX (DURATION_TEXT_MAX + 8)

/* "8.2 s left"; "without an end" of what never ends by itself. */
static const char *format_left(int64_t left_ms, char buffer[LEFT_TEXT_MAX])
{
	char duration[DURATION_TEXT_MAX];

	if (left_ms < 0)
		return "without an end";
	duration_format(left_ms * NS_PER_MS, duration, sizeof(duration));
	snprintf(buffer, LEFT_TEXT_MAX, "%s left", duration);
	return buffer;
}

static void print_holders(json_object *lock)
{
	json_object *holders = look_list(lock, "holders");
	char text[HOLDER_TEXT_MAX], left[LEFT_TEXT_MAX];
	int64_t starts_in_ms;
	size_t i;

	if (!holders && *look_text(lock, "value"))
		printf("  held by  %s\n",
		       look_format_person(lock, text, sizeof(text)));
	for (i = 0; i < look_count(holders); i++) {
		json_object *holder = look_item(holders, i);

		printf("  held by  %s\n           lease: %s",
		       look_format_person(holder, text, sizeof(text)),
		       format_left(look_number(holder, "left_ms"), left));
		starts_in_ms = look_number(holder, "starts_in_ms");
		if (starts_in_ms >= 0)
			printf(", taken over, begins in %lld ms",
			       (long long)starts_in_ms);
		printf("; token %s\n           id %s\n",
		       look_text(holder, "token"), look_text(holder, "id"));
	}
}

static void print_line(json_object *lock)
{
	json_object *waiters = look_list(lock, "waiters");
	int64_t behind = look_number(lock, "waiting");
	char text[HOLDER_TEXT_MAX];
	size_t i;

	for (i = 0; i < look_count(waiters); i++)
		printf("  %5zu.   %s\n", i + 1,
		       look_format_person(look_item(waiters, i), text,
					  sizeof(text)));
	behind -= (int64_t)look_count(waiters);
	if (behind > 0)
		printf("           and %lld more\n", (long long)behind);
}

static void print_lock(json_object *lock)
{
	char state[64], left[LEFT_TEXT_MAX];
	int64_t waiting = look_number(lock, "waiting");
	json_object *cooldown;

	printf("%s: %s", look_text(lock, "name"),
	       look_format_state(lock, state, sizeof(state)));
	if (strcmp(look_text(lock, "state"), "free") != 0)
		printf(", %s", format_left(look_number(lock, "left_ms"), left));
	if (waiting > 0)
		printf(", %lld waiting", (long long)waiting);
	if (*look_text(lock, "token"))
		printf(", last token %s", look_text(lock, "token"));
	putchar('\n');
	print_holders(lock);
	print_line(lock);
	if (json_object_object_get_ex(lock, "cooldown", &cooldown))
		printf("  cooling down, %s, since the run %s\n",
		       format_left(look_number(cooldown, "left_ms"), left),
		       look_text(cooldown, "id"));
}

int ctl_status(struct ctl *ctl)
{
	json_object *lock;
	int err = look_at(ctl, ctl->operands[0], LOOK_WAITERS_MAX, &lock);

	if (err)
		return ctl_fail_store(ctl, err);
	if (ctl->json)
		look_print_json(lock);
	else
		print_lock(lock);
	json_object_put(lock);
	return ctl_flush();
}
