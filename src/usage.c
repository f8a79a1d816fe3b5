/* The text of --help, made from the option table. */
#include "config.h"

#include "options.h"
#include "opttable.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HELP_COLUMN 34

static char usage[8192];
static size_t used;

__attribute__((format(printf, 1, 2))) static void append(const char *format,
							 ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(usage + used, sizeof(usage) - used, format,
			   arguments);
	va_end(arguments);
	if (length > 0 && (size_t)length < sizeof(usage) - used)
		used += (size_t)length;
}

/* One line: the letters, the names, the argument and the help. */
static void append_option(const struct opttable_row *row,
			  const struct opttable_row *end)
{
	const struct opttable_row *alias;
	const char *separator = " ";
	size_t start = used;

	for (alias = row; alias < end; alias++) {
		if (alias->key > CHAR_MAX ||
		    (alias != row && alias->key == row->key))
			continue;
		append("%s-%c", separator, alias->key);
		separator = ", ";
	}
	/* The names of options without a letter stand below the others. */
	if (used == start)
		separator = "     ";
	for (alias = row; alias < end; alias++) {
		if (!alias->name)
			continue;
		append("%s--%s", separator, alias->name);
		separator = ", ";
	}
	if (row->argument)
		append(" %s", row->argument);
	while (used < start + HELP_COLUMN - 2)
		append(" ");
	append("  %s\n", row->help);
}

const char *options_usage(void)
{
	size_t i, next;

	if (used)
		return usage;
	append("Usage:\n"
	       " cflock [OPTION]... NAME [--] COMMAND [ARG]...\n"
	       " cflock [OPTION]... NAME -c 'SHELL COMMAND'\n"
	       " cflock [OPTION]... --attach PID NAME\n"
	       " cflock --release NAME\n"
	       "\n"
	       "Run a command while holding a lock that many hosts share.\n"
	       "\n"
	       "Options:\n");
	for (i = 0; i < OPTTABLE_ROWS; i = next) {
		next = i + 1;
		while (next < OPTTABLE_ROWS && opttable[next].place == ALIAS)
			next++;
		if (opttable[i].help)
			append_option(&opttable[i], &opttable[next]);
	}
	append("\n"
	       "A DURATION is 250ms, 10s, 1.5m or 2h; a bare number is "
	       "seconds.\n"
	       "A URL is redis://[user[:password]@]host[:port][/db], rediss://... "
	       "for TLS,\n"
	       "unix://[user[:password]@]/path[?db=N], or one of\n"
	       "redis+sentinel://[user[:password]@]host[:port],.../master\n"
	       "redis+cluster://[user[:password]@]host[:port],...\n"
	       "rediss+sentinel://... and rediss+cluster://... are those by "
	       "TLS.\n"
	       "\n"
	       "Environment:\n"
	       " CFLOCK_SERVER, CFLOCK_TTL, ...  any option above that is a "
	       "setting\n"
	       " CFLOCK_PASSWORD, REDISCLI_AUTH  the password, if the URL has "
	       "none\n"
	       " CFLOCK_CONFIG                   read this file, or none if "
	       "empty, instead of\n"
	       "                                 " OPTTABLE_SYSTEM_FILE " and\n"
	       "                                 $XDG_CONFIG_HOME/cflock.conf\n"
	       "\n"
	       "Exit codes: that of the command (128+n if signal n ended it), "
	       "or\n"
	       "   1  not run: the lock is held by others (-E changes this)\n"
	       "  64  bad usage                     78  bad configuration or "
	       "URL\n"
	       "  69  lock service unreachable      77  it refused access\n"
	       "  71  operating system error        70  a bug in cflock\n"
	       "  79  the lease was lost; the command was stopped\n"
	       " 126  command not executable       127  command not found\n");
	return usage;
}
