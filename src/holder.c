#include "config.h"

#include "holder.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "credentials.h"
#include "log.h"

/* Room that log_printable() may need in the middle of a line. */
struct printable {
	char text[HOLDER_MESSAGE_MAX];
};

static const char *printable(const char *text, struct printable *buffer)
{
	return log_printable(text, buffer->text, sizeof(buffer->text));
}

/* A script given with -c may have many lines; they are shown as one. */
static void fold_blanks(char *text)
{
	char *to = text;
	bool after_blank = true;

	for (; *text; text++) {
		bool blank = strchr(" \t\r\n", *text) != NULL;

		if (!blank || !after_blank)
			*to++ = blank ? ' ' : *text;
		after_blank = blank;
	}
	*to = '\0';
}

static void describe_command(struct holder *holder, char *const *command)
{
	size_t used = 0;
	int i;

	for (i = 0; command[i] && used < sizeof(holder->command) - 1; i++) {
		char *word = holder->command + used + (i != 0);

		used += (size_t)snprintf(holder->command + used,
					 sizeof(holder->command) - used, "%s%s",
					 i ? " " : "", command[i]);
		/* A password in an address is for nobody else to read. */
		if (strstr(command[i], "://") &&
		    word < holder->command + sizeof(holder->command))
			credentials_hide(word);
	}
	fold_blanks(holder->command);
}

void holder_describe_process(struct holder *holder, pid_t pid)
{
	char path[32], words[HOLDER_FIELD_MAX + 1] = "";
	char *command[HOLDER_FIELD_MAX];
	size_t count = 0, i = 0;
	ssize_t n = -1;
	int fd;

	snprintf(holder->pid, sizeof(holder->pid), "%d", (int)pid);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, words, sizeof(words) - 1);
		close(fd);
	}
	for (; n > 0 && i < (size_t)n && count < HOLDER_FIELD_MAX - 1;
	     i += strlen(words + i) + 1)
		command[count++] = words + i;
	command[count] = NULL;
	describe_command(holder, command);
}

void holder_describe_self(struct holder *holder, const char *id,
			  char *const *command, const char *message)
{
	/* Not getpwuid(): it may ask a directory server, and wait for it. */
	const char *user = getenv("LOGNAME");

	memset(holder, 0, sizeof(*holder));
	snprintf(holder->id, sizeof(holder->id), "%s", id);
	if (gethostname(holder->host, sizeof(holder->host) - 1) < 0)
		snprintf(holder->host, sizeof(holder->host), "unknown");
	snprintf(holder->pid, sizeof(holder->pid), "%d", (int)getpid());
	if (user && *user)
		snprintf(holder->user, sizeof(holder->user), "%s", user);
	else
		snprintf(holder->user, sizeof(holder->user), "%u",
			 (unsigned int)getuid());
	describe_command(holder, command);
	snprintf(holder->message, sizeof(holder->message), "%s", message);
}

char *holder_format_since(int64_t since_ms, char *buffer, size_t size)
{
	time_t since = since_ms / 1000, now = time(NULL);
	char clock[32] = "?", ago[DURATION_TEXT_MAX];
	struct tm then, today;
	int64_t age_ms;

	if (localtime_r(&since, &then) && localtime_r(&now, &today))
		strftime(clock, sizeof(clock),
			 then.tm_yday == today.tm_yday &&
					 then.tm_year == today.tm_year
				 ? "%H:%M:%S"
				 : "%Y-%m-%d %H:%M:%S",
			 &then);
	age_ms = clock_wall_ms() - since_ms;
	if (age_ms > DURATION_MAX_NS / NS_PER_MS)
		age_ms = DURATION_MAX_NS / NS_PER_MS;
	duration_format(age_ms > 0 ? age_ms * NS_PER_MS : 0, ago, sizeof(ago));
	snprintf(buffer, size, "%s (%s ago)", clock, ago);
	return buffer;
}

char *holder_format(const struct holder *holder, char *buffer, size_t size)
{
	struct printable host, pid, user, command, message, value;
	char since[128];
	int n;

	if (!holder->id[0]) {
		snprintf(buffer, size,
			 "a client that is not cflock (value \"%s\")",
			 printable(holder->value, &value));
		return buffer;
	}
	if (holder->since_ms > 0)
		holder_format_since(holder->since_ms, since, sizeof(since));
	else
		snprintf(since, sizeof(since), "a time unknown");
	n = snprintf(buffer, size, "host %s, pid %s, user %s, since %s: %s",
		     printable(holder->host, &host),
		     printable(holder->pid, &pid),
		     printable(holder->user, &user), since,
		     printable(holder->command, &command));
	if (holder->message[0] && n > 0 && (size_t)n < size)
		snprintf(buffer + n, size - (size_t)n, " (%s)",
			 printable(holder->message, &message));
	return buffer;
}
