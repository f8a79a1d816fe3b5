/*
 * Giving a lease back.
 */
#ifndef CFLOCK_RELEASE_H
#define CFLOCK_RELEASE_H

#include <stdbool.h>

#include "lease.h"
#include "store.h"

struct release_request {
	const struct claim *claim;
	const struct lease *lease; /* as it was last proven */
	bool lift;                 /* the cooldown ends, too */
	bool was_lost;             /* nobody expects it to work */
};

/*
 * Only to be called when the tree of the command was seen dead, or never
 * existed.  Tries for as long as the lease lasts, but for 2 s at most, and tells
 * how it went.  Returns true when it was released.
 */
bool release(struct store *store, const struct release_request *request);

#endif
