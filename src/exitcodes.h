/*
 * Every code that cflock and cflockctl can exit with, beside the command's own.
 * They are a published interface: once released, none may change its meaning.
 * The values follow sysexits.h where it has one.  In cflock, main.c is the one
 * place that chooses.
 */
#ifndef CFLOCK_EXITCODES_H
#define CFLOCK_EXITCODES_H

enum {
	EXIT_CONFLICT = 1,     /* held by others within the wait; -E */
	EXIT_BAD_USAGE = 64,   /* EX_USAGE */
	EXIT_UNREACHABLE = 69, /* EX_UNAVAILABLE: command not started */
	EXIT_BUG = 70,         /* EX_SOFTWARE */
	EXIT_OS_ERROR = 71,    /* EX_OSERR */
	EXIT_DENIED = 77,      /* EX_NOPERM: credentials or rights */
	EXIT_BAD_CONFIG = 78,  /* EX_CONFIG: file, environment or URL */
	EXIT_LEASE_LOST = 79,  /* the command was stopped */
	EXIT_FENCED = 80,      /* fence: FILE has seen a higher token */
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL_BASE = 128, /* + n: signal n ended the command */
};

/* Of cflockctl doctor: the worst that it found. */
enum {
	EXIT_WARNING = 1,
	EXIT_DANGER = 2,
};

#endif
