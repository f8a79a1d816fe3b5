#include "config.h"

#include "ctl/screen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clock.h"
#include "ready.h"

/* Alternate screen, no cursor, no new line where one is too wide. */
#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

/* A terminal that takes nothing any more is not waited for longer. */
#define LEAVE_NS NS_PER_S

#define ROWS_DEFAULT 24
#define COLUMNS_DEFAULT 80

bool screen_is_possible(void)
{
	const char *kind = getenv("TERM");

	return isatty(STDOUT_FILENO) && kind && *kind && strcmp(kind, "dumb");
}

void screen_size(int *rows, int *columns)
{
	struct winsize size = { 0 };

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	*rows = size.ws_row ? size.ws_row : ROWS_DEFAULT;
	*columns = size.ws_col ? size.ws_col : COLUMNS_DEFAULT;
}

/* Also on a terminal that is not our controlling one. */
static bool is_in_foreground(void)
{
	pid_t group = tcgetpgrp(STDOUT_FILENO);

	return group < 0 || group == getpgrp();
}

static void enter(struct screen *screen)
{
	struct termios mode;

	screen->has_keys = tcgetattr(STDIN_FILENO, &screen->given) == 0;
	if (screen->has_keys) {
		mode = screen->given;
		mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		mode.c_cc[VMIN] = 1;
		mode.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSANOW, &mode);
	}
	screen->is_entered = true;
	screen_put(screen, ENTER, strlen(ENTER));
}

void screen_leave(struct screen *screen)
{
	int64_t deadline_ns = clock_boot_ns() + LEAVE_NS;
	const char *rest = LEAVE;

	if (!screen->is_entered)
		return;
	screen->is_entered = false;
	/* As Ctrl-Q does after Ctrl-S, which would keep it from us. */
	tcflow(screen->out, TCOOFF);
	tcflow(screen->out, TCOON);
	while (*rest) {
		ssize_t n;

		if (wait_until_ready(screen->out, POLLOUT, deadline_ns, -1))
			break;
		n = write(screen->out, rest, strlen(rest));
		if (n < 0 && errno != EAGAIN)
			break;
		if (n > 0)
			rest += n;
	}
	if (screen->has_keys)
		tcsetattr(STDIN_FILENO, TCSANOW, &screen->given);
}

static int add_event(const struct screen *screen, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(screen->events, EPOLL_CTL_ADD, fd, &event);
}

/* Keys are the shell's while we are in its background. */
static void watch_keys(const struct screen *screen, bool on)
{
	if (!screen->has_keys)
		return;
	if (on)
		add_event(screen, STDIN_FILENO);
	else
		epoll_ctl(screen->events, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
}

int screen_open(struct screen *screen)
{
	int err;

	memset(screen, 0, sizeof(*screen));
	err = signals_init(&screen->signals);
	if (err)
		return err;
	/* That of a helper program must not cut short what that is for. */
	sigdelset(&screen->signals.handled, SIGCHLD);
	if (signalfd(screen->signals.fd, &screen->signals.handled, 0) < 0)
		return -errno;
	/* An open file of our own: the shell's must go on to block. */
	screen->out = open("/proc/self/fd/1",
			   O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (screen->out < 0)
		screen->out = STDOUT_FILENO;
	screen->events = epoll_create1(EPOLL_CLOEXEC);
	if (screen->events < 0 || add_event(screen, screen->signals.fd) < 0)
		return -errno;
	screen_is_ours(screen);
	return 0;
}

bool screen_is_ours(struct screen *screen)
{
	if (!screen->is_entered && is_in_foreground()) {
		enter(screen);
		watch_keys(screen, true);
	}
	return screen->is_entered;
}

/* Where nobody could have us go on, it does nothing. */
static void stop(struct screen *screen)
{
	sigset_t only;

	watch_keys(screen, false);
	screen_leave(screen);
	sigemptyset(&only);
	sigaddset(&only, SIGTSTP);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &only, NULL);
	sigprocmask(SIG_BLOCK, &only, NULL);
	screen_is_ours(screen);
}

static void take_signals(struct screen *screen, struct screen_news *news)
{
	struct signalfd_siginfo info;

	while (read(screen->signals.fd, &info, sizeof(info)) ==
	       (ssize_t)sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (number == SIGTSTP)
			stop(screen);
		if (number == SIGTSTP || number == SIGCONT ||
		    number == SIGWINCH)
			news->changed = true;
		else if (!news->signal &&
			 signals_is_deadly(&screen->signals, number))
			news->signal = number;
	}
}

static void take_keys(struct screen *screen, struct screen_news *news)
{
	struct pollfd keys = { .fd = STDIN_FILENO, .events = POLLIN };
	char bytes[64];
	ssize_t n;

	if (!screen->has_keys || !screen->is_entered || poll(&keys, 1, 0) <= 0)
		return;
	n = read(STDIN_FILENO, bytes, sizeof(bytes));
	if (n <= 0 && !(n < 0 && errno == EINTR))
		news->signal = SIGHUP; /* the terminal is gone */
	else if (n > 0)
		news->quit |= memchr(bytes, 'q', (size_t)n) ||
			      memchr(bytes, 'Q', (size_t)n);
}

void screen_take(struct screen *screen, struct screen_news *news)
{
	memset(news, 0, sizeof(*news));
	take_signals(screen, news);
	take_keys(screen, news);
}

void screen_put(struct screen *screen, const char *bytes, size_t length)
{
	while (screen->is_entered && length > 0) {
		ssize_t n = write(screen->out, bytes, length);

		if (n < 0 && errno == EAGAIN &&
		    wait_until_ready(screen->out, POLLOUT, INT64_MAX,
				     screen->events) == 0)
			continue;
		if (n < 0)
			return;
		bytes += n;
		length -= (size_t)n;
	}
}
