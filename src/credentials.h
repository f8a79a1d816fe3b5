/*
 * Passwords outside of the URL, and the wiping of all that stand where the
 * command, or whoever runs ps(1), could read them.
 */
#ifndef CFLOCK_CREDENTIALS_H
#define CFLOCK_CREDENTIALS_H

#include "options.h"
#include "url.h"

/* More than the URLs of all servers take. */
#define URL_SOURCE_MAX 8192

/* What stood in the environment; "" when not set. */
struct credentials {
	char server[URL_SOURCE_MAX];              /* as it stood there */
	char password[URL_PASSWORD_MAX + 1];      /* CFLOCK_PASSWORD */
	char rediscli_auth[URL_PASSWORD_MAX + 1]; /* REDISCLI_AUTH */
};

/*
 * Fills *credentials from the environment; a value that is too long is cut,
 * but not to a length that is allowed.  Then overwrites the passwords in the
 * environment's memory, unsets CFLOCK_PASSWORD and REDISCLI_AUTH, and leaves
 * CFLOCK_SERVER without its passwords.
 */
void credentials_take(struct credentials *credentials);

/*
 * Has the command find the same servers: CFLOCK_SERVER, without passwords.
 * `adds`: behind those that stand there.
 */
void credentials_export_servers(const char *servers, bool adds);

/* Overwrites the passwords in the URLs of `text` with '*'. */
void credentials_hide(char *text);

/*
 * Reads the first line of a regular file that others cannot read.  Returns 0
 * or -EBADF with one line in `error`; `password` is untouched on failure.
 */
int credentials_read_file(const char *path, char password[URL_PASSWORD_MAX],
			  char error[OPTIONS_ERROR_MAX]);

#endif
