#include "config.h"

#include "lease.h"

#include <errno.h>

/* The manual tells of these figures, and src/README where else they count. */

/* For clocks whose rates differ, and for their resolution. */
#define RATE_MARGIN_DIVISOR 10
#define RESOLUTION_MARGIN_NS (5 * NS_PER_MS)

/* The time that killing a tree may take; less for short leases. */
#define KILL_MARGIN_NS (250 * NS_PER_MS)
#define KILL_MARGIN_DIVISOR 10

int lease_policy_init(struct lease_policy *policy, int64_t ttl_ns,
		      int renew_by_percent, const char **why)
{
	int64_t kill_margin_ns, kill_at_ns, renew_by_ns;

	if (ttl_ns < LEASE_TTL_MIN_NS || ttl_ns > LEASE_TTL_MAX_NS) {
		*why = "the ttl must be from 200ms to 1h";
		return -ERANGE;
	}

	kill_margin_ns = ttl_ns / KILL_MARGIN_DIVISOR;
	if (kill_margin_ns > KILL_MARGIN_NS)
		kill_margin_ns = KILL_MARGIN_NS;
	kill_at_ns = ttl_ns -
		     (ttl_ns / RATE_MARGIN_DIVISOR + RESOLUTION_MARGIN_NS) -
		     kill_margin_ns;
	renew_by_ns = ttl_ns / 100 * renew_by_percent;
	if (renew_by_percent < 1 || renew_by_ns >= kill_at_ns) {
		*why = "renew-by must come before the kill, which comes at the ttl less "
		       "a tenth, 5 ms and the time to kill (a tenth, at most 250 ms)";
		return -ERANGE;
	}

	policy->ttl_ns = ttl_ns;
	policy->renew_every_ns = renew_by_ns / LEASE_RENEWALS_UNTIL_LOST;
	policy->renew_by_ns = renew_by_ns;
	policy->kill_at_ns = kill_at_ns;
	return 0;
}

void lease_grant(struct lease *lease, const struct lease_policy *policy,
		 struct instant sent)
{
	lease->policy = *policy;
	lease->start = sent;
	lease->stop_at_ns = policy->renew_by_ns;
	lease->kill_at_ns = policy->kill_at_ns;
	lease->is_unlimited = false;
}

void lease_do_without(struct lease *lease, const struct lease_policy *policy,
		      struct instant now)
{
	lease_grant(lease, policy, now);
	lease->is_unlimited = true;
}

bool lease_set_unlimited(struct lease *lease, struct instant now)
{
	if (lease_phase(lease, now) != LEASE_HELD)
		return false;
	lease->is_unlimited = true;
	return true;
}

bool lease_renewed(struct lease *lease, struct instant sent, struct instant now)
{
	if (lease_phase(lease, now) != LEASE_HELD)
		return false;
	if (clock_elapsed_ns(sent, now) >= lease->policy.renew_by_ns)
		return false;
	lease->is_unlimited = false;
	/* A confirmation that was overtaken by a later one proves nothing new. */
	if (clock_elapsed_ns(sent, lease->start) >= 0)
		return true;
	lease->start = sent;
	return true;
}

void lease_lose(struct lease *lease, struct instant now)
{
	int64_t elapsed_ns = clock_elapsed_ns(lease->start, now);
	int64_t grace_ns = lease->policy.kill_at_ns - lease->policy.renew_by_ns;

	/* Of an unlimited one that is past its end, nothing is left to be in time
	 * for. */
	if (elapsed_ns >= lease->stop_at_ns && !lease->is_unlimited)
		return;
	if (elapsed_ns >= lease->stop_at_ns)
		lease->kill_at_ns = elapsed_ns + grace_ns;
	lease->is_unlimited = false;
	lease->stop_at_ns = elapsed_ns;
	if (elapsed_ns + grace_ns < lease->kill_at_ns)
		lease->kill_at_ns = elapsed_ns + grace_ns;
}

void lease_kill_earlier(struct lease *lease, int64_t ns)
{
	lease->kill_at_ns -= ns;
	if (lease->kill_at_ns < lease->stop_at_ns)
		lease->kill_at_ns = lease->stop_at_ns;
}

enum lease_phase lease_phase(const struct lease *lease, struct instant now)
{
	int64_t elapsed_ns = clock_elapsed_ns(lease->start, now);

	if (lease->is_unlimited)
		return LEASE_HELD;
	if (elapsed_ns >= lease->kill_at_ns)
		return LEASE_KILLING;
	if (elapsed_ns >= lease->stop_at_ns)
		return LEASE_STOPPING;
	return LEASE_HELD;
}

int64_t lease_until_next_phase_ns(const struct lease *lease, struct instant now)
{
	int64_t elapsed_ns = clock_elapsed_ns(lease->start, now);

	if (lease->is_unlimited)
		return -1;
	if (elapsed_ns < lease->stop_at_ns)
		return lease->stop_at_ns - elapsed_ns;
	if (elapsed_ns < lease->kill_at_ns)
		return lease->kill_at_ns - elapsed_ns;
	return -1;
}

int64_t lease_until_renewal_ns(const struct lease *lease, struct instant now)
{
	int64_t due_ns = lease->policy.renew_every_ns -
			 clock_elapsed_ns(lease->start, now);

	return due_ns > 0 ? due_ns : 0;
}

int64_t lease_until_lost_ns(const struct lease *lease, struct instant now)
{
	return lease->stop_at_ns - clock_elapsed_ns(lease->start, now);
}

int64_t lease_left_ns(const struct lease *lease, struct instant now)
{
	return lease->policy.ttl_ns - clock_elapsed_ns(lease->start, now);
}
