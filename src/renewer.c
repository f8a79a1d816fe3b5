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

#include "event.h"

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

struct renewer {
	const struct claim *claim;
	struct grant grant;
	const struct guardian *guardian;
	int wake_fd; /* eventfd: something below has changed; -1: no thread yet */

	pthread_mutex_t mutex;
	struct store *store;
	struct lease lease;
	int64_t retry_at_ns; /* CLOCK_BOOTTIME; not before */
	bool paused, stopped, busy;
	bool is_refused;
	char why[STORE_ERROR_MAX];
	struct asked asked;    /* to end, as it was passed on */
	unsigned int failures; /* since the last success */
	struct renewer_statistics statistics;
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

static void wake(struct renewer *renewer)
{
	uint64_t one = 1;

	/* Fails only when it is awake for ever already. */
	if (renewer->wake_fd >= 0 &&
	    write(renewer->wake_fd, &one, sizeof(one)) < 0)
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

/* ns until a renewal is due; -1: not until woken. */
static int64_t until_due_ns(const struct renewer *renewer)
{
	int64_t due_ns, retry_ns;

	if (renewer->paused)
		return -1;
	due_ns = lease_until_renewal_ns(&renewer->lease, clock_now());
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
		return;
	}
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
	if (attempt->result == STORE_REFUSED) {
		renewer->is_refused = true;
		lease_lose(lease, clock_now());
		guardian_lose(renewer->guardian);
		return;
	}
	renewer->retry_at_ns = clock_boot_ns() + retry_after_ns(renewer);
}

/* With the mutex held; lets go of it during the request. */
static void renew_once(struct renewer *renewer)
{
	struct lease *lease = &renewer->lease;
	struct attempt attempt = { .sent = clock_now() };
	int64_t limit_ns = lease_until_lost_ns(lease, attempt.sent);
	bool was_stopped;

	/* Leaves time for one more try on a connection of its own. */
	if (limit_ns > lease->policy.renew_every_ns)
		limit_ns = lease->policy.renew_every_ns;

	renewer->busy = true;
	pthread_mutex_unlock(&renewer->mutex);
	attempt.result =
		store_renew(renewer->store, renewer->claim, &renewer->grant,
			    attempt.sent.boot_ns + limit_ns, &attempt.asked);
	attempt.answered = clock_now();
	pthread_mutex_lock(&renewer->mutex);

	attempt.left_ns = lease_left_ns(lease, attempt.answered);
	attempt.late_ns = clock_elapsed_ns(lease->start, attempt.answered) -
			  lease->policy.renew_every_ns;
	was_stopped = renewer->stopped;
	take_answer(renewer, &attempt, limit_ns);

	/* Still busy: the store has to say why.  But not behind the summary. */
	pthread_mutex_unlock(&renewer->mutex);
	if (!was_stopped)
		tell(renewer, &attempt);
	pthread_mutex_lock(&renewer->mutex);
	renewer->busy = false;
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

struct renewer *renewer_new(struct store *store, const struct claim *claim,
			    const struct grant *grant,
			    const struct lease *lease,
			    const struct guardian *guardian)
{
	struct renewer *renewer = calloc(1, sizeof(*renewer));

	if (!renewer)
		return NULL;
	renewer->claim = claim;
	renewer->grant = *grant;
	renewer->guardian = guardian;
	renewer->store = store;
	renewer->lease = *lease;
	renewer->wake_fd = -1;
	renewer->statistics.least_left_ns = INT64_MAX;
	pthread_mutex_init(&renewer->mutex, NULL);
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
	due_ns = lease_until_renewal_ns(&renewer->lease, clock_now());
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
	wake(renewer);
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

struct store *renewer_stop(struct renewer *renewer, struct lease *lease,
			   struct renewer_statistics *statistics)
{
	struct store *store;

	pthread_mutex_lock(&renewer->mutex);
	renewer->stopped = true;
	*lease = renewer->lease;
	*statistics = renewer->statistics;
	store = renewer->busy ? NULL : renewer->store;
	pthread_mutex_unlock(&renewer->mutex);
	/* Not woken: it would only get in the way of the release. */
	return store;
}
