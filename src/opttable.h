/*
 * Every option, once: the command line, environment and configuration files
 * are read, and --help is written, by this table.  For options.c and usage.c only.
 */
#ifndef CFLOCK_OPTTABLE_H
#define CFLOCK_OPTTABLE_H

#include "options.h"

#include <limits.h>
#include <stdbool.h>

#ifndef SYSCONFDIR
# define SYSCONFDIR "/etc"
#endif
#define OPTTABLE_SYSTEM_FILE SYSCONFDIR "/cflock.conf"

/* Options without a letter, after those of options.h. */
enum {
	OPT_RENEW_BY = OPT_TLS_END,
	OPT_STOP_SIGNAL,
	OPT_MESSAGE,
	OPT_PASSWORD_FILE,
	OPT_COOLDOWN,
	OPT_RETRY_FAILED,
	OPT_PREFER,
	OPT_MIN_REPLICAS,
	OPT_ATTACH,
	OPT_RELEASE,
	OPT_NO_GRACE,
	OPT_LOG_JSON,
	OPT_SYSLOG,
};

/* What the sources that were read so far have set. */
struct optvalues {
	struct options options;
	char password_file[PATH_MAX];    /* "" when not given */
	bool has_password_file_argument; /* on the command line */
	bool has_server_argument;
	struct url_tls tls;

	bool release;

	bool on_command_line; /* which source is read now */
	const char *source;   /* for messages: "--ttl", "CFLOCK_TTL" */
	char *error;          /* OPTIONS_ERROR_MAX bytes */
};

enum opttable_place {
	ARGUMENT, /* only on the command line */
	SETTING,  /* in the environment and files, too */
	ALIAS,    /* another spelling of the row above */
};

/*
 * Sets one option; `value` is NULL for a flag on the command line.  Returns 0
 * or a negative errno as options_read() does, with a line in values->error.
 */
typedef int opttable_set_fn(struct optvalues *values, const char *value);

struct opttable_row {
	const char *name;     /* NULL: an alias that is only a letter */
	int key;              /* a letter, or above CHAR_MAX */
	const char *argument; /* NULL: a flag */
	enum opttable_place place;
	opttable_set_fn *set;
	const char *help; /* NULL: not in --help */
};

#define OPTTABLE_ROWS 37

extern const struct opttable_row opttable[OPTTABLE_ROWS];

/* The first row that has `key`; NULL when there is none. */
const struct opttable_row *opttable_find(int key);

/* Defaults. */
void opttable_init(struct optvalues *values, char error[OPTIONS_ERROR_MAX]);

#endif
