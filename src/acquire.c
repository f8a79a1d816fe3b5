#include "config.h"

#include "acquire.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "log.h"
#include "ready.h"

#define ASK_AGAIN_NS (100 * NS_PER_MS)

/* As the end of the wait comes near, halve what is left, down to this. */
#define LAST_TRY_NS (4 * NS_PER_MS)

/* How long to wait for the answer to a release behind an acquire in doubt. */
#define WITHDRAW_NS (200 * NS_PER_MS)

/* Returns the first signal that should end us, 0 when there is none. */
static int take_deadly_signal(const struct signals *signals)
{
	struct signalfd_siginfo info;

	while (read(signals->fd, &info, sizeof(info)) ==
	       (ssize_t)sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (number == SIGTSTP || number == SIGTTIN || number == SIGTTOU)
			raise(SIGSTOP);
		else if (signals_is_deadly(signals, number))
			return number;
	}
	return 0;
}

/* True when `id` is one of the space-separated `ids`. */
static bool is_listed(const char *id, const char *ids)
{
	size_t length = strlen(id);

	while (ids && *ids) {
		size_t word = strcspn(ids, " ");

		if (word == length && length && strncmp(ids, id, length) == 0)
			return true;
		ids += word + strspn(ids + word, " ");
	}
	return false;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* How long to leave a lock alone that is held for `left_ms` more. */
static int64_t pause_ns(int64_t left_ms, int64_t until_end_ns)
{
	int64_t ns = ASK_AGAIN_NS;

	if (left_ms >= 0 && left_ms < ASK_AGAIN_NS / NS_PER_MS)
		ns = (left_ms + 1) * NS_PER_MS;
	/* So that what is freed just before the end of the wait is not missed. */
	if (until_end_ns > LAST_TRY_NS)
		until_end_ns /= 2;
	return least(ns, until_end_ns);
}

/*
 * How long to leave a service alone that failed.  A last try that had no time
 * for an answer would hide the cause behind a time-out of its own.
 */
static int64_t pause_after_error_ns(int64_t until_end_ns)
{
	return until_end_ns < 2 * ASK_AGAIN_NS ? until_end_ns : ASK_AGAIN_NS;
}

/*
 * Waits; a signal may come.  Returns 0 at the end of the time or when woken by
 * a signal without meaning for us, else the number of a deadly one.
 */
static int sleep_or_signal(const struct signals *signals, int64_t ns)
{
	wait_until_ready(-1, 0, clock_boot_ns() + ns, signals->fd);
	return take_deadly_signal(signals);
}

/* How the waiting stands. */
struct waiting {
	const struct acquire_request *request;
	int64_t start_ns;
	int64_t end_ns;      /* INT64_MAX: without end */
	int64_t answered_ns; /* last sign of the service's life */
	bool was_refused;
	char last_value[HOLDER_FIELD_MAX]; /* of the lease that is waited for */
};

/* The instant at which an unreachable service is given up. */
static int64_t give_up_ns(const struct waiting *w)
{
	if (w->request->wait_ns < 0)
		return w->answered_ns + w->request->policy->ttl_ns;
	if (w->request->wait_ns == 0)
		return w->start_ns + ACQUIRE_TRY_NS;
	return w->end_ns;
}

/* With -v, one line for each lease that is waited for. */
static void tell_holder(struct waiting *w, const struct holder *holder)
{
	char text[HOLDER_TEXT_MAX];

	if (strcmp(holder->value, w->last_value) == 0)
		return;
	memcpy(w->last_value, holder->value, sizeof(w->last_value));
	log_line(LOG_VERBOSE, "waiting: held by %s",
		 holder_format(holder, text, sizeof(text)));
}

/* To ask again after *pause; all other results of the functions below end. */
#define ASK_AGAIN 1

static int after_grant(struct waiting *w, const struct grant *grant,
		       int64_t *pause)
{
	const struct lease_policy *policy = w->request->policy;

	/* So late that a renewal is due: asked again, the lease begins anew. */
	if (clock_elapsed_ns(grant->sent, clock_now()) < policy->renew_every_ns)
		return 0;
	w->answered_ns = clock_boot_ns();
	*pause = 0;
	return ASK_AGAIN;
}

static int after_refusal(struct waiting *w, const struct holder *holder,
			 int64_t *pause)
{
	int64_t now_ns = clock_boot_ns();

	if (is_listed(holder->id, w->request->ancestors))
		return -EDEADLK;
	if (now_ns >= w->end_ns)
		return -EBUSY;
	tell_holder(w, holder);
	w->answered_ns = now_ns;
	w->was_refused = true;
	*pause = pause_ns(holder->left_ms, w->end_ns - now_ns);
	return ASK_AGAIN;
}

static int after_error(struct waiting *w, const struct store *store, int err,
		       int64_t *pause)
{
	int64_t now_ns = clock_boot_ns();

	*pause = 0;
	if (err == -ECANCELED) /* by a signal that means nothing to us */
		return ASK_AGAIN;
	/* The last try may have had less time than an answer takes. */
	if (err == -ETIMEDOUT && w->was_refused && now_ns >= w->end_ns &&
	    now_ns - w->answered_ns < ACQUIRE_TRY_NS)
		return -EBUSY;
	if (store_error_is_final(err) || now_ns >= give_up_ns(w))
		return err;
	log_line(LOG_VERBOSE, "%s; trying again", store_error(store));
	*pause = pause_after_error_ns(give_up_ns(w) - now_ns);
	return ASK_AGAIN;
}

static int ask_until_answered(struct store *store,
			      const struct acquire_request *request,
			      struct acquire_answer *answer)
{
	struct waiting w = { .request = request, .start_ns = clock_boot_ns() };

	w.answered_ns = w.start_ns;
	w.end_ns = request->wait_ns < 0 ? INT64_MAX
					: w.start_ns + request->wait_ns;
	for (;;) {
		int64_t pause, limit_ns;
		int result, verdict;

		/* A later answer would be worth nothing. */
		limit_ns = clock_boot_ns() + request->policy->renew_by_ns;
		result = store_acquire(store, request->claim,
				       least(give_up_ns(&w), limit_ns),
				       &answer->grant, &answer->holder);
		answer->signal = take_deadly_signal(request->signals);
		if (answer->signal) {
			if (result == STORE_DONE)
				store_release(store, request->claim,
					      clock_boot_ns() + WITHDRAW_NS);
			return -EINTR;
		}

		if (result == STORE_DONE)
			verdict = after_grant(&w, &answer->grant, &pause);
		else if (result == STORE_REFUSED)
			verdict = after_refusal(&w, &answer->holder, &pause);
		else
			verdict = after_error(&w, store, result, &pause);
		if (verdict != ASK_AGAIN)
			return verdict;

		answer->signal = sleep_or_signal(request->signals, pause);
		if (answer->signal)
			return -EINTR;
		if (result == STORE_REFUSED && clock_boot_ns() >= w.end_ns)
			return -EBUSY;
		if (result < 0 && result != -ECANCELED &&
		    clock_boot_ns() >= give_up_ns(&w))
			return result;
	}
}

int acquire(struct store *store, const struct acquire_request *request,
	    struct acquire_answer *answer)
{
	int err = ask_until_answered(store, request, answer);

	if (err)
		store_withdraw(store, request->claim,
			       clock_boot_ns() + WITHDRAW_NS);
	return err;
}
