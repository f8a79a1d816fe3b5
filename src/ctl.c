/*
 * cflockctl: looks at locks, breaks them, and fences what they guard.  A table
 * of verbs, each in a file of ctl/.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>

#include "ctl/ctl.h"
#include "log.h"
#include "options.h"
#include "stdfds.h"
#include "tlsprogram.h"

#define TRY_HELP "; see cflockctl --help"
#define TLS_PROGRAM "cflockctl-tls"

/* What an operand must be. */
enum operand {
	NOTHING,
	NAME, /* of a lock */
	GLOB, /* may be left out */
	FILE_AND_COMMAND,
};

/* Options that not every verb takes: bit n is for long_options[n]. */
#define TAKES_SERVER 1U
#define TAKES_PASSWORD_FILE 2U
#define TAKES_JSON 4U
#define TAKES_TOKEN 8U
#define TAKES_FORCE 16U
#define TAKES_MIN_LEFT 32U
#define TAKES_WAIT 64U
#define TAKES_MESSAGE 128U
#define TAKES_TLS (0x1fU * TAKES_TLS_FIRST)
#define TAKES_TLS_FIRST 256U

/* Nothing is read or asked for a verb that does not take these. */
#define TAKES_SERVICE (TAKES_SERVER | TAKES_PASSWORD_FILE | TAKES_TLS)

static const struct verb {
	const char *name;
	enum operand operand;
	unsigned int takes;
	ctl_verb_fn *run;
	const char *synopsis, *help;
} verbs[] = {
	{ "status", NAME, TAKES_SERVICE | TAKES_JSON, ctl_status,
	  "status [--json] NAME", "a lock: who holds it, and who waits" },
	{ "list", GLOB, TAKES_SERVICE | TAKES_JSON, ctl_list,
	  "list [--json] [GLOB]", "all locks in use, a line each" },
	{ "watch", GLOB, TAKES_SERVICE | TAKES_JSON, ctl_watch,
	  "watch [--json] [GLOB]", "the same, each second anew; q ends it" },
	{ "break", NAME,
	  TAKES_SERVICE | TAKES_FORCE | TAKES_WAIT | TAKES_MESSAGE, ctl_break,
	  "break [--force] NAME", "asks the holder to end, and waits for it" },
	{ "check", NOTHING, TAKES_SERVICE | TAKES_MIN_LEFT, ctl_check,
	  "check [--min-left DURATION]",
	  "in a command: is the lease still its own?" },
	{ "fence", FILE_AND_COMMAND, TAKES_TOKEN, ctl_fence,
	  "fence FILE [--token N] -- COMMAND [ARG]...",
	  "runs COMMAND, unless FILE has seen a higher token" },
	{ "doctor", NOTHING, TAKES_SERVICE | TAKES_JSON, ctl_doctor,
	  "doctor [--json]", "what the lock service can promise" },
};

#define VERBS (sizeof(verbs) / sizeof(*verbs))

static const struct option long_options[] = {
	{ "server", required_argument, NULL, 'S' },
	{ "password-file", required_argument, NULL, 'P' },
	{ "json", no_argument, NULL, 'j' },
	{ "token", required_argument, NULL, 'T' },
	{ "force", no_argument, NULL, 'f' },
	{ "min-left", required_argument, NULL, 'l' },
	{ "wait", required_argument, NULL, 'w' },
	{ "message", required_argument, NULL, 'm' },
	{ "tls-ca-file", required_argument, NULL, OPT_TLS_CA_FILE },
	{ "tls-ca-dir", required_argument, NULL, OPT_TLS_CA_DIR },
	{ "tls-cert", required_argument, NULL, OPT_TLS_CERT },
	{ "tls-key", required_argument, NULL, OPT_TLS_KEY },
	{ "tls-server-name", required_argument, NULL, OPT_TLS_SERVER_NAME },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

struct arguments {
	struct ctl ctl;
	int before_dashes;  /* so many operands stand before "--" */
	unsigned int given; /* TAKES_... */
	struct service_arguments service;
	bool help, version;
};

__attribute__((format(printf, 1, 2))) static int bad_usage(const char *format,
							   ...)
{
	char line[512];
	va_list list;

	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	log_line(LOG_FATAL, "%s" TRY_HELP, line);
	return EXIT_BAD_USAGE;
}

static int print_help(void)
{
	size_t i;

	puts("Usage:");
	for (i = 0; i < VERBS; i++)
		printf(" cflockctl [OPTION]... %s\n%12s%s\n", verbs[i].synopsis,
		       "", verbs[i].help);
	puts("\nLook at the locks that cflock takes, break them, and fence what they\n"
	     "guard.\n\n"
	     "Options:\n"
	     " -S, --server URL          the lock service (redis://127.0.0.1:6379); not fence\n"
	     "     --password-file FILE  its first line is the password; not fence\n"
	     "     --tls-ca-file FILE    CAs to trust for rediss://; not fence\n"
	     "     --tls-ca-dir DIR      the same, a file each; not fence\n"
	     "     --tls-cert FILE       certificate to show there; not fence\n"
	     "     --tls-key FILE        its key (in the same file); not fence\n"
	     "     --tls-server-name HOST  whom the server must be; not fence\n"
	     "     --json                for programs: see cflockctl(1)\n"
	     "     --force               break: fence the holder off, and wait until\n"
	     "                           its lease is over\n"
	     " -w, --wait DURATION       break: for the holder to end (30s from when it\n"
	     "                           must have been told)\n"
	     "     --message TEXT        break: why, for the holder\n"
	     "     --min-left DURATION   check: so much of the lease must be left\n"
	     "     --token N             fence: the token ($CFLOCK_TOKEN)\n"
	     " -h, --help                show this text\n"
	     " -V, --version             show the version\n\n"
	     "The environment and cflock.conf are those of cflock; fence reads "
	     "$CFLOCK_TOKEN\nalone, and exits with 80 when it refuses.");
	return ctl_flush();
}

/* Returns 0 or an exit code. */
static int read_duration(const char *option, const char *text, int64_t *ns)
{
	if (duration_parse(text, ns) == 0)
		return 0;
	return bad_usage("--%s: '%.40s' is not a duration; write 250ms, 10s, "
			 "1.5m or 2h",
			 option, text);
}

static const struct verb *find_verb(const char *name)
{
	size_t i;

	for (i = 0; i < VERBS; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

/* Returns 0 or an exit code. */
static int read_option(struct arguments *arguments, int key, char **argv)
{
	switch (key) {
	case 'S':
		if (arguments->service.server_count <= URL_LIST_MAX)
			arguments->service
				.servers[arguments->service.server_count++] =
				optarg;
		arguments->given |= TAKES_SERVER;
		return 0;
	case 'P':
		arguments->service.password_file = optarg;
		arguments->given |= TAKES_PASSWORD_FILE;
		return 0;
	case 'j':
		arguments->ctl.json = true;
		arguments->given |= TAKES_JSON;
		return 0;
	case 'T':
		arguments->ctl.token = optarg;
		arguments->given |= TAKES_TOKEN;
		return 0;
	case 'f':
		arguments->ctl.force = true;
		arguments->given |= TAKES_FORCE;
		return 0;
	case 'l':
		arguments->given |= TAKES_MIN_LEFT;
		return read_duration("min-left", optarg,
				     &arguments->ctl.min_left_ns);
	case 'w':
		arguments->given |= TAKES_WAIT;
		return read_duration("wait", optarg, &arguments->ctl.wait_ns);
	case 'm':
		arguments->ctl.message = optarg;
		arguments->given |= TAKES_MESSAGE;
		return 0;
	case OPT_TLS_CA_FILE:
	case OPT_TLS_CA_DIR:
	case OPT_TLS_CERT:
	case OPT_TLS_KEY:
	case OPT_TLS_SERVER_NAME:
		arguments->service.tls[key - OPT_TLS_CA_FILE] = optarg;
		arguments->given |= TAKES_TLS_FIRST << (key - OPT_TLS_CA_FILE);
		return 0;
	case 'h':
		arguments->help = true;
		return 0;
	case 'V':
		arguments->version = true;
		return 0;
	case ':':
		return bad_usage("%s: its argument is missing",
				 argv[optind - 1]);
	default:
		return bad_usage("%.*s: there is no such option",
				 (int)strcspn(argv[optind - 1], "="),
				 argv[optind - 1]);
	}
}

/* Options may stand anywhere before "--".  Returns 0 or an exit code. */
static int read_arguments(struct arguments *arguments, int argc, char **argv)
{
	struct ctl *ctl = &arguments->ctl;
	int key, code;

	ctl->operands = calloc((size_t)argc + 1, sizeof(*ctl->operands));
	if (!ctl->operands)
		return ctl_fail_memory();
	opterr = 0;
	while ((key = getopt_long(argc, argv, "-:S:w:hV", long_options,
				  NULL)) != -1) {
		if (key == 1) {
			ctl->operands[ctl->count++] = optarg;
			continue;
		}
		code = read_option(arguments, key, argv);
		if (code)
			return code;
	}
	arguments->before_dashes = ctl->count - 1; /* less the verb */
	while (optind < argc)
		ctl->operands[ctl->count++] = argv[optind++];
	return 0;
}

/* Returns 0 or an exit code. */
static int check_arguments(struct arguments *arguments, const struct verb *verb)
{
	int most = verb->operand == NOTHING ? 0 : 1;
	unsigned int refused = arguments->given & ~verb->takes;
	struct ctl *ctl = &arguments->ctl;

	if (refused)
		return bad_usage("%s: it does not take --%s", verb->name,
				 long_options[ffs((int)refused) - 1].name);
	if (verb->operand == FILE_AND_COMMAND &&
	    ctl->count > arguments->before_dashes) {
		ctl->command = &ctl->operands[arguments->before_dashes];
		ctl->count = arguments->before_dashes;
	}
	if (verb->operand == FILE_AND_COMMAND && !ctl->command)
		return bad_usage("%s: -- and the COMMAND behind it are missing",
				 verb->name);
	if (verb->operand == FILE_AND_COMMAND && ctl->count < 1)
		return bad_usage("%s: the FILE is missing", verb->name);
	if (ctl->count > most)
		return bad_usage("%s: there are too many arguments",
				 verb->name);
	if (verb->operand == NAME && !ctl->count)
		return bad_usage("%s: the NAME of the lock is missing",
				 verb->name);
	if (verb->operand == NAME && !name_is_valid(ctl->operands[0]))
		return bad_usage("the NAME of the lock must be 1 to %d "
				 "letters, digits and . _ - : / @ + %%",
				 NAME_MAX_BYTES);
	return 0;
}

/* Takes the verb off the operands.  NULL when there is none; that is said. */
static const struct verb *take_verb(struct ctl *ctl)
{
	const struct verb *verb;

	if (!ctl->operands[0]) {
		bad_usage("what to do is missing, such as status or list");
		return NULL;
	}
	verb = find_verb(ctl->operands[0]);
	if (!verb)
		bad_usage("%.40s: there is no such verb", ctl->operands[0]);
	ctl->operands++;
	ctl->count--;
	return verb;
}

const char *ctl_error(const struct ctl *ctl, int err)
{
	if (err == -EBADMSG)
		return "what the lock service knows of the lock is damaged";
	if (err == -EOVERFLOW)
		return "the lock service names more locks than can be listed";
	if (err == -ENOMEM)
		return "there is no memory";
	return store_error(ctl->store);
}

int ctl_fail_store(const struct ctl *ctl, int err)
{
	if (err == -ENOMEM)
		return ctl_fail_memory();
	log_line(LOG_FATAL, "%s", ctl_error(ctl, err));
	return err == -EACCES ? EXIT_DENIED : EXIT_UNREACHABLE;
}

int ctl_fail_memory(void)
{
	log_line(LOG_FATAL, "there is no memory");
	return EXIT_OS_ERROR;
}

int ctl_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_SUCCESS;
	log_line(LOG_FATAL, "cannot write to standard output: %s",
		 strerror(errno));
	return EXIT_OS_ERROR;
}

/* Opens the store that the verb asks.  Returns 0 or an exit code. */
static int open_service(struct arguments *arguments)
{
	static struct options options;
	char error[OPTIONS_ERROR_MAX];
	int err;

	err = options_read_service(&arguments->service, &options, error);
	if (err) {
		log_line(LOG_FATAL, "%s", error);
		return err == -EBADF ? EXIT_BAD_CONFIG : EXIT_BAD_USAGE;
	}
	err = tlsprogram_become(TLS_PROGRAM, &options.servers);
	if (err) {
		log_line(LOG_FATAL,
			 "cannot " TLSPROGRAM_DOING(TLS_PROGRAM) ": %s",
			 strerror(-err));
		return EXIT_OS_ERROR;
	}
	url_list_format(&options.servers, arguments->ctl.server,
			sizeof(arguments->ctl.server));
	if (options_have_secrets(&options))
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	arguments->ctl.options = &options;
	arguments->ctl.store = store_open(&options.servers, -1);
	return arguments->ctl.store ? 0 : ctl_fail_memory();
}

int main(int argc, char **argv)
{
	static struct arguments arguments = {
		.ctl = { .wait_ns = -1 },
	};
	const struct verb *verb;
	int code;

	log_set_program("cflockctl");
	/* As a parent may have ignored it: the end of a helper is waited for. */
	signal(SIGCHLD, SIG_DFL);
	if (stdfds_keep() < 0)
		return EXIT_OS_ERROR;
	if (tlsprogram_remember(argv))
		return ctl_fail_memory();
	code = read_arguments(&arguments, argc, argv);
	if (code)
		return code;
	if (arguments.help)
		return print_help();
	if (arguments.version) {
		puts("cflockctl " PACKAGE_VERSION);
		return ctl_flush();
	}
	verb = take_verb(&arguments.ctl);
	if (!verb)
		return EXIT_BAD_USAGE;
	code = check_arguments(&arguments, verb);
	if (!code && (verb->takes & TAKES_SERVICE))
		code = open_service(&arguments);
	if (code)
		return code;
	return verb->run(&arguments.ctl);
}
