#include "config.h"

#include "ctl/look.h"
#include "ctl/merge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "holder.h"
#include "int64.h"
#include "log.h"

#define ISO_TEXT_MAX 40

static char *format_iso(int64_t unix_ms, char buffer[ISO_TEXT_MAX])
{
	time_t seconds = unix_ms / 1000;
	struct tm utc;
	size_t n;

	if (!gmtime_r(&seconds, &utc))
		memset(&utc, 0, sizeof(utc));
	n = strftime(buffer, ISO_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(buffer + n, ISO_TEXT_MAX - n, ".%03dZ", (int)(unix_ms % 1000));
	return buffer;
}

static void add_time(json_object *object, const char *field, int64_t unix_ms)
{
	char iso[ISO_TEXT_MAX];

	json_object_object_add(
		object, field,
		json_object_new_string(format_iso(unix_ms, iso)));
}

/* Absolute times beside the relative ones, by our own clock. */
static void add_times(json_object *object, int64_t now_ms)
{
	int64_t since_ms = look_number(object, "since_ms");
	int64_t left_ms = look_number(object, "left_ms");

	if (since_ms > 0)
		add_time(object, "since", since_ms);
	if (left_ms >= 0)
		add_time(object, "ends", now_ms + left_ms);
}

static void add_times_to_all(json_object *list, int64_t now_ms)
{
	size_t i;

	for (i = 0; i < look_count(list); i++)
		add_times(look_item(list, i), now_ms);
}

/* In the order in which they are to be shown; what is not here comes behind. */
static const char *const field_order[] = {
	"place",        "id",        "host",  "pid",     "user",     "command",
	"message",      "kind",      "state", "value",   "since_ms", "left_ms",
	"starts_in_ms", "silent_ms", "token", "waiting",
};

static json_object *made_safe(json_object *from);

static bool is_plain(const char *key)
{
	return !key[strspn(key, "abcdefghijklmnopqrstuvwxyz_")];
}

/* Lua's tables have no order. */
static json_object *copy_object(json_object *from)
{
	json_object *to = json_object_new_object(), *field;
	size_t i;

	for (i = 0; i < sizeof(field_order) / sizeof(*field_order); i++)
		if (json_object_object_get_ex(from, field_order[i], &field))
			json_object_object_add(to, field_order[i],
					       made_safe(field));
	/* Of cflock's script there are none with other names. */
	json_object_object_foreach(from, key, value)
	{
		if (!json_object_object_get_ex(to, key, NULL) && is_plain(key))
			json_object_object_add(to, key, made_safe(value));
	}
	return to;
}

/* A copy with texts that are UTF-8 without control characters, and whole numbers. */
static json_object *made_safe(json_object *from)
{
	json_object *to;
	size_t i, size;
	char *text;
	int64_t number;

	switch (json_object_get_type(from)) {
	case json_type_object:
		return copy_object(from);
	case json_type_array:
		to = json_object_new_array();
		for (i = 0; i < json_object_array_length(from); i++)
			json_object_array_add(
				to,
				made_safe(json_object_array_get_idx(from, i)));
		return to;
	case json_type_int:
	case json_type_double:
		number = json_object_get_int64(from);
		return json_object_new_int64(
			least(most(number, -TOLD_MOST), TOLD_MOST));
	case json_type_string:
		size = (size_t)json_object_get_string_len(from) + 1;
		text = malloc(size);
		if (!text)
			return NULL;
		to = json_object_new_string(log_printable(
			json_object_get_string(from), text, size));
		free(text);
		return to;
	default:
		return json_object_get(from);
	}
}

/* In `context` is the list of the answers. */
static int add_answer(void *context, const char *text)
{
	json_object *list = context, *parsed = json_tokener_parse(text);

	if (!json_object_is_type(parsed, json_type_object)) {
		json_object_put(parsed);
		return -EBADMSG;
	}
	json_object_array_add(list, made_safe(parsed));
	json_object_put(parsed);
	return 0;
}

int look_at(struct ctl *ctl, const char *name, int waiters, json_object **lock)
{
	json_object *answers = json_object_new_array(), *answer, *cooldown;
	int64_t now_ms = clock_wall_ms();
	int err;

	err = store_look(ctl->store, name, waiters,
			 clock_boot_ns() + CTL_REQUEST_NS, add_answer, answers);
	if (err) {
		json_object_put(answers);
		return err;
	}
	answer = merge_answers(answers, store_votes(ctl->store));
	json_object_put(answers);

	*lock = json_object_new_object();
	json_object_object_add(*lock, "name", json_object_new_string(name));
	json_object_object_foreach(answer, key, value)
		json_object_object_add(*lock, key, json_object_get(value));
	json_object_put(answer);
	add_times(*lock, now_ms);
	add_times_to_all(look_list(*lock, "holders"), now_ms);
	add_times_to_all(look_list(*lock, "waiters"), now_ms);
	if (json_object_object_get_ex(*lock, "cooldown", &cooldown))
		add_times(cooldown, now_ms);
	return 0;
}

const char *look_text(json_object *object, const char *field)
{
	json_object *value;

	if (!json_object_object_get_ex(object, field, &value) ||
	    !json_object_is_type(value, json_type_string))
		return "";
	return json_object_get_string(value);
}

int64_t look_number(json_object *object, const char *field)
{
	json_object *value;

	if (!json_object_object_get_ex(object, field, &value) ||
	    !json_object_is_type(value, json_type_int))
		return -1;
	return json_object_get_int64(value);
}

json_object *look_list(json_object *object, const char *field)
{
	json_object *value;

	if (!json_object_object_get_ex(object, field, &value) ||
	    !json_object_is_type(value, json_type_array))
		return NULL;
	return value;
}

size_t look_count(json_object *list)
{
	return list ? json_object_array_length(list) : 0;
}

json_object *look_item(json_object *list, size_t index)
{
	return index < look_count(list) ? json_object_array_get_idx(list, index)
					: NULL;
}

char *look_format_person(json_object *person, char *buffer, size_t size)
{
	struct holder holder = { .since_ms = look_number(person, "since_ms") };
	const struct {
		const char *field;
		char *to;
		size_t size;
	} texts[] = {
		{ "id", holder.id, sizeof(holder.id) },
		{ "host", holder.host, sizeof(holder.host) },
		{ "pid", holder.pid, sizeof(holder.pid) },
		{ "user", holder.user, sizeof(holder.user) },
		{ "command", holder.command, sizeof(holder.command) },
		{ "message", holder.message, sizeof(holder.message) },
		{ "value", holder.value, sizeof(holder.value) },
	};
	size_t i;

	for (i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		snprintf(texts[i].to, texts[i].size, "%s",
			 look_text(person, texts[i].field));
	return holder_format(&holder, buffer, size);
}

char *look_format_state(json_object *lock, char *buffer, size_t size)
{
	const char *state = look_text(lock, "state");
	const char *kind = look_text(lock, "kind");
	size_t holders = look_count(look_list(lock, "holders"));
	json_object *cooldown;

	if (!strncmp(kind, "slots:", 6))
		snprintf(buffer, size, "%zu of %s slots", holders, kind + 6);
	else if (!strcmp(kind, "shared"))
		snprintf(buffer, size, "shared by %zu", holders);
	else if (*kind)
		snprintf(buffer, size, "%s", kind);
	else if (!strcmp(state, "free") &&
		 json_object_object_get_ex(lock, "cooldown", &cooldown))
		snprintf(buffer, size, "cooling down");
	else
		snprintf(buffer, size, "%s", state);
	/* It may be cut in the middle of a character. */
	return log_printable(buffer, buffer, size);
}

void look_print_json(json_object *object)
{
	puts(json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
				JSON_C_TO_STRING_NOSLASHESCAPE));
}

void look_print_json_line(json_object *object)
{
	puts(json_object_to_json_string_ext(
		object,
		JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}
