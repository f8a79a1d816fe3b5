/*
 * What happens in a run.  Each event is one message: text for people, by
 * log_line(), or, with --log-json, an object for programs, with the text in it.
 * Its names and fields are a published interface, described in the manual.
 *
 * To be made, filled and sent by one thread; different ones by different
 * threads at once.
 */
#ifndef CFLOCK_EVENT_H
#define CFLOCK_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "holder.h"
#include "json.h"
#include "log.h"

struct event {
	enum log_level level;
	bool is_shown;
	struct json json; /* unused without --log-json */
	char line[LOG_LINE_MAX];
};

/* From now on events are JSON.  Before there is a second thread, as the next. */
void event_use_json(void);

/* Known from now on; the strings must live as long as the process.  The token may
 * be another later. */
void event_set_id(const char *id);
void event_set_token(const char *token);

void event_begin(struct event *event, enum log_level level, const char *name);

/* What is special to the event; nothing is done where it is not JSON. */
void event_number(struct event *event, const char *key, int64_t number);
void event_ms(struct event *event, const char *key, int64_t ns);
void event_string(struct event *event, const char *key, const char *text);
void event_holder(struct event *event, const char *key,
		  const struct holder *holder);

/* The text has control characters replaced, as by log_printable(). */
void event_send(struct event *event, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
