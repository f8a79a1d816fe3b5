/*
 * A request is a round: it is begun on each server, gathered, and counted.  What
 * is still on its way when enough is known is given up, and skipped when it comes:
 * requests to a server are carried out in their order.
 */
#include "config.h"

#include "redis/quorum.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ready.h"
#include "redis/service.h"

/*
 * How long an asking for votes may stay undecided after the first answer: a vote
 * that we have keeps others from a majority meanwhile.
 */
#define VOTES_DIVISOR 5
#define VOTES_LEAST_NS (200 * NS_PER_MS)
#define VOTES_MOST_NS (2 * NS_PER_S)

/*
 * How long those are waited for who are not needed any more: as some times as long
 * as the others took, and a part of the ttl at most.
 */
#define PATIENCE_FACTOR 4
#define PATIENCE_DIVISOR 20
#define PATIENCE_LEAST_NS (20 * NS_PER_MS)
#define PATIENCE_MOST_NS (500 * NS_PER_MS)
#define MORE_LEAST_NS (5 * NS_PER_MS)

/* What is released on one server is released on all, about now. */
#define WAKE_PATIENCE_NS (10 * NS_PER_MS)

/* A shorter pause is made without the servers. */
#define BLOCK_LEAST_NS (30 * NS_PER_MS)

/* As long as each knows of a higher token than the one before. */
#define ROUNDS_MAX 8

/* Who will not wait tries so often to get through between others like it. */
#define TRIES_MAX 6

/* After a split vote, the next try comes at random: twice as late each time. */
#define SPLIT_PAUSE_MS 4
#define SPLIT_DOUBLINGS 6

/* One that has not answered for so long is worth a word. */
#define SILENT_NS NS_PER_S

/* A name that could not be looked up is left alone for so long. */
#define LOOK_UP_AGAIN_NS (3 * NS_PER_S)

/* No token of anybody's is as high. */
#define TOKEN_MOST ((INT64_C(1) << 53) - 2)

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

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* === quorums ============================================================ */

static struct quorum *allocate(int count)
{
	struct quorum *quorum =
		calloc(1, sizeof(*quorum) +
				  (size_t)count * sizeof(quorum->members[0]));

	if (!quorum)
		return NULL;
	quorum->count = count;
	quorum->majority = count / 2 + 1;
	return quorum;
}

struct quorum *quorum_new(const struct url_list *urls)
{
	struct quorum *quorum = allocate(urls->count);
	int i;

	for (i = 0; quorum && i < quorum->count; i++) {
		single_init(&quorum->members[i].single, &urls->urls[i]);
		quorum->members[i].single.keeps_order = true;
	}
	return quorum;
}

struct quorum *quorum_copy(const struct quorum *from)
{
	struct quorum *quorum = allocate(from->count);
	int i;

	for (i = 0; quorum && i < quorum->count; i++)
		single_copy(&quorum->members[i].single,
			    &from->members[i].single);
	return quorum;
}

void quorum_free(struct quorum *quorum)
{
	int i;

	for (i = 0; i < quorum->count; i++)
		single_destroy(&quorum->members[i].single);
	free(quorum);
}

int quorum_majority(const struct quorum *quorum)
{
	return quorum->majority;
}

struct single *quorum_member(struct quorum *quorum, int i)
{
	return i < quorum->count ? &quorum->members[i].single : NULL;
}

const char *quorum_error(const struct quorum *quorum)
{
	return quorum->error;
}

const char *quorum_trouble(const struct quorum *quorum)
{
	return quorum->trouble;
}

/* === a round ============================================================ */

static int64_t patience_ns(int64_t ttl_ms)
{
	int64_t ns = ttl_ms * NS_PER_MS / PATIENCE_DIVISOR;

	return most(PATIENCE_LEAST_NS, least(ns, PATIENCE_MOST_NS));
}

static int64_t votes_ns(int64_t ttl_ms)
{
	int64_t ns = ttl_ms * NS_PER_MS / VOTES_DIVISOR;

	return most(VOTES_LEAST_NS, least(ns, VOTES_MOST_NS));
}

/* Nobody is asked yet. */
static void start_round(struct quorum *quorum)
{
	int i;

	for (i = 0; i < quorum->count; i++) {
		quorum->members[i].is_asked = false;
		quorum->members[i].was_given_up = false;
		quorum->members[i].has_ended = true;
	}
}

/* Names are looked up one by one: none may take the time of the others. */
static int look_up(const struct quorum *quorum, struct member *member,
		   const struct link_wait *wait)
{
	int64_t now_ns = clock_boot_ns();
	struct link_wait share = *wait;
	int err;

	if (now_ns < member->look_up_at_ns)
		return -EAGAIN;
	share.deadline_ns =
		now_ns + (wait->deadline_ns - now_ns) / (2 * quorum->count);
	err = link_look_up(&member->single.link, &share);
	member->look_up_at_ns = err ? clock_boot_ns() + LOOK_UP_AGAIN_NS : 0;
	return err;
}

/*
 * Whether this one can be asked, and is to be from here on.  One that has not
 * answered gets another connection: this one may be dead.
 */
static bool is_to_ask(const struct quorum *quorum, struct member *member,
		      const struct link_wait *wait, int64_t patience_ns)
{
	struct single *single = &member->single;
	int64_t now_ns;

	member->result = look_up(quorum, member, wait);
	if (member->result)
		return false;
	now_ns = clock_boot_ns();
	if (!member->silent_since_ns)
		member->silent_since_ns = now_ns;
	if (single->link.unanswered &&
	    now_ns - member->silent_since_ns > 2 * patience_ns) {
		single->doubt |= single->claimed;
		link_abort(&single->link);
	}
	member->is_asked = true;
	member->has_ended = false;
	member->result = -ETIMEDOUT;
	return true;
}

/* How many have come to that; all but errors are answers. */
static int count_results(const struct quorum *quorum, int result)
{
	int count = 0, i;

	for (i = 0; i < quorum->count; i++)
		count += quorum->members[i].is_asked &&
			 quorum->members[i].has_ended &&
			 quorum->members[i].result == result;
	return count;
}

static int count_answers(const struct quorum *quorum)
{
	return count_results(quorum, STORE_DONE) +
	       count_results(quorum, STORE_REFUSED);
}

static int count_open(const struct quorum *quorum)
{
	int count = 0, i;

	for (i = 0; i < quorum->count; i++)
		count += !quorum->members[i].has_ended;
	return count;
}

/* Ends the requests that have been answered, or have failed. */
static void take_answers(struct round *round)
{
	struct quorum *quorum = round->quorum;
	int64_t now_ns = clock_boot_ns();
	int i;

	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		if (member->has_ended || member->single.link.stage != LINK_IDLE)
			continue;
		member->has_ended = true;
		member->result = round->end(member);
		if (member->result >= 0)
			member->silent_since_ns = 0;
	}
	round->answers = count_answers(quorum);
	if (!round->first_ns && round->answers > 0)
		round->first_ns = now_ns;
	if (!round->decided_ns && round->is_decided(quorum))
		round->decided_ns = now_ns;
}

/* In `context` is the round: how long it is waited for is to be seen anew. */
static bool has_news(void *context)
{
	struct round *round = context;
	int answers = round->answers;
	int64_t decided_ns = round->decided_ns;

	take_answers(round);
	return round->answers != answers || round->decided_ns != decided_ns;
}

/* Until when answers are waited for, as it stands. */
static int64_t until_ns(const struct round *round, int64_t deadline_ns)
{
	int64_t took_ns;

	if (round->decided_ns) {
		took_ns = round->decided_ns - round->begun_ns;
		took_ns = most(MORE_LEAST_NS, PATIENCE_FACTOR * took_ns);
		return least(deadline_ns,
			     round->decided_ns +
				     least(round->more_ns, took_ns));
	}
	if (round->first_ns && round->votes_ns)
		return least(deadline_ns, round->first_ns + round->votes_ns);
	return deadline_ns;
}

/*
 * Waits for as long as the round says.  Returns 0 or -ECANCELED; each member that
 * was asked has its result.
 */
static int gather(struct round *round, const struct link_wait *wait)
{
	struct quorum *quorum = round->quorum;
	struct link_wait rest = *wait;
	struct link *links[URL_LIST_MAX];
	int count = 0, i, err = 0;

	for (i = 0; i < quorum->count; i++)
		if (quorum->members[i].is_asked)
			links[count++] = &quorum->members[i].single.link;
	round->begun_ns = clock_boot_ns();
	take_answers(round);
	while (!err && count_open(quorum)) {
		rest.deadline_ns = until_ns(round, wait->deadline_ns);
		if (clock_boot_ns() >= rest.deadline_ns)
			break;
		err = link_go_on(links, count, &rest, has_news, round);
		take_answers(round);
	}
	for (i = 0; i < quorum->count; i++)
		quorum->members[i].was_given_up = !quorum->members[i].has_ended;
	link_give_up(links, count, err == -ECANCELED ? err : -ETIMEDOUT);
	take_answers(round);
	return err == -ECANCELED ? err : 0;
}

/* A majority has done it, or cannot any more. */
static bool most_are_done(const struct quorum *quorum)
{
	int done = count_results(quorum, STORE_DONE);

	return done >= quorum->majority ||
	       done + count_open(quorum) < quorum->majority;
}

/* A majority has answered, whatever, or cannot any more. */
static bool most_have_answered(const struct quorum *quorum)
{
	int answers = count_answers(quorum);

	return answers >= quorum->majority ||
	       answers + count_open(quorum) < quorum->majority;
}

/* What we did not wait for has not failed, if it is not long ago that it answered. */
static bool has_failed(const struct member *member)
{
	return member->result < 0 &&
	       (!member->was_given_up ||
		clock_boot_ns() - member->silent_since_ns > SILENT_NS);
}

/* Adds why a member has failed to `text`, of `used` bytes. */
static size_t add_cause(const struct member *member, char *text, size_t used)
{
	if (used >= STORE_ERROR_MAX)
		return used;
	return used + (size_t)snprintf(text + used, STORE_ERROR_MAX - used,
				       "%s%.200s", used ? "; " : "",
				       member->single.link.error);
}

/* Having failed for want of a majority: why, and what that means. */
static int fail(struct quorum *quorum)
{
	char causes[STORE_ERROR_MAX] = "";
	size_t used = 0;
	int err = 0, last_final = -EAGAIN, failed = 0, final = 0, i;

	for (i = 0; i < quorum->count; i++) {
		int result = quorum->members[i].result;

		if (result >= 0)
			continue;
		used = add_cause(&quorum->members[i], causes, used);
		failed++;
		if (store_error_is_final(result)) {
			final++;
			last_final = result;
		} else if (!err) {
			err = result;
		}
	}
	snprintf(quorum->error, sizeof(quorum->error),
		 "%d of %d servers do not answer as they should: %s", failed,
		 quorum->count, causes);
	/* Asked again, the others are no majority, either. */
	if (!err || quorum->count - final < quorum->majority)
		return last_final;
	return err;
}

/* A round counts: keeps in mind by whom, and what is wrong with the others. */
static void count_round(struct quorum *quorum)
{
	size_t used = 0;
	int i;

	quorum->trouble[0] = '\0';
	for (i = 0; i < quorum->count; i++) {
		quorum->members[i].has_acked =
			quorum->members[i].result == STORE_DONE;
		if (has_failed(&quorum->members[i]))
			used = add_cause(&quorum->members[i], quorum->trouble,
					 used);
	}
}

/* === acquiring ========================================================== */

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
	int granted = count_results(quorum, STORE_DONE);
	int taken = count_refusals(quorum, REFUSAL_TAKEN);
	int open = count_open(quorum);

	if (granted >= quorum->majority)
		return true;
	if (granted + open >= quorum->majority)
		return false;
	if (granted + taken >= quorum->majority)
		return true;
	/* For want of answers: there is no hurry to fail. */
	return granted + taken + open < quorum->majority &&
	       count_answers(quorum) >= quorum->majority;
}

/* The token to propose: one that nobody should have had. */
static int64_t next_token(const struct quorum *quorum)
{
	return least(most(quorum->highest + 1, clock_wall_us()), TOKEN_MOST);
}

/* A server has it.  One that is out of range, and not ours, cannot be followed. */
static void take_token(struct quorum *quorum, int64_t token)
{
	if (token < TOKEN_MOST)
		quorum->highest = most(quorum->highest, token);
}

/* Takes what the refusals tell: the highest token, and a ticket. */
static void learn(struct quorum *quorum)
{
	int64_t tickets[URL_LIST_MAX];
	int count = 0, i, j;

	for (i = 0; i < quorum->count; i++) {
		const struct member *member = &quorum->members[i];
		const struct refusal *refusal = &member->refusal;

		if (member->result != STORE_REFUSED)
			continue;
		if (refusal->reason == REFUSAL_VOTES)
			take_token(quorum,
				   strtoll(refusal->holder.value, NULL, 10));
		if (refusal->ticket <= 0)
			continue;
		for (j = count++; j > 0 && tickets[j - 1] > refusal->ticket;
		     j--)
			tickets[j] = tickets[j - 1];
		tickets[j] = refusal->ticket;
	}
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
	start_round(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		if (is_to_ask(quorum, member, wait, patience_ns(claim->ttl_ms)))
			single_begin_acquire(&member->single, &member->request,
					     claim, "", &vote, wait);
	}
	return gather(&round, wait);
}

static int end_release(struct member *member)
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
		.deadline_ns = clock_boot_ns() + patience_ns(claim->ttl_ms),
		.cancel_fd = -1,
	};
	struct round round = { .quorum = quorum,
			       .end = end_release,
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
	gather(&round, &wait);
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
	int failed = quorum->count - count_answers(quorum);

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

static int compare_ms(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* A majority has given its vote from some instant on: when a majority begins. */
static void refuse_as_taken(const struct quorum *quorum,
			    struct refusal *refusal)
{
	int64_t left_ms[URL_LIST_MAX], again_ms = INT64_MAX;
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
	qsort(left_ms, (size_t)count, sizeof(left_ms[0]), compare_ms);
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
		granted = count_results(quorum, STORE_DONE);
		taken = count_refusals(quorum, REFUSAL_TAKEN);
		wanting = count_refusals(quorum, REFUSAL_VOTES);
		if (granted >= quorum->majority) {
			snprintf(grant->token, sizeof(grant->token), "%lld",
				 (long long)quorum->proposed);
			grant->sent = sent;
			count_round(quorum);
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
	if (count_answers(quorum) < quorum->majority) {
		err = fail(quorum);
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

/* === waiting ============================================================ */

static int end_wait(struct member *member)
{
	int err = single_end_wait(&member->single);

	/* Silence is what was asked for. */
	member->silent_since_ns = 0;
	return err;
}

static bool one_is_woken(const struct quorum *quorum)
{
	return count_results(quorum, STORE_DONE) > 0;
}

int quorum_wait(struct quorum *quorum, const struct claim *claim,
		int64_t until_ns, const struct link_wait *wait)
{
	struct round round = { .quorum = quorum,
			       .end = end_wait,
			       .is_decided = one_is_woken,
			       .more_ns = WAKE_PATIENCE_NS };
	int i, err;

	/* A read that has not ended in time costs a new connection. */
	if (until_ns - clock_boot_ns() < BLOCK_LEAST_NS)
		return wait_until_ready(-1, 0, until_ns, wait->cancel_fd);
	start_round(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		member->result = -ETIMEDOUT;
		member->is_asked =
			single_begin_wait(&member->single, &member->request,
					  claim, until_ns, wait);
		member->has_ended = !member->is_asked;
	}
	if (!count_open(quorum))
		return wait_until_ready(-1, 0, until_ns, wait->cancel_fd);
	err = gather(&round, wait);
	if (one_is_woken(quorum))
		return 0;
	if (err)
		return err;
	return count_results(quorum, -ETIMEDOUT) ? -ETIMEDOUT : fail(quorum);
}

/* === renewing =========================================================== */

static int end_renew(struct member *member)
{
	return single_end_renew(&member->single, &member->request,
				&member->asked);
}

/* Asks those for their vote who do not have it, or not any more. */
static void ask_again(struct quorum *quorum, const struct claim *claim,
		      const struct grant *grant, const struct link_wait *wait)
{
	struct round round = { .quorum = quorum,
			       .end = end_acquire,
			       .is_decided = most_are_done,
			       .more_ns = patience_ns(claim->ttl_ms) };
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
	gather(&round, wait);
}

int quorum_renew(struct quorum *quorum, const struct claim *claim,
		 const struct grant *grant, bool stands,
		 const struct link_wait *wait, struct asked *asked)
{
	int64_t patience = patience_ns(claim->ttl_ms);
	struct round round = { .quorum = quorum,
			       .end = end_renew,
			       .is_decided = most_are_done,
			       .more_ns = patience };
	char why[STORE_ERROR_MAX] = "";
	size_t used;
	int i, err;

	start_round(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		memset(&member->asked, 0, sizeof(member->asked));
		if (is_to_ask(quorum, member, wait, patience))
			single_begin_renew(&member->single, &member->request,
					   claim, grant->token, wait);
	}
	err = gather(&round, wait);
	if (err)
		return err;
	for (i = 0; i < quorum->count && !*why; i++)
		if (quorum->members[i].result == STORE_REFUSED)
			memcpy(why, quorum->members[i].single.link.error,
			       sizeof(why));
	if (*why && stands && clock_boot_ns() < wait->deadline_ns)
		ask_again(quorum, claim, grant, wait);

	if (count_results(quorum, STORE_DONE) >= quorum->majority) {
		memset(asked, 0, sizeof(*asked));
		for (i = 0; i < quorum->count && !*asked->by; i++)
			if (quorum->members[i].result == STORE_DONE)
				*asked = quorum->members[i].asked;
		count_round(quorum);
		return STORE_DONE;
	}
	if (count_results(quorum, STORE_REFUSED) >= quorum->majority) {
		memcpy(quorum->error, why, sizeof(why));
		return STORE_REFUSED;
	}
	err = fail(quorum);
	used = strlen(quorum->error);
	if (*why)
		snprintf(quorum->error + used, STORE_ERROR_MAX - used,
			 "; one refuses: %.200s", why);
	return err;
}

/* === releasing ========================================================== */

/* Returns how many have nothing (any more) of the claim. */
static int release_all(struct quorum *quorum, const struct claim *claim,
		       bool lift, bool last, const struct link_wait *wait)
{
	struct round round = { .quorum = quorum,
			       .end = end_release,
			       .is_decided = most_are_done,
			       .more_ns = patience_ns(claim->ttl_ms) };
	int nothing = 0, i;

	start_round(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];
		struct single *single = &member->single;

		if (!single->claimed) {
			member->result = STORE_DONE;
			nothing++;
		} else if (is_to_ask(quorum, member, wait, round.more_ns)) {
			single_begin_release(single, &member->request, claim,
					     lift,
					     last || single->link.unanswered,
					     wait);
		}
	}
	gather(&round, wait);
	return nothing + count_results(quorum, STORE_DONE);
}

int quorum_release(struct quorum *quorum, const struct claim *claim, bool lift,
		   const struct link_wait *wait)
{
	quorum->proposed = quorum->ticket = 0;
	if (release_all(quorum, claim, lift, false, wait) >= quorum->majority)
		return STORE_DONE;
	return fail(quorum);
}

void quorum_withdraw(struct quorum *quorum, const struct claim *claim,
		     const struct link_wait *wait)
{
	int i;

	release_all(quorum, claim, true, true, wait);
	quorum->proposed = quorum->ticket = 0;
	for (i = 0; i < quorum->count; i++) {
		struct single *single = &quorum->members[i].single;

		if (single->claimed)
			link_close(&single->link);
		single->claimed = false;
	}
}

/* === looking ============================================================ */

static int end_look(struct member *member)
{
	return single_end_text(&member->single, &member->request,
			       &member->text);
}

int quorum_look(struct quorum *quorum, const char *name, int waiters,
		const struct link_wait *wait, store_looked_fn *looked,
		void *context)
{
	struct round round = { .quorum = quorum,
			       .end = end_look,
			       .is_decided = most_have_answered,
			       .more_ns = PATIENCE_MOST_NS };
	int i, err = 0;

	start_round(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		member->text = NULL;
		if (is_to_ask(quorum, member, wait, PATIENCE_MOST_NS))
			single_begin_look(&member->single, &member->request,
					  name, waiters, wait);
	}
	err = gather(&round, wait);
	if (!err && count_answers(quorum) < quorum->majority)
		err = fail(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		if (!err && member->text)
			err = looked(context, member->text);
		free(member->text);
	}
	return err;
}

static int end_break(struct member *member)
{
	return single_end_break(&member->single, &member->request, &member->ms);
}

int quorum_break(struct quorum *quorum, const struct break_request *what,
		 const struct link_wait *wait, int64_t *ms)
{
	struct round round = { .quorum = quorum,
			       .end = end_break,
			       .is_decided = most_have_answered,
			       .more_ns = PATIENCE_MOST_NS };
	int i, err, done;

	start_round(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		member->ms = 0;
		if (is_to_ask(quorum, member, wait, PATIENCE_MOST_NS))
			single_begin_break(&member->single, &member->request,
					   what, wait);
	}
	err = gather(&round, wait);
	if (err)
		return err;
	if (count_answers(quorum) < quorum->majority)
		return fail(quorum);
	/* To ask, one is enough; fenced off is who has no majority any more. */
	done = count_results(quorum, STORE_DONE);
	if (done < (what->force ? quorum->majority : 1))
		return STORE_REFUSED;
	for (*ms = 0, i = 0; i < quorum->count; i++)
		if (quorum->members[i].result == STORE_DONE)
			*ms = most(*ms, quorum->members[i].ms);
	return STORE_DONE;
}

int quorum_list(struct quorum *quorum, const char *glob, int64_t each_ns,
		int cancel_fd, store_found_fn *found, void *context)
{
	int i, answered = 0;

	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		member->result = service_list(&member->single, glob, each_ns,
					      cancel_fd, found, context);
		answered += !member->result;
	}
	return answered < quorum->majority ? fail(quorum) : 0;
}
