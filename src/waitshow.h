/*
 * How waiting is told to people: on a terminal, after a second, by one line that
 * updates itself and goes when the waiting is over; elsewhere not at all; with
 * -v, or as JSON, by a line for each change.
 */
#ifndef CFLOCK_WAITSHOW_H
#define CFLOCK_WAITSHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "store.h"

#define REFUSAL_TEXT_MAX (HOLDER_TEXT_MAX + 128)

struct waitshow {
	int64_t begun_ns, end_ns; /* end_ns: INT64_MAX without an end */
	bool is_live;             /* the line that updates itself */
	bool is_shown;
	/* What the last line of -v was about: a trouble, or a refusal. */
	char trouble[STORE_ERROR_MAX];
	enum refusal_reason reason;
	char holder[HOLDER_FIELD_MAX];
	int64_t place;
};

void waitshow_init(struct waitshow *show, int64_t begun_ns, int64_t end_ns);

void waitshow_update(struct waitshow *show, const struct refusal *refusal,
		     int64_t now_ns);

/* The service cannot be asked, and why. */
void waitshow_trouble(struct waitshow *show, const char *why, int64_t now_ns);

/* Before anything else is written. */
void waitshow_end(struct waitshow *show);

/*
 * "held by host web1, pid 4711, ...", safe for a terminal; the same words in the
 * line above and when a claim is given up.  Returns `buffer`.
 */
char *refusal_format(const struct refusal *refusal, char *buffer, size_t size);

/* The same for programs: adds to `event` why, and who is in the way. */
void refusal_describe(const struct refusal *refusal, struct event *event);

#endif
