/*
 * The guardian as cflock knows it: a socket with orders and reports; and how it
 * comes to be one, and starts the command.  What it does then is in guard.c.
 */
#include "config.h"

#include "guardian.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event.h"
#include "exitcodes.h"
#include "guard.h"

/* What ps(1) shows: not "cflock" nor the command's words, so that `killall
 * cflock` and `pkill -f job.sh` spare it. */
#define GUARDIAN_PROCESS_NAME "lease-guardian"

/* === in cflock ========================================================== */

static int send_message(const struct guardian *guardian, const void *message,
			size_t size)
{
	if (send(guardian->fd, message, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -errno;
	return 0;
}

static int send_order(const struct guardian *guardian,
		      const struct order *order)
{
	return send_message(guardian, order, sizeof(*order));
}

int guardian_start(const struct guardian *guardian, const struct lease *lease,
		   const char *token)
{
	struct start start;

	memset(&start, 0, sizeof(start)); /* its padding, too, is sent */
	start.lease = *lease;
	snprintf(start.token, sizeof(start.token), "%s", token);
	/* Had somebody stopped it so far, nobody would have noticed. */
	kill(guardian->pid, SIGCONT);
	return send_message(guardian, &start, sizeof(start));
}

void guardian_dismiss(struct guardian *guardian)
{
	if (!guardian->pid)
		return;
	close(guardian->fd);
	/* A stopped one would not see the end of its socket. */
	kill(guardian->pid, SIGKILL);
	while (waitpid(guardian->pid, NULL, 0) < 0 && errno == EINTR)
		;
	guardian->pid = 0;
}

int guardian_renewed(const struct guardian *guardian, struct instant sent)
{
	struct order order = { .kind = ORDER_RENEWED, .sent = sent };

	return send_order(guardian, &order);
}

int guardian_lose(const struct guardian *guardian)
{
	struct order order = { .kind = ORDER_LOSE };

	return send_order(guardian, &order);
}

int guardian_lift_deadline(const struct guardian *guardian)
{
	struct order order = { .kind = ORDER_LIFT_DEADLINE };

	return send_order(guardian, &order);
}

int guardian_signal(const struct guardian *guardian, int number,
		    bool from_terminal)
{
	struct order order = {
		.kind = ORDER_SIGNAL,
		.number = number,
		.from_terminal = from_terminal,
	};

	return send_order(guardian, &order);
}

int guardian_let_go(const struct guardian *guardian)
{
	struct order order = { .kind = ORDER_LET_GO };

	return send_order(guardian, &order);
}

int guardian_ask(const struct guardian *guardian)
{
	struct order order = { .kind = ORDER_ASK };

	return send_order(guardian, &order);
}

int guardian_read(const struct guardian *guardian,
		  struct guardian_report *report)
{
	ssize_t n = recv(guardian->fd, report, sizeof(*report), MSG_DONTWAIT);

	/* It left an order unread; its reports stand behind this error. */
	if (n < 0 && errno == ECONNRESET)
		n = recv(guardian->fd, report, sizeof(*report), MSG_DONTWAIT);
	if (n == (ssize_t)sizeof(*report))
		return 1;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return -EPIPE;
}

/* === in the command, before exec ======================================== */

static void run_command(const struct guardian_job *job, pid_t parent,
			const sigset_t *missed) __attribute__((noreturn));

static void run_command(const struct guardian_job *job, pid_t parent,
			const sigset_t *missed)
{
	struct event event;
	int err, number, code;

	if (job->own_group)
		setpgid(0, 0);
	/* Asked for first, looked at after: the guardian may be dead by now. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(EXIT_OS_ERROR);
	for (number = 1; number < NSIG; number++)
		if (sigismember(missed, number) == 1)
			raise(number); /* blocked so far: twice is once */
	signals_restore(job->signals);

	execvp(job->command[0], job->command);
	err = errno;
	code = err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
	event_begin(&event, LOG_FATAL, "cannot_run");
	event_string(&event, "command", job->command[0]);
	event_string(&event, "cause", strerror(err));
	event_number(&event, "exit_code", code);
	event_send(&event, "cannot run %s: %s", job->command[0], strerror(err));
	_exit(code);
}

/* === in the guardian ==================================================== */

/* Closes all descriptors but those of `g`. */
static void close_inherited(const struct guard *g)
{
	int fd, limit;
	DIR *open_files;
	struct dirent *entry;

#ifdef SYS_close_range
	int keep[4] = { g->socket, g->deaths, g->timer, guard_watched_fd(g) };
	unsigned int from = 0;
	size_t i, j;

	for (i = 0; i < 4; i++)
		for (j = i + 1; j < 4; j++)
			if (keep[j] < keep[i]) {
				fd = keep[i];
				keep[i] = keep[j];
				keep[j] = fd;
			}
	for (i = 0; i < 4; i++) {
		if (from < (unsigned int)keep[i] &&
		    syscall(SYS_close_range, from, (unsigned int)keep[i] - 1,
			    0) < 0)
			break;
		from = (unsigned int)keep[i] + 1;
	}
	if (i == 4 && syscall(SYS_close_range, from, ~0U, 0) == 0)
		return;
#endif
	/* Before Linux 5.9.  The highest open descriptor bounds the loop. */
	limit = (int)sysconf(_SC_OPEN_MAX);
	open_files = opendir("/proc/self/fd");
	if (open_files) {
		limit = 0;
		while ((entry = readdir(open_files)))
			if (atoi(entry->d_name) >= limit)
				limit = atoi(entry->d_name) + 1;
		closedir(open_files);
	}
	for (fd = 0; fd < limit; fd++)
		if (fd != g->socket && fd != g->deaths && fd != g->timer &&
		    fd != guard_watched_fd(g))
			close(fd);
}

/* To be woken in time on a busy machine.  Where it is not permitted: as is. */
static void raise_priority(void)
{
	struct sched_param parameters = { .sched_priority = 1 };

	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK,
			       &parameters) < 0)
		setpriority(PRIO_PROCESS, 0, -20);
}

/* After the fork: the command's words stood in what is overwritten here. */
static void change_title(const struct guardian_job *job)
{
	prctl(PR_SET_NAME, GUARDIAN_PROCESS_NAME, 0, 0, 0);
	memset(job->title, 0, job->title_size);
	strncpy(job->title, GUARDIAN_PROCESS_NAME, job->title_size - 1);
}

/* False when cflock is gone. */
static bool receive_start(int socket, struct start *start)
{
	ssize_t n;

	do
		n = recv(socket, start, sizeof(*start), 0);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*start);
}

/*
 * What the terminal has sent to our group since we were forked.  cflock takes it
 * for sent to the command, which was not there yet.
 */
static void take_terminal_signals(sigset_t *taken)
{
	const struct timespec at_once = { 0 };
	sigset_t wanted;
	siginfo_t info;

	sigemptyset(taken);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGQUIT);
	sigaddset(&wanted, SIGHUP);
	while (sigtimedwait(&wanted, &info, &at_once) > 0)
		if (info.si_code == SI_KERNEL)
			sigaddset(taken, info.si_signo);
}

/*
 * Starts the command.  Returns 0 or an errno; leaves g->command at 0 when there
 * is none, as the lease is over, or by that error.
 */
static int start_guarding(struct guard *g, const char *token)
{
	pid_t self = getpid();
	sigset_t missed;

	if (g->job->attached) {
		g->attached.spared[0] = self;
		g->attached.spared[1] = g->parent;
		if (lease_phase(&g->lease, clock_now()) == LEASE_HELD) {
			g->command = g->attached.pid;
			guard_report(g, GUARDIAN_STARTED, 0, MSG_DONTWAIT);
		}
		return 0;
	}
	/* Without one, that of a cflock around us is not ours. */
	if (*token ? setenv("CFLOCK_TOKEN", token, 1)
		   : unsetenv("CFLOCK_TOKEN"))
		return errno;
	if (lease_phase(&g->lease, clock_now()) != LEASE_HELD)
		return 0;
	take_terminal_signals(&missed);
	g->command = fork();
	if (g->command == 0)
		run_command(g->job, self, &missed);
	return g->command < 0 ? errno : 0;
}

static void be_guardian(const struct guardian_job *job, int socket)
	__attribute__((noreturn));

static void be_guardian(const struct guardian_job *job, int socket)
{
	struct guard g = {
		.job = job,
		.socket = socket,
		.parent = getppid(),
		.group = getpgrp(),
	};
	struct start start;
	sigset_t sigchld;
	int err;

	/* Should cflock be killed while we are stopped, then we are continued. */
	prctl(PR_SET_PDEATHSIG, SIGCONT, 0, 0, 0);
	sigemptyset(&sigchld);
	sigaddset(&sigchld, SIGCHLD);
	g.deaths = signalfd(-1, &sigchld, SFD_NONBLOCK | SFD_CLOEXEC);
	g.timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	err = g.deaths < 0 || g.timer < 0 ? errno : 0;
	if (job->attached)
		g.attached = *job->attached;
	else if (!err)
		err = -tree_open(&g.tree);

	if (!receive_start(socket, &start))
		_exit(EXIT_SUCCESS);
	g.lease = start.lease;
	if (*start.token)
		event_set_token(start.token);
	if (!err)
		err = start_guarding(&g, start.token);
	if (g.command <= 0) {
		guard_report(&g, GUARDIAN_NOT_STARTED, err, 0);
		_exit(EXIT_SUCCESS);
	}

	change_title(job);
	/*
	 * Out of reach of what is sent to cflock's process group.  Not before the
	 * fork: on a terminal the command is to be in that group.  There we leave
	 * the session, too: as a parent in the same session we would make a
	 * command stoppable by Ctrl-Z that no shell could continue.
	 */
	if (job->own_group)
		setpgid(0, 0);
	else
		setsid();
	raise_priority();
	close_inherited(&g);
	guard_tree(&g);
	guard_report(&g, GUARDIAN_ENDED, g.status, 0);
	_exit(EXIT_SUCCESS);
}

int guardian_fork(struct guardian *guardian, const struct guardian_job *job)
{
	int ends[2], err;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		/* Or its own copy of the other end would hide cflock's end. */
		close(ends[0]);
		be_guardian(job, ends[1]);
	}
	err = errno;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -err;
	}
	guardian->pid = pid;
	guardian->fd = ends[0];
	return 0;
}
