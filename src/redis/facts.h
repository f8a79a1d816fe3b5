/*
 * What doctor.c asks a server, and what judge.c makes of the answers.
 */
#ifndef CFLOCK_REDIS_FACTS_H
#define CFLOCK_REDIS_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lease.h"
#include "redis/rights.h"
#include "store.h"

#define FACTS_ROUND_TRIPS 21 /* an odd number has a median */
#define FACTS_VALUE_MAX 256

/* Something that the server may refuse to tell. */
struct fact {
	bool known;
	bool denied; /* for want of a right; else the server cannot tell */
	char value[FACTS_VALUE_MAX];
};

struct facts {
	const char *address; /* where the server is, without secrets */
	const char *user;
	bool is_cluster; /* by its URL */
	const struct lease_policy *policy;

	int64_t connect_ns;                        /* until the first answer */
	int64_t round_trips_ns[FACTS_ROUND_TRIPS]; /* shortest first */

	bool has_clock;
	int64_t ahead_ms;     /* so far its wall clock is ahead of ours */
	int64_t uncertain_ms; /* ... more or less */

	char *info; /* malloc'ed; NULL when it is refused */
	bool info_denied;
	struct fact save, appendfsync;

	/* The worst that LATENCY LATEST tells of; 0: of nothing. */
	int64_t spike_ms;
	char spike_event[FACTS_VALUE_MAX];

	enum rights_answer rights[RIGHTS_COUNT];
	bool has_written; /* tried to, having the right */
	/* Why that was refused; "" if it was not. */
	char write_error[STORE_ERROR_MAX];
};

/* Calls `found` for each finding that the facts come to.  No I/O. */
void facts_judge(const struct facts *facts, store_finding_fn *found,
		 void *context);

#endif
