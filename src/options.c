/*
 * Reads the command line, environment and configuration files by the table in
 * opttable.c.  Sources are applied from the weakest to the strongest, each on
 * top of what the ones before have set.
 */
#include "config.h"

#include "options.h"

#include "conffile.h"
#include "credentials.h"
#include "opttable.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRY_HELP "; see cflock --help"

__attribute__((format(printf, 2, 3))) static int
bad_usage(struct optvalues *values, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(values->error, OPTIONS_ERROR_MAX, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

static int set_from_file(void *user, const char *where, const char *key,
			 const char *value, char error[OPTIONS_ERROR_MAX])
{
	struct optvalues *values = user;
	char source[PATH_MAX + 64];
	size_t i;

	for (i = 0; i < OPTTABLE_ROWS; i++) {
		if (opttable[i].place != SETTING ||
		    strcmp(opttable[i].name, key))
			continue;
		snprintf(source, sizeof(source), "%s: %s", where, key);
		values->source = source;
		return opttable[i].set(values, value);
	}
	snprintf(error, OPTIONS_ERROR_MAX, "%.256s: the key '%.40s' is unknown",
		 where, key);
	return -EBADF;
}

static int read_files(struct optvalues *values)
{
	const char *only = getenv("CFLOCK_CONFIG");
	const char *base = getenv("XDG_CONFIG_HOME");
	const char *below = "";
	char path[PATH_MAX];
	int rc;

	if (only && !*only)
		return 0;
	if (only)
		return conffile_read(only, true, set_from_file, values,
				     values->error);

	rc = conffile_read(OPTTABLE_SYSTEM_FILE, false, set_from_file, values,
			   values->error);
	/* The standard has a relative path ignored. */
	if (!base || *base != '/') {
		base = getenv("HOME");
		below = "/.config";
	}
	if (rc < 0 || !base || !*base)
		return rc;
	if (snprintf(path, sizeof(path), "%s%s/cflock.conf", base, below) >=
	    (int)sizeof(path))
		return 0;
	return conffile_read(path, false, set_from_file, values, values->error);
}

/* CFLOCK_LOG=json is another way to write CFLOCK_LOG_JSON=yes. */
static int read_log_variable(struct optvalues *values)
{
	const char *value = getenv("CFLOCK_LOG");

	if (!value || !*value)
		return 0;
	values->options.log_json = !strcmp(value, "json");
	if (values->options.log_json || !strcmp(value, "text"))
		return 0;
	snprintf(values->error, OPTIONS_ERROR_MAX,
		 "CFLOCK_LOG: '%.40s' is neither json nor text", value);
	return -EBADF;
}

/* CFLOCK_TTL of the row "ttl".  Returns `buffer`. */
static const char *variable_of(const struct opttable_row *row, char *buffer,
			       size_t size)
{
	char *c;

	snprintf(buffer, size, "CFLOCK_%s", row->name);
	for (c = buffer; *c; c++) {
		if (*c == '-')
			*c = '_';
		else if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
	}
	return buffer;
}

/* CFLOCK_SERVER is without its password now; *credentials has all of it. */
static int read_environment(struct optvalues *values,
			    const struct credentials *credentials)
{
	char variable[64];
	int rc = read_log_variable(values);
	size_t i;

	for (i = 0; i < OPTTABLE_ROWS && !rc; i++) {
		const char *value;

		if (opttable[i].place != SETTING)
			continue;
		variable_of(&opttable[i], variable, sizeof(variable));
		value = getenv(variable);
		if (opttable[i].key == 'S')
			value = credentials->server;
		if (!value || !*value)
			continue;
		values->source = variable;
		rc = opttable[i].set(values, value);
	}
	return rc;
}

/*
 * How `word` names an option, without its value, which may be a password:
 * "--long" or "-x".  Returns `buffer`.
 */
static const char *option_text(const char *word, char *buffer, size_t size)
{
	int length = word[1] == '-' ? (int)strcspn(word, "=") : 2;

	snprintf(buffer, size, "%.*s", length, word);
	return buffer;
}

static int bad_option(struct optvalues *values, int result, char **argv)
{
	const struct opttable_row *row = optopt ? opttable_find(optopt) : NULL;
	char text[48];

	if (row && result == ':')
		return bad_usage(values,
				 "--%s: its argument %s is missing" TRY_HELP,
				 row->name, row->argument);
	if (row)
		return bad_usage(values, "--%s: it takes no argument" TRY_HELP,
				 row->name);
	if (optopt)
		return bad_usage(values,
				 "-%c: there is no such option" TRY_HELP,
				 optopt);
	return bad_usage(values,
			 "%s: there is no such option, or several "
			 "begin so" TRY_HELP,
			 option_text(argv[optind - 1], text, sizeof(text)));
}

/* What stands behind the options: NAME and the command. */
static int read_operands(struct optvalues *values, int argc, char **argv)
{
	static char shell_flag[] = "-c";
	static char default_shell[] = "/bin/sh";
	static char *shell_command[4];
	struct options *options = &values->options;
	char **command = argv + optind + 1;
	char text[48];

	if (optind >= argc)
		return bad_usage(values,
				 "the NAME of the lock is missing" TRY_HELP);
	options->name = argv[optind];
	if (!name_is_valid(options->name))
		return bad_usage(values,
				 "the NAME of the lock must be 1 to %d "
				 "letters, digits and . _ - : / @ + %%",
				 NAME_MAX_BYTES);
	if (options->attach || values->release) {
		options->command = argv + argc; /* empty */
		if (optind + 1 < argc)
			return bad_usage(
				values, "--%s: it takes no command" TRY_HELP,
				values->release ? "release" : "attach");
		return values->release ? OPTIONS_RELEASE : OPTIONS_RUN;
	}
	if (optind + 1 >= argc)
		return bad_usage(values,
				 "the command after NAME is missing" TRY_HELP);

	options->command = command;
	if (!strcmp(*command, "-c") || !strcmp(*command, "--command")) {
		char *shell = getenv("SHELL");

		if (optind + 3 != argc)
			return bad_usage(values,
					 "%s: it takes exactly one "
					 "argument, the shell command; put it "
					 "in quotes",
					 *command);
		shell_command[0] = shell && *shell ? shell : default_shell;
		shell_command[1] = shell_flag;
		shell_command[2] = argv[optind + 2];
		options->command = shell_command;
	} else if (!strcmp(*command, "--")) {
		if (optind + 2 >= argc)
			return bad_usage(values, "the command after -- is "
						 "missing" TRY_HELP);
		options->command = command + 1;
	} else if (**command == '-') {
		return bad_usage(values,
				 "%s: options stand before NAME; put "
				 "-- before a command that begins with '-'",
				 option_text(*command, text, sizeof(text)));
	}
	return OPTIONS_RUN;
}

static int read_command_line(struct optvalues *values, int argc, char **argv)
{
	struct option long_options[OPTTABLE_ROWS + 1] = { 0 };
	char short_options[2 * OPTTABLE_ROWS + 3] = "+:";
	char source[64], variable[64];
	size_t i, longs = 0, shorts = 2;
	int key, rc, servers = 0;

	for (i = 0; i < OPTTABLE_ROWS; i++) {
		const struct opttable_row *row = &opttable[i];

		if (row->name)
			long_options[longs++] = (struct option){
				.name = row->name,
				.has_arg = row->argument ? required_argument
							 : no_argument,
				.val = row->key,
			};
		if (row->key > CHAR_MAX || opttable_find(row->key) != row)
			continue;
		short_options[shorts++] = (char)row->key;
		if (row->argument)
			short_options[shorts++] = ':';
	}
	short_options[shorts] = '\0';

	optind = 0; /* start anew, with glibc and musl */
	opterr = 0;
	while ((key = getopt_long(argc, argv, short_options, long_options,
				  NULL)) != -1) {
		const struct opttable_row *row = opttable_find(key);

		if (key == 'h')
			return OPTIONS_HELP;
		if (key == 'V')
			return OPTIONS_VERSION;
		if (!row)
			return bad_option(values, key, argv);
		snprintf(source, sizeof(source), "--%s",
			 row->name ? row->name : "");
		values->source = source;
		rc = row->set(values, optarg);
		if (key == 'S' && !rc)
			credentials_export_servers(optarg, servers++ > 0);
		if (key == 'S')
			credentials_hide(optarg);
		if ((key == OPT_PASSWORD_FILE ||
		     (key >= OPT_TLS_CA_FILE && key < OPT_TLS_END)) &&
		    !rc)
			setenv(variable_of(row, variable, sizeof(variable)),
			       optarg, 1);
		if (rc < 0)
			return rc;
	}
	return read_operands(values, argc, argv);
}

/* The same file as OpenSSL will open, while it can still be said by its name. */
static int check_file(struct optvalues *values, const char *key,
		      const char *path)
{
	if (!path || access(path, R_OK) == 0)
		return 0;
	snprintf(values->error, OPTIONS_ERROR_MAX,
		 "%s %.256s: cannot read it: %s", key, path, strerror(errno));
	return -EBADF;
}

/* Completes the servers by what is set for TLS, if that is how they are reached. */
static int merge_tls(struct optvalues *values)
{
	const struct url_list *servers = &values->options.servers;
	const struct url_tls *tls = &values->tls;
	bool is_used = false;
	int i, rc;

	for (i = 0; i < servers->count; i++)
		is_used |= servers->urls[i].is_tls;
	if (!is_used)
		return 0;
	if (tls->key && !tls->cert)
		return bad_usage(values, "--tls-key: it needs --tls-cert, the "
					 "certificate that it is for");
	rc = check_file(values, "tls-ca-file", tls->ca_file);
	if (!rc)
		rc = check_file(values, "tls-ca-dir", tls->ca_dir);
	if (!rc)
		rc = check_file(values, "tls-cert", tls->cert);
	if (!rc)
		rc = check_file(values, "tls-key", tls->key);
	for (i = 0; i < servers->count && !rc; i++)
		if (servers->urls[i].is_tls)
			servers->urls[i].tls = *tls;
	return rc;
}

/* Settings that make no sense together, wherever they come from. */
static int check_combinations(struct optvalues *values)
{
	const struct options *options = &values->options;

	if (options->retry_failed && !options->cooldown_ns)
		return bad_usage(values, "--retry-failed: it needs --cooldown, "
					 "which it ends when a run fails");
	if (options->attach && options->retry_failed)
		return bad_usage(values, "--retry-failed: how a process ends "
					 "that a lock is attached to, cannot "
					 "be known; drop it, or --attach");
	if (options->cooldown_ns && (options->shared || options->slots))
		return bad_usage(values,
				 "--cooldown: it is for exclusive locks; it "
				 "goes neither with --shared nor with --slots");
	return OPTIONS_RUN;
}

/* True when both name the same server, whatever their databases. */
static bool is_same_server(const struct url *a, const struct url *b)
{
	if (a->is_unix || b->is_unix)
		return a->is_unix && b->is_unix && !strcmp(a->path, b->path);
	return !strcmp(a->host, b->host) && a->port == b->port;
}

/* Of a majority that would not be one; NULL: nothing. */
static const char *wrong_with_servers(const struct options *options)
{
	const struct url_list *servers = &options->servers;
	int i, j;

	for (i = 0; i < servers->count; i++)
		if (servers->urls[i].kind != URL_SINGLE)
			return "several servers are independent masters, each "
			       "by its own redis://, rediss:// or unix:// "
			       "address; a group with Sentinel, or a Cluster, "
			       "is one server";
	for (i = 0; i < servers->count; i++)
		for (j = 0; j < i; j++)
			if (is_same_server(&servers->urls[i],
					   &servers->urls[j]))
				return "one of the servers is given twice: its "
				       "vote would count twice";
	if (servers->count % 2 == 0)
		return "an even number of servers bears no more failures than "
		       "one less; give 1, 3, 5 or 7";
	if (options->min_replicas)
		return "--min-replicas: several servers are independent "
		       "masters; it is a majority of them that acknowledges";
	if (options->slots)
		return "--slots: several servers cannot count slots, as a "
		       "majority of each could be another's; use one server";
	return NULL;
}

static int check_servers(struct optvalues *values)
{
	const char *why = values->options.servers.count > 1
				  ? wrong_with_servers(&values->options)
				  : NULL;

	if (!why)
		return 0;
	bad_usage(values, "%s", why);
	return values->has_server_argument ? -EINVAL : -EBADF;
}

/* A password from the environment; -EBADF when it is too long. */
static int set_password(struct optvalues *values, struct url *server,
			const char *variable, const char *password)
{
	if (strlen(password) >= sizeof(server->password)) {
		snprintf(values->error, OPTIONS_ERROR_MAX,
			 "%s: it is longer than %d bytes", variable,
			 URL_PASSWORD_MAX - 1);
		return -EBADF;
	}
	strcpy(server->password, password);
	server->has_password = true;
	return 0;
}

/* Finds the password, when the URL has none. */
static int merge_password(struct optvalues *values,
			  const struct credentials *credentials,
			  struct url *server)
{
	bool has_file = *values->password_file;
	int rc;

	if (server->has_password)
		return 0;
	if (*credentials->password && !values->has_password_file_argument)
		return set_password(values, server, "CFLOCK_PASSWORD",
				    credentials->password);
	if (has_file) {
		rc = credentials_read_file(values->password_file,
					   server->password, values->error);
		server->has_password = !rc;
		return rc;
	}
	if (*credentials->rediscli_auth)
		return set_password(values, server, "REDISCLI_AUTH",
				    credentials->rediscli_auth);
	if (!server->has_user)
		return 0;
	snprintf(values->error, OPTIONS_ERROR_MAX,
		 "the server's URL names a user, but there is no password; "
		 "set password-file or CFLOCK_PASSWORD (a password without a "
		 "user is written redis://:password@host)");
	return -EBADF;
}

/* Completes the servers, and checks whether they can be used together. */
static int merge_servers(struct optvalues *values,
			 const struct credentials *credentials)
{
	const struct url_list *servers = &values->options.servers;
	int i, rc = check_servers(values);

	if (!rc)
		rc = merge_tls(values);
	for (i = 0; i < servers->count && !rc; i++)
		rc = merge_password(values, credentials, &servers->urls[i]);
	return rc;
}

static int read_sources(struct optvalues *values,
			const struct credentials *credentials, int argc,
			char **argv)
{
	char error[OPTIONS_ERROR_MAX];
	int config, rc;

	config = read_files(values);
	if (!config)
		config = read_environment(values, credentials);

	/* --help and bad usage go before a bad configuration. */
	memcpy(error, values->error, sizeof(error));
	values->on_command_line = true;
	rc = read_command_line(values, argc, argv);
	if (rc == OPTIONS_RUN && config < 0) {
		memcpy(values->error, error, sizeof(error));
		return config;
	}
	if (rc == OPTIONS_RUN)
		rc = check_combinations(values);
	if (rc == OPTIONS_RUN)
		rc = merge_servers(values, credentials);
	return rc;
}

static void copy_printable(char error[OPTIONS_ERROR_MAX], const char *text)
{
	size_t i;

	for (i = 0; text[i]; i++)
		error[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f
				   ? '?'
				   : text[i];
	error[i] = '\0';
}

int options_read(int argc, char **argv, struct options *options,
		 char error[OPTIONS_ERROR_MAX])
{
	char text[OPTIONS_ERROR_MAX] = "";
	struct credentials credentials;
	struct optvalues values;
	int i, rc;

	opttable_init(&values, text);
	credentials_take(&credentials);
	rc = read_sources(&values, &credentials, argc, argv);
	if (rc == OPTIONS_RUN || rc == OPTIONS_RELEASE) {
		*options = values.options;
		options->has_server_argument = values.has_server_argument;
	} else {
		if (values.options.log_json)
			options->log_json = true;
		if (values.options.syslog)
			options->syslog = true;
		/* Not all of it was read: hide whatever looks like a URL. */
		for (i = 1; i < argc; i++) {
			if (strstr(argv[i], "://"))
				credentials_hide(argv[i]);
		}
	}
	if (rc < 0)
		copy_printable(error, text);
	explicit_bzero(&credentials, sizeof(credentials));
	explicit_bzero(&values, sizeof(values));
	return rc;
}

/* As if `value` (NULL: not given) stood behind the option on the command line. */
static int read_argument(struct optvalues *values, int key, const char *value)
{
	const struct opttable_row *row = opttable_find(key);
	char source[64];

	if (!value)
		return 0;
	snprintf(source, sizeof(source), "--%s", row->name);
	values->source = source;
	return row->set(values, value);
}

static int read_service(struct optvalues *values,
			const struct credentials *credentials,
			const struct service_arguments *arguments)
{
	int rc = read_files(values), i;

	if (!rc)
		rc = read_environment(values, credentials);
	values->on_command_line = true;
	for (i = 0; i < arguments->server_count && !rc; i++)
		rc = read_argument(values, 'S', arguments->servers[i]);
	if (!rc)
		rc = read_argument(values, OPT_PASSWORD_FILE,
				   arguments->password_file);
	for (i = 0; i < OPTIONS_TLS && !rc; i++)
		rc = read_argument(values, OPT_TLS_CA_FILE + i,
				   arguments->tls[i]);
	return rc ? rc : merge_servers(values, credentials);
}

int options_read_service(const struct service_arguments *arguments,
			 struct options *options, char error[OPTIONS_ERROR_MAX])
{
	char text[OPTIONS_ERROR_MAX] = "";
	struct credentials credentials;
	struct optvalues values;
	int i, rc;

	opttable_init(&values, text);
	credentials_take(&credentials);
	rc = read_service(&values, &credentials, arguments);
	for (i = 0; i < arguments->server_count; i++)
		credentials_hide(arguments->servers[i]);
	if (rc)
		copy_printable(error, text);
	else
		*options = values.options;
	explicit_bzero(&credentials, sizeof(credentials));
	explicit_bzero(&values, sizeof(values));
	return rc;
}

bool options_have_secrets(const struct options *options)
{
	const struct url_list *servers = &options->servers;
	int i;

	for (i = 0; i < servers->count; i++)
		if (servers->urls[i].has_password || servers->urls[i].is_tls)
			return true;
	return false;
}

bool name_is_valid(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz"
				     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789._-:/@+%");

	return length && length <= NAME_MAX_BYTES && !name[length];
}
