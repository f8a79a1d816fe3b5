/*
 * The address of a lock service.  A pure parser: no name is looked up here.
 *
 *   redis://[user[:password]@]host[:port][/db]
 *   rediss://...                               the same, by TLS
 *   unix://[user[:password]@]/path[?db=N]
 *
 * User, password and path may hold %XX.  An IPv6 address stands in brackets.
 */
#ifndef CFLOCK_URL_H
#define CFLOCK_URL_H

#include <stdbool.h>
#include <stddef.h>

#define URL_DEFAULT_PORT 6379
#define URL_USER_MAX 256
#define URL_PASSWORD_MAX 1024
#define URL_HOST_MAX 256

/*
 * How the two ends of a TLS connection make sure of each other; NULL: not
 * given.  No part of the URL: url_parse() leaves all of them NULL.  The strings
 * live as long as the process.
 */
struct url_tls {
	const char *ca_file;     /* both NULL: the CAs of the system */
	const char *ca_dir;      /* ... by hash, see openssl-rehash(1) */
	const char *cert;        /* with its chain, to show to the server */
	const char *key;         /* NULL: in the same file */
	const char *server_name; /* instead of the host */
};

struct url {
	bool is_unix;
	bool is_tls;
	bool has_user;
	bool has_password;
	char user[URL_USER_MAX];         /* "" when not given */
	char password[URL_PASSWORD_MAX]; /* may be "" and given */
	char host[URL_HOST_MAX];         /* without brackets; "" when unix */
	char path[108];                  /* socket path; "" when not unix */
	int port;                        /* 1 .. 65535; 0 when unix */
	int db;                          /* 0 .. 1,000,000 */
	struct url_tls tls;
};

/*
 * Parses all of `text`.  Returns 0; -EINVAL when it is not such a URL, -ENOSYS
 * when its scheme is one that this version cannot speak yet (redis+sentinel,
 * redis+cluster).  On failure *url is untouched and *why
 * points to a static text that says what is wrong and never holds a part of
 * the URL, which may hold a password.
 */
int url_parse(const char *text, struct url *url, const char **why);

/*
 * Writes the URL without its password, for messages: "redis://host:6379/0",
 * "unix:///run/redis.sock".  Returns `buffer`.
 */
#define URL_TEXT_MAX (URL_USER_MAX + URL_HOST_MAX + 64)
char *url_format(const struct url *url, char *buffer, size_t size);

/*
 * The part of `text` that holds the password, as written there: sets *start
 * and *length and returns true; false when there is none.  Used to wipe it
 * from the command line and the environment.  Works on malformed URLs, too,
 * where it errs towards wiping.
 */
bool url_password_span(const char *text, size_t *start, size_t *length);

#endif
