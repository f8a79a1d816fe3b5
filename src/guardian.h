/*
 * The guardian: a process between cflock and the command that never touches
 * the network, and that has the whole tree of the command dead before the
 * lease can run out, whatever becomes of cflock.
 *
 *   cflock (main thread and renewer)  --  orders, end-of-file  -->  guardian
 *   cflock (main thread)              <--  reports             --   guardian
 *
 * It stops the tree when its own count of the lease says so, when it is told
 * to, and when the socket ends because cflock is gone.  Stopping is: the stop
 * signal and SIGCONT to the whole tree; at kill_at SIGKILL to all that is
 * left, again and again until no child is left.  As a child subreaper it
 * inherits what the command leaves behind, so "no child" is "no process".
 *
 * Of an attached process, which is not its child, it watches the end, and stops
 * what can be found of the tree below it; see attached.h.
 */
#ifndef CFLOCK_GUARDIAN_H
#define CFLOCK_GUARDIAN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lease.h"
#include "signals.h"

struct attached;

struct guardian_job {
	char *const *command; /* NULL-terminated */
	/* In the place of a command, what is guarded; else NULL.  The guardian
	 * works on its own copy. */
	const struct attached *attached;
	const struct signals *signals;
	int stop_signal;
	/* A process group of its own; not on a terminal, whose keys would then
	 * not reach the command as they reach the rest of a pipeline. */
	bool own_group;
	/* The end of the command itself ends the run, whatever it left. */
	bool command_only;
	/* Where ps(1) finds our arguments, and room for them, at least 1. */
	char *title;
	size_t title_size;
};

struct guardian {
	pid_t pid; /* 0: none */
	int fd;    /* readable: a report, or its end */
};

enum guardian_report_kind {
	GUARDIAN_STARTED, /* an attached process is guarded */
	GUARDIAN_STOPPED, /* status: the signal that stopped the command */
	GUARDIAN_CONTINUED,
	GUARDIAN_ASKED,       /* by guardian_ask(): stop signal sent */
	GUARDIAN_STOPPING,    /* the lease is lost: stop signal sent */
	GUARDIAN_REFUSED,     /* status: processes that may not be killed */
	GUARDIAN_NOT_STARTED, /* status: errno of fork; 0: lease was over */
	GUARDIAN_ENDED,       /* status: wait status; the tree is dead */
};

struct guardian_report {
	enum guardian_report_kind kind;
	int status;
	bool lost;     /* ENDED: the guardian stopped the tree */
	pid_t command; /* the command's process number */
};

/*
 * Forks the guardian, which waits for guardian_start(), with the environment
 * that the command is to have.  To be called before the process has a second
 * thread, by a thread that lives as long as the process.  Returns 0 or a
 * negative errno.
 */
int guardian_fork(struct guardian *guardian, const struct guardian_job *job);

/*
 * Has the guardian start the command, under `lease`, with `token` ("": none) in
 * its environment.  Returns 0 or a negative errno: -EPIPE when it has been killed.
 */
int guardian_start(const struct guardian *guardian, const struct lease *lease,
		   const char *token);

/* Ends a guardian, if there is one, that has not been told to start. */
void guardian_dismiss(struct guardian *guardian);

/* Orders.  Any thread; never block; 0 or a negative errno. */
int guardian_renewed(const struct guardian *guardian, struct instant sent);
int guardian_lose(const struct guardian *guardian);

/*
 * Nobody can be asked to renew the lease, and the command is to run on: it has no
 * deadline until the next renewal.  Too late when the stopping has begun.
 */
int guardian_lift_deadline(const struct guardian *guardian);

/*
 * The signal goes to the command; when that has ended, to all that it left.
 * `from_terminal`: the terminal has sent it to our process group already.
 */
int guardian_signal(const struct guardian *guardian, int number,
		    bool from_terminal);

/* Ends the guardian, and leaves the attached process alone: ENDED. */
int guardian_let_go(const struct guardian *guardian);

/* The stop signal goes to all of the tree, which may go on under its lease. */
int guardian_ask(const struct guardian *guardian);

/* Returns 1 with a report, 0 when there is none now, -EPIPE at the end. */
int guardian_read(const struct guardian *guardian,
		  struct guardian_report *report);

#endif
