/*
 * The holder's side of the timeline of a lease, as a pure state machine: time
 * is a parameter, and nothing here does input or output.
 *
 *   0          renew_every      renew_by        kill_at      ttl
 *   |--------------|--------------|----------------|-----------|
 *   sent         renew          stop signal      SIGKILL     the lease
 *                              to the tree       to the rest  is over
 *
 * All instants are counted from a clock reading that was taken before the
 * request that won or renewed the lease was sent; the lock service's own count
 * starts later, so ours ends first.  Between kill_at and ttl lie a tenth of
 * the ttl and 5 ms, for clocks whose rates differ (chrony may slew by 8 %),
 * and the time that it may take to kill.
 *
 * Without a limit (--prefer availability, while the lock service cannot be
 * reached) the timeline does not apply, until the lease is proven or lost.
 *
 * The guardian and the renewer each keep a struct lease of their own.  The
 * guardian's decides: what it has begun to stop is never taken up again.
 */
#ifndef CFLOCK_LEASE_H
#define CFLOCK_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"

#define LEASE_TTL_MIN_NS (200 * NS_PER_MS)
#define LEASE_TTL_MAX_NS (3600 * NS_PER_S)

/* Tries to renew until the lease counts as lost: at 0, 1/3 and 2/3 of the way. */
#define LEASE_RENEWALS_UNTIL_LOST 3

struct lease_policy {
	int64_t ttl_ns;
	int64_t renew_every_ns; /* a third of renew_by_ns */
	int64_t renew_by_ns;    /* without a renewal until then: lost */
	int64_t kill_at_ns;     /* SIGKILL to whatever is left */
};

/*
 * Returns 0, or -ERANGE with *why (static text) when the parts do not fit:
 * ttl outside of LEASE_TTL_MIN_NS .. LEASE_TTL_MAX_NS, or renew-by not before
 * the kill.
 */
int lease_policy_init(struct lease_policy *policy, int64_t ttl_ns,
		      int renew_by_percent, const char **why);

struct lease {
	struct lease_policy policy;
	struct instant start; /* before the winning request was sent */
	int64_t stop_at_ns;   /* after start: when the stopping begins */
	int64_t kill_at_ns;   /* after start: when the killing begins */
	bool is_unlimited;    /* neither comes by itself */
};

enum lease_phase {
	LEASE_HELD,
	LEASE_STOPPING, /* stop signal was due; no renewal counts */
	LEASE_KILLING,  /* SIGKILL is due */
};

/* The lease was granted to a request sent at `sent`. */
void lease_grant(struct lease *lease, const struct lease_policy *policy,
		 struct instant sent);

/* There is no lease yet, and the command runs all the same, from now on. */
void lease_do_without(struct lease *lease, const struct lease_policy *policy,
		      struct instant now);

/*
 * The timeline does not apply any more, until a renewal is confirmed, or the
 * lease is lost.  False, with the timeline as it was, when it is over already.
 */
bool lease_set_unlimited(struct lease *lease, struct instant now);

/*
 * A renewal sent at `sent` was confirmed.  Restarts the timeline and returns
 * true; false, with the timeline as it was, when it comes too late to count.
 */
bool lease_renewed(struct lease *lease, struct instant sent,
		   struct instant now);

/*
 * The lease was refused, or nobody is left to renew it: the stopping begins
 * now, the killing after the usual time to clean up, but not later than it
 * would have been.
 */
void lease_lose(struct lease *lease, struct instant now);

/*
 * Killing will take about `ns` longer than the policy has planned for (a large
 * tree): it begins earlier by that, but not before the stopping.
 */
void lease_kill_earlier(struct lease *lease, int64_t ns);

enum lease_phase lease_phase(const struct lease *lease, struct instant now);

/* ns until the next phase begins, at least 1; -1 when no other follows, or none
 * by itself. */
int64_t lease_until_next_phase_ns(const struct lease *lease,
				  struct instant now);

/* ns until a renewal is due, at least 0. */
int64_t lease_until_renewal_ns(const struct lease *lease, struct instant now);

/* ns until the holder must count the lease as lost, were it not unlimited;
 * negative when past. */
int64_t lease_until_lost_ns(const struct lease *lease, struct instant now);

/* ns until the lock service may forget the lease; negative when past. */
int64_t lease_left_ns(const struct lease *lease, struct instant now);

#endif
