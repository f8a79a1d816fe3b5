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
 * For a lease that is renewed on `store`, which is the renewer's from now on.
 * `claim` and `guardian` must live as long as the process; each success is told
 * to the guardian, and so is a refusal.  Returns NULL when there is no memory.
 */
struct renewer *renewer_new(struct store *store, const struct claim *claim,
			    const struct grant *grant,
			    const struct lease *lease,
			    const struct guardian *guardian);

/*
 * Starts the thread once the first renewal is due: most commands end before.
 * Returns the time in ns after which to call it again, or -1: it need not be.
 * Where no thread can be had it is to be tried again, until the guardian stops
 * the command for want of a renewal.
 */
int64_t renewer_tend(struct renewer *renewer);

/* While it is paused, nothing is renewed: the lease runs out in time. */
void renewer_pause(struct renewer *renewer, bool paused);

/* Why the last renewal failed, "" when it did not; returns `buffer`. */
char *renewer_why(struct renewer *renewer, char buffer[STORE_ERROR_MAX]);

/* Who has asked the command to end, "" when nobody has.  Returns `buffer`. */
char *renewer_asked_by(struct renewer *renewer,
		       char buffer[STORE_ASKED_BY_MAX]);

/*
 * No renewal is begun from now on.  Returns the store, to be used by the
 * caller, or NULL when a renewal is on its way in it.  *lease is set to the
 * lease as it was last proven.  `renewer` stays allocated: the thread may hang.
 */
struct store *renewer_stop(struct renewer *renewer, struct lease *lease);

#endif
