/*
 * cflockctl fence: runs a command, unless FILE has seen a higher token.
 *
 * FILE is empty, when it was never used, or holds the highest token seen, as
 * RECORD_BYTES bytes: 16 digits and a newline.  Whoever reads it to decide, or
 * writes it, holds flock(2) on it, and goes on to hold it as the command: the
 * descriptor is inherited, so that the kernel lets go when the command and all
 * that it started have ended, whatever is killed.
 *
 * The order, with a SIGKILL or a loss of power between any two steps:
 *  1. open and lock FILE; begin again if its name has got another file meanwhile
 *  2. read; refuse
 *  3. if FILE is empty: fsync of its directory.  A record in it thus tells that
 *     its name is on the disk
 *  4. write the record in one piece.  Also when it is there already: whoever
 *     wrote it may have been killed before, or failed in, the next step
 *  5. fsync of FILE
 *  6. exec
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "int64.h"
#include "log.h"

#define RECORD_DIGITS 16
#define RECORD_BYTES (RECORD_DIGITS + 1)

/*
 * The lock's descriptor is this or the next free one: out of the way of the
 * standard streams, should they be closed, and of those that scripts choose
 * for themselves ("exec 3>log" would let go of the lock).
 */
#define LOCK_FD_MIN 100

/* Reads all of `length` bytes as a token.  Returns false when they are none. */
static bool read_token(const char *text, size_t length, int64_t *token)
{
	int64_t value = 0;
	size_t i;

	for (i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (text[i] - '0');
		if (value > TOKEN_MOST)
			return false;
	}
	if (value < 1)
		return false;
	*token = value;
	return true;
}

/* Says that what was tried with `file` failed by `errno`; the exit code. */
static int fail(const char *file, const char *what)
{
	log_line(LOG_FATAL, "%s: cannot %s: %s", file, what, strerror(errno));
	return EXIT_OS_ERROR;
}

static int fail_not_regular(const char *file)
{
	log_line(LOG_FATAL, "%s: is not a regular file", file);
	return EXIT_BAD_CONFIG;
}

static bool is_same(const struct stat *one, const struct stat *other)
{
	return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/*
 * Is the file's lock one that was inherited?  We would wait for ourselves.
 * They stand without a gap, unless the caller has closed some.
 */
static bool is_inherited(const struct stat *file, int own_fd)
{
	struct stat other;
	int fd;

	for (fd = LOCK_FD_MIN; fd < own_fd && fstat(fd, &other) == 0; fd++)
		if (is_same(&other, file))
			return true;
	return false;
}

/* Opens the file, new when there is none.  Returns 0 or an exit code. */
static int open_file(const char *file, int *fd)
{
	struct stat status;
	int low;

	/* Before open(), which some devices take as an order. */
	if (stat(file, &status) == 0 && !S_ISREG(status.st_mode))
		return fail_not_regular(file);
	low = open(file, O_RDWR | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC,
		   0666);
	if (low < 0)
		return fail(file, "open");
	*fd = fcntl(low, F_DUPFD, LOCK_FD_MIN);
	if (*fd < 0) /* a low limit of open files */
		*fd = fcntl(low, F_DUPFD, STDERR_FILENO + 1);
	if (*fd < 0)
		return fail(file, "open");
	close(low);
	return 0;
}

/*
 * Step 1.  Waits for the lock without end; signals have their default effects.
 * Returns 0, with the descriptor and the file's status, or an exit code.
 */
static int lock_file(const char *file, int *fd, struct stat *status)
{
	struct stat named;
	int code, err;

	for (;;) {
		code = open_file(file, fd);
		if (code)
			return code;
		if (fstat(*fd, status) < 0)
			return fail(file, "look at");
		if (!S_ISREG(status->st_mode))
			return fail_not_regular(file);
		if (is_inherited(status, *fd)) {
			log_line(LOG_FATAL,
				 "%s: is fenced already by a command that is "
				 "waiting for this one",
				 file);
			return EXIT_BAD_USAGE;
		}
		do
			err = flock(*fd, LOCK_EX);
		while (err < 0 && errno == EINTR);
		if (err < 0)
			return fail(file, "lock");
		if (stat(file, &named) == 0) {
			if (is_same(&named, status))
				return 0;
		} else if (errno != ENOENT) {
			return fail(file, "look at");
		}
		close(*fd); /* removed or replaced while it was waited for */
	}
}

/* Step 2.  Returns 0, with *seen 0 for an empty file, or an exit code. */
static int read_record(const char *file, int fd, int64_t *seen)
{
	char record[RECORD_BYTES + 1];
	ssize_t n = pread(fd, record, sizeof(record), 0);

	*seen = 0;
	if (n < 0)
		return fail(file, "read");
	if (n == 0 || (n == RECORD_BYTES && record[RECORD_DIGITS] == '\n' &&
		       read_token(record, RECORD_DIGITS, seen)))
		return 0;
	log_line(LOG_FATAL,
		 "%s: holds something else than a token of %d digits", file,
		 RECORD_DIGITS);
	return EXIT_BAD_CONFIG;
}

/* Step 3.  Returns 0 or an exit code. */
static int sync_directory(const char *file)
{
	char *path = realpath(file, NULL); /* it may be a symbolic link */
	int fd = path ? open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
		      : -1;

	/* EINVAL: not a thing that this file system knows. */
	if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
		return fail(file, "sync its directory");
	close(fd);
	free(path);
	return 0;
}

/* Steps 4 and 5.  Returns 0 or an exit code. */
static int write_record(const char *file, int fd, int64_t token)
{
	char record[RECORD_BYTES + 1];
	ssize_t n;

	snprintf(record, sizeof(record), "%0*" PRId64 "\n", RECORD_DIGITS,
		 token);
	n = pwrite(fd, record, RECORD_BYTES, 0);
	if (n >= 0 && n < RECORD_BYTES)
		errno = ENOSPC;
	if (n < RECORD_BYTES)
		return fail(file, "write");
	if (fsync(fd) < 0)
		return fail(file, "sync");
	return 0;
}

/* Steps 1 to 5.  Returns 0 or an exit code. */
static int fence(const char *file, int64_t token)
{
	struct stat status;
	int64_t seen;
	int fd, code;

	code = lock_file(file, &fd, &status);
	if (!code)
		code = read_record(file, fd, &seen);
	if (code)
		return code;
	if (seen > token) {
		log_line(LOG_FATAL,
			 "%s: has seen token %" PRId64 ", %" PRId64
			 " is fenced off: the command was not started",
			 file, seen, token);
		return EXIT_FENCED;
	}
	if (!seen)
		code = sync_directory(file);
	if (!code)
		code = write_record(file, fd, token);
	return code;
}

/* --token over CFLOCK_TOKEN.  Returns 0 or an exit code. */
static int choose_token(const struct ctl *ctl, int64_t *token)
{
	const char *text = ctl->token ? ctl->token : getenv("CFLOCK_TOKEN");

	if (!ctl->token && (!text || !*text)) {
		log_line(LOG_FATAL, "there is no token: neither --token nor "
				    "CFLOCK_TOKEN is set");
		return EXIT_BAD_USAGE;
	}
	if (!read_token(text, strlen(text), token)) {
		log_line(LOG_FATAL,
			 "%s must be a whole number from 1 to %" PRId64
			 ", which \"%.40s\" is not",
			 ctl->token ? "--token" : "CFLOCK_TOKEN", TOKEN_MOST,
			 text);
		return EXIT_BAD_USAGE;
	}
	return 0;
}

int ctl_fence(struct ctl *ctl)
{
	char plain[RECORD_BYTES + 1];
	int64_t token;
	int code, err;

	code = choose_token(ctl, &token);
	if (!code)
		code = fence(ctl->operands[0], token);
	if (code)
		return code;
	/* Without leading zeros, which to a shell mean that it is octal. */
	snprintf(plain, sizeof(plain), "%" PRId64, token);
	if (setenv("CFLOCK_TOKEN", plain, 1) < 0)
		return ctl_fail_memory();

	execvp(ctl->command[0], ctl->command);
	err = errno;
	log_line(LOG_FATAL, "cannot run %s: %s", ctl->command[0],
		 strerror(err));
	return err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}
