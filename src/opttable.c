/*
 * The option table: what each option does with its value, wherever that comes
 * from, and --help, which is made from the table.
 */
#include "config.h"

#include "opttable.h"

#include "credentials.h"
#include "duration.h"
#include "exitcodes.h"
#include "lease.h"
#include "signame.h"
#include "tlsprogram.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SLOTS_MAX 1000000
#define MIN_REPLICAS_MAX 1000

static int bad_value(const struct optvalues *values)
{
	return values->on_command_line ? -EINVAL : -EBADF;
}

__attribute__((format(printf, 2, 3))) static int
refuse(struct optvalues *values, const char *format, ...)
{
	va_list arguments;
	int length;

	length = snprintf(values->error, OPTIONS_ERROR_MAX,
			  "%.256s: ", values->source);
	va_start(arguments, format);
	vsnprintf(values->error + length, OPTIONS_ERROR_MAX - (size_t)length,
		  format, arguments);
	va_end(arguments);
	return bad_value(values);
}

/* As refuse(), and shows `value`, unless that is a URL in the wrong place. */
static int refuse_value(struct optvalues *values, const char *value,
			const char *expected)
{
	char shown[64];

	snprintf(shown, sizeof(shown), "%s", value);
	if (strstr(value, "://"))
		credentials_hide(shown);
	return refuse(values, "'%s' is not %s", shown, expected);
}

static bool equals_nocase(const char *text, const char *lower)
{
	for (; *text && *lower; text++, lower++) {
		char c = *text;

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (c != *lower)
			return false;
	}
	return *text == *lower;
}

static int set_flag(struct optvalues *values, const char *value, bool *flag)
{
	static const char *const words[][2] = {
		{ "0", "1" },
		{ "no", "yes" },
		{ "false", "true" },
		{ "off", "on" },
	};
	size_t i;

	if (!value) {
		*flag = true;
		return 0;
	}
	for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
		bool yes = equals_nocase(value, words[i][1]);

		if (yes || equals_nocase(value, words[i][0])) {
			*flag = yes;
			return 0;
		}
	}
	return refuse_value(values, value, "yes or no");
}

/* Digits only.  Returns -1 when `text` is not a number up to `most`. */
static int parse_number(const char *text, size_t length, int most)
{
	int number = 0;
	size_t i;

	for (i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		number = number * 10 + (text[i] - '0');
		if (number > most)
			return -1;
	}
	return length ? number : -1;
}

static int parse_duration(struct optvalues *values, const char *value,
			  int64_t *ns)
{
	int rc = duration_parse(value, ns);

	if (rc == -ERANGE)
		return refuse(values, "it is longer than ten years");
	if (rc < 0)
		return refuse_value(values, value,
				    "a duration; write 250ms, 10s, 1.5m or 2h");
	return 0;
}

static int set_nothing(struct optvalues *values, const char *value)
{
	(void)values;
	(void)value;
	return 0;
}

/* -s, -x and -m exclude each other: the last one counts. */
static int set_shared(struct optvalues *values, const char *value)
{
	int rc = set_flag(values, value, &values->options.shared);

	if (!rc && values->options.shared)
		values->options.slots = 0;
	return rc;
}

static int set_exclusive(struct optvalues *values, const char *value)
{
	(void)value;
	values->options.shared = false;
	values->options.slots = 0;
	return 0;
}

static int set_slots(struct optvalues *values, const char *value)
{
	int slots = parse_number(value, strlen(value), SLOTS_MAX);

	if (slots < 1)
		return refuse_value(values, value, "a number, 1 to 1000000");
	values->options.slots = slots;
	values->options.shared = false;
	return 0;
}

static int set_cooldown(struct optvalues *values, const char *value)
{
	return parse_duration(values, value, &values->options.cooldown_ns);
}

static int set_retry_failed(struct optvalues *values, const char *value)
{
	return set_flag(values, value, &values->options.retry_failed);
}

/* -n and -w exclude each other: the later one counts, as with flock(1). */
static int set_nonblock(struct optvalues *values, const char *value)
{
	struct options *options = &values->options;
	bool was = options->nonblock;
	int rc = set_flag(values, value, &options->nonblock);

	if (!rc && options->nonblock)
		options->wait_ns = 0;
	else if (!rc && was)
		options->wait_ns = -1;
	return rc;
}

static int set_wait(struct optvalues *values, const char *value)
{
	int rc = parse_duration(values, value, &values->options.wait_ns);

	if (!rc)
		values->options.nonblock = false;
	return rc;
}

static int set_conflict_exit_code(struct optvalues *values, const char *value)
{
	int code = parse_number(value, strlen(value), 255);

	if (code < 0)
		return refuse_value(values, value, "a number, 0 to 255");
	values->options.conflict_exit_code = code;
	return 0;
}

static int add_server(struct optvalues *values, const char *text)
{
	struct url_list *servers = &values->options.servers;
	struct url *url = &servers->urls[servers->count];
	const char *why;
	int rc;

	if (servers->count == URL_LIST_MAX)
		return refuse(values, "there can be %d servers at most",
			      URL_LIST_MAX);
	rc = url_parse(text, url, &why);
	if (!rc && url->is_tls && !TLSPROGRAM_IS_BUILT) {
		refuse(values, "this cflock was built without OpenSSL, so it "
			       "cannot speak TLS (rediss://)");
		return -EBADF;
	}
	if (rc < 0) {
		refuse(values,
		       "%s (expected redis://[user[:password]@]host[:port]"
		       "[/db], unix:///path[?db=N], "
		       "redis+sentinel://host,.../master or "
		       "redis+cluster://host,...; rediss for TLS)",
		       why);
		return -EBADF;
	}
	servers->count++;
	return 0;
}

/* One or several; those of a stronger source replace those of a weaker one. */
static int set_server(struct optvalues *values, const char *value)
{
	struct url_span span = { 0, 0 };
	char text[URL_SOURCE_MAX];
	int rc = 0;

	if (!values->on_command_line || !values->has_server_argument)
		values->options.servers.count = 0;
	values->has_server_argument = values->on_command_line;
	do {
		url_find(value, span.start + span.length, &span);
		snprintf(text, sizeof(text), "%.*s", (int)span.length,
			 value + span.start);
		rc = add_server(values, text);
	} while (!rc && value[span.start + span.length +
			      strspn(value + span.start + span.length, " \t")]);
	explicit_bzero(text, sizeof(text));
	return rc;
}

static int set_password_file(struct optvalues *values, const char *value)
{
	size_t length = strlen(value);

	if (!length)
		return refuse(values, "the name of the file is empty");
	if (length >= sizeof(values->password_file))
		return refuse(values, "the name of the file is too long");
	memcpy(values->password_file, value, length + 1);
	values->has_password_file_argument = values->on_command_line;
	return 0;
}

/* Keeps `value` for as long as the process lives; the last of a kind. */
static int keep(struct optvalues *values, int key, const char *value,
		const char **kept)
{
	static char buffers[OPTIONS_TLS][PATH_MAX];
	char *buffer = buffers[key - OPT_TLS_CA_FILE];
	size_t length = strlen(value);

	if (!length)
		return refuse(values, "it is empty");
	if (length >= PATH_MAX)
		return refuse(values, "it is too long");
	*kept = memcpy(buffer, value, length + 1);
	return 0;
}

static int set_tls_ca_file(struct optvalues *values, const char *value)
{
	return keep(values, OPT_TLS_CA_FILE, value, &values->tls.ca_file);
}

static int set_tls_ca_dir(struct optvalues *values, const char *value)
{
	return keep(values, OPT_TLS_CA_DIR, value, &values->tls.ca_dir);
}

static int set_tls_cert(struct optvalues *values, const char *value)
{
	return keep(values, OPT_TLS_CERT, value, &values->tls.cert);
}

static int set_tls_key(struct optvalues *values, const char *value)
{
	return keep(values, OPT_TLS_KEY, value, &values->tls.key);
}

static int set_tls_server_name(struct optvalues *values, const char *value)
{
	size_t length = strspn(value, "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-:");

	if (!length || value[length] || length >= URL_HOST_MAX)
		return refuse_value(values, value,
				    "the name or address of a host");
	return keep(values, OPT_TLS_SERVER_NAME, value,
		    &values->tls.server_name);
}

static int set_ttl(struct optvalues *values, const char *value)
{
	int64_t ns;
	int rc = parse_duration(values, value, &ns);

	if (rc < 0)
		return rc;
	if (ns < LEASE_TTL_MIN_NS || ns > LEASE_TTL_MAX_NS)
		return refuse(values, "it must be 200ms to 1h");
	values->options.ttl_ns = ns;
	return 0;
}

static int set_no_grace(struct optvalues *values, const char *value)
{
	return set_flag(values, value, &values->options.no_grace);
}

static int set_min_replicas(struct optvalues *values, const char *value)
{
	int count = parse_number(value, strlen(value), MIN_REPLICAS_MAX);

	if (count < 0)
		return refuse_value(values, value, "a number, 0 to 1000");
	values->options.min_replicas = count;
	return 0;
}

static int set_renew_by(struct optvalues *values, const char *value)
{
	size_t length = strlen(value);
	int percent;

	if (length && value[length - 1] == '%')
		length--;
	percent = parse_number(value, length, 99);
	if (percent < 1)
		return refuse_value(values, value, "a percentage, 1 to 99");
	values->options.renew_by_percent = percent;
	return 0;
}

static int set_stop_signal(struct optvalues *values, const char *value)
{
	int number = signame_parse(value);

	if (number < 0)
		return refuse_value(values, value,
				    "a signal; write TERM, INT or a number, "
				    "1 to 64");
	if (number == SIGSTOP || number == SIGCONT || number == SIGCHLD)
		return refuse(values, "STOP, CONT and CHLD cannot end a "
				      "command; use TERM, INT, HUP or KILL");
	values->options.stop_signal = number;
	return 0;
}

static int set_prefer(struct optvalues *values, const char *value)
{
	bool availability = !strcmp(value, "availability");

	if (!availability && strcmp(value, "consistency") != 0)
		return refuse_value(values, value,
				    "consistency or availability");
	values->options.prefers_availability = availability;
	return 0;
}

static int set_message(struct optvalues *values, const char *value)
{
	size_t length = strlen(value);

	if (length > MESSAGE_MAX_BYTES)
		return refuse(values, "it is longer than %d bytes",
			      MESSAGE_MAX_BYTES);
	memcpy(values->options.message, value, length + 1);
	return 0;
}

static int set_close(struct optvalues *values, const char *value)
{
	return set_flag(values, value, &values->options.close);
}

static int set_attach(struct optvalues *values, const char *value)
{
	int pid = parse_number(value, strlen(value), INT_MAX / 10 - 1);

	if (pid < 1)
		return refuse_value(values, value,
				    "the number of a process, such as $$");
	values->options.attach = pid;
	return 0;
}

static int set_release(struct optvalues *values, const char *value)
{
	(void)value;
	values->release = true;
	return 0;
}

/* -v and -q exclude each other: the later one counts. */
static int set_verbose(struct optvalues *values, const char *value)
{
	int rc = set_flag(values, value, &values->options.verbose);

	if (!rc && values->options.verbose)
		values->options.quiet = false;
	return rc;
}

static int set_quiet(struct optvalues *values, const char *value)
{
	int rc = set_flag(values, value, &values->options.quiet);

	if (!rc && values->options.quiet)
		values->options.verbose = false;
	return rc;
}

static int set_log_json(struct optvalues *values, const char *value)
{
	return set_flag(values, value, &values->options.log_json);
}

static int set_syslog(struct optvalues *values, const char *value)
{
	return set_flag(values, value, &values->options.syslog);
}

static int set_command(struct optvalues *values, const char *value)
{
	(void)value;
	return refuse(values, "it stands after the NAME of the lock: cflock "
			      "NAME -c 'SHELL COMMAND'");
}

static int set_no_fork(struct optvalues *values, const char *value)
{
	(void)value;
	return refuse(values, "cflock must stay beside the command to renew "
			      "its lease and to stop it when the lease is "
			      "lost; drop -F");
}

static int set_unlock(struct optvalues *values, const char *value)
{
	(void)value;
	return refuse(values, "a cluster lock has no descriptor to unlock; it "
			      "ends when its command has ended; drop -u");
}

/* Once released, a row must not change its meaning. */
/* clang-format off */
const struct opttable_row opttable[OPTTABLE_ROWS] = {
{ "shared", 's', NULL, SETTING, set_shared,
  "get a shared lock, beside others with -s" },
{ "exclusive", 'x', NULL, ARGUMENT, set_exclusive,
  "get an exclusive lock (default)" },
{ NULL, 'e', NULL, ALIAS, set_exclusive, NULL },
{ "nonblock", 'n', NULL, SETTING, set_nonblock,
  "fail rather than wait" },
{ "nb", 'n', NULL, ALIAS, NULL, NULL },
{ "wait", 'w', "DURATION", SETTING, set_wait,
  "wait for a limited time" },
{ "timeout", 'w', "DURATION", ALIAS, NULL, NULL },
{ "conflict-exit-code", 'E', "N", SETTING, set_conflict_exit_code,
  "exit code when others hold the lock (1)" },
{ "slots", 'm', "N", SETTING, set_slots,
  "be one of N holders at most" },
{ "cooldown", OPT_COOLDOWN, "DURATION", SETTING, set_cooldown,
  "let nobody start it again for so long" },
{ "retry-failed", OPT_RETRY_FAILED, NULL, SETTING, set_retry_failed,
  "a run that fails ends the cooldown" },
{ "close", 'o', NULL, SETTING, set_close,
  "hold the lock until COMMAND itself has ended" },
{ "command", 'c', "COMMAND", ARGUMENT, set_command,
  "after NAME: run COMMAND through the shell" },
{ "attach", OPT_ATTACH, "PID", ARGUMENT, set_attach,
  "hold the lock until the process PID ends" },
{ "release", OPT_RELEASE, NULL, ARGUMENT, set_release,
  "end an attached lock before" },
{ "server", 'S', "URL", SETTING, set_server,
  "the lock service (redis://127.0.0.1:6379)" },
{ "password-file", OPT_PASSWORD_FILE, "FILE", SETTING, set_password_file,
  "its first line is the password" },
{ "tls-ca-file", OPT_TLS_CA_FILE, "FILE", SETTING, set_tls_ca_file,
  "CAs to trust for rediss://" },
{ "tls-ca-dir", OPT_TLS_CA_DIR, "DIR", SETTING, set_tls_ca_dir,
  "the same, a file each" },
{ "tls-cert", OPT_TLS_CERT, "FILE", SETTING, set_tls_cert,
  "certificate to show to the server" },
{ "tls-key", OPT_TLS_KEY, "FILE", SETTING, set_tls_key,
  "its key, if not in the same file" },
{ "tls-server-name", OPT_TLS_SERVER_NAME, "HOST", SETTING, set_tls_server_name,
  "whom the server must be (that in URL)" },
{ "ttl", 't', "DURATION", SETTING, set_ttl,
  "length of the lease, 200ms to 1h (10s)" },
{ "renew-by", OPT_RENEW_BY, "PERCENT", SETTING, set_renew_by,
  "the part of the ttl to renew in (60%)" },
{ "no-grace", OPT_NO_GRACE, NULL, SETTING, set_no_grace,
  "start though leases may have been forgotten" },
{ "min-replicas", OPT_MIN_REPLICAS, "N", SETTING, set_min_replicas,
  "replicas that must have the lease (0)" },
{ "stop-signal", OPT_STOP_SIGNAL, "SIG", SETTING, set_stop_signal,
  "sent to stop the command (TERM)" },
{ "prefer", OPT_PREFER, "consistency|availability", SETTING, set_prefer,
  "what to keep without a lock service" },
{ "message", OPT_MESSAGE, "TEXT", SETTING, set_message,
  "shown to those who wait or look" },
{ "verbose", 'v', NULL, SETTING, set_verbose, "say what is done" },
{ "quiet", 'q', NULL, SETTING, set_quiet, "only fatal messages" },
{ "log-json", OPT_LOG_JSON, NULL, SETTING, set_log_json,
  "say what is done as JSON, a line an event" },
{ "syslog", OPT_SYSLOG, NULL, SETTING, set_syslog,
  "messages go to syslog, too" },
{ "help", 'h', NULL, ARGUMENT, set_nothing, "show this text" },
{ "version", 'V', NULL, ARGUMENT, set_nothing, "show the version" },

{ "no-fork", 'F', NULL, ARGUMENT, set_no_fork, NULL },
{ "unlock", 'u', NULL, ARGUMENT, set_unlock, NULL },
};
/* clang-format on */

const struct opttable_row *opttable_find(int key)
{
	size_t i;

	for (i = 0; i < OPTTABLE_ROWS; i++) {
		if (opttable[i].key == key)
			return &opttable[i];
	}
	return NULL;
}

void opttable_init(struct optvalues *values, char error[OPTIONS_ERROR_MAX])
{
	static struct url urls[URL_LIST_MAX];

	memset(&urls[0], 0, sizeof(urls[0]));
	strcpy(urls[0].host, "127.0.0.1");
	urls[0].port = URL_DEFAULT_PORT;
	*values = (struct optvalues){
		.options = {
			.servers = { urls, 1 },
			.ttl_ns = 10 * NS_PER_S,
			.renew_by_percent = 60,
			.wait_ns = -1,
			.conflict_exit_code = EXIT_CONFLICT,
			.stop_signal = SIGTERM,
		},
		.error = error,
	};
}
