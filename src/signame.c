/* Names of signals; libc's own tables need a recent glibc. */
#include "config.h"

#include "signame.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#define NUMBER_MAX 64

static const struct {
	const char *name;
	int number;
} names[] = {
	{ "HUP", SIGHUP },       { "INT", SIGINT },     { "QUIT", SIGQUIT },
	{ "ILL", SIGILL },       { "TRAP", SIGTRAP },   { "ABRT", SIGABRT },
	{ "IOT", SIGABRT },      { "BUS", SIGBUS },     { "FPE", SIGFPE },
	{ "KILL", SIGKILL },     { "USR1", SIGUSR1 },   { "SEGV", SIGSEGV },
	{ "USR2", SIGUSR2 },     { "PIPE", SIGPIPE },   { "ALRM", SIGALRM },
	{ "TERM", SIGTERM },     { "CHLD", SIGCHLD },   { "CLD", SIGCHLD },
	{ "CONT", SIGCONT },     { "STOP", SIGSTOP },   { "TSTP", SIGTSTP },
	{ "TTIN", SIGTTIN },     { "TTOU", SIGTTOU },   { "URG", SIGURG },
	{ "XCPU", SIGXCPU },     { "XFSZ", SIGXFSZ },   { "VTALRM", SIGVTALRM },
	{ "PROF", SIGPROF },     { "WINCH", SIGWINCH }, { "IO", SIGIO },
	{ "POLL", SIGIO },       { "PWR", SIGPWR },     { "SYS", SIGSYS },
#ifdef SIGSTKFLT
	{ "STKFLT", SIGSTKFLT },
#endif
};

/* `text` behind `prefix`, which is upper case, or NULL. */
static const char *skip_prefix(const char *text, const char *prefix)
{
	for (; *prefix; prefix++, text++) {
		char c = *text;

		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		if (c != *prefix)
			return NULL;
	}
	return text;
}

/* One or two digits, or -EINVAL. */
static int parse_number(const char *text)
{
	int number = 0;
	size_t i;

	for (i = 0; text[i]; i++) {
		if (i == 2 || text[i] < '0' || text[i] > '9')
			return -EINVAL;
		number = number * 10 + (text[i] - '0');
	}
	return i ? number : -EINVAL;
}

/* `base`, or that many above or below as `rest` says with `sign`. */
static int parse_realtime(const char *rest, int base, char sign)
{
	int offset;

	if (!*rest)
		return base;
	if (*rest != sign)
		return -EINVAL;
	offset = parse_number(rest + 1);
	if (offset < 0 || offset > SIGRTMAX - SIGRTMIN)
		return -EINVAL;
	return sign == '+' ? base + offset : base - offset;
}

int signame_parse(const char *text)
{
	const char *rest;
	size_t i;
	int number = parse_number(text);

	if (number >= 0)
		return number && number <= NUMBER_MAX ? number : -EINVAL;

	rest = skip_prefix(text, "SIG");
	if (rest)
		text = rest;
	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		rest = skip_prefix(text, names[i].name);
		if (rest && !*rest)
			return names[i].number;
	}
	rest = skip_prefix(text, "RTMIN");
	if (rest)
		return parse_realtime(rest, SIGRTMIN, '+');
	rest = skip_prefix(text, "RTMAX");
	if (rest)
		return parse_realtime(rest, SIGRTMAX, '-');
	return -EINVAL;
}
