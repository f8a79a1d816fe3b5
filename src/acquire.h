/*
 * Asking for the lease until it is granted, or there is no more time to wait.
 */
#ifndef CFLOCK_ACQUIRE_H
#define CFLOCK_ACQUIRE_H

#include <stdbool.h>

#include "guardian.h"
#include "lease.h"
#include "signals.h"
#include "store.h"

struct acquire_request {
	const struct claim *claim;
	const struct lease_policy *policy;
	int64_t wait_ns; /* from now; -1: without end */
	/* Rather do without a lease than without a run. */
	bool prefers_availability;
	const struct signals *signals;
	const struct guardian_job *job; /* NULL: no guardian yet */
	/* Forked, where that can be done, while the answer that grants is on its
	 * way; left with a pid of 0 where it was not. */
	struct guardian *guardian;
};

struct acquire_answer {
	struct grant grant;     /* 0 */
	struct refusal refusal; /* -EBUSY, -EDEADLK, -EINVAL */
	int signal;             /* -EINTR */
	bool may_do_without;    /* the others; see below */
};

/*
 * Returns 0 with a lease that needs no renewal yet; -EBUSY when it could not be
 * had until the end of the wait, or when the lock is cooling down; -EDEADLK when
 * the holder is an ancestor, which waits for us; -EINVAL when others use the
 * lock in another way; -EINTR after a signal that should end cflock; or what
 * store_acquire() returned last, with the cause in store_error().  Unless it
 * returns 0, no lease and no place in the line is left behind, as far as the
 * service can still be told so.
 *
 * An unreachable service is asked again until the end of the wait; without an
 * end, for one ttl; with a wait of nought, for ACQUIRE_TRY_NS.
 *
 * Who prefers availability does so for ACQUIRE_TRY_NS at most, and then may do
 * without: the claim is not withdrawn, and may be asked for again.  But whoever
 * was told that the lock is held, asks until that lease would be over: until
 * then it was as good as refused, with -EBUSY at the end of the wait.
 */
#define ACQUIRE_TRY_NS (2 * NS_PER_S)

/* How long to wait for the answer to a release behind an acquire in doubt. */
#define ACQUIRE_WITHDRAW_NS (200 * NS_PER_MS)

int acquire(struct store *store, const struct acquire_request *request,
	    struct acquire_answer *answer);

/*
 * Behind a refusal: sleeps until it may be our turn (0), or time to ask again, at
 * most until last_ns; or an error, as store_wait().
 */
int acquire_sleep(struct store *store, const struct claim *claim,
		  const struct refusal *refusal, int64_t last_ns,
		  int cancel_fd);

/* True when `err` is that nobody could be asked, for now: not that we were
 * denied, nor that we lack what it takes to ask. */
bool acquire_is_unreachable(int err);

#endif
