#include "config.h"

#include "redis/round.h"

#include <errno.h>
#include <stdio.h>

/*
 * Who is not needed any more is waited for as some times as long as the others took,
 * and a part of the ttl at most.
 */
#define PATIENCE_FACTOR 4
#define PATIENCE_DIVISOR 20
#define PATIENCE_LEAST_NS (20 * NS_PER_MS)
#define PATIENCE_MOST_NS (500 * NS_PER_MS)
#define MORE_LEAST_NS (5 * NS_PER_MS)

/* One that has not answered for so long is worth a word. */
#define SILENT_NS NS_PER_S

/* A name that could not be looked up is left alone for so long. */
#define LOOK_UP_AGAIN_NS (3 * NS_PER_S)

int64_t round_patience_ns(int64_t ttl_ms)
{
	int64_t ns = ttl_ms * NS_PER_MS / PATIENCE_DIVISOR;

	return most(PATIENCE_LEAST_NS, least(ns, PATIENCE_MOST_NS));
}

void round_start(struct quorum *quorum)
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

bool round_asks(const struct quorum *quorum, struct member *member,
		const struct link_wait *wait, int64_t patience)
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
	    now_ns - member->silent_since_ns > 2 * patience) {
		single->doubt |= single->claimed;
		link_abort(&single->link);
	}
	member->is_asked = true;
	member->has_ended = false;
	member->result = -ETIMEDOUT;
	return true;
}

int round_count(const struct quorum *quorum, int result)
{
	int count = 0, i;

	for (i = 0; i < quorum->count; i++)
		count += quorum->members[i].is_asked &&
			 quorum->members[i].has_ended &&
			 quorum->members[i].result == result;
	return count;
}

int round_answers(const struct quorum *quorum)
{
	return round_count(quorum, STORE_DONE) +
	       round_count(quorum, STORE_REFUSED);
}

int round_open(const struct quorum *quorum)
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
	round->answers = round_answers(quorum);
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

int round_gather(struct round *round, const struct link_wait *wait)
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
	while (!err && round_open(quorum)) {
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

bool round_is_done(const struct quorum *quorum)
{
	int done = round_count(quorum, STORE_DONE);

	return done >= quorum->majority ||
	       done + round_open(quorum) < quorum->majority;
}

bool round_is_answered(const struct quorum *quorum)
{
	int answers = round_answers(quorum);

	return answers >= quorum->majority ||
	       answers + round_open(quorum) < quorum->majority;
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

int round_fail(struct quorum *quorum)
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
		 "%d of %d servers do not answer as they should: %.900s",
		 failed, quorum->count, causes);
	/* Asked again, the others are no majority, either. */
	if (!err || quorum->count - final < quorum->majority)
		return last_final;
	return err;
}

void round_counts(struct quorum *quorum)
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
