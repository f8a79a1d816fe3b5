/*
 * Of votes.c, for quorum.c: beside quorum_acquire(), which is there.
 */
#ifndef CFLOCK_REDIS_VOTES_H
#define CFLOCK_REDIS_VOTES_H

#include "redis/round.h"

/* Asks those for their vote, for a lease that stands, who have refused to renew it. */
void votes_ask_again(struct quorum *quorum, const struct claim *claim,
		     const struct grant *grant, const struct link_wait *wait);

/* What ends a release in a round. */
int votes_end_release(struct member *member);

#endif
