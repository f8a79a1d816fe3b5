/*
 * What cflock says on stderr: nothing when all goes well, one line when not.
 * Lines start with "cflock: " and go out in one write(2), so that lines of
 * several processes do not mix.  Modules that can return an error do not log;
 * but any may say what it does, at a level of -v.  With --syslog, the lines go
 * there as well.
 *
 * cflock itself tells by event.h whatever happens, which uses this.
 */
#ifndef CFLOCK_LOG_H
#define CFLOCK_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum log_level {
	LOG_FATAL,   /* always: why cflock ends */
	LOG_WARNING, /* not with -q */

	/* With -v, or as JSON; left out rather than wait. */
	LOG_NOTICE,  /* worth a look */
	LOG_VERBOSE, /* the ordinary */
	LOG_DETAIL,  /* what comes again and again */
};

/* Bytes of a line, its newline included: what a pipe takes in one piece. */
#define LOG_LINE_MAX 4096

/* What lines start with, in the place of "cflock"; a static string. */
void log_set_program(const char *program);

/* `name` is the lock's, put behind "cflock: "; NULL before it is known. */
void log_setup(enum log_level most, const char *name);

/* Stderr is about to be another: nothing but its descriptor is kept of it. */
void log_let_go(void);

/* From now on to syslog, too.  0 or a negative errno. */
int log_open_syslog(void);

/* The lock's name, "" before it is known. */
const char *log_name(void);

/* True when a line of this level would be written. */
bool log_is_shown(enum log_level level);

/* One line, printable as below, whatever is in it. */
void log_line(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * A whole line of `length` bytes, at most LOG_LINE_MAX, with its newline, as it
 * is; from `start` on to syslog.
 */
void log_write(enum log_level level, const char *line, size_t length,
	       size_t start);

/* How many lines were left out rather than wait, here or there. */
unsigned int log_left_out(void);

/*
 * Copies `text` with each byte of control characters, of those that turn the
 * order of writing, and of what is not well-formed UTF-8 shown as '?', cut at
 * `size`, so that what others wrote into the lock service cannot steer a terminal.
 * Returns `buffer`, which may be `text`: it gets no longer.
 */
char *log_printable(const char *text, char *buffer, size_t size);

#endif
