#include "config.h"

#include "signals.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "exitcodes.h"

/* Raised by a process's own faults: to be seen at once, or not at all. */
static const int faults[] = { SIGSEGV, SIGBUS,  SIGILL, SIGFPE,
			      SIGTRAP, SIGABRT, SIGSYS };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int signals_init(struct signals *signals)
{
	struct sigaction action;
	sigset_t blocked;
	size_t i;
	int number, fd;

	sigfillset(&blocked);
	for (i = 0; i < COUNT(faults); i++)
		sigdelset(&blocked, faults[i]);

	sigemptyset(&signals->given_ignored);
	for (number = 1; number <= SIGRTMAX; number++) {
		if (number == SIGKILL || number == SIGSTOP)
			continue;
		if (sigaction(number, NULL, &action) < 0)
			continue; /* glibc keeps two for itself */
		if (action.sa_handler == SIG_IGN)
			sigaddset(&signals->given_ignored, number);
	}
	if (sigismember(&signals->given_ignored, SIGCHLD))
		signal(SIGCHLD, SIG_DFL);

	if (sigprocmask(SIG_BLOCK, &blocked, &signals->given_mask) < 0)
		return -errno;

	signals->handled = blocked;
	sigdelset(&signals->handled, SIGPIPE);
	for (number = 1; number <= SIGRTMAX; number++)
		if (number != SIGCHLD &&
		    sigismember(&signals->given_ignored, number) == 1)
			sigdelset(&signals->handled, number);

	fd = signalfd(-1, &signals->handled, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	signals->fd = signals->cancel_fd = fd;
	signals->watched = -1;
	return 0;
}

int signals_watch(struct signals *signals, int pidfd)
{
	struct epoll_event readable = { .events = EPOLLIN };
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (epoll_ctl(fd, EPOLL_CTL_ADD, signals->fd, &readable) < 0 ||
	    epoll_ctl(fd, EPOLL_CTL_ADD, pidfd, &readable) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	signals->cancel_fd = fd;
	signals->watched = pidfd;
	return 0;
}

void signals_restore(const struct signals *signals)
{
	if (sigismember(&signals->given_ignored, SIGCHLD))
		signal(SIGCHLD, SIG_IGN);
	sigprocmask(SIG_SETMASK, &signals->given_mask, NULL);
}

bool signals_is_deadly(const struct signals *signals, int number)
{
	if (sigismember(&signals->given_mask, number) == 1)
		return false;
	switch (number) {
	case SIGCHLD:
	case SIGCONT:
	case SIGURG:
	case SIGWINCH:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return false;
	default:
		return true;
	}
}

int signals_take_deadly(const struct signals *signals)
{
	struct pollfd watched = { .fd = signals->watched, .events = POLLIN };
	struct signalfd_siginfo info;

	while (read(signals->fd, &info, sizeof(info)) ==
	       (ssize_t)sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (number == SIGTSTP || number == SIGTTIN ||
		    number == SIGTTOU) {
			if (!signals->never_stop)
				raise(SIGSTOP);
		} else if (signals_is_deadly(signals, number)) {
			return number;
		}
	}
	return signals->watched >= 0 && poll(&watched, 1, 0) > 0 ? SIGHUP : 0;
}

void signals_die_of(int number)
{
	sigset_t only;

	/* A core of ours would say nothing about what the user ran. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(number, SIG_DFL);
	sigemptyset(&only);
	sigaddset(&only, number);
	raise(number);
	sigprocmask(SIG_UNBLOCK, &only, NULL);
	_exit(EXIT_SIGNAL_BASE + number);
}
