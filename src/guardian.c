/*
 * The guardian process.  Single-threaded; after the start it holds four
 * descriptors: the socket to cflock, a signalfd for SIGCHLD, a timer, and the
 * kernel's list of its children.  All other signals stay blocked and pending:
 * nothing but SIGKILL and SIGSTOP can keep it from its work.  Its parent
 * watches for both.
 *
 * Order in the loop: orders before the clock, so that a renewal that arrived
 * in time counts even when the guardian woke late; deaths before the clock, so
 * that what may have lived past kill_at is never reported as ended in time.
 */
#include "config.h"

#include "guardian.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
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

#include "attached.h"
#include "event.h"
#include "exitcodes.h"
#include "store.h"
#include "tree.h"

/* What ps(1) shows: not "cflock" nor the command's words, so that `killall
 * cflock` and `pkill -f job.sh` spare it. */
#define GUARDIAN_PROCESS_NAME "lease-guardian"

/*
 * Sweeps of SIGKILL.  As long as the last one took, at least, is left to the
 * killed for dying; every few sweeps go below children that are slow to die;
 * where only those are left that may not be killed, there is no hurry.
 */
#define SWEEP_PAUSE_NS (100 * INT64_C(1000))
#define SWEEP_DEEP_EVERY 8
#define SWEEP_REFUSED_NS (100 * NS_PER_MS)

/* Whether an attached process goes on, and what else it has started. */
#define LOOK_EVERY_NS (50 * NS_PER_MS)

/*
 * To look through all processes takes some 20 us for each.  It may take half of
 * the time that is planned for killing.
 */
#define LOOK_TTL_DIVISOR 20
#define LOOK_MAX_NS (125 * NS_PER_MS)
#define EMPTY_LOOKS 2

enum order_kind {
	ORDER_RENEWED,
	ORDER_LOSE,
	ORDER_LIFT_DEADLINE,
	ORDER_SIGNAL,
	ORDER_ASK,
	ORDER_LET_GO,
};

struct order {
	enum order_kind kind;
	int number;          /* ORDER_SIGNAL */
	bool from_terminal;  /* ORDER_SIGNAL */
	struct instant sent; /* ORDER_RENEWED */
};

/* The first message to the guardian; orders follow. */
struct start {
	struct lease lease;
	char token[STORE_TOKEN_MAX];
};

struct guard {
	const struct guardian_job *job;
	struct lease lease;
	struct tree tree;
	int socket, deaths, timer;
	pid_t parent, group; /* cflock's */
	bool orphaned;       /* cflock is gone */
	bool stopping, refusal_reported;
	unsigned int sweeps;
	int64_t next_sweep_ns;
	pid_t command;
	bool command_ended;
	int status;
	struct attached attached; /* job->attached, and what is found of it */
	bool is_paused;           /* attached, and stopped: reported */
	bool let_go;
	unsigned int empty_looks; /* in a row, for what carries the id */
	int64_t next_look_ns;
};

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

/* Reports that only inform may be lost, when cflock is stopped and reads none. */
static void report(struct guard *g, enum guardian_report_kind kind, int status,
		   int flags)
{
	struct guardian_report report;

	memset(&report, 0, sizeof(report)); /* its padding, too, is sent */
	report.kind = kind;
	report.status = status;
	report.lost = g->stopping;
	report.command = g->command;
	/* That cflock is gone, read_orders() finds: the lease is lost by that. */
	if (!g->orphaned)
		send(g->socket, &report, sizeof(report), MSG_NOSIGNAL | flags);
}

/* By which the guardian sees what it guards. */
static int watched_fd(const struct guard *g)
{
	return g->job->attached ? g->attached.pidfd : g->tree.children_fd;
}

/* Closes all descriptors but those of `g`. */
static void close_inherited(const struct guard *g)
{
	int fd, limit;
	DIR *open_files;
	struct dirent *entry;

#ifdef SYS_close_range
	int keep[4] = { g->socket, g->deaths, g->timer, watched_fd(g) };
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
		    fd != watched_fd(g))
			close(fd);
}

static void arm_timer(const struct guard *g, struct instant now)
{
	struct itimerspec timer = { 0 };

	/* -1 becomes nought, which disarms it. */
	timer.it_value =
		clock_timespec(lease_until_next_phase_ns(&g->lease, now));
	timerfd_settime(g->timer, 0, &timer, NULL);
}

static void pass_on(struct guard *g, int number, bool from_terminal,
		    struct instant now)
{
	/* What is sent to us is not meant for it. */
	if (g->job->attached)
		return;
	/* What is stopped stays so if the lease can no longer be proven. */
	if (number == SIGCONT && lease_phase(&g->lease, now) != LEASE_HELD)
		return;
	if (g->command_ended)
		tree_signal(&g->tree, &number, 1, INT64_MAX);
	else if (!from_terminal || getpgid(g->command) != g->group)
		kill(g->command, number); /* not reaped: still its own number */
}

static int64_t look_ns(const struct guard *g)
{
	int64_t ns = g->lease.policy.ttl_ns / LOOK_TTL_DIVISOR;

	return ns < LOOK_MAX_NS ? ns : LOOK_MAX_NS;
}

/* To all that is guarded: the stop signal; and, as what is stopped acts on none,
 * SIGCONT. */
static void send_stop_signal(struct guard *g, int64_t until_ns)
{
	const int signals[] = { g->job->stop_signal, SIGCONT };

	if (g->job->attached)
		attached_signal(&g->attached, signals, 2, look_ns(g), until_ns);
	else
		tree_signal(&g->tree, signals, 2, until_ns);
}

/* Asked to, it may take its time, as long as the lease is renewed. */
static void ask_tree(struct guard *g, struct instant now)
{
	int64_t left_ns = lease_until_next_phase_ns(&g->lease, now);

	if (lease_phase(&g->lease, now) != LEASE_HELD)
		return;
	send_stop_signal(g,
			 left_ns < 0 ? INT64_MAX : clock_boot_ns() + left_ns);
	report(g, GUARDIAN_ASKED, 0, MSG_DONTWAIT);
}

static void obey(struct guard *g, const struct order *order)
{
	struct instant now = clock_now();

	switch (order->kind) {
	case ORDER_RENEWED:
		if (lease_renewed(&g->lease, order->sent, now))
			arm_timer(g, now);
		break;
	case ORDER_LOSE:
		lease_lose(&g->lease, now);
		break;
	case ORDER_LIFT_DEADLINE:
		if (lease_set_unlimited(&g->lease, now))
			arm_timer(g, now);
		break;
	case ORDER_SIGNAL:
		pass_on(g, order->number, order->from_terminal, now);
		break;
	case ORDER_ASK:
		ask_tree(g, now);
		break;
	case ORDER_LET_GO:
		g->let_go = !g->stopping;
		break;
	}
}

static void read_orders(struct guard *g)
{
	struct order order;
	ssize_t n;

	while (!g->orphaned) {
		n = recv(g->socket, &order, sizeof(order), MSG_DONTWAIT);
		if (n == (ssize_t)sizeof(order)) {
			obey(g, &order);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/* Nobody is left who could renew. */
		g->orphaned = true;
		lease_lose(&g->lease, clock_now());
	}
}

/*
 * Nothing of an attached process is left, and nothing is found any more: twice,
 * as what was about to start a program carries no id yet.
 */
static bool is_attached_dead(struct guard *g)
{
	bool all_seen;

	attached_gather(&g->attached);
	if (!attached_is_dead(&g->attached)) {
		g->empty_looks = 0;
		return false;
	}
	/* Until then nothing is there to be killed. */
	if (clock_boot_ns() < g->next_look_ns) {
		g->next_sweep_ns = g->next_look_ns;
		return false;
	}
	all_seen = attached_look(&g->attached, clock_boot_ns() + look_ns(g));
	g->next_look_ns = clock_boot_ns() + look_ns(g);
	if (!attached_is_dead(&g->attached))
		return false;
	/* Once the killing is due, there is no time for more. */
	if (all_seen || lease_phase(&g->lease, clock_now()) == LEASE_KILLING)
		g->empty_looks++;
	return g->empty_looks >= EMPTY_LOOKS;
}

/*
 * The same as reap() for an attached process.  That it is stopped, as by Ctrl-Z,
 * nobody tells us: it is looked at with each renewal, and then again and again.
 */
static bool look_at_attached(struct guard *g)
{
	bool stopped;

	g->command_ended = attached_has_ended(&g->attached);
	if (g->stopping)
		return !is_attached_dead(g);
	stopped = attached_is_stopped(&g->attached);
	if (stopped != g->is_paused)
		report(g, stopped ? GUARDIAN_STOPPED : GUARDIAN_CONTINUED,
		       SIGSTOP, MSG_DONTWAIT);
	g->is_paused = stopped;
	return !g->command_ended && !g->let_go;
}

/* Returns false when there is nothing left to guard. */
static bool reap(struct guard *g)
{
	struct signalfd_siginfo info[8];
	int status;
	pid_t pid;

	while (read(g->deaths, info, sizeof(info)) > 0)
		; /* only to be woken by the next */
	if (g->job->attached)
		return look_at_attached(g);

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) >
	       0) {
		if (pid != g->command)
			continue;
		if (WIFSTOPPED(status)) {
			report(g, GUARDIAN_STOPPED, WSTOPSIG(status),
			       MSG_DONTWAIT);
		} else if (WIFCONTINUED(status)) {
			report(g, GUARDIAN_CONTINUED, 0, MSG_DONTWAIT);
			/* It may have followed the command into the stop. */
			if (!g->job->own_group && getppid() == g->parent)
				kill(g->parent, SIGCONT);
		} else {
			g->command_ended = true;
			g->status = status;
		}
	}
	return !(pid < 0 && errno == ECHILD);
}

static void stop_tree(struct guard *g)
{
	int64_t begun_ns = clock_boot_ns();
	int64_t left_ns = lease_until_next_phase_ns(&g->lease, clock_now());

	g->stopping = true;
	send_stop_signal(g, begun_ns + left_ns);
	/* What takes long to walk takes long to kill. */
	lease_kill_earlier(&g->lease, clock_boot_ns() - begun_ns);
	report(g, GUARDIAN_STOPPING, 0, MSG_DONTWAIT);
}

static void kill_tree(struct guard *g)
{
	int64_t begun_ns = clock_boot_ns(), took_ns;
	size_t refused;

	/* While it was not reaped, its number is its own; so is its group's. */
	if (!g->command_ended && !g->job->attached) {
		kill(g->command, SIGKILL);
		if (g->job->own_group)
			kill(-g->command, SIGKILL);
	}
	if (!g->job->attached) {
		refused =
			tree_kill(&g->tree, g->sweeps % SWEEP_DEEP_EVERY == 0);
	} else {
		refused = attached_kill(&g->attached, begun_ns + look_ns(g));
		/* Should one of these be slow to die, or not be killable. */
		if (!g->sweeps)
			attached_look(&g->attached,
				      clock_boot_ns() + look_ns(g));
	}
	g->sweeps++;
	if (refused && !g->refusal_reported) {
		report(g, GUARDIAN_REFUSED, (int)refused, MSG_DONTWAIT);
		g->refusal_reported = true;
	}
	took_ns = clock_boot_ns() - begun_ns;
	g->next_sweep_ns = begun_ns + 2 * took_ns + SWEEP_PAUSE_NS +
			   (refused ? SWEEP_REFUSED_NS : 0);
}

/* NULL: until something comes in. */
static struct timespec *sleep_at_most(const struct guard *g, bool killing,
				      struct timespec *timeout)
{
	if (killing)
		*timeout = clock_timespec(g->next_sweep_ns - clock_boot_ns());
	else if (g->job->attached && (g->stopping || g->is_paused))
		*timeout = clock_timespec(LOOK_EVERY_NS);
	else
		return NULL;
	return timeout;
}

/* Until something comes in, or until the next sweep, when there is to be one. */
static void wait_for_events(struct guard *g, bool killing)
{
	struct pollfd fds[] = {
		/* The end of the socket would be readable for ever. */
		{ .fd = g->orphaned ? -1 : g->socket, .events = POLLIN },
		{ .fd = g->deaths, .events = POLLIN },
		{ .fd = g->timer, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
	};
	struct timespec timeout;
	uint64_t expirations;

	/* So would be the end of an attached process. */
	if (g->job->attached && !g->command_ended)
		fds[3].fd = g->attached.pidfd;
	ppoll(fds, 4, sleep_at_most(g, killing, &timeout), NULL);
	if (read(g->timer, &expirations, sizeof(expirations)) > 0)
		arm_timer(g, clock_now());
}

/* Until the tree is dead, or, for command_only, the command ended in time. */
static void guard_tree(struct guard *g)
{
	enum lease_phase phase;
	bool left = true;

	/*
	 * Looked at behind the timer: what was due when it was set needs none, and
	 * is seen here.
	 */
	arm_timer(g, clock_now());
	phase = lease_phase(&g->lease, clock_now());
	for (;;) {
		if (phase == LEASE_HELD || g->stopping)
			wait_for_events(g, phase == LEASE_KILLING);
		read_orders(g);
		left = reap(g);
		phase = lease_phase(&g->lease, clock_now());
		if (!left ||
		    (g->job->command_only && g->command_ended && !g->stopping))
			break;
		if (phase != LEASE_HELD && !g->stopping) {
			stop_tree(g);
			arm_timer(g, clock_now());
			phase = lease_phase(&g->lease, clock_now());
		}
		if (phase == LEASE_KILLING &&
		    clock_boot_ns() >= g->next_sweep_ns)
			kill_tree(g);
	}
	/* It may have lived until now: nobody can say that it ended in time. */
	if (phase == LEASE_KILLING && !g->stopping) {
		g->stopping = true;
		report(g, GUARDIAN_STOPPING, 0, 0);
	}
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
			report(g, GUARDIAN_STARTED, 0, MSG_DONTWAIT);
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
		report(&g, GUARDIAN_NOT_STARTED, err, 0);
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
	report(&g, GUARDIAN_ENDED, g.status, 0);
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
