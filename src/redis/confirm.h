/*
 * Whether a grant or a renewal counts, of a master that sentinels name.  After a
 * fail-over the old master may go on being one for a while, and whoever is connected
 * there would not notice.  So its sentinels are asked as well, and it counts while
 * they name that master.
 *
 * Beside a renewal: if they named it after the lease's new beginning, nobody was
 * sent to the new master before that, and there a new lease has to wait for a ttl.
 *
 * Behind a grant: a holder that has gone to the new master has its lease there
 * without waiting, while the old one lets it expire and grants it to us.  That
 * cannot be in the first part of a ttl, in which it need not renew: so long, to
 * have asked before is enough.
 *
 * They may have named another in between, and come back: then the config epoch has
 * grown, and a lease that the other gave moves to this master, which has not heard of
 * it.  So the config epoch is told with each acquire, a new one is a grace period
 * (see check_epoch in common.lua), and a grant counts only if it has not grown since.
 * A renewal does all the same: the other was not named before the lease's last
 * beginning, and has to wait for a ttl, too.
 */
#ifndef CFLOCK_REDIS_CONFIRM_H
#define CFLOCK_REDIS_CONFIRM_H

#include "redis/link.h"

/* Begins to ask them, beside the call that was begun on `link`, if there are any. */
void confirm_begin(struct link *link, const struct link_wait *wait);

/* Goes on with both until the link's call has ended. */
void confirm_finish(struct link *link, const struct link_wait *wait);

/*
 * Of a renewal: STORE_DONE when they name the server that the call went to, or none
 * of them answers; -EAGAIN, with the connection closed and a line in the link's
 * error; or -ECANCELED.  The connections to them stay.
 */
int confirm_end(struct link *link, const struct link_wait *wait);

/* The same of a grant: all of it, behind the call; by connections of its own. */
int confirm(struct link *link, const struct link_wait *wait);

/* To be asked no more: closes the connections to them. */
void confirm_drop(struct link *link);

#endif
