/*
 * Asks a server all that tells what it can promise, and changes nothing in it.
 * What may not be asked is a fact as well; only who does not answer at all, or
 * refuses the user, fails the examination.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "int64.h"
#include "redis/facts.h"
#include "redis/reply.h"
#include "ready.h"
#include "redis/service.h"

/* From one round trip that is timed to the next: a second for all. */
#define PACE_NS (50 * NS_PER_MS)

/* Of seconds and ms; larger ones, which no server means, are not heeded. */
#define NUMBER_MAX INT64_C(9000000000)

struct examination {
	struct single *single;
	int cancel_fd;
	int64_t each_ns;
	struct facts facts;
};

static int ask(struct examination *examination, const char *const *words,
	       redisReply **reply)
{
	const struct link_wait wait = {
		.deadline_ns = clock_boot_ns() + examination->each_ns,
		.cancel_fd = examination->cancel_fd,
	};

	return single_command(examination->single, words, &wait, reply);
}

static void copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

/* The number that an element of an array is, or has as its text; or -1. */
static long long number_at(const redisReply *reply, size_t i)
{
	const redisReply *element;

	if (reply->type != REDIS_REPLY_ARRAY || i >= reply->elements)
		return -1;
	element = reply->element[i];
	if (element->type == REDIS_REPLY_INTEGER)
		return element->integer;
	return element->type == REDIS_REPLY_STRING
		       ? strtoll(element->str, NULL, 10)
		       : -1;
}

static const char *text_at(const redisReply *reply, size_t i)
{
	if (reply->type != REDIS_REPLY_ARRAY || i >= reply->elements ||
	    reply->element[i]->type != REDIS_REPLY_STRING)
		return NULL;
	return reply->element[i]->str;
}

/* 0, also when this command alone is refused; else what refuses us as such. */
static int check_refusal(struct single *single, const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ERROR ||
	    rights_judge(reply) != RIGHTS_GIVEN)
		return 0;
	return reply_error(reply, single->link.error, STORE_ERROR_MAX);
}

/* Compares the clocks, by an answer to TIME that took so long. */
static void compare_clocks(struct facts *facts, const redisReply *time,
			   int64_t asked_ms, int64_t took_ns)
{
	int64_t took_ms = took_ns / NS_PER_MS;
	long long seconds = number_at(time, 0), us = number_at(time, 1);

	if (seconds < 0 || seconds > NUMBER_MAX || us < 0 || us > 999999)
		return;
	/* The quicker it was, the more it tells; 1 ms is our own rounding. */
	if (facts->has_clock && took_ms / 2 + 1 >= facts->uncertain_ms)
		return;
	facts->has_clock = true;
	facts->uncertain_ms = took_ms / 2 + 1;
	facts->ahead_ms = seconds * 1000 + us / 1000 - asked_ms - took_ms / 2;
}

/* One round trip.  TIME, as each user of cflock has the right to that. */
static int time_one(struct examination *examination, int64_t *took_ns)
{
	static const char *const words[] = { "TIME", NULL };
	int64_t asked_ms = clock_wall_ms(), asked_ns = clock_boot_ns();
	redisReply *reply;
	int err = ask(examination, words, &reply);

	if (err)
		return err;
	*took_ns = clock_boot_ns() - asked_ns;
	err = check_refusal(examination->single, reply);
	if (!err)
		compare_clocks(&examination->facts, reply, asked_ms, *took_ns);
	freeReplyObject(reply);
	return err;
}

/* 0, or -ECANCELED. */
static int pause_until(struct examination *examination, int64_t until_ns)
{
	int err = wait_until_ready(-1, 0, until_ns, examination->cancel_fd);

	return err == -ETIMEDOUT
		       ? 0
		       : link_fail(&examination->single->link, err, "wait for");
}

static int time_round_trips(struct examination *examination)
{
	struct facts *facts = &examination->facts;
	int64_t next_ns;
	int err, i;

	err = time_one(examination, &facts->connect_ns);
	for (i = 0; i < FACTS_ROUND_TRIPS && !err; i++) {
		next_ns = clock_boot_ns() + PACE_NS;
		err = time_one(examination, &facts->round_trips_ns[i]);
		if (!err)
			err = pause_until(examination, next_ns);
	}
	qsort(facts->round_trips_ns, FACTS_ROUND_TRIPS, sizeof(int64_t),
	      int64_compare);
	return err;
}

static int ask_info(struct examination *examination)
{
	static const char *const words[] = { "INFO", NULL };
	struct facts *facts = &examination->facts;
	redisReply *reply;
	int err = ask(examination, words, &reply);

	if (err)
		return err;
	if (reply->type == REDIS_REPLY_STRING) {
		facts->info = strdup(reply->str);
		if (!facts->info) {
			copy(examination->single->link.error, STORE_ERROR_MAX,
			     "no memory for the answer");
			err = -ENOMEM;
		}
	}
	facts->info_denied = rights_judge(reply) == RIGHTS_DENIED;
	freeReplyObject(reply);
	return err;
}

static int ask_setting(struct examination *examination, const char *setting,
		       struct fact *fact)
{
	const char *const words[] = { "CONFIG", "GET", setting, NULL };
	redisReply *reply;
	const char *value;
	int err = ask(examination, words, &reply);

	if (err)
		return err;
	value = text_at(reply, 1);
	fact->known = value != NULL;
	fact->denied = rights_judge(reply) == RIGHTS_DENIED;
	if (value)
		copy(fact->value, sizeof(fact->value), value);
	freeReplyObject(reply);
	return 0;
}

/* Each event is {name, when, ms at that time, ms at most}. */
static int ask_spikes(struct examination *examination)
{
	static const char *const words[] = { "LATENCY", "LATEST", NULL };
	struct facts *facts = &examination->facts;
	redisReply *reply;
	size_t i;
	int err = ask(examination, words, &reply);

	if (err)
		return err;
	for (i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements;
	     i++) {
		const redisReply *event = reply->element[i];

		int64_t most_ms = number_at(event, 3);

		if (!text_at(event, 0) || most_ms <= facts->spike_ms ||
		    most_ms > NUMBER_MAX)
			continue;
		facts->spike_ms = most_ms;
		copy(facts->spike_event, sizeof(facts->spike_event),
		     text_at(event, 0));
	}
	freeReplyObject(reply);
	return 0;
}

static int try_rights(struct examination *examination)
{
	struct facts *facts = &examination->facts;
	redisReply *reply;
	size_t i;
	int err;

	for (i = 0; i < RIGHTS_COUNT; i++) {
		err = ask(examination, rights[i].words, &reply);
		if (err)
			return err;
		facts->rights[i] = rights_judge(reply);
		/* What keeps the server from writing shows with this one. */
		if (!strcmp(rights[i].rule, "+set") &&
		    facts->rights[i] == RIGHTS_GIVEN) {
			facts->has_written = true;
			if (reply->type == REDIS_REPLY_ERROR)
				reply_error(reply, facts->write_error,
					    sizeof(facts->write_error));
		}
		freeReplyObject(reply);
	}
	return 0;
}

/*
 * Of a cluster, to a master: the one that has the slot of a key of ours.  It
 * gets all that follows, as the connection stays.
 */
static int go_to_master(struct examination *examination)
{
	static const char *const words[] = { "EXISTS", "cflock:{!}", NULL };
	redisReply *reply;
	int err;

	if (!examination->facts.is_cluster)
		return 0;
	err = ask(examination, words, &reply);
	if (!err)
		freeReplyObject(reply);
	return err;
}

static int gather(struct examination *examination)
{
	struct facts *facts = &examination->facts;
	int err = go_to_master(examination);

	if (!err)
		err = time_round_trips(examination);
	if (!err)
		err = ask_info(examination);
	if (!err)
		err = ask_setting(examination, "save", &facts->save);
	if (!err)
		err = ask_setting(examination, "appendfsync",
				  &facts->appendfsync);
	if (!err)
		err = ask_spikes(examination);
	return err ? err : try_rights(examination);
}

/* In `context` is whom to tell; adds the server to what was found. */
struct listener {
	const char *server;
	store_finding_fn *found;
	void *context;
};

static void pass_on(void *context, const struct finding *finding)
{
	const struct listener *listener = context;
	struct finding named = *finding;

	named.server = listener->server;
	listener->found(listener->context, &named);
}

static int examine(struct single *single, const struct lease_policy *policy,
		   int64_t each_ns, int cancel_fd, store_finding_fn *found,
		   void *context)
{
	const struct url *url = &single->link.url;
	struct examination examination = {
		.single = single,
		.cancel_fd = cancel_fd,
		.each_ns = each_ns,
		.facts = {
			.address = single->link.address_text,
			.user = url->has_user ? url->user : "default",
			.is_cluster = single_is_cluster(single),
			.policy = policy,
		},
	};
	struct listener listener = { single->link.address_text, found,
				     context };
	int err = gather(&examination);

	if (err) {
		struct finding finding = {
			.name = "reachable",
			.level = FINDING_DANGER,
			.text = single->link.error,
			.advice =
				err == -EACCES
					? "give the user and the password that "
					  "the server wants, or by TLS the "
					  "certificates"
					: "look whether the server runs, and "
					  "whether the address is its own",
		};

		pass_on(&listener, &finding);
	} else {
		facts_judge(&examination.facts, pass_on, &listener);
	}
	free(examination.facts.info);
	return err;
}

int store_examine(struct store *store, const struct lease_policy *policy,
		  int64_t each_ns, store_finding_fn *found, void *context)
{
	struct single *one;
	int err = 0, failed = 0, i;

	if (!store->quorum)
		return examine(&store->single, policy, each_ns,
			       store->cancel_fd, found, context);
	for (i = 0; (one = quorum_member(store->quorum, i)); i++) {
		int failure = examine(one, policy, each_ns, store->cancel_fd,
				      found, context);

		failed += failure != 0;
		if (failure)
			err = failure;
	}
	return i - failed < quorum_majority(store->quorum) ? err : 0;
}
