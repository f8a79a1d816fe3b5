/* Invariant: used + depth + 1 <= size, so that all can be closed at any time. */
#include "config.h"

#include "json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

/* Longer texts are cut, before they are looked at. */
#define TEXT_MAX_BYTES 4096

static size_t room(const struct json *json)
{
	return json->size - json->used - json->depth - 1;
}

static void append(struct json *json, const char *text, size_t length)
{
	memcpy(json->buffer + json->used, text, length);
	json->used += length;
}

/* False, with nothing written, where key and `length` more do not fit. */
static bool put_key(struct json *json, const char *key, size_t length)
{
	bool is_first = json->buffer[json->used - 1] == '{';
	size_t key_length = strlen(key);

	if (json->skipped || room(json) < key_length + 4 + length)
		return false;
	if (!is_first)
		append(json, ",", 1);
	append(json, "\"", 1);
	append(json, key, key_length);
	append(json, "\":", 2);
	return true;
}

void json_begin(struct json *json, char *buffer, size_t size)
{
	*json = (struct json){ .buffer = buffer, .size = size, .depth = 1 };
	append(json, "{", 1);
}

void json_open(struct json *json, const char *key)
{
	if (put_key(json, key, 2)) {
		append(json, "{", 1);
		json->depth++;
	} else {
		json->skipped++;
	}
}

void json_close(struct json *json)
{
	if (json->skipped) {
		json->skipped--;
		return;
	}
	json->depth--;
	append(json, "}", 1);
}

void json_number(struct json *json, const char *key, int64_t number)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%lld", (long long)number);

	if (put_key(json, key, (size_t)length))
		append(json, text, (size_t)length);
}

void json_string(struct json *json, const char *key, const char *text,
		 size_t most)
{
	char printable[TEXT_MAX_BYTES];
	const char *s;
	size_t length;

	if (!put_key(json, key, 2))
		return;
	append(json, "\"", 1);
	if (most > room(json) - 1)
		most = room(json) - 1;
	/* No control characters are left: two characters need an escape. */
	s = log_printable(text, printable, sizeof(printable));
	for (; *s; s += length) {
		bool is_special = *s == '"' || *s == '\\';

		length = 1;
		while ((s[length] & 0xc0) == 0x80)
			length++;
		if (length + is_special > most)
			break;
		most -= length + is_special;
		if (is_special)
			append(json, "\\", 1);
		append(json, s, length);
	}
	append(json, "\"", 1);
}

size_t json_end(struct json *json)
{
	while (json->depth || json->skipped)
		json_close(json);
	json->buffer[json->used] = '\0';
	return json->used;
}
