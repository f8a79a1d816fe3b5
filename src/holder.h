/*
 * Who holds a lock, for people to read.  Nothing is decided by it.
 */
#ifndef CFLOCK_HOLDER_H
#define CFLOCK_HOLDER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Ids of the leases that are held around a command; for nested cflocks. */
#define ANCESTORS_VARIABLE "CFLOCK_ANCESTORS"

#define HOLDER_FIELD_MAX 256
#define HOLDER_ID_MAX 64
#define HOLDER_MESSAGE_MAX 1025
#define HOLDER_TEXT_MAX 3072

struct holder {
	char id[HOLDER_ID_MAX]; /* "" for a client that is not cflock */
	char host[HOLDER_FIELD_MAX];
	char pid[16];
	char user[HOLDER_FIELD_MAX];
	char command[HOLDER_FIELD_MAX]; /* cut where it is too long */
	char message[HOLDER_MESSAGE_MAX];
	int64_t since_ms;             /* unix time; 0 when not known */
	char value[HOLDER_FIELD_MAX]; /* of the lock key, as it stands there */
};

/* Describes this process, about to run `command`, to others. */
void holder_describe_self(struct holder *holder, const char *id,
			  char *const *command, const char *message);

/* Puts another process into the place of this one, by its number and command. */
void holder_describe_process(struct holder *holder, pid_t pid);

/*
 * "12:03:11 (4.0 s ago)", with the day when it was not today.  Returns `buffer`.
 */
char *holder_format_since(int64_t since_ms, char *buffer, size_t size);

/*
 * "host web1, pid 4711, user root, since 12:03:11 (4.0 s ago): backup.sh /var
 * (nightly)", safe for a terminal.  Returns `buffer`.
 */
char *holder_format(const struct holder *holder, char *buffer, size_t size);

#endif
