/*
 * cflockctl: looks at locks.  A table of verbs, each in a file of ctl/.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "ctl/ctl.h"
#include "log.h"
#include "options.h"

#define TRY_HELP "; see cflockctl --help"

/* What an operand must be. */
enum operand {
	NOTHING,
	NAME, /* of a lock */
	GLOB, /* may be left out */
};

/* Options that not every verb takes. */
#define TAKES_JSON 1U

static const struct verb {
	const char *name;
	enum operand operand;
	unsigned int takes;
	ctl_verb_fn *run;
	const char *synopsis, *help;
} verbs[] = {
	{ "status", NAME, TAKES_JSON, ctl_status, "status [--json] NAME",
	  "a lock: who holds it, and who waits" },
	{ "list", GLOB, TAKES_JSON, ctl_list, "list [--json] [GLOB]",
	  "all locks in use, a line each" },
	{ "doctor", NOTHING, TAKES_JSON, ctl_doctor, "doctor [--json]",
	  "what the lock service can promise" },
};

#define VERBS (sizeof(verbs) / sizeof(*verbs))

static const struct option long_options[] = {
	{ "server", required_argument, NULL, 'S' },
	{ "password-file", required_argument, NULL, 'P' },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ 0 },
};

struct arguments {
	const struct verb *verb;
	struct ctl ctl;
	unsigned int given; /* TAKES_... */
	char *server, *password_file;
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
		printf(" cflockctl [OPTION]... %-24s  %s\n", verbs[i].synopsis,
		       verbs[i].help);
	puts("\nLook at the locks that cflock takes, and at what keeps them.\n\n"
	     "Options:\n"
	     " -S, --server URL          the lock service (redis://127.0.0.1:6379)\n"
	     "     --password-file FILE  its first line is the password\n"
	     "     --json                for programs: see cflockctl(1)\n"
	     " -h, --help                show this text\n"
	     " -V, --version             show the version\n\n"
	     "The environment and cflock.conf are those of cflock.");
	return ctl_flush();
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
		arguments->server = optarg;
		return 0;
	case 'P':
		arguments->password_file = optarg;
		return 0;
	case 'j':
		arguments->ctl.json = true;
		arguments->given |= TAKES_JSON;
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

/* Options may stand anywhere.  Returns 0 or an exit code. */
static int read_arguments(struct arguments *arguments, int argc, char **argv)
{
	struct ctl *ctl = &arguments->ctl;
	int key, code;

	ctl->operands = calloc((size_t)argc + 1, sizeof(*ctl->operands));
	if (!ctl->operands)
		return ctl_fail_memory();
	opterr = 0;
	while ((key = getopt_long(argc, argv, "-:S:hV", long_options, NULL)) !=
	       -1) {
		if (key == 1) {
			ctl->operands[ctl->count++] = optarg;
			continue;
		}
		code = read_option(arguments, key, argv);
		if (code)
			return code;
	}
	while (optind < argc)
		ctl->operands[ctl->count++] = argv[optind++];
	return 0;
}

static int check_arguments(struct arguments *arguments)
{
	struct ctl *ctl = &arguments->ctl;
	const struct verb *verb;
	int most;

	if (!ctl->operands[0])
		return bad_usage("what to do is missing, such as status or "
				 "list");
	verb = find_verb(ctl->operands[0]);
	if (!verb)
		return bad_usage("%.40s: there is no such verb",
				 ctl->operands[0]);
	arguments->verb = verb;
	ctl->operands++;
	ctl->count--;
	if (arguments->given & ~verb->takes)
		return bad_usage("%s does not take --json", verb->name);
	most = verb->operand == NOTHING ? 0 : 1;
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

int ctl_fail_store(const struct ctl *ctl, int err)
{
	if (err == -EBADMSG)
		log_line(LOG_FATAL, "what the lock service knows of the lock "
				    "is damaged");
	else
		log_line(LOG_FATAL, "%s", store_error(ctl->store));
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

int main(int argc, char **argv)
{
	static struct arguments arguments;
	static struct options options;
	char error[OPTIONS_ERROR_MAX];
	int code, err;

	log_set_program("cflockctl");
	code = read_arguments(&arguments, argc, argv);
	if (code)
		return code;
	if (arguments.help)
		return print_help();
	if (arguments.version) {
		puts("cflockctl " PACKAGE_VERSION);
		return ctl_flush();
	}
	code = check_arguments(&arguments);
	if (code)
		return code;

	err = options_read_service(arguments.server, arguments.password_file,
				   &options, error);
	if (err) {
		log_line(LOG_FATAL, "%s", error);
		return err == -EBADF ? EXIT_BAD_CONFIG : EXIT_BAD_USAGE;
	}
	if (options.server.has_password)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	arguments.ctl.options = &options;
	arguments.ctl.store = store_open(&options.server, -1);
	if (!arguments.ctl.store)
		return ctl_fail_memory();
	return arguments.verb->run(&arguments.ctl);
}
