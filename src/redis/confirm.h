/*
 * Whether a grant or a renewal counts.  After a fail-over the old master may go on
 * being one for a while, and whoever is connected there would not notice.  So the
 * sentinels are asked beside the request: if one behind the other still names it,
 * nobody was sent to the new master before we asked, and whoever is sent there
 * later waits for a ttl; ours counts from before.
 */
#ifndef CFLOCK_REDIS_CONFIRM_H
#define CFLOCK_REDIS_CONFIRM_H

#include <stdbool.h>

#include "redis/link.h"

/*
 * Behind the beginning of a call on `link`: begins to ask its sentinels, beside it.
 * False when there are none, or when they were just asked, as `was_closed` says:
 * the link had no connection before.
 */
bool confirm_begin(struct link *link, bool was_closed,
		   const struct link_wait *wait);

/* Goes on with both until the link's call has ended. */
void confirm_finish(struct link *link, const struct link_wait *wait);

/*
 * When the call has ended well: 0 when the sentinels name the server that it went
 * to, or none answers; -EAGAIN, with the connection closed; or -ECANCELED.
 */
int confirm_end(struct link *link, const struct link_wait *wait);

/* When it has not, or to be asked no more: closes the connections to them. */
void confirm_drop(struct link *link);

#endif
