/*
 * The mutex guards all fields of struct renewer that change after the start.
 * It is never held during input or output: who takes it, gets it at once.
 * The store belongs to the thread while `busy`, else to who holds the mutex.
 */
#include "config.h"

#include "renewer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "acquire.h"
#include "event.h"
#include "tell.h"

/* A thread that makes requests of a few hundred bytes needs little. */
#define STACK_BYTES (256 * 1024)

/* After a failed renewal, the next try comes after this part of the interval. */
#define RETRY_DIVISOR 10

/*
 * A renewal counts as late when a try before it failed, or when it took so much
 * of the interval longer than it should: of the two intervals between its being
 * due and the loss of the lease, a quarter.  A round trip, or a busy machine,
 * take less; where they do not, the ttl is too short for them.
 */
#define LATE_DIVISOR 2

/* Between two tries, while there is no lock: not a burden on what is ill. */
#define WITHOUT_RETRY_NS NS_PER_S

/* A request is cancelled for who stops us; more only a machine that hangs takes. */
#define STOP_LIMIT_S 1

struct renewer {
	const struct claim *claim;
	struct grant grant;
	const struct guardian *guardian;
	int wake_fd; /* eventfd: something below has changed; -1: no thread yet */
	bool prefers_availability;
	/* eventfds; -1 for consistency: ends requests; there are news. */
	int cancel_fd, news_fd;

	pthread_mutex_t mutex;
	pthread_cond_t idle; /* not busy any more */
	struct store *store;
	struct lease lease;
	int64_t retry_at_ns; /* CLOCK_BOOTTIME; not before */
	bool paused, stopped, busy;
	/* With a minority, as it was told last. */
	char trouble[STORE_ERROR_MAX];
	bool is_refused;
	char why[STORE_ERROR_MAX];
	struct asked asked;    /* to end, as it was passed on */
	unsigned int failures; /* since the last success */
	struct renewer_statistics statistics;
	enum renewer_hold hold;
	struct instant without_since; /* not RENEWER_HELD */
	bool rival_told;              /* since then */
	struct renewer_news news;
};

/* A try to renew, and what came of it. */
struct attempt {
	struct instant sent, answered;
	int result; /* of store_renew() */
	/* Of the lease that it was to replace, at the answer: what was left, and for
	 * how long a renewal was due. */
	int64_t left_ns, late_ns;
	unsigned int failures; /* before it, or with it */
	bool counts;
	struct asked asked;
};

static void raise_event(int fd)
{
	uint64_t one = 1;

	/* Fails only when it is up for ever already. */
	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		return;
}

static void wait_for_wake(struct renewer *renewer, int64_t ns)
{
	struct pollfd fd = { .fd = renewer->wake_fd, .events = POLLIN };
	struct timespec timeout = clock_timespec(ns);
	uint64_t count;

	if (ppoll(&fd, 1, ns < 0 ? NULL : &timeout, NULL) > 0 &&
	    read(renewer->wake_fd, &count, sizeof(count)) < 0)
		return;
}

static int64_t retry_after_ns(const struct renewer *renewer)
{
	return renewer->lease.policy.renew_every_ns / RETRY_DIVISOR;
}

static int64_t late_after_ns(const struct renewer *renewer)
{
	return renewer->lease.policy.renew_every_ns / LATE_DIVISOR;
}

/* ns until the timeline of the lease wants a renewal, or there is none to keep. */
static int64_t until_wanted_ns(const struct renewer *renewer)
{
	if (renewer->hold == RENEWER_NONE)
		return 0;
	return lease_until_renewal_ns(&renewer->lease, clock_now());
}

/* ns until a renewal is due; -1: not until woken. */
static int64_t until_due_ns(const struct renewer *renewer)
{
	int64_t due_ns, retry_ns;

	if (renewer->paused)
		return -1;
	due_ns = until_wanted_ns(renewer);
	retry_ns = renewer->retry_at_ns - clock_boot_ns();
	return due_ns > retry_ns ? due_ns : retry_ns;
}

/* The store is the caller's. */
static void tell(const struct renewer *renewer, const struct attempt *attempt)
{
	bool is_late =
		attempt->failures || attempt->late_ns > late_after_ns(renewer);
	int64_t took_ns = clock_elapsed_ns(attempt->sent, attempt->answered);
	char late[DURATION_TEXT_MAX], left[DURATION_TEXT_MAX];
	const char *why = attempt->result == STORE_DONE
				  ? "the answer came too late to count"
				  : store_error(renewer->store);
	struct event event;

	duration_format(attempt->late_ns, late, sizeof(late));
	duration_format(attempt->left_ns, left, sizeof(left));
	if (!attempt->counts)
		event_begin(&event, LOG_NOTICE, "renewal_failed");
	else if (is_late)
		event_begin(&event, LOG_NOTICE, "renewed_late");
	else
		event_begin(&event, LOG_DETAIL, "renewed");
	event_ms(&event, "took_ms", took_ns);
	event_ms(&event, "left_ms", attempt->left_ns);
	if (is_late)
		event_ms(&event, "late_ms", attempt->late_ns);
	if (attempt->failures)
		event_number(&event, "failures", attempt->failures);
	if (!attempt->counts) {
		event_string(&event, "cause", why);
		event_send(&event, "renewal failed: %s", why);
	} else if (is_late) {
		event_send(
			&event,
			"renewed late, %s after it was due, when %s of the lease "
			"were left; tries that failed before: %u",
			late, left, attempt->failures);
	} else {
		event_send(&event,
			   "renewed, %.1f ms after the request was sent",
			   (double)took_ns / (double)NS_PER_MS);
	}
}

static void count_success(struct renewer *renewer, struct attempt *attempt)
{
	struct renewer_statistics *statistics = &renewer->statistics;
	int64_t took_ns = clock_elapsed_ns(attempt->sent, attempt->answered);

	attempt->failures = renewer->failures;
	renewer->failures = 0;
	statistics->renewed++;
	if (took_ns > statistics->slowest_ns)
		statistics->slowest_ns = took_ns;
	if (attempt->left_ns < statistics->least_left_ns)
		statistics->least_left_ns = attempt->left_ns;
}

/* Each asking is told once, whatever it says. */
static bool is_asked_anew(const struct renewer *renewer,
			  const struct asked *asked)
{
	return *asked->by &&
	       (strcmp(asked->by, renewer->asked.by) != 0 ||
		strcmp(asked->asking, renewer->asked.asking) != 0);
}

/* === without a lock; all of it with the mutex held ===================== */

static void do_without(struct renewer *renewer, enum renewer_hold hold)
{
	if (renewer->hold == RENEWER_HELD) {
		renewer->without_since = clock_now();
		renewer->rival_told = false;
		renewer->news.is_back = false;
		renewer->news.is_without = true;
		memcpy(renewer->news.cause, renewer->why,
		       sizeof(renewer->news.cause));
		raise_event(renewer->news_fd);
	}
	renewer->hold = hold;
}

/* The lock is held again, by the lease that it was, or by a new one. */
static void come_back(struct renewer *renewer, bool is_new)
{
	int64_t ns = clock_elapsed_ns(renewer->without_since, clock_now());

	renewer->statistics.without_ns += ns;
	renewer->hold = RENEWER_HELD;
	renewer->why[0] = '\0';
	renewer->news.is_back = true;
	renewer->news.is_new = is_new;
	renewer->news.without_ns = ns;
	memcpy(renewer->news.token, renewer->grant.token,
	       sizeof(renewer->news.token));
	raise_event(renewer->news_fd);
}

/* A renewal has failed.  While the service cannot be reached, the command goes
 * on. */
static void bear_failure(struct renewer *renewer, int err)
{
	struct lease *lease = &renewer->lease;
	struct instant now = clock_now();

	if (!renewer->prefers_availability)
		return;
	/* Not before the guardian knows. */
	if (!lease->is_unlimited && acquire_is_unreachable(err) &&
	    guardian_lift_deadline(renewer->guardian) == 0)
		lease_set_unlimited(lease, now);
	if (lease->is_unlimited && lease_until_lost_ns(lease, now) <= 0)
		do_without(renewer, RENEWER_DOUBT);
	if (renewer->hold != RENEWER_HELD)
		renewer->retry_at_ns = now.boot_ns + WITHOUT_RETRY_NS;
}

/*
 * A refusal.  While the lease stood, or nothing kept us from renewing it, somebody
 * wants the command to end.  Else it has just run out; true.
 */
static bool bear_refusal(struct renewer *renewer, struct instant sent)
{
	if (!renewer->prefers_availability ||
	    lease_until_lost_ns(&renewer->lease, sent) > 0 ||
	    !renewer->lease.is_unlimited)
		return false;
	do_without(renewer, RENEWER_NONE);
	renewer->retry_at_ns = 0;
	return true;
}

static void take_grant(struct renewer *renewer, const struct grant *grant)
{
	struct lease_policy policy = renewer->lease.policy;

	/* So late that it has to be asked for again: it is ours. */
	if (clock_elapsed_ns(grant->sent, clock_now()) >= policy.renew_by_ns)
		return;
	renewer->grant = *grant;
	lease_grant(&renewer->lease, &policy, grant->sent);
	guardian_renewed(renewer->guardian, grant->sent);
	renewer->failures = 0;
	come_back(renewer, true);
}

static void take_refusal(struct renewer *renewer, const struct refusal *refusal)
{
	/* Those who wait run nothing; in a grace period, or without a majority, nobody
	 * is known to. */
	if (refusal->reason != REFUSAL_LINE &&
	    refusal->reason != REFUSAL_GRACE &&
	    refusal->reason != REFUSAL_VOTES && !renewer->rival_told) {
		renewer->rival_told = true;
		renewer->news.has_rival = true;
		renewer->news.refusal = *refusal;
		raise_event(renewer->news_fd);
	}
	/* Nobody would wake us. */
	if (refusal->place == 0)
		renewer->retry_at_ns = clock_boot_ns() + WITHOUT_RETRY_NS;
}

/* Lets go of the mutex during the request, and while it waits for its turn. */
static void acquire_once(struct renewer *renewer)
{
	int64_t limit_ns = renewer->lease.policy.renew_by_ns;
	struct refusal refusal = { .place = 0 };
	struct grant grant;
	bool is_waiting;
	int result;

	if (limit_ns > ACQUIRE_TRY_NS)
		limit_ns = ACQUIRE_TRY_NS;
	renewer->busy = true;
	pthread_mutex_unlock(&renewer->mutex);
	result = store_acquire(renewer->store, renewer->claim,
			       clock_boot_ns() + limit_ns, &grant, &refusal);
	pthread_mutex_lock(&renewer->mutex);
	if (result == STORE_DONE)
		take_grant(renewer, &grant);
	else if (result == STORE_REFUSED)
		take_refusal(renewer, &refusal);
	else
		renewer->retry_at_ns = clock_boot_ns() + WITHOUT_RETRY_NS;

	is_waiting = result == STORE_REFUSED && refusal.place > 0 &&
		     !renewer->stopped;
	if (is_waiting) {
		pthread_mutex_unlock(&renewer->mutex);
		result = acquire_sleep(renewer->store, renewer->claim, &refusal,
				       INT64_MAX, renewer->cancel_fd);
		pthread_mutex_lock(&renewer->mutex);
		if (result && result != -ETIMEDOUT)
			renewer->retry_at_ns =
				clock_boot_ns() + WITHOUT_RETRY_NS;
	}
	renewer->busy = false;
	pthread_cond_broadcast(&renewer->idle);
}

/* === with one =========================================================== */

/* With the mutex held.  `limit_ns` is what the try had. */
static void take_answer(struct renewer *renewer, struct attempt *attempt,
			int64_t limit_ns)
{
	struct lease *lease = &renewer->lease;

	if (is_asked_anew(renewer, &attempt->asked) &&
	    guardian_ask(renewer->guardian) == 0)
		renewer->asked = attempt->asked;
	if (attempt->result == STORE_DONE &&
	    lease_renewed(lease, attempt->sent, attempt->answered)) {
		guardian_renewed(renewer->guardian, attempt->sent);
		renewer->why[0] = '\0';
		attempt->counts = true;
		count_success(renewer, attempt);
		if (renewer->hold != RENEWER_HELD)
			come_back(renewer, false);
		return;
	}
	if (attempt->result == -ECANCELED) /* by who stops us */
		return;
	renewer->statistics.failed++;
	attempt->failures = ++renewer->failures;
	if (attempt->result == STORE_DONE) {
		renewer->why[0] = '\0';
		return;
	}
	/* A last try that was cut short says less than the one before. */
	if (attempt->result != -ETIMEDOUT || !renewer->why[0] ||
	    limit_ns >= lease->policy.renew_every_ns)
		snprintf(renewer->why, sizeof(renewer->why), "%s",
			 store_error(renewer->store));
	if (attempt->result == STORE_REFUSED &&
	    bear_refusal(renewer, attempt->sent))
		return;
	if (attempt->result == STORE_REFUSED) {
		renewer->is_refused = true;
		lease_lose(lease, clock_now());
		guardian_lose(renewer->guardian);
		return;
	}
	renewer->retry_at_ns = clock_boot_ns() + retry_after_ns(renewer);
	bear_failure(renewer, attempt->result);
}

/* How long a renewal that is sent at `sent` may take. */
static int64_t renewal_limit_ns(const struct renewer *renewer,
				struct instant sent)
{
	const struct lease *lease = &renewer->lease;
	int64_t limit_ns = lease_until_lost_ns(lease, sent);

	/* In doubt, it is worth something as long as it is new. */
	if (limit_ns <= 0 && lease->is_unlimited)
		return lease->policy.renew_by_ns < ACQUIRE_TRY_NS
			       ? lease->policy.renew_by_ns
			       : ACQUIRE_TRY_NS;
	/* Leaves time for one more try on a connection of its own. */
	if (limit_ns > lease->policy.renew_every_ns)
		limit_ns = lease->policy.renew_every_ns;
	return limit_ns;
}

/* What is wrong with servers that are not needed is told when it changes.  The
 * store is the caller's. */
static void tell_minority_once(struct renewer *renewer)
{
	const char *trouble = store_trouble(renewer->store);

	if (strcmp(trouble, renewer->trouble) == 0)
		return;
	strcpy(renewer->trouble, trouble);
	if (*trouble)
		tell_minority(trouble);
}

/* With the mutex held; lets go of it during the request. */
static void renew_once(struct renewer *renewer)
{
	struct lease *lease = &renewer->lease;
	struct attempt attempt = { .sent = clock_now() };
	int64_t limit_ns = renewal_limit_ns(renewer, attempt.sent);
	bool stands = lease_until_lost_ns(lease, attempt.sent) > 0;
	bool is_quiet;

	renewer->busy = true;
	pthread_mutex_unlock(&renewer->mutex);
	attempt.result =
		store_renew(renewer->store, renewer->claim, &renewer->grant,
			    stands, attempt.sent.boot_ns + limit_ns,
			    &attempt.asked);
	attempt.answered = clock_now();
	pthread_mutex_lock(&renewer->mutex);

	attempt.left_ns = lease_left_ns(lease, attempt.answered);
	attempt.late_ns = clock_elapsed_ns(lease->start, attempt.answered) -
			  lease->policy.renew_every_ns;
	/* What fails again and again while there is no lock, was told. */
	is_quiet = renewer->stopped;
	if (renewer->hold != RENEWER_HELD && attempt.result != STORE_DONE)
		is_quiet = true;
	take_answer(renewer, &attempt, limit_ns);

	/* Still busy: the store has to say why.  But not behind the summary. */
	pthread_mutex_unlock(&renewer->mutex);
	if (!is_quiet)
		tell(renewer, &attempt);
	if (!is_quiet && attempt.counts)
		tell_minority_once(renewer);
	pthread_mutex_lock(&renewer->mutex);
	renewer->busy = false;
	pthread_cond_broadcast(&renewer->idle);
}

static void *renew_until_stopped(void *argument)
{
	struct renewer *renewer = argument;

	pthread_mutex_lock(&renewer->mutex);
	while (!renewer->stopped) {
		int64_t wait_ns;

		/* After that instant a success would not count: ask no more. */
		if (lease_phase(&renewer->lease, clock_now()) != LEASE_HELD) {
			guardian_lose(renewer->guardian);
			break;
		}
		wait_ns = until_due_ns(renewer);
		if (wait_ns == 0) {
			if (renewer->hold == RENEWER_NONE)
				acquire_once(renewer);
			else
				renew_once(renewer);
			continue;
		}
		pthread_mutex_unlock(&renewer->mutex);
		wait_for_wake(renewer, wait_ns);
		pthread_mutex_lock(&renewer->mutex);
	}
	pthread_mutex_unlock(&renewer->mutex);
	return NULL;
}

/* False: no descriptors are left. */
static bool prepare_to_do_without(struct renewer *renewer)
{
	renewer->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	renewer->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (renewer->cancel_fd < 0 || renewer->news_fd < 0)
		return false;
	if (!*renewer->grant.token) {
		renewer->hold = RENEWER_NONE;
		renewer->without_since = renewer->lease.start;
	}
	store_set_cancel_fd(renewer->store, renewer->cancel_fd);
	return true;
}

struct renewer *renewer_new(struct store *store,
			    const struct renewer_request *request)
{
	struct renewer *renewer = calloc(1, sizeof(*renewer));
	pthread_condattr_t attributes;

	if (!renewer)
		return NULL;
	renewer->claim = request->claim;
	renewer->grant = *request->grant;
	renewer->guardian = request->guardian;
	renewer->store = store;
	renewer->lease = *request->lease;
	renewer->wake_fd = renewer->cancel_fd = renewer->news_fd = -1;
	renewer->prefers_availability = request->prefers_availability;
	renewer->statistics.least_left_ns = INT64_MAX;
	strcpy(renewer->trouble, store_trouble(store));
	pthread_mutex_init(&renewer->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&renewer->idle, &attributes);
	pthread_condattr_destroy(&attributes);
	if (renewer->prefers_availability && !prepare_to_do_without(renewer)) {
		free(renewer);
		return NULL;
	}
	return renewer;
}

/* Returns 0 or a negative errno. */
static int start_thread(struct renewer *renewer)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int err;

	renewer->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (renewer->wake_fd < 0)
		return -errno;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&thread, &attributes, renew_until_stopped,
			     renewer);
	pthread_attr_destroy(&attributes);
	if (!err)
		return 0;
	close(renewer->wake_fd);
	renewer->wake_fd = -1;
	return -err;
}

int64_t renewer_tend(struct renewer *renewer)
{
	struct event event;
	int64_t due_ns;
	int err;

	if (renewer->wake_fd >= 0)
		return -1;
	due_ns = until_wanted_ns(renewer);
	if (due_ns > 0)
		return due_ns;
	err = start_thread(renewer);
	if (!err)
		return -1;
	snprintf(renewer->why, sizeof(renewer->why),
		 "cannot start the renewing thread: %s", strerror(-err));
	renewer->statistics.failed++;
	event_begin(&event, LOG_NOTICE, "renewal_failed");
	event_ms(&event, "left_ms",
		 lease_left_ns(&renewer->lease, clock_now()));
	event_number(&event, "failures", ++renewer->failures);
	event_string(&event, "cause", renewer->why);
	event_send(&event, "renewal failed: %s", renewer->why);
	return retry_after_ns(renewer);
}

void renewer_pause(struct renewer *renewer, bool paused)
{
	pthread_mutex_lock(&renewer->mutex);
	renewer->paused = paused;
	pthread_mutex_unlock(&renewer->mutex);
	raise_event(renewer->wake_fd);
}

void renewer_look(struct renewer *renewer, struct renewer_state *state)
{
	pthread_mutex_lock(&renewer->mutex);
	state->lease = renewer->lease;
	state->is_refused = renewer->is_refused;
	memcpy(state->why, renewer->why, sizeof(state->why));
	memcpy(state->asked_by, renewer->asked.by, sizeof(state->asked_by));
	pthread_mutex_unlock(&renewer->mutex);
}

int renewer_news_fd(const struct renewer *renewer)
{
	return renewer->news_fd;
}

bool renewer_take_news(struct renewer *renewer, struct renewer_news *news)
{
	uint64_t count;
	bool are_any;

	if (renewer->news_fd < 0)
		return false;
	pthread_mutex_lock(&renewer->mutex);
	are_any = read(renewer->news_fd, &count, sizeof(count)) > 0;
	*news = renewer->news;
	memset(&renewer->news, 0, sizeof(renewer->news));
	pthread_mutex_unlock(&renewer->mutex);
	return are_any;
}

/*
 * With the mutex held.  A claim that is on its way must be taken back behind it,
 * on the same connection: what is in the way of that is ended.
 */
static void wait_until_idle(struct renewer *renewer)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_LIMIT_S;
	raise_event(renewer->cancel_fd);
	while (renewer->busy &&
	       pthread_cond_timedwait(&renewer->idle, &renewer->mutex,
				      &until) == 0)
		;
	if (!renewer->busy)
		store_set_cancel_fd(renewer->store, -1);
}

struct store *renewer_stop(struct renewer *renewer, struct lease *lease,
			   enum renewer_hold *hold,
			   struct renewer_statistics *statistics)
{
	struct store *store;

	pthread_mutex_lock(&renewer->mutex);
	renewer->stopped = true;
	if (renewer->prefers_availability)
		wait_until_idle(renewer);
	*lease = renewer->lease;
	*hold = renewer->hold;
	*statistics = renewer->statistics;
	if (*hold != RENEWER_HELD)
		statistics->without_ns +=
			clock_elapsed_ns(renewer->without_since, clock_now());
	store = renewer->busy ? NULL : renewer->store;
	pthread_mutex_unlock(&renewer->mutex);
	/* Not woken: it would only get in the way of the release. */
	return store;
}
