/* Passwords in the environment and in a password-file. */
#include "config.h"

#include "credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One URL of those in `text`, as a text of its own.  Returns `buffer`. */
static char *cut_out(const char *text, const struct url_span *span,
		     char buffer[URL_SOURCE_MAX])
{
	snprintf(buffer, URL_SOURCE_MAX, "%.*s", (int)span->length,
		 text + span->start);
	return buffer;
}

void credentials_hide(char *text)
{
	struct url_span url, spans[URL_PASSWORDS_MAX];
	char one[URL_SOURCE_MAX];
	size_t from = 0;
	int i, count;

	while (url_find(text, from, &url)) {
		count = url_password_spans(cut_out(text, &url, one), spans);
		for (i = 0; i < count; i++)
			memset(text + url.start + spans[i].start, '*',
			       spans[i].length);
		from = url.start + url.length;
	}
	explicit_bzero(one, sizeof(one));
}

/* Copies the URL `text` without its passwords, and without an empty "@". */
static void copy_without_password(const char *text, char *out, size_t size)
{
	struct url_span spans[URL_PASSWORDS_MAX];
	int i, count = url_password_spans(text, spans);
	size_t from = 0, used = 0;

	*out = '\0';
	for (i = 0; i < count; i++) {
		size_t keep = spans[i].start, end = keep + spans[i].length;

		if (text[end] == '@') {
			if (keep && text[keep - 1] == ':')
				keep--;
			if (!keep || text[keep - 1] == '/')
				end++;
		}
		snprintf(out + used, size - used, "%.*s", (int)(keep - from),
			 text + from);
		used += strlen(out + used);
		from = end;
	}
	snprintf(out + used, size - used, "%s", text + from);
}

/*
 * Copies the variable, overwrites it (its password only, if it is a URL) in
 * all places where the environment has it, and unsets it.
 */
static void take_variable(const char *name, bool is_url, char *out, size_t size)
{
	size_t name_length = strlen(name);
	const char *value = getenv(name);
	char **entry;

	snprintf(out, size, "%s", value ? value : "");
	if (!value)
		return;
	for (entry = environ; *entry; entry++) {
		char *text = *entry + name_length;

		if (strncmp(*entry, name, name_length) || *text++ != '=')
			continue;
		if (is_url)
			credentials_hide(text);
		else
			memset(text, '*', strlen(text));
	}
	unsetenv(name);
}

void credentials_export_servers(const char *servers, bool adds)
{
	const char *before = adds ? getenv("CFLOCK_SERVER") : NULL;
	char text[URL_SOURCE_MAX], one[URL_SOURCE_MAX];
	struct url_span url;
	size_t from = 0, used;

	snprintf(text, sizeof(text), "%s", before ? before : "");
	while (url_find(servers, from, &url)) {
		used = strlen(text);
		if (used && used + 1 < sizeof(text))
			text[used++] = ' ';
		copy_without_password(cut_out(servers, &url, one), text + used,
				      sizeof(text) - used);
		from = url.start + url.length;
	}
	explicit_bzero(one, sizeof(one));
	setenv("CFLOCK_SERVER", text, 1);
}

void credentials_take(struct credentials *credentials)
{
	take_variable("CFLOCK_PASSWORD", false, credentials->password,
		      sizeof(credentials->password));
	take_variable("REDISCLI_AUTH", false, credentials->rediscli_auth,
		      sizeof(credentials->rediscli_auth));
	take_variable("CFLOCK_SERVER", true, credentials->server,
		      sizeof(credentials->server));
	if (*credentials->server)
		credentials_export_servers(credentials->server, false);
}

__attribute__((format(printf, 3, 4))) static int
fail(char *error, const char *path, const char *format, ...)
{
	va_list arguments;
	int length;

	length = snprintf(error, OPTIONS_ERROR_MAX,
			  "password-file %.256s: ", path);
	va_start(arguments, format);
	vsnprintf(error + length, OPTIONS_ERROR_MAX - (size_t)length, format,
		  arguments);
	va_end(arguments);
	return -EBADF;
}

/* Reads until `size` bytes are there or the file ends. */
static ssize_t read_start(int fd, char *buffer, size_t size)
{
	size_t used = 0;

	while (used < size) {
		ssize_t got = read(fd, buffer + used, size - used);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		used += (size_t)got;
	}
	return (ssize_t)used;
}

/* Takes the first line of `length` bytes at `text`. */
static int take_line(const char *path, const char *text, size_t length,
		     char *password, char *error)
{
	const char *newline = memchr(text, '\n', length);

	if (newline) {
		length = (size_t)(newline - text);
		if (length && text[length - 1] == '\r')
			length--;
	}
	if (!length)
		return fail(error, path,
			    "its first line is empty; it must be "
			    "the password");
	if (length >= URL_PASSWORD_MAX)
		return fail(error, path, "the password is longer than %d bytes",
			    URL_PASSWORD_MAX - 1);
	if (memchr(text, '\0', length))
		return fail(error, path, "the password holds a NUL byte");
	memcpy(password, text, length);
	password[length] = '\0';
	return 0;
}

int credentials_read_file(const char *path, char password[URL_PASSWORD_MAX],
			  char error[OPTIONS_ERROR_MAX])
{
	char text[URL_PASSWORD_MAX + 2];
	struct stat status;
	ssize_t length;
	int fd, rc;

	/* O_NONBLOCK: opening a FIFO must not hang. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return fail(error, path, "cannot open it: %s", strerror(errno));
	if (fstat(fd, &status) < 0)
		rc = fail(error, path, "cannot look at it: %s",
			  strerror(errno));
	else if (!S_ISREG(status.st_mode))
		rc = fail(error, path, "it is not a regular file");
	else if (status.st_mode & S_IROTH)
		rc = fail(error, path, "others can read it; chmod 600 it");
	else if ((length = read_start(fd, text, sizeof(text))) < 0)
		rc = fail(error, path, "cannot read it: %s",
			  strerror((int)-length));
	else
		rc = take_line(path, text, (size_t)length, password, error);
	close(fd);
	explicit_bzero(text, sizeof(text));
	return rc;
}
