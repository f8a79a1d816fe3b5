/*
 * What cflock says on stderr: nothing when all goes well, one line when not.
 * Lines start with "cflock: " and go out in one write(2), so that lines of
 * several processes do not mix.  Modules that can return an error do not log;
 * but any may say with LOG_VERBOSE what it does.
 */
#ifndef CFLOCK_LOG_H
#define CFLOCK_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum log_level {
	LOG_FATAL,   /* always: why cflock ends */
	LOG_WARNING, /* not with -q */
	LOG_VERBOSE, /* only with -v; left out rather than wait */
};

/* What lines start with, in the place of "cflock"; a static string. */
void log_set_program(const char *program);

/* `name` is the lock's, put behind "cflock: "; NULL before it is known. */
void log_setup(enum log_level most, const char *name);

/* The lock's name, "" before it is known. */
const char *log_name(void);

/* True when a line of this level would be written. */
bool log_is_shown(enum log_level level);

void log_line(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Copies `text` with every control character and every byte that is not part
 * of well-formed UTF-8 shown as '?', cut at `size`, so that what others wrote
 * into the lock service cannot steer a terminal.  Returns `buffer`.
 */
char *log_printable(const char *text, char *buffer, size_t size);

#endif
