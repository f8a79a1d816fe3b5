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

#include "log.h"

/* A thread that makes requests of a few hundred bytes needs little. */
#define STACK_BYTES (256 * 1024)

/* After a failed renewal, the next try comes after this part of the interval. */
#define RETRY_DIVISOR 10

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
	char why[STORE_ERROR_MAX];
	char asked_by[STORE_ASKED_BY_MAX]; /* to end; "" when nobody has */
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

/* With the mutex held; lets go of it during the request. */
static void renew_once(struct renewer *renewer)
{
	struct lease *lease = &renewer->lease;
	struct instant sent = clock_now(), now;
	char asked_by[STORE_ASKED_BY_MAX] = "";
	int64_t limit_ns = lease_until_lost_ns(lease, sent);
	int result;

	/* Leaves time for one more try on a connection of its own. */
	if (limit_ns > lease->policy.renew_every_ns)
		limit_ns = lease->policy.renew_every_ns;

	renewer->busy = true;
	pthread_mutex_unlock(&renewer->mutex);
	result = store_renew(renewer->store, renewer->claim, &renewer->grant,
			     sent.boot_ns + limit_ns, asked_by);
	now = clock_now();
	if (result == STORE_DONE)
		log_line(LOG_VERBOSE,
			 "renewed, %.1f ms after the request was sent",
			 (double)clock_elapsed_ns(sent, now) /
				 (double)NS_PER_MS);
	else
		log_line(LOG_VERBOSE, "renewal failed: %s",
			 store_error(renewer->store));
	pthread_mutex_lock(&renewer->mutex);
	renewer->busy = false;

	if (result == STORE_DONE) {
		if (*asked_by && !*renewer->asked_by &&
		    guardian_ask(renewer->guardian) == 0)
			memcpy(renewer->asked_by, asked_by, sizeof(asked_by));
		if (lease_renewed(lease, sent, now))
			guardian_renewed(renewer->guardian, sent);
		renewer->why[0] = '\0';
		return;
	}
	/* A last try that was cut short says less than the one before. */
	if (result != -ETIMEDOUT || !renewer->why[0] ||
	    limit_ns >= lease->policy.renew_every_ns)
		snprintf(renewer->why, sizeof(renewer->why), "%s",
			 store_error(renewer->store));
	if (result == STORE_REFUSED) {
		lease_lose(lease, clock_now());
		guardian_lose(renewer->guardian);
		return;
	}
	renewer->retry_at_ns = clock_boot_ns() + retry_after_ns(renewer);
}

static void *renew_until_stopped(void *argument)
{
	struct renewer *renewer = argument;

	pthread_mutex_lock(&renewer->mutex);
	while (!renewer->stopped) {
		int64_t wait_ns;

		/* After that instant a success would not count: ask no more. */
		if (lease_phase(&renewer->lease, clock_now()) != LEASE_HELD)
			break;
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
	int64_t due_ns;
	int err;

	if (renewer->wake_fd >= 0)
		return -1;
	due_ns = lease_until_renewal_ns(&renewer->lease, clock_now());
	if (due_ns > 0)
		return due_ns;
	err = start_thread(renewer);
	if (err) {
		snprintf(renewer->why, sizeof(renewer->why),
			 "cannot start the renewing thread: %s",
			 strerror(-err));
		return retry_after_ns(renewer);
	}
	return -1;
}

void renewer_pause(struct renewer *renewer, bool paused)
{
	pthread_mutex_lock(&renewer->mutex);
	renewer->paused = paused;
	pthread_mutex_unlock(&renewer->mutex);
	wake(renewer);
}

char *renewer_why(struct renewer *renewer, char buffer[STORE_ERROR_MAX])
{
	pthread_mutex_lock(&renewer->mutex);
	memcpy(buffer, renewer->why, STORE_ERROR_MAX);
	pthread_mutex_unlock(&renewer->mutex);
	return buffer;
}

char *renewer_asked_by(struct renewer *renewer, char buffer[STORE_ASKED_BY_MAX])
{
	pthread_mutex_lock(&renewer->mutex);
	memcpy(buffer, renewer->asked_by, STORE_ASKED_BY_MAX);
	pthread_mutex_unlock(&renewer->mutex);
	return buffer;
}

struct store *renewer_stop(struct renewer *renewer, struct lease *lease)
{
	struct store *store;

	pthread_mutex_lock(&renewer->mutex);
	renewer->stopped = true;
	*lease = renewer->lease;
	store = renewer->busy ? NULL : renewer->store;
	pthread_mutex_unlock(&renewer->mutex);
	/* Not woken: it would only get in the way of the release. */
	return store;
}
