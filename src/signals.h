/*
 * The signals of cflock itself.  All that can be handled are blocked and read
 * from a signalfd, so that no signal is lost and no code runs in a handler.
 * What cflock was given is kept, for the command to start with.
 */
#ifndef CFLOCK_SIGNALS_H
#define CFLOCK_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

struct signals {
	int fd;              /* signalfd, non-blocking, close-on-exec */
	int cancel_fd;       /* readable when there may be a reason to end */
	int watched;         /* pidfd that signals_watch() was given; else -1 */
	bool never_stop;     /* by signals_take_deadly() */
	sigset_t handled;    /* what fd reads */
	sigset_t given_mask; /* as it was when cflock started */
	sigset_t given_ignored;
};

/*
 * Blocks and opens.  Left alone are signals that cflock was told to ignore (as
 * nohup does), and those of its own faults (SIGSEGV ...).  SIGPIPE is blocked
 * and not read.  SIGCHLD gets its default disposition back: a parent that
 * ignored it would cost us exit statuses.  Returns 0 or a negative errno.
 */
int signals_init(struct signals *signals);

/* In the child, before exec: mask and dispositions as cflock was given them. */
void signals_restore(const struct signals *signals);

/* True when `number` would have ended cflock, had it no handling of signals. */
bool signals_is_deadly(const struct signals *signals, int number);

/*
 * From now on the end of that process is a reason to end, as if by SIGHUP.
 * Returns 0 or a negative errno.
 */
int signals_watch(struct signals *signals, int pidfd);

/*
 * While there is no command: reads what has come.  Returns the first signal
 * that should end us, 0 when there is none.  Stops us for those that stop.
 */
int signals_take_deadly(const struct signals *signals);

/*
 * Ends the process by signal `number`, as if it had never been blocked, so that
 * the parent sees the same as without us.  Does not return.
 */
void signals_die_of(int number) __attribute__((noreturn));

#endif
