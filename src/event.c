#include "config.h"

#include "event.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"

/* So much of a line is kept for the text at its end. */
#define TEXT_LEAST 1024

/* What texts of others may take of the rest. */
#define STRING_MOST 512
#define HOLDER_FIELD_MOST 256
#define HOLDER_TEXT_MOST 512

static bool use_json;
static const char *lease_id;
static const char *_Atomic lease_token;

void event_use_json(void)
{
	use_json = true;
}

void event_set_id(const char *id)
{
	lease_id = id;
}

void event_set_token(const char *token)
{
	atomic_store(&lease_token, token);
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_FATAL:
		return "error";
	case LOG_WARNING:
		return "warning";
	case LOG_NOTICE:
		return "notice";
	case LOG_VERBOSE:
		return "info";
	case LOG_DETAIL:
		return "debug";
	}
	return "error";
}

/*
 * RFC 3339, UTC.  Not gmtime_r(), which may read files, or wait for another
 * thread that does.
 */
static void put_time(struct json *json, const char *key, int64_t unix_ms)
{
	int64_t days = unix_ms / 86400000, ms = unix_ms % 86400000;
	int64_t era, of_era, year, of_year, month;
	char text[64];

	/* Days since 0000-03-01: leap days come last, in a year, a century, and an
	 * era of 400 years. */
	days += 719468;
	era = days / 146097;
	of_era = days % 146097;
	year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) /
	       365;
	of_year = of_era - (365 * year + year / 4 - year / 100);
	month = (5 * of_year + 2) / 153; /* 0: March */
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
		 (int)(year + era * 400 + (month >= 10)),
		 (int)(month < 10 ? month + 3 : month - 9),
		 (int)(of_year - (153 * month + 2) / 5 + 1),
		 (int)(ms / 3600000), (int)(ms / 60000 % 60),
		 (int)(ms / 1000 % 60), (int)(ms % 1000));
	json_string(json, key, text, sizeof(text));
}

void event_begin(struct event *event, enum log_level level, const char *name)
{
	const char *token;

	event->level = level;
	event->is_shown = log_is_shown(level);
	if (!event->is_shown || !use_json)
		return;
	json_begin(&event->json, event->line, sizeof(event->line) - TEXT_LEAST);
	put_time(&event->json, "time", clock_wall_ms());
	event_string(event, "event", name);
	event_string(event, "level", level_name(level));
	if (*log_name())
		event_string(event, "name", log_name());
	if (lease_id)
		event_string(event, "id", lease_id);
	token = atomic_load(&lease_token);
	if (token)
		event_string(event, "token", token);
}

void event_number(struct event *event, const char *key, int64_t number)
{
	if (event->is_shown && use_json)
		json_number(&event->json, key, number);
}

void event_ms(struct event *event, const char *key, int64_t ns)
{
	event_number(event, key, ns / NS_PER_MS);
}

void event_string(struct event *event, const char *key, const char *text)
{
	if (event->is_shown && use_json)
		json_string(&event->json, key, text, STRING_MOST);
}

void event_holder(struct event *event, const char *key,
		  const struct holder *holder)
{
	const struct {
		const char *key, *text;
		size_t most;
	} fields[] = {
		{ "id", holder->id, HOLDER_FIELD_MOST },
		{ "host", holder->host, HOLDER_FIELD_MOST },
		{ "pid", holder->pid, HOLDER_FIELD_MOST },
		{ "user", holder->user, HOLDER_FIELD_MOST },
		{ "command", holder->command, HOLDER_TEXT_MOST },
		{ "message", holder->message, HOLDER_TEXT_MOST },
		/* For people, of a client that is not cflock. */
		{ "value", *holder->id ? "" : holder->value,
		  HOLDER_FIELD_MOST },
	};
	size_t i;

	if (!event->is_shown || !use_json)
		return;
	json_open(&event->json, key);
	for (i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (*fields[i].text)
			json_string(&event->json, fields[i].key, fields[i].text,
				    fields[i].most);
	if (holder->since_ms > 0)
		put_time(&event->json, "since", holder->since_ms);
	json_close(&event->json);
}

void event_send(struct event *event, const char *format, ...)
{
	char raw[LOG_LINE_MAX], text[LOG_LINE_MAX];
	va_list args;
	size_t length;

	if (!event->is_shown)
		return;
	va_start(args, format);
	vsnprintf(raw, sizeof(raw), format, args);
	va_end(args);
	log_printable(raw, text, sizeof(text));
	if (!use_json) {
		log_line(event->level, "%s", text);
		return;
	}
	/* Room for the newline. */
	event->json.size = sizeof(event->line) - 1;
	json_string(&event->json, "text", text, sizeof(text));
	length = json_end(&event->json);
	event->line[length++] = '\n';
	log_write(event->level, event->line, length, 0);
}
