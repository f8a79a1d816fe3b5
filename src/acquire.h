/*
 * Asking for the lease until it is granted, or there is no more time to wait.
 */
#ifndef CFLOCK_ACQUIRE_H
#define CFLOCK_ACQUIRE_H

#include "guardian.h"
#include "lease.h"
#include "signals.h"
#include "store.h"

struct acquire_request {
	const struct claim *claim;
	const struct lease_policy *policy;
	int64_t wait_ns; /* from now; -1: without end */
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
 */
#define ACQUIRE_TRY_NS (2 * NS_PER_S)
int acquire(struct store *store, const struct acquire_request *request,
	    struct acquire_answer *answer);

#endif
