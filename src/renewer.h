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
 * Starts renewing on `store`, which is the thread's from now on.  `claim` must
 * live as long as the process.  Each success is told to the guardian; so is a
 * refusal.  Returns 0 or a negative errno.
 */
int renewer_start(struct renewer **renewer, struct store *store,
		  const struct claim *claim, const struct grant *grant,
		  const struct lease *lease, const struct guardian *guardian);

/* While it is paused, nothing is renewed: the lease runs out in time. */
void renewer_pause(struct renewer *renewer, bool paused);

/* Why the last renewal failed, "" when it did not; returns `buffer`. */
char *renewer_why(struct renewer *renewer, char buffer[STORE_ERROR_MAX]);

/*
 * No renewal is begun from now on.  Returns the store, to be used by the
 * caller, or NULL when a renewal is on its way in it.  *lease is set to the
 * lease as it was last proven.  `renewer` stays allocated: the thread may hang.
 */
struct store *renewer_stop(struct renewer *renewer, struct lease *lease);

#endif
