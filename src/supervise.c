#include "config.h"

#include "supervise.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event.h"
#include "tell.h"

/* Between two sweeps, when cflock has to kill in the guardian's place, and when
 * what is left may not be killed. */
#define SWEEP_EVERY_MS 1

/* So long at most it takes to stop what is to be killed. */
#define FREEZE_NS (50 * NS_PER_MS)
#define SWEEP_REFUSED_MS 100
#define SWEEP_DEEP_EVERY 8

/*
 * True for a signal that the terminal sent to the whole foreground group: to a
 * command that is still in it, it would be passed on as a second one.
 */
static bool is_from_terminal(const struct supervision *s,
			     const struct signalfd_siginfo *info)
{
	if (!s->on_terminal || info->ssi_code != SI_KERNEL)
		return false;
	switch (info->ssi_signo) {
	case SIGINT:
	case SIGQUIT:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGHUP:
	case SIGCONT:
	case SIGWINCH:
		return true;
	default:
		return false;
	}
}

/* A stopped guardian guards nothing: whoever stopped it, it goes on. */
static void keep_guardian_going(const struct supervision *s)
{
	int status;

	/* Its death is noticed as the end of its socket, behind its reports. */
	if (waitpid(s->guardian->pid, &status, WNOHANG | WUNTRACED) > 0 &&
	    WIFSTOPPED(status))
		kill(s->guardian->pid, SIGCONT);
}

static void pass_on(const struct supervision *s,
		    const struct signalfd_siginfo *info,
		    struct outcome *outcome)
{
	bool from_terminal = is_from_terminal(s, info);

	outcome->interrupted |= from_terminal && info->ssi_signo == SIGINT;
	guardian_signal(s->guardian, (int)info->ssi_signo, from_terminal);
}

static void pass_signals_on(const struct supervision *s,
			    struct outcome *outcome)
{
	struct signalfd_siginfo info;

	while (read(s->signals->fd, &info, sizeof(info)) ==
	       (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			keep_guardian_going(s);
		else
			pass_on(s, &info, outcome);
	}
}

static bool is_stopped(pid_t pid)
{
	pid_t parent;
	char state;

	return tree_look_up(pid, &state, &parent) && state == 'T';
}

/*
 * The command was stopped: its lease is left to run out, for nobody knows how
 * long others would have to wait.  After Ctrl-Z cflock stops, too, so that the
 * shell takes the terminal back; unless the command was continued meanwhile.
 */
static void follow_into_stop(const struct supervision *s,
			     const struct guardian_report *report)
{
	bool by_terminal = report->status == SIGTSTP ||
			   report->status == SIGTTIN ||
			   report->status == SIGTTOU;
	struct event event;

	renewer_pause(s->renewer, true);
	event_begin(&event, LOG_VERBOSE, "paused");
	event_number(&event, "signal", report->status);
	event_send(&event, "the command was stopped (signal %d): no renewals",
		   report->status);
	if (s->on_terminal && by_terminal && is_stopped(report->command))
		raise(SIGSTOP);
}

static void go_on(const struct supervision *s)
{
	struct event event;

	renewer_pause(s->renewer, false);
	event_begin(&event, LOG_VERBOSE, "resumed");
	event_send(&event, "the command goes on, and so do renewals");
}

static void tell_lost(const struct supervision *s)
{
	static const char no_error[] =
		"no renewal in time: cflock or the command was stopped, or the "
		"machine was too busy";
	struct instant now = clock_now();
	char left[DURATION_TEXT_MAX];
	struct renewer_state state;
	struct event event;
	int64_t left_ns;

	renewer_look(s->renewer, &state);
	if (!*state.why)
		snprintf(state.why, sizeof(state.why), "%s", no_error);
	event_begin(&event, LOG_FATAL, "lost");
	event_string(&event, "reason",
		     state.is_refused ? "refused" : "not_renewed");
	event_string(&event, "cause", state.why);
	if (!state.is_refused)
		event_ms(&event, "left_ms", lease_left_ns(&state.lease, now));
	event_send(&event,
		   "the lease is lost, the command is being stopped: %s",
		   state.why);

	event_begin(&event, LOG_VERBOSE, "stopping");
	event_number(&event, "signal", s->stop_signal);
	left_ns = lease_until_next_phase_ns(&state.lease, now);
	if (lease_phase(&state.lease, now) != LEASE_STOPPING) {
		event_send(&event, "signal %d was sent to the command",
			   s->stop_signal);
		return;
	}
	event_ms(&event, "kill_in_ms", left_ns);
	event_send(&event,
		   "signal %d was sent to the command; what is left of it gets "
		   "SIGKILL in %s",
		   s->stop_signal,
		   duration_format(left_ns, left, sizeof(left)));
}

static void tell_news(const struct supervision *s)
{
	struct renewer_news news;

	if (!renewer_take_news(s->renewer, &news))
		return;
	if (news.is_without)
		tell_without(news.cause);
	if (news.has_rival)
		tell_overlap(&news.refusal);
	if (news.is_back)
		tell_regained(&news);
}

static void tell_who_asked(const struct supervision *s)
{
	struct renewer_state state;
	struct event event;

	renewer_look(s->renewer, &state);
	event_begin(&event, LOG_FATAL, "asked");
	event_string(&event, "by", state.asked_by);
	event_number(&event, "signal", s->stop_signal);
	event_send(&event, "asked to end by %s: the stop signal was sent",
		   state.asked_by);
}

static void tell_refused(int count)
{
	struct event event;

	event_begin(&event, LOG_FATAL, "unkillable");
	event_number(&event, "processes", count);
	event_send(&event,
		   "%d processes of the command may not be killed by this user "
		   "(set-user-id?): they run on, though the lease runs out",
		   count);
}

/*
 * The guardian is dead, and with it the command, by PDEATHSIG.  What else was
 * in the tree has become ours, as we are the next child subreaper.
 */
static void kill_orphans(const struct supervision *s)
{
	unsigned int sweeps = 0;
	size_t refused = 0;
	bool told = false;

	while (!tree_is_empty(s->tree)) {
		renewer_tend(s->renewer); /* as long as something runs */
		if (sweeps)
			poll(NULL, 0,
			     refused ? SWEEP_REFUSED_MS : SWEEP_EVERY_MS);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		refused = tree_kill(s->tree, sweeps++ % SWEEP_DEEP_EVERY == 0);
		if (refused && !told)
			tell_refused((int)refused);
		told |= refused > 0;
	}
}

/* The same for an attached process, which the guardian's death does not touch. */
static void kill_attached(const struct supervision *s)
{
	size_t refused;
	bool told = false;

	attached_use_reserve(s->attached);
	while (!attached_is_dead(s->attached)) {
		renewer_tend(s->renewer);
		refused =
			attached_kill(s->attached, clock_boot_ns() + FREEZE_NS);
		if (refused && !told)
			tell_refused((int)refused);
		told |= refused > 0;
		poll(NULL, 0, refused ? SWEEP_REFUSED_MS : SWEEP_EVERY_MS);
	}
}

/* Returns true when the run is over. */
static bool read_reports(const struct supervision *s, struct outcome *outcome)
{
	struct guardian_report report;
	int n;

	while ((n = guardian_read(s->guardian, &report)) > 0) {
		switch (report.kind) {
		case GUARDIAN_STARTED:
			/* Whoever waits for it may be gone: nobody wants it. */
			if (write(s->ready, "", 1) != 1)
				guardian_let_go(s->guardian);
			close(s->ready);
			break;
		case GUARDIAN_STOPPED:
			follow_into_stop(s, &report);
			break;
		case GUARDIAN_CONTINUED:
			go_on(s);
			break;
		case GUARDIAN_ASKED:
			tell_who_asked(s);
			break;
		case GUARDIAN_STOPPING:
			tell_lost(s);
			break;
		case GUARDIAN_REFUSED:
			tell_refused(report.status);
			break;
		case GUARDIAN_NOT_STARTED:
			outcome->kind = OUTCOME_NOT_STARTED;
			outcome->status = report.status;
			return true;
		case GUARDIAN_ENDED:
			outcome->kind =
				report.lost ? OUTCOME_LOST : OUTCOME_ENDED;
			outcome->status = report.status;
			return true;
		}
	}
	if (n == 0)
		return false;
	if (s->attached)
		kill_attached(s);
	else
		kill_orphans(s);
	outcome->kind = OUTCOME_UNGUARDED;
	return true;
}

void supervise(const struct supervision *s, struct outcome *outcome)
{
	struct pollfd fds[] = {
		{ .fd = s->guardian->fd, .events = POLLIN },
		{ .fd = s->signals->fd, .events = POLLIN },
		{ .events = POLLIN },
		{ .fd = renewer_news_fd(s->renewer), .events = POLLIN },
	};

	memset(outcome, 0, sizeof(*outcome));
	do {
		int64_t ns = renewer_tend(s->renewer);
		struct timespec timeout = clock_timespec(ns);

		fds[2].fd = s->door ? s->door->fd : -1;
		ppoll(fds, 4, ns < 0 ? NULL : &timeout, NULL);
		pass_signals_on(s, outcome);
		if (fds[3].revents)
			tell_news(s);
		if ((fds[2].revents & POLLIN) && door_let_in(s->door) &&
		    guardian_let_go(s->guardian) < 0)
			door_answer(s->door, false);
	} while (!read_reports(s, outcome));
}
