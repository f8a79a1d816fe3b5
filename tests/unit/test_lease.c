/* The holder's timeline, to the nanosecond; no clock is read here. */
#include "config.h"

#include "lease.h"
#include "tap.h"

#include <errno.h>
#include <limits.h>

#define MS NS_PER_MS
#define S NS_PER_S

/* Not nought, and the two clocks never show the same. */
static const struct instant origin = { .boot_ns = 7000 * S,
				       .raw_ns = 5000 * S };

static struct instant later_by(struct instant since, int64_t boot_ns,
			       int64_t raw_ns)
{
	since.boot_ns += boot_ns;
	since.raw_ns += raw_ns;
	return since;
}

/* `ns` after the origin, by both clocks. */
static struct instant at(int64_t ns)
{
	return later_by(origin, ns, ns);
}

static struct lease_policy policy_of(int64_t ttl_ns)
{
	struct lease_policy policy = { 0 };
	const char *why = NULL;

	is_int(lease_policy_init(&policy, ttl_ns, 60, &why), 0,
	       "a ttl of %lld ms with renew-by 60 is accepted",
	       (long long)(ttl_ns / MS));
	return policy;
}

/* A lease of 10 s, granted to a request that was sent at the origin. */
static struct lease lease_of_10s(void)
{
	struct lease_policy policy = { .ttl_ns = 10 * S,
				       .renew_every_ns = 2 * S,
				       .renew_by_ns = 6 * S,
				       .kill_at_ns = 8745 * MS };
	struct lease lease;

	lease_grant(&lease, &policy, origin);
	return lease;
}

/* Without a limit, nothing comes by itself; what comes ends it. */
static void test_unlimited(void)
{
	struct lease_policy policy = lease_of_10s().policy;
	struct lease lease = lease_of_10s();

	ok(lease_set_unlimited(&lease, at(6 * S - 1)), "before renew-by");
	ok(lease_phase(&lease, at(3600 * S)) == LEASE_HELD, "held for long");
	is_int(lease_until_next_phase_ns(&lease, at(7 * S)), -1,
	       "no phase follows by itself");
	is_int(lease_until_lost_ns(&lease, at(7 * S)), -1 * S,
	       "it would be lost");
	ok(!lease_renewed(&lease, at(20 * S), at(26 * S)),
	   "a confirmation that took too long");
	ok(lease.is_unlimited, "... leaves it unlimited");
	ok(lease_renewed(&lease, at(20 * S), at(21 * S)), "a renewal counts");
	ok(lease_phase(&lease, at(26 * S - 1)) == LEASE_HELD,
	   "and starts the timeline");
	ok(lease_phase(&lease, at(26 * S)) == LEASE_STOPPING, "which ends");
	ok(!lease_set_unlimited(&lease, at(26 * S)), "too late");
	ok(lease_phase(&lease, at(26 * S)) == LEASE_STOPPING, "... is it");

	lease = lease_of_10s();
	lease_set_unlimited(&lease, at(2 * S));
	lease_lose(&lease, at(5 * S));
	ok(lease_phase(&lease, at(5 * S)) == LEASE_STOPPING, "lost at 5 s");
	is_int(lease_until_next_phase_ns(&lease, at(5 * S)), 2745 * MS,
	       "killed with the usual grace");
	lease_lose(&lease, at(6 * S));
	is_int(lease_until_next_phase_ns(&lease, at(6 * S)), 1745 * MS,
	       "lost twice is lost once");

	lease = lease_of_10s();
	lease_set_unlimited(&lease, at(2 * S));
	lease_lose(&lease, at(100 * S));
	ok(lease_phase(&lease, at(100 * S)) == LEASE_STOPPING, "lost at 100 s");
	is_int(lease_until_next_phase_ns(&lease, at(100 * S)), 2745 * MS,
	       "killed with the usual grace, too");
	ok(lease_phase(&lease, at(103 * S)) == LEASE_KILLING, "and killed");

	lease = lease_of_10s();
	lease_lose(&lease, at(1 * S));
	ok(!lease_set_unlimited(&lease, at(1 * S)), "lost is lost");

	lease_do_without(&lease, &policy, at(50 * S));
	ok(lease_phase(&lease, at(500 * S)) == LEASE_HELD, "without a lease");
	ok(lease_renewed(&lease, at(500 * S), at(501 * S)), "there is one");
	ok(lease_phase(&lease, at(506 * S)) == LEASE_STOPPING, "with its end");
}

static const char *name_of(enum lease_phase phase)
{
	switch (phase) {
	case LEASE_HELD:
		return "held";
	case LEASE_STOPPING:
		return "stopping";
	case LEASE_KILLING:
		return "killing";
	}
	return "?";
}

static void check_phase(const struct lease *lease, struct instant now,
			enum lease_phase expected, const char *when)
{
	is_str(name_of(lease_phase(lease, now)), name_of(expected), "%s: %s",
	       name_of(expected), when);
}

static void test_policy(void)
{
	struct lease_policy policy = policy_of(10 * S);

	is_int(policy.ttl_ns, 10 * S, "10 s: the ttl is kept");
	is_int(policy.renew_every_ns, 2 * S, "10 s: renewals every 2 s");
	is_int(policy.renew_by_ns, 6 * S, "10 s: lost at 6 s");
	is_int(policy.kill_at_ns, 8745 * MS, "10 s: killed at 8.745 s");

	policy = policy_of(S);
	is_int(policy.renew_every_ns, 200 * MS, "1 s: renewals every 200 ms");
	is_int(policy.renew_by_ns, 600 * MS, "1 s: lost at 600 ms");
	is_int(policy.kill_at_ns, 795 * MS, "1 s: killed at 795 ms");

	policy = policy_of(200 * MS);
	is_int(policy.renew_every_ns, 40 * MS, "200 ms: renewals every 40 ms");
	is_int(policy.renew_by_ns, 120 * MS, "200 ms: lost at 120 ms");
	is_int(policy.kill_at_ns, 155 * MS, "200 ms: killed at 155 ms");

	policy = policy_of(2500 * MS);
	is_int(policy.kill_at_ns, 1995 * MS,
	       "2.5 s: from here the time to kill is 250 ms");

	policy = policy_of(3600 * S);
	is_int(policy.renew_by_ns, 2160 * S, "1 h: lost at 36 min");
	is_int(policy.kill_at_ns, 3240 * S - 255 * MS,
	       "1 h: killed a tenth and 255 ms before the end");
}

static void check_refused(int64_t ttl_ns, int percent, const char *what,
			  const char *word)
{
	struct lease_policy policy, before;
	const char *why = "";

	memset(&policy, 0x5a, sizeof(policy));
	before = policy;
	is_int(lease_policy_init(&policy, ttl_ns, percent, &why), -ERANGE,
	       "refused: %s", what);
	ok(strstr(why, word) != NULL, "refused: %s, with a reason", what);
	ok(!memcmp(&policy, &before, sizeof(policy)),
	   "refused: %s, the policy is untouched", what);
}

static void check_accepted(int64_t ttl_ns, int percent, const char *what)
{
	struct lease_policy policy = { 0 };
	const char *why = "";

	is_int(lease_policy_init(&policy, ttl_ns, percent, &why), 0,
	       "accepted: %s", what);
	ok(0 < policy.renew_every_ns &&
		   policy.renew_every_ns < policy.renew_by_ns &&
		   policy.renew_by_ns < policy.kill_at_ns &&
		   policy.kill_at_ns < policy.ttl_ns,
	   "accepted: %s, in order", what);
}

static void test_refusals(void)
{
	check_refused(199 * MS, 60, "a ttl of 199 ms", "ttl");
	check_refused(200 * MS - 1, 60, "a ttl 1 ns under 200 ms", "ttl");
	check_refused(0, 60, "a ttl of nought", "ttl");
	check_refused(-10 * S, 60, "a negative ttl", "ttl");
	check_refused(3600 * S + 1, 60, "a ttl of 1 h and 1 ns", "ttl");
	check_refused(INT64_MAX, 60, "the longest ttl that can be said", "ttl");
	check_refused(10 * S, 88, "renew-by 88% of 10 s", "renew-by");
	check_refused(S, 80, "renew-by 80% of 1 s", "renew-by");
	check_refused(200 * MS, 78, "renew-by 78% of 200 ms", "renew-by");
	check_refused(3600 * S, 90, "renew-by 90% of 1 h", "renew-by");
	check_refused(10 * S, 0, "renew-by 0%", "renew-by");
	check_refused(10 * S, -60, "renew-by -60%", "renew-by");

	check_accepted(200 * MS, 60, "a ttl of 200 ms");
	check_accepted(3600 * S, 60, "a ttl of 1 h");
	check_accepted(10 * S, 87, "renew-by 87% of 10 s");
	check_accepted(S, 79, "renew-by 79% of 1 s");
	check_accepted(200 * MS, 77, "renew-by 77% of 200 ms");
	check_accepted(200 * MS, 1, "renew-by 1% of 200 ms");
}

static void test_phases(void)
{
	struct lease lease = lease_of_10s();

	check_phase(&lease, at(0), LEASE_HELD, "at once");
	check_phase(&lease, at(6 * S - MS), LEASE_HELD, "1 ms before 6 s");
	check_phase(&lease, at(6 * S - 1), LEASE_HELD, "1 ns before 6 s");
	check_phase(&lease, at(6 * S), LEASE_STOPPING, "at 6 s");
	check_phase(&lease, at(6 * S + 1), LEASE_STOPPING, "1 ns after 6 s");
	check_phase(&lease, at(6 * S + MS), LEASE_STOPPING, "1 ms after 6 s");
	check_phase(&lease, at(8744 * MS), LEASE_STOPPING,
		    "1 ms before 8.745 s");
	check_phase(&lease, at(8745 * MS - 1), LEASE_STOPPING,
		    "1 ns before 8.745 s");
	check_phase(&lease, at(8745 * MS), LEASE_KILLING, "at 8.745 s");
	check_phase(&lease, at(8745 * MS + 1), LEASE_KILLING,
		    "1 ns after 8.745 s");
	check_phase(&lease, at(8746 * MS), LEASE_KILLING, "1 ms after 8.745 s");
	check_phase(&lease, at(10 * S), LEASE_KILLING, "at the end");
	check_phase(&lease, at(3600 * S), LEASE_KILLING, "an hour later");
}

static void test_until(void)
{
	struct lease lease = lease_of_10s();

#define next(ns) lease_until_next_phase_ns(&lease, at(ns))
#define renewal(ns) lease_until_renewal_ns(&lease, at(ns))
#define lost(ns) lease_until_lost_ns(&lease, at(ns))
#define left(ns) lease_left_ns(&lease, at(ns))
	is_int(next(0), 6 * S, "at 0 the next phase is 6 s away");
	is_int(next(6 * S - 1), 1, "1 ns before 6 s it is 1 ns away");
	is_int(next(6 * S), 2745 * MS, "at 6 s the kill is 2.745 s away");
	is_int(next(8745 * MS - 1), 1, "1 ns before the kill it is 1 ns away");
	is_int(next(8745 * MS), -1, "behind the kill nothing follows");
	is_int(next(11 * S), -1, "nor after the end");

	is_int(renewal(0), 2 * S, "at 0 the renewal is 2 s away");
	is_int(renewal(2 * S - 1), 1, "1 ns before 2 s it is 1 ns away");
	is_int(renewal(2 * S), 0, "at 2 s it is due");
	is_int(renewal(5 * S), 0, "at 5 s it is due, not overdue");

	is_int(lost(0), 6 * S, "at 0 the loss is 6 s away");
	is_int(lost(6 * S), 0, "at 6 s it is now");
	is_int(lost(7 * S), -S, "at 7 s it is a second ago");

	is_int(left(0), 10 * S, "at 0 the lease has 10 s left");
	is_int(left(10 * S - 1), 1, "1 ns before its end it has 1 ns left");
	is_int(left(10 * S), 0, "at its end it has nothing left");
	is_int(left(12 * S), -2 * S, "2 s later that is 2 s ago");
#undef next
#undef renewal
#undef lost
#undef left
}

static void test_renewals(void)
{
	struct lease lease = lease_of_10s();

	ok(lease_renewed(&lease, at(2 * S), at(2010 * MS)),
	   "a renewal in time counts");
	is_int(lease_left_ns(&lease, at(2010 * MS)), 9990 * MS,
	       "it counts from when it was sent, not from its answer");
	check_phase(&lease, at(8 * S - 1), LEASE_HELD,
		    "1 ns before 6 s after the renewal");
	check_phase(&lease, at(8 * S), LEASE_STOPPING, "6 s after the renewal");
	check_phase(&lease, at(10745 * MS - 1), LEASE_STOPPING,
		    "1 ns before 8.745 s after the renewal");
	check_phase(&lease, at(10745 * MS), LEASE_KILLING,
		    "8.745 s after the renewal");
	is_int(lease_until_renewal_ns(&lease, at(2 * S)), 2 * S,
	       "the next renewal is 2 s away again");
	ok(lease_renewed(&lease, at(4 * S), at(8 * S - 1)),
	   "an answer 1 ns before the loss counts");
	is_int(lease_until_lost_ns(&lease, at(8 * S - 1)), 2 * S + 1,
	       "and gives what is left of its own 6 s");
	ok(lease_renewed(&lease, at(8 * S), at(8 * S)),
	   "sent and answered at the same instant");
	is_int(lease_left_ns(&lease, at(8 * S)), 10 * S,
	       "gives the whole lease");
}

static void check_untouched(const struct lease *lease,
			    const struct lease *before, const char *what)
{
	ok(!memcmp(lease, before, sizeof(*lease)),
	   "%s leaves the timeline as it was", what);
}

static void test_late_renewals(void)
{
	struct lease lease = lease_of_10s(), before = lease;

	ok(!lease_renewed(&lease, at(5 * S), at(6 * S)),
	   "an answer at 6 s is refused");
	check_untouched(&lease, &before, "it");
	ok(!lease_renewed(&lease, at(6 * S - 1), at(6 * S + MS)),
	   "an answer after 6 s is refused, though sent before");
	ok(!lease_renewed(&lease, at(6 * S), at(8745 * MS)),
	   "an answer after the kill is refused");
	ok(!lease_renewed(&lease, at(11 * S), at(11 * S)),
	   "an answer after the end is refused");
	check_untouched(&lease, &before, "none of them");
	ok(lease_renewed(&lease, at(5 * S), at(6 * S - 1)),
	   "the same answer 1 ns before 6 s counts");

	/* The lease stands, but the request is older than any lease. */
	lease = lease_of_10s();
	before = lease;
	ok(!lease_renewed(&lease, at(-S), at(5 * S)),
	   "an answer that is 6 s older than its request is refused");
	check_untouched(&lease, &before, "it");
}

static void test_overtaken(void)
{
	struct lease lease = lease_of_10s(), before;

	lease_renewed(&lease, at(4 * S), at(4 * S));
	before = lease;
	ok(lease_renewed(&lease, at(2 * S), at(4500 * MS)),
	   "a confirmation that was overtaken is no loss");
	check_untouched(&lease, &before, "it");
	ok(lease_renewed(&lease, at(4 * S), at(4600 * MS)),
	   "nor is the same one, told twice");
	check_untouched(&lease, &before, "it");
}

static void test_lose(void)
{
	struct lease lease = lease_of_10s(), before;

	lease_lose(&lease, at(S));
	check_phase(&lease, at(S), LEASE_STOPPING, "the instant it is lost");
	is_int(lease_until_next_phase_ns(&lease, at(S)), 2745 * MS,
	       "lost early: the usual time to clean up");
	check_phase(&lease, at(3745 * MS - 1), LEASE_STOPPING,
		    "1 ns before that is over");
	check_phase(&lease, at(3745 * MS), LEASE_KILLING, "when it is over");
	is_int(lease_until_lost_ns(&lease, at(S)), 0, "it is lost now");
	ok(!lease_renewed(&lease, at(900 * MS), at(1001 * MS)),
	   "a renewal after that is refused");
	ok(!lease_renewed(&lease, at(2 * S), at(2 * S)),
	   "even one that was sent after that");

	before = lease;
	lease_lose(&lease, at(2 * S));
	check_untouched(&lease, &before, "to lose it a second time");
	lease_lose(&lease, at(5 * S));
	check_untouched(&lease, &before, "and a third");

	lease = lease_of_10s();
	lease_lose(&lease, at(6 * S - 1));
	check_phase(&lease, at(8745 * MS - 2), LEASE_STOPPING,
		    "lost 1 ns before 6 s, 2 ns before the kill");
	check_phase(&lease, at(8745 * MS - 1), LEASE_KILLING,
		    "lost 1 ns before 6 s, 1 ns before the kill");

	lease = lease_of_10s();
	before = lease;
	lease_lose(&lease, at(6 * S));
	check_untouched(&lease, &before, "to lose it at 6 s");
	lease_lose(&lease, at(7 * S));
	check_untouched(&lease, &before, "or later");

	lease = lease_of_10s();
	lease_lose(&lease, at(0));
	check_phase(&lease, at(0), LEASE_STOPPING, "lost at once");

	lease = lease_of_10s();
	lease_renewed(&lease, at(4 * S), at(4 * S));
	lease_lose(&lease, at(5 * S));
	is_int(lease_until_next_phase_ns(&lease, at(5 * S)), 2745 * MS,
	       "lost after a renewal: the usual time to clean up");
}

static void test_kill_earlier(void)
{
	struct lease lease = lease_of_10s();

	lease_kill_earlier(&lease, 0);
	check_phase(&lease, at(8745 * MS - 1), LEASE_STOPPING,
		    "nothing longer: nothing earlier");
	lease_kill_earlier(&lease, 745 * MS);
	check_phase(&lease, at(8 * S - 1), LEASE_STOPPING,
		    "745 ms longer, 1 ns before the kill");
	check_phase(&lease, at(8 * S), LEASE_KILLING,
		    "745 ms longer: as much earlier");
	lease_kill_earlier(&lease, 2 * S);
	check_phase(&lease, at(6 * S - 1), LEASE_HELD,
		    "as long as there is, 1 ns before the stopping");
	check_phase(&lease, at(6 * S), LEASE_KILLING,
		    "as long as there is: with the stopping");
	lease_kill_earlier(&lease, 3600 * S);
	check_phase(&lease, at(6 * S - 1), LEASE_HELD,
		    "longer than there is: not before the stopping");
	check_phase(&lease, at(6 * S), LEASE_KILLING,
		    "longer than there is: with the stopping, too");
}

static void test_clocks(void)
{
	struct lease lease = lease_of_10s();

	check_phase(&lease, later_by(origin, 6 * S - 1, 0), LEASE_HELD,
		    "suspended for 1 ns less than 6 s");
	check_phase(&lease, later_by(origin, 6 * S, 0), LEASE_STOPPING,
		    "suspended until 6 s");
	check_phase(&lease, later_by(origin, 3600 * S, 1), LEASE_KILLING,
		    "suspended for an hour");
	check_phase(&lease, later_by(origin, 5520 * MS, 6 * S), LEASE_STOPPING,
		    "6 s by the raw clock, while NTP slows the other by 8%");
	check_phase(&lease, later_by(origin, 8 * S, 8745 * MS), LEASE_KILLING,
		    "8.745 s by the raw clock only");
	check_phase(&lease, later_by(origin, 6 * S, 5520 * MS), LEASE_STOPPING,
		    "6 s by the slewed clock, which NTP makes faster");
	is_int(lease_left_ns(&lease, later_by(origin, 3 * S, 4 * S)), 6 * S,
	       "what is left goes by the clock that is ahead: raw");
	is_int(lease_left_ns(&lease, later_by(origin, 4 * S, 3 * S)), 6 * S,
	       "what is left goes by the clock that is ahead: boot");
	is_int(lease_until_renewal_ns(&lease, later_by(origin, 1900 * MS, S)),
	       100 * MS, "so does the next renewal");

	ok(!lease_renewed(&lease, at(S), later_by(at(S), 6 * S, MS)),
	   "a renewal is refused that was answered after a suspend of 6 s");
	lease = lease_of_10s();
	lease_lose(&lease, later_by(origin, 2 * S, S));
	is_int(lease_until_next_phase_ns(&lease, later_by(origin, 2 * S, S)),
	       2745 * MS, "lost between the clocks: the usual time");
}

/* xorshift64, so that every machine walks the same way. */
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static int64_t random_below(int64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (int64_t)(random_state % (uint64_t)limit);
}

#define PAST 16

struct walk {
	int back, alive_late, left_back, wrong_next, renewed_late, ends;
};

/*
 * One lease from its grant to its kill, with whatever order of renewals that
 * come late, early, out of order or not at all.
 */
static void walk_once(struct walk *walk)
{
	static const int64_t ttls[] = { 200 * MS, S, 10 * S, 3600 * S };
	struct instant now = origin, last_proof = origin, past[PAST];
	enum lease_phase phase, before = LEASE_HELD;
	struct lease_policy policy;
	struct lease lease;
	const char *why;
	int64_t ttl_ns = ttls[random_below(4)];
	size_t i, step = 0;

	for (i = 0; i < PAST; i++)
		past[i] = origin;
	lease_policy_init(&policy, ttl_ns, 60, &why);
	lease_grant(&lease, &policy, now);
	while (before != LEASE_KILLING) {
		int64_t boot = random_below(ttl_ns / 4);
		/* Rates that differ by up to 8 %, and suspends. */
		int64_t raw = boot / 100 * (92 + random_below(17));
		struct instant sent = now;
		int64_t next_ns;

		if (random_below(20) == 0)
			raw = 0;
		past[step++ % PAST] = now;
		now = later_by(now, boot, raw);

		switch (random_below(4)) {
		case 0:
			sent = past[random_below(PAST)];
			/* fall through */
		case 1:
			if (!lease_renewed(&lease, sent, now))
				break;
			walk->renewed_late += before != LEASE_HELD;
			if (clock_elapsed_ns(last_proof, sent) > 0)
				last_proof = sent;
			break;
		case 2:
			if (random_below(8) == 0)
				lease_lose(&lease, now);
			break;
		default:
			break;
		}

		phase = lease_phase(&lease, now);
		walk->back += phase < before;
		/* Whatever was said: never past the deadline of the last proof. */
		if (phase != LEASE_KILLING &&
		    clock_elapsed_ns(last_proof, now) >= policy.kill_at_ns)
			walk->alive_late++;
		if (phase == LEASE_HELD &&
		    clock_elapsed_ns(last_proof, now) >= policy.renew_by_ns)
			walk->alive_late++;
		if (phase != LEASE_KILLING && lease_left_ns(&lease, now) <= 0)
			walk->left_back++;
		next_ns = lease_until_next_phase_ns(&lease, now);
		if (phase == LEASE_KILLING)
			walk->wrong_next += next_ns != -1;
		else if (next_ns <= 0 ||
			 lease_phase(&lease, later_by(now, next_ns - 1,
						      next_ns - 1)) != phase ||
			 lease_phase(&lease, later_by(now, next_ns, next_ns)) <=
				 phase)
			walk->wrong_next++;
		before = phase;
	}
	walk->ends++;
}

static void test_walk(void)
{
	struct walk walk = { 0 };
	int i;

	for (i = 0; i < 20000; i++)
		walk_once(&walk);
	is_int(walk.ends, 20000, "20000 random walks end in the kill");
	is_int(walk.back, 0, "none of them ever goes back a phase");
	is_int(walk.renewed_late, 0, "no renewal counts once it is stopping");
	is_int(walk.alive_late, 0, "none outlives its last proof");
	is_int(walk.left_back, 0, "none is alive without a lease");
	is_int(walk.wrong_next, 0, "the next phase comes when it was foretold");
}

int main(void)
{
	test_unlimited();
	test_policy();
	test_refusals();
	test_phases();
	test_until();
	test_renewals();
	test_late_renewals();
	test_overtaken();
	test_lose();
	test_kill_earlier();
	test_clocks();
	test_walk();
	return done_testing();
}
