/*
 * Several servers that know nothing of one another, as one lock service: a lease
 * is held by the votes of a majority.
 *
 * A vote is what a lease is on one server, and goes by the same scripts.  In one
 * round each server is asked, all at once, for its vote for a fencing token that
 * the client proposes: above all that it has heard of.  A server gives it when
 * the lock is free there, or has it given to the same client, and has never
 * given one for that token or a higher one.  A majority makes the grant; its
 * lease counts from before the round.  Two leases that stand at the same time
 * would need the vote of one server for both, and so would two equal tokens.
 * A server that wants a higher token says which it has: that is the next round.
 * Without a majority all votes are given back, and only the place in the line is
 * kept.  All servers have the same line: after the first answers, a client keeps
 * to one ticket, the median of what they said, so that the first in the line gets
 * all votes in the end.
 *
 * A renewal asks all servers, too, and needs a majority; a server that does not
 * have the vote (any more) is asked for it again, under the token of the lease.
 * So one that was away, or came back empty, holds the lease soon.  A server that
 * may have forgotten votes gives none in its grace period (see common.lua), but
 * to those who have one to have back.
 *
 * Described, without lines and takeovers, as "Redlock" at
 * https://redis.io/docs/latest/develop/use/patterns/distributed-locks/, where
 * tokens and grace are missing.  tests/model/quorum.pml is searched for a way in
 * which two could hold the lock, or tokens go back.
 *
 * The functions are those of store.h, of a majority.
 */
#ifndef CFLOCK_REDIS_QUORUM_H
#define CFLOCK_REDIS_QUORUM_H

#include "redis/single.h"
#include "store.h"
#include "url.h"

struct quorum;

/* NULL without memory. */
struct quorum *quorum_new(const struct url_list *urls);
struct quorum *quorum_copy(const struct quorum *quorum);
void quorum_free(struct quorum *quorum);

int quorum_majority(const struct quorum *quorum);

/* NULL behind the last one. */
struct single *quorum_member(struct quorum *quorum, int i);

const char *quorum_error(const struct quorum *quorum);
const char *quorum_trouble(const struct quorum *quorum);

int quorum_acquire(struct quorum *quorum, const struct claim *claim,
		   const struct link_wait *wait, struct grant *grant,
		   struct refusal *refusal);
int quorum_wait(struct quorum *quorum, const struct claim *claim,
		int64_t until_ns, const struct link_wait *wait);
int quorum_renew(struct quorum *quorum, const struct claim *claim,
		 const struct grant *grant, bool stands,
		 const struct link_wait *wait, struct asked *asked);
int quorum_release(struct quorum *quorum, const struct claim *claim, bool lift,
		   const struct link_wait *wait);
void quorum_withdraw(struct quorum *quorum, const struct claim *claim,
		     const struct link_wait *wait);
int quorum_look(struct quorum *quorum, const char *name, int waiters,
		const struct link_wait *wait, store_looked_fn *looked,
		void *context);
int quorum_break(struct quorum *quorum, const struct break_request *what,
		 const struct link_wait *wait, int64_t *ms);
int quorum_list(struct quorum *quorum, const char *glob, int64_t each_ns,
		int cancel_fd, store_found_fn *found, void *context);

#endif
