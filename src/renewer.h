/*
 * The side thread that renews the lease.  All that it can do is to move the
 * deadline forward: it may hang in the network for as long as it likes, and
 * nothing waits for it.  The only module that knows threads.
 */
#ifndef CFLOCK_RENEWER_H
#define CFLOCK_RENEWER_H

#include <stdbool.h>

#include "guardian.h"
#include "lease.h"
#include "store.h"

struct renewer;

/*
 * How the claim stands.  Who prefers availability runs on when the service cannot
 * be reached: without a lock in the second and third state.
 */
enum renewer_hold {
	RENEWER_HELD,  /* by a lease that is proven, or is given up */
	RENEWER_DOUBT, /* by a lease that could not be renewed in time */
	RENEWER_NONE,  /* it is to be taken, once that can be done */
};

struct renewer_request {
	const struct claim *claim;
	const struct grant *grant; /* no token: RENEWER_NONE */
	const struct lease *lease;
	const struct guardian *guardian;
	bool prefers_availability;
};

/*
 * For a lease that is renewed on `store`, which is the renewer's from now on.
 * `claim` and `guardian` must live as long as the process; each success is told
 * to the guardian, and so is a refusal.  Returns NULL when there is no memory.
 *
 * For who prefers availability, a first renewal that fails as the service cannot
 * be reached lifts the guardian's deadline.  From renew-by on the lease is in
 * doubt; when it turns out to be gone, it is taken anew.  A refusal before
 * renew-by, a denial, and what keeps us from asking at all, have the command
 * stopped as ever.
 */
struct renewer *renewer_new(struct store *store,
			    const struct renewer_request *request);

/*
 * Starts the thread once the first renewal is due: most commands end before.
 * Returns the time in ns after which to call it again, or -1: it need not be.
 * Where no thread can be had it is to be tried again, until the guardian stops
 * the command for want of a renewal.
 */
int64_t renewer_tend(struct renewer *renewer);

/* While it is paused, nothing is renewed: the lease runs out in time. */
void renewer_pause(struct renewer *renewer, bool paused);

/* How it stands. */
struct renewer_state {
	struct lease lease;        /* as it was last proven */
	bool is_refused;           /* the service said that it is not ours */
	char why[STORE_ERROR_MAX]; /* the last renewal failed; "": it did not */
	char asked_by[STORE_ASKED_BY_MAX]; /* to end; "": nobody has */
};

void renewer_look(struct renewer *renewer, struct renewer_state *state);

/* What is to be told of a run without a lock. */
struct renewer_news {
	bool is_without; /* the lease is in doubt; the cause: */
	char cause[STORE_ERROR_MAX];
	bool has_rival; /* what there is instead of it: */
	struct refusal refusal;
	bool is_back; /* it is held again, or is held now: */
	bool is_new;  /* ... by another lease, of that token */
	char token[STORE_TOKEN_MAX];
	int64_t without_ns; /* for so long there was none */
};

/* Readable when there are some; -1: there are never any. */
int renewer_news_fd(const struct renewer *renewer);

/* Each is taken once.  False: there are none. */
bool renewer_take_news(struct renewer *renewer, struct renewer_news *news);

/* What the renewals of a run were like. */
struct renewer_statistics {
	int64_t without_ns; /* in all, without a lock */
	unsigned int renewed, failed;
	int64_t slowest_ns; /* from a request to its answer, of those renewed */
	/* Of the lease, when a renewal took its place; INT64_MAX: none did. */
	int64_t least_left_ns;
};

/*
 * No renewal is begun from now on.  Returns the store, to be used by the
 * caller, or NULL when a renewal is on its way in it.  *lease is set to the
 * lease as it was last proven, *hold to how the claim stands, *statistics to what
 * there was until now.  `renewer` stays allocated: the thread may hang.
 */
struct store *renewer_stop(struct renewer *renewer, struct lease *lease,
			   enum renewer_hold *hold,
			   struct renewer_statistics *statistics);

#endif
