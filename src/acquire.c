#include "config.h"

#include "acquire.h"

#include <errno.h>
#include <unistd.h>

#include "int64.h"
#include "ready.h"
#include "waitshow.h"

/* How long to leave a service alone that failed. */
#define ASK_AGAIN_NS (100 * NS_PER_MS)

/* The last time to ask, before the end of the wait. */
#define LAST_TRY_NS (4 * NS_PER_MS)

bool acquire_is_unreachable(int err)
{
	switch (err) {
	case -ECANCELED:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -ENOEXEC: /* what looks names up is not there */
		return false;
	default:
		return err < 0 && !store_error_is_final(err);
	}
}

/* How the waiting stands. */
struct waiting {
	const struct acquire_request *request;
	struct store *store;
	struct waitshow show;
	int64_t start_ns;
	int64_t end_ns;        /* INT64_MAX: without end */
	int64_t heard_ns;      /* last sign of the service's life */
	int64_t held_until_ns; /* as it said last; INT64_MAX: without end */
	int64_t asking_ns;     /* since when it is asked without an answer */
	bool was_refused;
	bool was_late; /* an answer that granted */
	/* The answer to come may well be a grant: the guardian is forked then. */
	bool is_turn;
};

/* The instant at which an unreachable service is given up. */
static int64_t give_up_ns(const struct waiting *w)
{
	if (w->request->prefers_availability && w->request->wait_ns != 0)
		return least(most(w->asking_ns + ACQUIRE_TRY_NS,
				  w->held_until_ns),
			     w->end_ns);
	if (w->request->wait_ns < 0)
		return w->asking_ns + w->request->policy->ttl_ns;
	if (w->request->wait_ns == 0)
		return w->start_ns + ACQUIRE_TRY_NS;
	return w->end_ns;
}

/* To ask again; all other results of the functions below end the waiting. */
#define ASK_AGAIN 1

static int after_grant(struct waiting *w, const struct grant *grant)
{
	const struct lease_policy *policy = w->request->policy;
	int64_t elapsed_ns = clock_elapsed_ns(grant->sent, clock_now());

	if (elapsed_ns < policy->renew_every_ns)
		return 0;
	/*
	 * So late that a renewal is due: asked again, the lease begins anew.  Not
	 * for ever, where answers take that long each time.
	 */
	if (w->was_late && elapsed_ns < policy->renew_by_ns)
		return 0;
	w->was_late = true;
	w->asking_ns = w->heard_ns = clock_boot_ns();
	return ASK_AGAIN;
}

/*
 * Not at the head of the line while a client that is not cflock holds the lock,
 * nor once the lock is ours from a later instant on, nor in a grace period: time
 * alone tells.
 */
static bool will_be_woken(const struct refusal *refusal)
{
	bool is_foreign =
		refusal->reason == REFUSAL_HELD && !*refusal->holder.id;

	return refusal->reason != REFUSAL_TAKEN &&
	       refusal->reason != REFUSAL_GRACE &&
	       !(is_foreign && refusal->place == 1);
}

int acquire_sleep(struct store *store, const struct claim *claim,
		  const struct refusal *refusal, int64_t last_ns, int cancel_fd)
{
	/* Not without a pause, whatever the service says. */
	int64_t least_ns = clock_boot_ns() + NS_PER_MS, until_ns = least_ns;
	int err;

	if (refusal->again_ms > 1)
		until_ns += (refusal->again_ms - 1) * NS_PER_MS;
	if (!will_be_woken(refusal))
		return wait_until_ready(-1, 0, least(until_ns, last_ns),
					cancel_fd);
	err = store_wait(store, claim, least(until_ns, last_ns),
			 refusal->exactly || last_ns < until_ns);
	if (!err && clock_boot_ns() < least_ns)
		wait_until_ready(-1, 0, least_ns, cancel_fd);
	return err;
}

static int after_refusal(struct waiting *w, const struct refusal *refusal)
{
	int64_t now_ns = clock_boot_ns(), last_ns = w->end_ns - LAST_TRY_NS;
	int err;

	if (refusal->reason == REFUSAL_ANCESTOR)
		return -EDEADLK;
	if (refusal->reason == REFUSAL_KIND)
		return -EINVAL;
	if (refusal->reason == REFUSAL_COOLING ||
	    now_ns + LAST_TRY_NS >= w->end_ns)
		return -EBUSY;
	w->was_refused = true;
	w->heard_ns = now_ns;
	w->held_until_ns = refusal->left_ms < 0
				   ? INT64_MAX
				   : now_ns + refusal->left_ms * NS_PER_MS;
	waitshow_update(&w->show, refusal, now_ns);

	err = acquire_sleep(w->store, w->request->claim, refusal, last_ns,
			    w->request->signals->cancel_fd);
	w->is_turn = err == 0 || refusal->reason == REFUSAL_TAKEN;
	if (store_error_is_final(err))
		return err;
	/* The connection may be lost: the next request will tell, in its time. */
	if (err && err != -ETIMEDOUT && err != -ECANCELED)
		wait_until_ready(-1, 0,
				 least(clock_boot_ns() + ASK_AGAIN_NS, last_ns),
				 w->request->signals->cancel_fd);
	w->asking_ns = clock_boot_ns();
	return ASK_AGAIN;
}

/* Given up, by an error; or refused, as far as anybody knows. */
static int give_up(const struct waiting *w, int err)
{
	int64_t now_ns = clock_boot_ns();

	/*
	 * The last try may have had less time than an answer takes; or than the
	 * sentinels take, which have but a part of it.
	 */
	if (err == -ETIMEDOUT && w->was_refused && now_ns >= w->end_ns &&
	    now_ns - w->heard_ns < ACQUIRE_TRY_NS)
		return -EBUSY;
	if (w->request->prefers_availability && now_ns < w->held_until_ns &&
	    acquire_is_unreachable(err))
		return -EBUSY;
	return err;
}

static int after_error(struct waiting *w, int err)
{
	int64_t now_ns = clock_boot_ns(), left_ns = give_up_ns(w) - now_ns;

	if (err == -ECANCELED) /* by a signal that means nothing to us */
		return ASK_AGAIN;
	if (store_error_is_final(err) || left_ns <= 0)
		return give_up(w, err);
	waitshow_trouble(&w->show, store_error(w->store), now_ns);
	/* A last try without time for an answer would hide the cause. */
	if (left_ns >= 2 * ASK_AGAIN_NS)
		left_ns = ASK_AGAIN_NS;
	wait_until_ready(-1, 0, now_ns + left_ns,
			 w->request->signals->cancel_fd);
	return clock_boot_ns() < give_up_ns(w) ? ASK_AGAIN : give_up(w, err);
}

/* In `context` is the waiting. */
static void fork_guardian(void *context)
{
	const struct waiting *w = context;
	const struct acquire_request *request = w->request;

	/* Should that fail, it is forked, or not, when it is needed. */
	if (request->job && w->is_turn && !request->guardian->pid)
		guardian_fork(request->guardian, request->job);
}

static int ask_until_answered(struct waiting *w, struct acquire_answer *answer)
{
	const struct acquire_request *request = w->request;

	for (;;) {
		int64_t limit_ns;
		int result, verdict;

		/* A later answer would be worth nothing. */
		limit_ns = clock_boot_ns() + request->policy->renew_by_ns;
		if (request->prefers_availability)
			limit_ns = least(limit_ns,
					 clock_boot_ns() + ACQUIRE_TRY_NS);
		result = store_acquire(w->store, request->claim,
				       least(give_up_ns(w), limit_ns),
				       &answer->grant, &answer->refusal);
		if (result != STORE_DONE)
			guardian_dismiss(request->guardian);
		answer->signal = signals_take_deadly(request->signals);
		if (answer->signal)
			return -EINTR;

		if (result == STORE_DONE)
			verdict = after_grant(w, &answer->grant);
		else if (result == STORE_REFUSED)
			verdict = after_refusal(w, &answer->refusal);
		else
			verdict = after_error(w, result);
		if (verdict != ASK_AGAIN)
			return verdict;

		answer->signal = signals_take_deadly(request->signals);
		if (answer->signal)
			return -EINTR;
	}
}

int acquire(struct store *store, const struct acquire_request *request,
	    struct acquire_answer *answer)
{
	struct waiting w = {
		.request = request,
		.store = store,
		.start_ns = clock_boot_ns(),
		.is_turn = true,
	};
	int err;

	w.asking_ns = w.heard_ns = w.start_ns;
	w.end_ns = request->wait_ns < 0 ? INT64_MAX
					: w.start_ns + request->wait_ns;
	waitshow_init(&w.show, w.start_ns, w.end_ns);
	store_set_meanwhile(store, fork_guardian, &w);
	err = ask_until_answered(&w, answer);
	store_set_meanwhile(store, NULL, NULL);
	waitshow_end(&w.show);
	answer->may_do_without = request->prefers_availability &&
				 err != -EBUSY && err != -EDEADLK &&
				 err != -EINVAL && err != -EINTR &&
				 acquire_is_unreachable(err);
	if (err)
		guardian_dismiss(request->guardian);
	if (err && !answer->may_do_without) {
		store_withdraw(store, request->claim,
			       clock_boot_ns() + ACQUIRE_WITHDRAW_NS);
	}
	return err;
}
