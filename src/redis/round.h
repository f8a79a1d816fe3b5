/*
 * A request to all servers of a quorum: it is begun on each, gathered, and counted.
 * What is still on its way when enough is known is given up, and skipped when it
 * comes: requests to a server are carried out in their order.
 *
 *	round_start(quorum);
 *	for each member: if (round_asks(...)) single_begin_...(...);
 *	round_gather(&round, wait);
 *
 * Of quorum.c and votes.c alone.
 */
#ifndef CFLOCK_REDIS_ROUND_H
#define CFLOCK_REDIS_ROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "int64.h"
#include "redis/quorum.h"
#include "redis/single.h"

struct member {
	struct single single;
	struct request request;
	bool has_acked; /* in the last round that counted: the lease rests on it */
	/* Of the round: */
	bool is_asked, has_ended;
	int result;              /* enum store_result, or a negative errno */
	bool was_given_up;       /* it may yet answer */
	struct refusal refusal;  /* of an acquire */
	struct asked asked;      /* of a renewal */
	int64_t ms;              /* of a break */
	char *text;              /* of a look; to be freed */
	int64_t silent_since_ns; /* 0: it has answered what it was asked last */
	int64_t look_up_at_ns;   /* not before */
};

struct quorum {
	int count, majority;
	int64_t proposed;    /* token; 0: none yet, or it is used up */
	int64_t highest;     /* token that a server has told of */
	int64_t ticket;      /* in the line; 0: none yet */
	unsigned int splits; /* in a row */
	char error[STORE_ERROR_MAX], trouble[STORE_ERROR_MAX];
	struct member members[];
};

/* A round that is being gathered. */
struct round {
	struct quorum *quorum;
	int (*end)(struct member *member); /* the request, with its result */
	/* It is known what comes of it. */
	bool (*is_decided)(const struct quorum *quorum);
	/* How long it may stay undecided since the first answer; 0: to its deadline. */
	int64_t votes_ns;
	/* How long, at most, the others are waited for when it is. */
	int64_t more_ns;

	int64_t begun_ns, first_ns, decided_ns; /* 0: not yet */
	int answers;
};

/* How long those are waited for, at most, who are not needed: a part of the ttl. */
int64_t round_patience_ns(int64_t ttl_ms);

/* Nobody is asked yet. */
void round_start(struct quorum *quorum);

/*
 * Whether this one can be asked, and is to be from here on.  One that has not
 * answered for twice `patience` gets another connection: this one may be dead.
 */
bool round_asks(const struct quorum *quorum, struct member *member,
		const struct link_wait *wait, int64_t patience);

/*
 * Waits for as long as the round says.  Returns 0 or -ECANCELED; each member that
 * was asked has its result.
 */
int round_gather(struct round *round, const struct link_wait *wait);

/* How many have come to that; all but errors are answers. */
int round_count(const struct quorum *quorum, int result);
int round_answers(const struct quorum *quorum);

/* How many are still to answer. */
int round_open(const struct quorum *quorum);

/* A majority has done it, or has answered, whatever; or cannot any more. */
bool round_is_done(const struct quorum *quorum);
bool round_is_answered(const struct quorum *quorum);

/* It counts: keeps in mind by whom, and what is wrong with the others. */
void round_counts(struct quorum *quorum);

/* Having failed for want of a majority: why, in quorum->error, and the errno. */
int round_fail(struct quorum *quorum);

#endif
