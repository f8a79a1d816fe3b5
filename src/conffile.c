/*
 * INI files by libinih, with what it leaves out: line numbers, and errors for
 * sections that are unknown, lines that are too long and NUL bytes.  A line
 * may be indented; it never continues the one before.
 */
#include "config.h"

#include "conffile.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct conffile {
	FILE *stream;
	const char *path;
	int line;   /* the one that was read last */
	int result; /* the first error */
	conffile_set_fn *set;
	void *user;
	char *error;
};

static void fail(struct conffile *file, const char *text)
{
	snprintf(file->error, OPTIONS_ERROR_MAX, "%.256s:%d: %s", file->path,
		 file->line, text);
	file->result = -EBADF;
}

/* For libinih in place of fgets(3); the newline is not needed. */
static char *read_line(char *text, int size, void *user)
{
	struct conffile *file = user;
	int used = 0;
	int c;

	if (file->result < 0)
		return NULL;
	c = getc_unlocked(file->stream);
	if (c == EOF)
		return NULL;
	file->line++;
	for (; c != EOF && c != '\n'; c = getc_unlocked(file->stream)) {
		if (!used && (c == ' ' || c == '\t'))
			continue;
		if (!c) {
			fail(file, "it holds a NUL byte");
			return NULL;
		}
		if (used + 1 >= size) {
			char message[64];

			snprintf(message, sizeof(message),
				 "the line is longer than %d bytes", size - 1);
			fail(file, message);
			return NULL;
		}
		text[used++] = (char)c;
	}
	text[used] = '\0';

	/* libinih does not tell of a section in which nothing stands. */
	if (*text == '[' && strncmp(text, "[cflock]", 8)) {
		fail(file, "the section is unknown; only [cflock] is read");
		return NULL;
	}
	return text;
}

static int handle_key(void *user, const char *section, const char *key,
		      const char *value)
{
	struct conffile *file = user;
	char where[PATH_MAX + 16];

	if (file->result < 0)
		return 0;
	/* Behind a byte order mark, read_line() does not see it. */
	if (*section && strcmp(section, "cflock")) {
		fail(file, "the section is unknown; only [cflock] is read");
		return 0;
	}
	snprintf(where, sizeof(where), "%s:%d", file->path, file->line);
	file->result = file->set(file->user, where, key, value, file->error);
	return file->result >= 0;
}

int conffile_parse(FILE *stream, const char *path, conffile_set_fn *set,
		   void *user, char error[OPTIONS_ERROR_MAX])
{
	struct conffile file = {
		.stream = stream,
		.path = path,
		.set = set,
		.user = user,
		.error = error,
	};
	int bad_line = ini_parse_stream(read_line, &file, handle_key, &file);

	if (ferror(stream)) {
		snprintf(error, OPTIONS_ERROR_MAX, "cannot read %.256s: %s",
			 path, strerror(errno));
		return -EBADF;
	}
	/* libinih goes on behind a line that it cannot read. */
	if (bad_line > 0 && (!file.result || bad_line < file.line)) {
		file.line = bad_line;
		fail(&file, "the line is not of the form KEY = VALUE");
	} else if (bad_line < 0 && !file.result) {
		fail(&file, "not enough memory");
	}
	return file.result;
}

int conffile_read(const char *path, bool required, conffile_set_fn *set,
		  void *user, char error[OPTIONS_ERROR_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	FILE *stream;
	int rc;

	if (fd < 0 && !required && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	stream = fd < 0 ? NULL : fdopen(fd, "r");
	if (!stream) {
		snprintf(error, OPTIONS_ERROR_MAX,
			 "cannot open the configuration file %.256s: %s", path,
			 strerror(errno));
		if (fd >= 0)
			close(fd);
		return -EBADF;
	}
	rc = conffile_parse(stream, path, set, user, error);
	fclose(stream);
	return rc;
}
