#include "config.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devlog.h"

static enum log_level most_shown = LOG_WARNING;
static const char *program_name = "cflock";
static const char *lock_name;
static bool use_syslog;
static atomic_uint left_out;

/*
 * stderr again, but non-blocking, which the descriptor that we share with others
 * must not be made: what poll() calls writable may take less than a line.  -1:
 * there is none.
 */
static int unwaiting_fd = -1;

void log_set_program(const char *program)
{
	program_name = program;
}

static void open_unwaiting(void)
{
	struct stat about;

	/* Opened anew, a file would be written to from its start. */
	if (isatty(STDERR_FILENO) ||
	    (fstat(STDERR_FILENO, &about) == 0 && S_ISFIFO(about.st_mode)))
		unwaiting_fd =
			open("/proc/self/fd/2",
			     O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void log_setup(enum log_level most, const char *name)
{
	most_shown = most;
	lock_name = name;
	if (most > LOG_WARNING && unwaiting_fd < 0)
		open_unwaiting();
}

void log_let_go(void)
{
	if (unwaiting_fd >= 0)
		close(unwaiting_fd);
	unwaiting_fd = -1;
}

int log_open_syslog(void)
{
	int err = devlog_open();

	use_syslog = !err;
	return err;
}

const char *log_name(void)
{
	return lock_name ? lock_name : "";
}

bool log_is_shown(enum log_level level)
{
	return level <= most_shown;
}

unsigned int log_left_out(void)
{
	return atomic_load(&left_out);
}

static enum devlog_severity severity_of(enum log_level level)
{
	switch (level) {
	case LOG_FATAL:
		return DEVLOG_ERROR;
	case LOG_WARNING:
		return DEVLOG_WARNING;
	case LOG_NOTICE:
		return DEVLOG_NOTICE;
	case LOG_VERBOSE:
		return DEVLOG_INFO;
	case LOG_DETAIL:
		return DEVLOG_DEBUG;
	}
	return DEVLOG_ERROR;
}

/* A full pipe, or Ctrl-S, must not keep anybody from renewing. */
static bool write_unwaiting(const char *line, size_t length)
{
	struct pollfd writable = { .fd = STDERR_FILENO, .events = POLLOUT };
	int fd = unwaiting_fd;
	ssize_t n;

	if (fd < 0) {
		if (poll(&writable, 1, 0) == 0)
			return false;
		fd = STDERR_FILENO;
	}
	n = write(fd, line, length);
	return n == (ssize_t)length || (n < 0 && errno != EAGAIN);
}

void log_write(enum log_level level, const char *line, size_t length,
	       size_t start)
{
	if (use_syslog &&
	    !devlog_send(severity_of(level), line + start, length - start - 1))
		atomic_fetch_add(&left_out, 1);
	if (level > LOG_WARNING) {
		if (!write_unwaiting(line, length))
			atomic_fetch_add(&left_out, 1);
		return;
	}
	/* A stderr that is gone or full must not stop a guarded command. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_MAX];
	size_t used, start;
	va_list args;
	int n;

	if (!log_is_shown(level))
		return;
	n = snprintf(line, sizeof(line), "%s: ", program_name);
	start = (size_t)n;
	n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%s",
		      lock_name ? lock_name : "", lock_name ? ": " : "");
	used = (size_t)n;
	va_start(args, format);
	vsnprintf(line + used, sizeof(line) - 1 - used, format, args);
	va_end(args);
	log_printable(line + used, line + used, sizeof(line) - 1 - used);
	used += strlen(line + used);
	line[used++] = '\n';
	log_write(level, line, used, start);
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
	return length;
}

/*
 * Some terminals obey the C1 controls, U+0080 to U+009F; U+2028 and U+2029 are
 * ends of lines; and behind U+202A to U+202E, or U+2066 to U+2069, what comes
 * next is shown in another order than it has.
 */
static bool is_steering(const unsigned char *s)
{
	return (s[0] == 0xc2 && s[1] < 0xa0) ||
	       (s[0] == 0xe2 && s[1] == 0x80 && s[2] >= 0xa8 && s[2] <= 0xae) ||
	       (s[0] == 0xe2 && s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9);
}

char *log_printable(const char *text, char *buffer, size_t size)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t used = 0;

	while (*s) {
		size_t length = utf8_length(s);
		bool shown = length > 1
				     ? !is_steering(s)
				     : length == 1 && *s >= ' ' && *s != 0x7f;

		if (!length)
			length = 1;
		if (used + length >= size)
			break;
		if (shown)
			memmove(buffer + used, s, length);
		else
			memset(buffer + used, '?', length);
		used += length;
		s += length;
	}
	buffer[used] = '\0';
	return buffer;
}
