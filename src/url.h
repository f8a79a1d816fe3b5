/*
 * The address of a lock service.  A pure parser: no name is looked up here.
 *
 *   redis://[user[:password]@]host[:port][/db]
 *   rediss://...                               the same, by TLS
 *   unix://[user[:password]@]/path[?db=N]
 *   redis+sentinel://[user[:password]@]host[:port],.../master[?PARAMETER&...]
 *   redis+cluster://[user[:password]@]host[:port],...
 *   rediss+sentinel://...  rediss+cluster://...    the same two, all by TLS
 *
 * PARAMETER is db=N, sentinel-user=USER or sentinel-password=PASSWORD; user and
 * password in front of the hosts are those of the Redis servers.
 *
 * User, password, path, master and PARAMETER may hold %XX.  An IPv6 address
 * stands in brackets.
 *
 * Several URLs in one text are separated by blanks.
 */
#ifndef CFLOCK_URL_H
#define CFLOCK_URL_H

#include <stdbool.h>
#include <stddef.h>

#define URL_DEFAULT_PORT 6379
#define URL_SENTINEL_PORT 26379
#define URL_USER_MAX 256
#define URL_PASSWORD_MAX 1024
#define URL_HOST_MAX 256
#define URL_HOSTS_MAX 8
#define URL_MASTER_MAX 128

enum url_kind {
	URL_SINGLE,   /* one server: redis:// or unix:// */
	URL_SENTINEL, /* the master that the sentinels, `hosts`, name */
	URL_CLUSTER,  /* any node of the cluster, from `hosts` on */
};

struct url_host {
	char name[URL_HOST_MAX]; /* without brackets */
	int port;                /* 1 .. 65535 */
};

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
	const char *server_name; /* instead of the host, of each server */
};

struct url {
	enum url_kind kind;
	bool is_unix;
	bool is_tls;
	bool has_user;
	bool has_password;
	char user[URL_USER_MAX];         /* "" when not given */
	char password[URL_PASSWORD_MAX]; /* may be "" and given */
	/* Of a single server; "" and 0 when it is another kind, or unix. */
	char host[URL_HOST_MAX]; /* without brackets */
	int port;                /* 1 .. 65535 */
	char path[108];          /* socket path; "" when not unix */
	int db;                  /* 0 .. 1,000,000 */
	int host_count;          /* 0 of a single server */
	struct url_host hosts[URL_HOSTS_MAX];
	/* Of Sentinel; "" when not given.  An empty password is none. */
	bool has_sentinel_password;
	char master[URL_MASTER_MAX];
	char sentinel_user[URL_USER_MAX];
	char sentinel_password[URL_PASSWORD_MAX];
	struct url_tls tls;
};

/*
 * Parses all of `text`.  Returns 0, or -EINVAL when it is not such a URL.  On
 * failure *url is untouched and *why points to a static text that says what is
 * wrong and never holds a part of the URL, which may hold a password.
 */
int url_parse(const char *text, struct url *url, const char **why);

/* As many servers as one lock can be held on, by a majority of them. */
#define URL_LIST_MAX 7

struct url_list {
	struct url *urls;
	int count;
};

/* A part of a text. */
struct url_span {
	size_t start, length;
};

/*
 * Finds the URL in `text` that stands at `from` or behind, up to blanks with
 * another one behind them: a blank within a malformed URL does not end it, as
 * what follows may be a part of its password.  False when there is none.
 */
bool url_find(const char *text, size_t from, struct url_span *span);

/*
 * Writes the URL without its passwords, for messages: "redis://host:6379/0",
 * "unix:///run/redis.sock"; "..." for those of many hosts that there is no room
 * for.  Returns `buffer`.
 */
#define URL_TEXT_MAX (2 * URL_USER_MAX + URL_HOST_MAX + 192)
char *url_format(const struct url *url, char *buffer, size_t size);

/* The same of several, with blanks between them. */
char *url_list_format(const struct url_list *list, char *buffer, size_t size);

/*
 * The parts of `text`, one URL, that hold passwords, as written there, in the order of
 * the text.  Returns how many.  Used to wipe them from the command line and the
 * environment.  Works on malformed URLs, too, where it errs towards wiping.
 */
#define URL_PASSWORDS_MAX 2
int url_password_spans(const char *text,
		       struct url_span spans[URL_PASSWORDS_MAX]);

#endif
