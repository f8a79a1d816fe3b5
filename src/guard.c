/*
 * Single-threaded; after the start it holds four descriptors: the socket to cflock,
 * a signalfd for SIGCHLD, a timer, and the kernel's list of its children.  All other
 * signals stay blocked and pending: nothing but SIGKILL and SIGSTOP can keep it from
 * its work.  Its parent watches for both.
 *
 * Order in the loop: orders before the clock, so that a renewal that arrived
 * in time counts even when the guardian woke late; deaths before the clock, so
 * that what may have lived past kill_at is never reported as ended in time.
 */
#include "config.h"

#include "guard.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

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

void guard_report(struct guard *g, enum guardian_report_kind kind, int status,
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

int guard_watched_fd(const struct guard *g)
{
	return g->job->attached ? g->attached.pidfd : g->tree.children_fd;
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
	guard_report(g, GUARDIAN_ASKED, 0, MSG_DONTWAIT);
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
		guard_report(g, stopped ? GUARDIAN_STOPPED : GUARDIAN_CONTINUED,
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
			guard_report(g, GUARDIAN_STOPPED, WSTOPSIG(status),
				     MSG_DONTWAIT);
		} else if (WIFCONTINUED(status)) {
			guard_report(g, GUARDIAN_CONTINUED, 0, MSG_DONTWAIT);
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
	guard_report(g, GUARDIAN_STOPPING, 0, MSG_DONTWAIT);
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
		guard_report(g, GUARDIAN_REFUSED, (int)refused, MSG_DONTWAIT);
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
void guard_tree(struct guard *g)
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
		guard_report(g, GUARDIAN_STOPPING, 0, 0);
	}
}
