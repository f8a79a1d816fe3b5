/*
 * One JSON object, written into a buffer of fixed size, without memory of its
 * own.  It is well-formed and valid UTF-8 whatever the texts are: bytes that are
 * not are shown as '?', as by log_printable().  What does not fit is left out:
 * of a text its end, of anything else the whole field.
 */
#ifndef CFLOCK_JSON_H
#define CFLOCK_JSON_H

#include <stddef.h>
#include <stdint.h>

struct json {
	char *buffer;
	size_t size, used;
	unsigned int depth;   /* objects that are open */
	unsigned int skipped; /* objects in them that did not fit */
};

/* `size`: at least 3. */
void json_begin(struct json *json, char *buffer, size_t size);

/* An object in the object, until json_close(). */
void json_open(struct json *json, const char *key);
void json_close(struct json *json);

void json_number(struct json *json, const char *key, int64_t number);

/* `text` takes `most` bytes at most, in the form in which it stands there. */
void json_string(struct json *json, const char *key, const char *text,
		 size_t most);

/* Closes all.  Returns the length; the buffer ends with a NUL. */
size_t json_end(struct json *json);

#endif
