#include "config.h"

#include "redis/quorum.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"
#include "redis/round.h"
#include "redis/service.h"
#include "redis/votes.h"

/* What is released on one server is released on all, about now. */
#define WAKE_PATIENCE_NS (10 * NS_PER_MS)

/* A shorter pause is made without the servers. */
#define BLOCK_LEAST_NS (30 * NS_PER_MS)

/* Of requests that no lease depends on. */
#define LOOK_PATIENCE_NS (500 * NS_PER_MS)

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
	return round_count(quorum, STORE_DONE) > 0;
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
	round_start(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		member->result = -ETIMEDOUT;
		member->is_asked =
			single_begin_wait(&member->single, &member->request,
					  claim, until_ns, wait);
		member->has_ended = !member->is_asked;
	}
	if (!round_open(quorum))
		return wait_until_ready(-1, 0, until_ns, wait->cancel_fd);
	err = round_gather(&round, wait);
	if (one_is_woken(quorum))
		return 0;
	if (err)
		return err;
	return round_count(quorum, -ETIMEDOUT) ? -ETIMEDOUT
					       : round_fail(quorum);
}

/* === renewing =========================================================== */

static int end_renew(struct member *member)
{
	return single_end_renew(&member->single, &member->request,
				&member->asked);
}

int quorum_renew(struct quorum *quorum, const struct claim *claim,
		 const struct grant *grant, bool stands,
		 const struct link_wait *wait, struct asked *asked)
{
	int64_t patience = round_patience_ns(claim->ttl_ms);
	struct round round = { .quorum = quorum,
			       .end = end_renew,
			       .is_decided = round_is_done,
			       .more_ns = patience };
	char why[STORE_ERROR_MAX] = "";
	size_t used;
	int i, err;

	round_start(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		memset(&member->asked, 0, sizeof(member->asked));
		if (round_asks(quorum, member, wait, patience))
			single_begin_renew(&member->single, &member->request,
					   claim, grant->token, wait);
	}
	err = round_gather(&round, wait);
	if (err)
		return err;
	for (i = 0; i < quorum->count && !*why; i++)
		if (quorum->members[i].result == STORE_REFUSED)
			memcpy(why, quorum->members[i].single.link.error,
			       sizeof(why));
	if (*why && stands && clock_boot_ns() < wait->deadline_ns)
		votes_ask_again(quorum, claim, grant, wait);

	if (round_count(quorum, STORE_DONE) >= quorum->majority) {
		memset(asked, 0, sizeof(*asked));
		for (i = 0; i < quorum->count && !*asked->by; i++)
			if (quorum->members[i].result == STORE_DONE)
				*asked = quorum->members[i].asked;
		round_counts(quorum);
		return STORE_DONE;
	}
	if (round_count(quorum, STORE_REFUSED) >= quorum->majority) {
		memcpy(quorum->error, why, sizeof(why));
		return STORE_REFUSED;
	}
	err = round_fail(quorum);
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
			       .end = votes_end_release,
			       .is_decided = round_is_done,
			       .more_ns = round_patience_ns(claim->ttl_ms) };
	int nothing = 0, i;

	round_start(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];
		struct single *single = &member->single;

		if (!single->claimed) {
			member->result = STORE_DONE;
			nothing++;
		} else if (round_asks(quorum, member, wait, round.more_ns)) {
			single_begin_release(single, &member->request, claim,
					     lift,
					     last || single->link.unanswered,
					     wait);
		}
	}
	round_gather(&round, wait);
	return nothing + round_count(quorum, STORE_DONE);
}

int quorum_release(struct quorum *quorum, const struct claim *claim, bool lift,
		   const struct link_wait *wait)
{
	quorum->proposed = quorum->ticket = 0;
	if (release_all(quorum, claim, lift, false, wait) >= quorum->majority)
		return STORE_DONE;
	return round_fail(quorum);
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
			       .is_decided = round_is_answered,
			       .more_ns = LOOK_PATIENCE_NS };
	int taken = 0, damage = 0, i, err = 0;

	round_start(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		member->text = NULL;
		if (round_asks(quorum, member, wait, LOOK_PATIENCE_NS))
			single_begin_look(&member->single, &member->request,
					  name, waiters, wait);
	}
	err = round_gather(&round, wait);
	if (!err && round_answers(quorum) < quorum->majority)
		err = round_fail(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		int result = -EAGAIN;

		if (!err && member->text)
			result = looked(context, member->text);
		if (result == -EBADMSG)
			damage = result;
		else if (!err && member->text)
			err = result;
		taken += result == 0;
		free(member->text);
	}
	return !err && taken < quorum->majority ? damage : err;
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
			       .is_decided = round_is_answered,
			       .more_ns = LOOK_PATIENCE_NS };
	int i, err, done;

	round_start(quorum);
	for (i = 0; i < quorum->count; i++) {
		struct member *member = &quorum->members[i];

		member->ms = 0;
		if (round_asks(quorum, member, wait, LOOK_PATIENCE_NS))
			single_begin_break(&member->single, &member->request,
					   what, wait);
	}
	err = round_gather(&round, wait);
	if (err)
		return err;
	if (round_answers(quorum) < quorum->majority)
		return round_fail(quorum);
	/* To ask, one is enough; fenced off is who has no majority any more. */
	done = round_count(quorum, STORE_DONE);
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
	return answered < quorum->majority ? round_fail(quorum) : 0;
}
