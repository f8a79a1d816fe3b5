#include "config.h"

#include "log.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a pipe takes in one piece. */
#define LINE_MAX_BYTES 4096

static enum log_level most_shown = LOG_WARNING;
static const char *program_name = "cflock";
static const char *lock_name;

void log_set_program(const char *program)
{
	program_name = program;
}

void log_setup(enum log_level most, const char *name)
{
	most_shown = most;
	lock_name = name;
}

const char *log_name(void)
{
	return lock_name ? lock_name : "";
}

bool log_is_shown(enum log_level level)
{
	return level <= most_shown;
}

void log_line(enum log_level level, const char *format, ...)
{
	struct pollfd writable = { .fd = STDERR_FILENO, .events = POLLOUT };
	char line[LINE_MAX_BYTES];
	size_t used;
	va_list args;
	int n;

	if (!log_is_shown(level))
		return;
	/* A full pipe, or Ctrl-S, must not keep anybody from renewing. */
	if (level == LOG_VERBOSE && poll(&writable, 1, 0) == 0)
		return;

	n = snprintf(line, sizeof(line), "%s: %s%s", program_name,
		     lock_name ? lock_name : "", lock_name ? ": " : "");
	used = (size_t)n;
	va_start(args, format);
	n = vsnprintf(line + used, sizeof(line) - used, format, args);
	va_end(args);
	if (n > 0)
		used += (size_t)n;
	if (used > sizeof(line) - 2)
		used = sizeof(line) - 2;
	line[used++] = '\n';

	/* A stderr that is gone or full must not stop a guarded command. */
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}

/* Bytes of the well-formed UTF-8 character at `s`, 0 when it is not one. */
static size_t utf8_length(const unsigned char *s)
{
	size_t length, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		length = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		length = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		length = 4;
	else
		return 0;
	for (i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and what lies behind U+10FFFF. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	/* The C1 controls, U+0080 to U+009F: some terminals obey them. */
	if (s[0] == 0xc2 && s[1] < 0xa0)
		return 0;
	return length;
}

char *log_printable(const char *text, char *buffer, size_t size)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t used = 0;

	while (*s) {
		size_t length = utf8_length(s);
		bool shown =
			length > 1 || (length == 1 && *s >= ' ' && *s != 0x7f);

		if (!length)
			length = 1;
		if (used + length >= size)
			break;
		if (shown)
			memcpy(buffer + used, s, length);
		else
			memset(buffer + used, '?', length);
		used += length;
		s += length;
	}
	buffer[used] = '\0';
	return buffer;
}
