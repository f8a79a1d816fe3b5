/*
 * How a lease is given by a majority of servers: the voting.  See quorum.h.
 */
#include "config.h"

#include "redis/votes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ready.h"
#include "redis/round.h"

/*
 * How long an asking for votes may stay undecided after the first answer: a vote
 * that we have keeps others from a majority meanwhile.
 */
#define VOTES_DIVISOR 5
#define VOTES_LEAST_NS (200 * NS_PER_MS)
#define VOTES_MOST_NS (2 * NS_PER_S)

/* As long as each knows of a higher token than the one before. */
#define ROUNDS_MAX 8

/* Who will not wait tries so often to get through between others like it. */
#define TRIES_MAX 6

/* After a split vote, the next try comes at random: twice as late each time. */
#define SPLIT_PAUSE_MS 4
#define SPLIT_DOUBLINGS 6

/* Whose is higher cannot be outdone any more. */
#define PROPOSAL_MOST (TOKEN_MOST - 1)

/* As us since 1970, the year 2112: none is as high by a clock. */
#define TOKEN_DOUBTFUL (INT64_C(1) << 52)

static int64_t votes_ns(int64_t ttl_ms)
{
	int64_t ns = ttl_ms * NS_PER_MS / VOTES_DIVISOR;

	return most(VOTES_LEAST_NS, least(ns, VOTES_MOST_NS));
}

static int end_acquire(struct member *member)
{
	char token[STORE_TOKEN_MAX];
	int result = single_end_acquire(&member->single, &member->request,
					token, &member->refusal);

	/* No vote for another token than the one that was asked for. */
	if (result != STORE_DONE ||
	    strcmp(token, member->request.call.arguments[ACQUIRE_VOTE]) == 0)
		return result;
	return link_fail(&member->single.link, -EPROTO, "get the vote of");
}

static int count_refusals(const struct quorum *quorum,
			  enum refusal_reason reason)
{
	int count = 0, i;

	for (i = 0; i < quorum->count; i++) {
		const struct member *member = &quorum->members[i];

		count += member->is_asked && member->has_ended &&
			 member->result == STORE_REFUSED &&
			 member->refusal.reason == reason;
	}
	return count;
}

/* No more answers are needed to know what comes next. */
static bool acquire_is_decided(const struct quorum *quorum)
{
	int granted = round_count(quorum, STORE_DONE);
	int taken = count_refusals(quorum, REFUSAL_TAKEN);
	int open = round_open(quorum);

	if (granted >= quorum->majority)
		return true;
	if (granted + open >= quorum->majority)
		return false;
	if (granted + taken >= quorum->majority)
		return true;
	/* For want of answers: there is no hurry to fail. */
	return granted + taken + open < quorum->majority &&
	       round_answers(quorum) >= quorum->majority;
}

/* The token to propose: one that nobody should have had. */
static int64_t next_token(const struct quorum *quorum)
{
	return least(most(quorum->highest + 1, clock_wall_us()), PROPOSAL_MOST);
}

/* A server has it.  One that is out of range, and not ours, cannot be followed. */
static void take_token(struct quorum *quorum, int64_t token)
{
	if (token < PROPOSAL_MOST)
		quorum->highest = most(quorum->highest, token);
}

/* Takes what the refusals tell: the highest token, and a ticket. */
static void learn(struct quorum *quorum)
{
	int64_t tickets[URL_LIST_MAX], highest = 0, second = 0;
	int count = 0, i, j;

	for (i = 0; i < quorum->count; i++) {
		const struct member *member = &quorum->members[i];
		const struct refusal *refusal = &member->refusal;

		if (member->result != STORE_REFUSED)
			continue;
		if (refusal->reason == REFUSAL_VOTES) {
			int64_t token =
				strtoll(refusal->holder.value, NULL, 10);

			second = most(second, least(token, highest));
			highest = most(highest, token);
		}
		if (refusal->ticket <= 0)
			continue;
		for (j = count++; j > 0 && tickets[j - 1] > refusal->ticket;
		     j--)
			tickets[j] = tickets[j - 1];
		tickets[j] = refusal->ticket;
	}
	/* One server that is wrong must not use up the tokens of all. */
	take_token(quorum, highest < TOKEN_DOUBTFUL ? highest : second);
	/* No clock that is wrong decides, unless most are. */
	if (count && !quorum->ticket)
		quorum->ticket = tickets[(count - 1) / 2];
}

/* Asks all for their votes.  0, or -ECANCELED. */
static int ask_for_votes(struct quorum *quorum, const struct claim *claim,
			 const struct link_wait *wait)
{
	struct round round = {
		.quorum = quorum,
		.end = end_acquire,
		.is_decided = acquire_is_decided,
		.votes_ns = votes_ns(claim->ttl_ms),
	};
	char token[STORE_TOKEN_MAX];
	const struct vote vote = { token, quorum->ticket, false };
	int i;

	snprintf(token, sizeof(token), "%lld", (long long)quorum->proposed);
	round_start(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		if (round_asks(quorum, member, wait,
			       round_patience_ns(claim->ttl_ms)))
			single_begin_acquire(&member->single, &member->request,
					     claim, "", &vote, wait);
	}
	return round_gather(&round, wait);
}

int votes_end_release(struct member *member)
{
	return single_end_release(&member->single, &member->request);
}

static bool has_vote(const struct member *member)
{
	if (member->result == STORE_REFUSED)
		return member->refusal.reason == REFUSAL_TAKEN;
	return member->result == STORE_DONE ||
	       (member->single.claimed && member->single.link.conn.fd >= 0);
}

/* What has become of a member in a round. */
struct outcome {
	bool is_asked, was_given_up;
	int result;
};

/* None that is known to have a vote is still to be heard. */
static bool votes_are_back(const struct quorum *quorum)
{
	int i;

	for (i = 0; i < quorum->count; i++)
		if (!quorum->members[i].has_ended &&
		    !quorum->members[i].was_given_up)
			return false;
	return true;
}

/*
 * Gives back the votes that are no majority, or may be votes.  `stays`: in the
 * line; but who reaches no majority would only be in the way there.  What is not
 * heard in time ends by itself.  The results stay those of the asking.
 */
static void give_back(struct quorum *quorum, const struct claim *claim,
		      bool stays)
{
	const struct link_wait wait = {
		.deadline_ns =
			clock_boot_ns() + round_patience_ns(claim->ttl_ms),
		.cancel_fd = -1,
	};
	struct round round = { .quorum = quorum,
			       .end = votes_end_release,
			       .is_decided = votes_are_back };
	struct outcome outcomes[URL_LIST_MAX] = { { 0 } };
	char token[STORE_TOKEN_MAX];
	const struct vote vote = { token, stays ? quorum->ticket : 0, false };
	int i;

	snprintf(token, sizeof(token), "%lld", (long long)quorum->proposed);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];
		bool is_meant =
			has_vote(member) || (!stays && member->single.claimed &&
					     member->single.link.conn.fd >= 0);

		outcomes[i] = (struct outcome){ member->is_asked,
						member->was_given_up,
						member->result };
		member->is_asked = is_meant;
		member->has_ended = !is_meant;
		if (is_meant)
			single_begin_give_back(&member->single,
					       &member->request, claim, &vote,
					       &wait);
	}
	round_gather(&round, &wait);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		member->single.claimed |= member->is_asked && vote.ticket;
		member->is_asked = outcomes[i].is_asked;
		member->was_given_up = outcomes[i].was_given_up;
		member->result = outcomes[i].result;
	}
	/* Never the same again, also by a clock that is set back. */
	take_token(quorum, quorum->proposed);
	quorum->proposed = 0;
}

/* How many say the same: by whom, and why. */
static int count_like(const struct quorum *quorum, const struct refusal *like)
{
	int count = 0, i;

	for (i = 0; i < quorum->count; i++) {
		const struct member *member = &quorum->members[i];
		const struct refusal *refusal = &member->refusal;

		count += member->result == STORE_REFUSED &&
			 refusal->reason == like->reason &&
			 !strcmp(refusal->holder.id, like->holder.id) &&
			 !strcmp(refusal->holder.value, like->holder.value);
	}
	return count;
}

/* True for what ends the waiting. */
static bool is_final_reason(enum refusal_reason reason)
{
	return reason == REFUSAL_ANCESTOR || reason == REFUSAL_KIND ||
	       reason == REFUSAL_COOLING;
}

/* True when those who do not answer might say so, too, and be enough. */
static bool may_be_blocking(const struct quorum *quorum, int count)
{
	int failed = quorum->count - round_answers(quorum);

	return count + failed > quorum->count - quorum->majority;
}

/* The refusal that stands for all: what most say.  Returns how many do. */
static int choose_refusal(const struct quorum *quorum, struct refusal *refusal)
{
	int64_t again_ms = INT64_MAX, place = 0, waiting = 0;
	bool exactly = false;
	int best = 0, i;

	memset(refusal, 0, sizeof(*refusal));
	refusal->reason = REFUSAL_VOTES;
	for (i = 0; i < quorum->count; i++) {
		const struct member *member = &quorum->members[i];
		const struct refusal *one = &member->refusal;
		int count;

		if (member->result != STORE_REFUSED)
			continue;
		if (one->again_ms < again_ms && !is_final_reason(one->reason)) {
			again_ms = one->again_ms;
			exactly = one->exactly;
		}
		place = most(place, one->place);
		waiting = most(waiting, one->waiting);
		count = count_like(quorum, one);
		if (one->reason == REFUSAL_VOTES ||
		    (is_final_reason(one->reason) &&
		     !may_be_blocking(quorum, count)))
			continue;
		if (count > best ||
		    (count == best && one->left_ms > refusal->left_ms)) {
			best = count;
			*refusal = *one;
		}
	}
	refusal->place = place;
	refusal->waiting = waiting;
	refusal->again_ms = again_ms == INT64_MAX ? 0 : again_ms;
	refusal->exactly = exactly;
	return best;
}

/* A majority has given its vote from some instant on: when a majority begins. */
static void refuse_as_taken(const struct quorum *quorum,
			    struct refusal *refusal)
{
	int64_t left_ms[URL_LIST_MAX] = { 0 }, again_ms = INT64_MAX;
	int count = 0, i;

	for (i = 0; i < quorum->count; i++) {
		const struct member *member = &quorum->members[i];

		if (member->result == STORE_DONE) {
			left_ms[count++] = 0;
		} else if (member->result == STORE_REFUSED &&
			   member->refusal.reason == REFUSAL_TAKEN) {
			left_ms[count++] = member->refusal.left_ms;
			again_ms = least(again_ms, member->refusal.again_ms);
			*refusal = member->refusal;
		}
	}
	qsort(left_ms, (size_t)count, sizeof(left_ms[0]), int64_compare);
	refusal->left_ms = left_ms[quorum->majority - 1];
	/* Votes that have begun are to be kept alive as well. */
	refusal->again_ms = least(again_ms, refusal->left_ms);
	refusal->exactly = true;
}

/* Some time in [1, 2^splits) times that of a pause. */
static int64_t random_pause_ms(struct quorum *quorum)
{
	unsigned int random = 0, span;

	span = SPLIT_PAUSE_MS
	       << (quorum->splits < SPLIT_DOUBLINGS ? quorum->splits
						    : SPLIT_DOUBLINGS);
	quorum->splits++;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = (unsigned int)clock_boot_ns();
	return 1 + random % span;
}

/*
 * Asks in rounds until no server wants a higher token.  DONE; REFUSED with
 * *is_split, when nobody has a majority; or a negative errno.
 */
static int try_to_acquire(struct quorum *quorum, const struct claim *claim,
			  const struct link_wait *wait, struct grant *grant,
			  struct refusal *refusal, bool *is_split)
{
	struct instant sent;
	int granted, taken, wanting, alike, round, err;

	for (round = 0;; round++) {
		if (!quorum->proposed)
			quorum->proposed = next_token(quorum);
		sent = clock_now();
		err = ask_for_votes(quorum, claim, wait);
		learn(quorum);
		granted = round_count(quorum, STORE_DONE);
		taken = count_refusals(quorum, REFUSAL_TAKEN);
		wanting = count_refusals(quorum, REFUSAL_VOTES);
		if (granted >= quorum->majority) {
			snprintf(grant->token, sizeof(grant->token), "%lld",
				 (long long)quorum->proposed);
			grant->sent = sent;
			round_counts(quorum);
			return STORE_DONE;
		}
		if (err || !wanting || round == ROUNDS_MAX ||
		    granted + taken + wanting < quorum->majority)
			break;
		take_token(quorum, quorum->proposed);
		quorum->proposed = 0;
	}
	if (granted + taken >= quorum->majority) {
		refuse_as_taken(quorum, refusal);
		return STORE_REFUSED;
	}
	/* By a signal: what there is will be withdrawn, or asked for once more. */
	if (err)
		return err;
	if (round_answers(quorum) < quorum->majority) {
		err = round_fail(quorum);
		give_back(quorum, claim, false);
		return err;
	}
	give_back(quorum, claim, claim->may_wait);
	alike = choose_refusal(quorum, refusal);
	*is_split = !may_be_blocking(quorum, alike);
	if (*is_split)
		refusal->reason = REFUSAL_VOTES;
	/* It may be so, as far as we can see; who will not wait tries once more. */
	*is_split |= !claim->may_wait && alike < quorum->majority;
	return STORE_REFUSED;
}

int quorum_acquire(struct quorum *quorum, const struct claim *claim,
		   const struct link_wait *wait, struct grant *grant,
		   struct refusal *refusal)
{
	int tries, result;

	for (tries = 1;; tries++) {
		int64_t begun_ns = clock_boot_ns(), pause_ns, until_ns;
		bool is_split = false;

		result = try_to_acquire(quorum, claim, wait, grant, refusal,
					&is_split);
		if (result == STORE_DONE) {
			take_token(quorum, quorum->proposed);
			quorum->proposed = quorum->ticket = 0;
		}
		if (!is_split) {
			quorum->splits = 0;
			return result;
		}
		pause_ns = random_pause_ms(quorum) * NS_PER_MS;
		if (claim->may_wait) {
			refusal->again_ms = pause_ns / NS_PER_MS;
			refusal->exactly = true;
			return result;
		}
		/* Not without time for as much again. */
		until_ns = clock_boot_ns() + pause_ns;
		if (tries == TRIES_MAX ||
		    2 * until_ns - begun_ns > wait->deadline_ns)
			return result;
		wait_until_ready(-1, 0, until_ns, wait->cancel_fd);
	}
}

void votes_ask_again(struct quorum *quorum, const struct claim *claim,
		     const struct grant *grant, const struct link_wait *wait)
{
	struct round round = { .quorum = quorum,
			       .end = end_acquire,
			       .is_decided = round_is_done,
			       .more_ns = round_patience_ns(claim->ttl_ms) };
	int i;

	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];
		const struct vote vote = { grant->token, 0,
					   !member->has_acked };

		if (!member->is_asked || member->result != STORE_REFUSED)
			continue;
		member->has_ended = false;
		memset(&member->asked, 0, sizeof(member->asked));
		single_begin_acquire(&member->single, &member->request, claim,
				     grant->token, &vote, wait);
	}
	round_gather(&round, wait);
}
