/*
 * syslog(3) that never waits.  The C library's own sends in a way that blocks
 * while the syslog daemon does not read, and a renewal must not wait for that.
 */
#ifndef CFLOCK_DEVLOG_H
#define CFLOCK_DEVLOG_H

#include <stdbool.h>
#include <stddef.h>

/* The severities of RFC 3164. */
enum devlog_severity {
	DEVLOG_ERROR = 3,
	DEVLOG_WARNING,
	DEVLOG_NOTICE,
	DEVLOG_INFO,
	DEVLOG_DEBUG,
};

/* To be called once, before there is a second thread.  0 or a negative errno. */
int devlog_open(void);

/*
 * Sends `length` bytes, at most DEVLOG_TEXT_MAX, without a newline, under the
 * name of "cflock" and the process that has called devlog_open(); any thread.
 * False when they did not get there: nobody listens, or nobody reads.
 */
#define DEVLOG_TEXT_MAX 4096
bool devlog_send(enum devlog_severity severity, const char *text,
		 size_t length);

#endif
