/*
 * What the user asked for: the command line over the environment (CFLOCK_X)
 * over the files /etc/cflock.conf and $XDG_CONFIG_HOME/cflock.conf, the second
 * over the first.  One table in opttable.c names every option once; --help,
 * environment and file are read by it.
 */
#ifndef CFLOCK_OPTIONS_H
#define CFLOCK_OPTIONS_H

#include "url.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define NAME_MAX_BYTES 200
#define MESSAGE_MAX_BYTES 1024
#define OPTIONS_ERROR_MAX 512

struct options {
	const char *name;     /* the lock's, valid by name_is_valid() */
	char *const *command; /* NULL-terminated; empty only with --attach */
	pid_t attach;         /* 0 when not given */

	bool has_server_argument; /* -S */
	/* With the credentials of all sources; several: independent masters. */
	struct url_list servers;

	bool shared;         /* -s */
	int slots;           /* --slots; 0 when not given */
	int64_t cooldown_ns; /* 0 when not given */
	bool retry_failed;   /* never without a cooldown */

	int64_t ttl_ns;         /* default 10 s */
	int renew_by_percent;   /* default 60 */
	bool no_grace;          /* --no-grace */
	int min_replicas;       /* --min-replicas; 0: none */
	int64_t wait_ns;        /* -w; -1: without end; 0 with -n, too */
	bool nonblock;          /* -n */
	int conflict_exit_code; /* -E, 0 .. 255; default EXIT_CONFLICT */
	int stop_signal;        /* default SIGTERM */
	bool close;             /* -o */
	bool prefers_availability;
	bool quiet;                          /* -q */
	bool verbose;                        /* -v */
	bool log_json;                       /* --log-json */
	bool syslog;                         /* --syslog */
	char message[MESSAGE_MAX_BYTES + 1]; /* "" when not given */
};

enum options_action {
	OPTIONS_RUN,
	OPTIONS_RELEASE, /* only options->name is set */
	OPTIONS_HELP,    /* print options_usage() to stdout, exit 0 */
	OPTIONS_VERSION,
};

/*
 * Reads all sources into *options.  Pointers in it are borrowed from argv, or
 * live as long as the process.  Passwords are wiped from argv and from the
 * environment's memory, and CFLOCK_PASSWORD, REDISCLI_AUTH and the passwords in
 * CFLOCK_SERVER are taken out of the environment, so that the command cannot
 * inherit them.  The servers, the password-file and what is set for TLS on the
 * command line stand in the environment afterwards, so that a cflockctl in the
 * command finds the same service.
 *
 * Returns an enum options_action (>= 0), or, with one line without newline in
 * `error`, -EINVAL for bad usage (EXIT_BAD_USAGE) or -EBADF for a bad
 * configuration: file, environment or URL (EXIT_BAD_CONFIG).
 * *options is untouched then, but that log_json and syslog are set if what was
 * read so far asks for them, so that the error is told in that way, too.
 */
int options_read(int argc, char **argv, struct options *options,
		 char error[OPTIONS_ERROR_MAX]);

/* Keys of options without a letter that cflockctl has, too. */
enum {
	OPT_TLS_CA_FILE = 256,
	OPT_TLS_CA_DIR,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_TLS_SERVER_NAME,
	OPT_TLS_END,
};

#define OPTIONS_TLS (OPT_TLS_END - OPT_TLS_CA_FILE)

/* What a command line says of the service; NULL: nothing. */
struct service_arguments {
	char *servers[URL_LIST_MAX + 1]; /* as many -S; passwords are wiped */
	int server_count;
	const char *password_file;
	const char *tls[OPTIONS_TLS];
};

/*
 * The settings alone, for programs with options of their own: from files and
 * environment as above, and the command line; name and command are NULL.
 * Returns 0, or -EINVAL or -EBADF with one line in `error`.
 */
int options_read_service(const struct service_arguments *arguments,
			 struct options *options,
			 char error[OPTIONS_ERROR_MAX]);

/* Whether what is in memory must not be seen: a password, or a private key. */
bool options_have_secrets(const struct options *options);

/* The text of --help, for stdout; a static string. */
const char *options_usage(void);

/* 1 to 200 bytes of letters, digits and . _ - : / @ + % */
bool name_is_valid(const char *name);

#endif
