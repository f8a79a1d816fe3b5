#include "config.h"

#include "redis/sentinel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "int64.h"
#include "log.h"
#include "redis/reply.h"

/* To find the master, a sentinel has so long to answer, or it has no vote. */
#define ASK_NS (1 * NS_PER_S)

/*
 * In less, those that are alive may well not have answered.  Beside a renewal of the
 * shortest lease they have 20 ms.
 */
#define BRIEF_NS (15 * NS_PER_MS)

/* So many questions one may not have answered yet, before it is connected anew. */
#define LATE_MOST 3

#define PORT_MAX 65535

/* What a script can count exactly. */
#define CONFIG_EPOCH_DIGITS 15

/* What a sentinel says. */
enum said_kind {
	SAID_NOTHING, /* no answer, or none that counts */
	SAID_UNKNOWN, /* it knows no master of that name */
	SAID_MASTER,
};

struct said {
	enum said_kind kind;
	char host[URL_HOST_MAX];
	int port;
	int64_t config_epoch;
	int err; /* SAID_NOTHING: why, with a line in the link's error */
};

struct sentinels {
	char text[URL_TEXT_MAX]; /* the URL, for people */
	char master[URL_MASTER_MAX];
	bool was_found; /* the master, once at least */
	struct call call;
	/* Of the asking that has begun: */
	int64_t until_ns;
	bool is_fresh;
	bool is_brief; /* has less time than says something about the silent */
	int count;
	struct link links[];
};

static struct sentinels *allocate(int count)
{
	struct sentinels *sentinels;

	sentinels = calloc(1, sizeof(*sentinels) +
				      (size_t)count * sizeof(struct link));
	if (sentinels)
		sentinels->count = count;
	return sentinels;
}

struct sentinels *sentinels_new(const struct url *url,
				struct tls_context *tls_context)
{
	struct sentinels *sentinels = allocate(url->host_count);
	struct url one = { 0 };
	int i;

	if (!sentinels)
		return NULL;
	url_format(url, sentinels->text, sizeof(sentinels->text));
	memcpy(sentinels->master, url->master, sizeof(sentinels->master));
	one.is_tls = url->is_tls;
	one.tls = url->tls;
	one.has_password = *url->sentinel_password;
	one.has_user = one.has_password && *url->sentinel_user;
	memcpy(one.user, url->sentinel_user, sizeof(one.user));
	memcpy(one.password, url->sentinel_password, sizeof(one.password));
	for (i = 0; i < url->host_count; i++) {
		struct link *link = &sentinels->links[i];

		memcpy(one.host, url->hosts[i].name, sizeof(one.host));
		one.port = url->hosts[i].port;
		link_init(link, &one);
		link->conn.tls_context = tls_context_share(tls_context);
		snprintf(link->address_text, sizeof(link->address_text),
			 "the sentinel %s:%d", one.host, one.port);
	}
	explicit_bzero(&one, sizeof(one));
	return sentinels;
}

struct sentinels *sentinels_copy(const struct sentinels *from)
{
	struct sentinels *sentinels = allocate(from->count);
	int i;

	if (!sentinels)
		return NULL;
	memcpy(sentinels->text, from->text, sizeof(sentinels->text));
	memcpy(sentinels->master, from->master, sizeof(sentinels->master));
	sentinels->was_found = from->was_found;
	for (i = 0; i < from->count; i++) {
		link_copy(&sentinels->links[i], &from->links[i]);
		memcpy(sentinels->links[i].address_text,
		       from->links[i].address_text,
		       sizeof(sentinels->links[i].address_text));
	}
	return sentinels;
}

void sentinels_free(struct sentinels *sentinels)
{
	int i;

	if (!sentinels)
		return;
	for (i = 0; i < sentinels->count; i++)
		link_destroy(&sentinels->links[i]);
	free(sentinels);
}

/* === what they say ====================================================== */

static bool fill_master(const redisReply *reply, struct said *vote)
{
	const redisReply *host, *port;
	char *end;
	long number;

	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
		return false;
	host = reply->element[0];
	port = reply->element[1];
	if (host->type != REDIS_REPLY_STRING ||
	    port->type != REDIS_REPLY_STRING || !host->len ||
	    host->len != strlen(host->str) || host->len >= sizeof(vote->host))
		return false;
	number = strtol(port->str, &end, 10);
	if (*end || number < 1 || number > PORT_MAX)
		return false;
	log_printable(host->str, vote->host, sizeof(vote->host));
	vote->port = (int)number;
	return true;
}

static bool read_config_epoch(const char *text, int64_t *config_epoch)
{
	size_t digits = strspn(text, "0123456789");

	if (!digits || text[digits] || digits > CONFIG_EPOCH_DIGITS)
		return false;
	*config_epoch = strtoll(text, NULL, 10);
	return true;
}

/* From all that it knows of the master: a list of names, each with a value. */
static bool fill_config_epoch(const redisReply *reply, struct said *vote)
{
	size_t i;

	if (reply->type != REDIS_REPLY_ARRAY)
		return false;
	for (i = 0; i + 1 < reply->elements; i += 2) {
		const redisReply *name = reply->element[i];
		const redisReply *value = reply->element[i + 1];

		if (name->type == REDIS_REPLY_STRING &&
		    value->type == REDIS_REPLY_STRING &&
		    strcmp(name->str, "config-epoch") == 0)
			return read_config_epoch(value->str,
						 &vote->config_epoch);
	}
	return false;
}

static void take_vote(struct link *link, struct said *vote)
{
	char cause[STORE_ERROR_MAX];

	memset(vote, 0, sizeof(*vote));
	if (link->stage != LINK_IDLE || link->err || !link->answer) {
		vote->err = link->err ? link->err : -EAGAIN;
		return;
	}
	if (link->before->type == REDIS_REPLY_NIL) {
		vote->kind = SAID_UNKNOWN;
	} else if (fill_master(link->before, vote) &&
		   fill_config_epoch(link->answer, vote)) {
		vote->kind = SAID_MASTER;
	} else {
		vote->err = reply_error(link->before->type == REDIS_REPLY_ERROR
						? link->before
						: link->answer,
					cause, sizeof(cause));
		if (vote->err == -EPROTO)
			snprintf(cause, sizeof(cause), "it is no sentinel");
		snprintf(link->error, sizeof(link->error), "%.300s: %.600s",
			 link->address_text, cause);
	}
}

static bool is_alike(const struct said *a, const struct said *b)
{
	return a->kind == b->kind && a->port == b->port &&
	       strcmp(a->host, b->host) == 0;
}

/* How many say the same as votes[i]. */
static int count_alike(const struct said *votes, int count, int i)
{
	int j, alike = 0;

	for (j = 0; j < count; j++)
		alike += is_alike(&votes[j], &votes[i]);
	return alike;
}

static bool one_is_silent(const struct said *votes, int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (votes[i].err == -ETIMEDOUT)
			return true;
	return false;
}

static int64_t highest_config_epoch(const struct said *votes, int count, int i)
{
	int64_t highest = 0;
	int j;

	for (j = 0; j < count; j++)
		if (is_alike(&votes[j], &votes[i]))
			highest = most(highest, votes[j].config_epoch);
	return highest;
}

/* The index of one that says what more than half of `of` say; or -1. */
static int find_majority(const struct said *votes, int count, int of)
{
	int i;

	for (i = 0; i < count; i++)
		if (votes[i].kind != SAID_NOTHING &&
		    2 * count_alike(votes, count, i) > of)
			return i;
	return -1;
}

/* No matter what the others would say.  In `context` are the sentinels. */
static bool is_settled(void *context)
{
	struct sentinels *sentinels = context;
	struct said votes[URL_HOSTS_MAX] = { 0 };
	int i;

	for (i = 0; i < sentinels->count; i++) {
		struct link *link = &sentinels->links[i];

		if (link->stage == LINK_IDLE && !link->err && link->answer)
			take_vote(link, &votes[i]);
	}
	return find_majority(votes, sentinels->count, sentinels->count) >= 0;
}

/*
 * How much an error says about all of those that did not answer.  They have
 * refused us only if each of them has.
 */
static int rank(int err)
{
	if (err == -ECANCELED)
		return 4;
	/* It may be there all the same. */
	if (err == -ETIMEDOUT)
		return 3;
	if (!store_error_is_final(err))
		return 2;
	return err != -EACCES;
}

/*
 * None has answered: whether to ask again, and one of the reasons; that one of
 * them refuses us, in any case, as it will go on to.
 */
static int tell_silence(const struct sentinels *sentinels,
			const struct said *votes, char *error, size_t size)
{
	const struct link *links = sentinels->links;
	int i, worth = 0, refusing = -1;

	for (i = 0; i < sentinels->count; i++) {
		if (rank(votes[i].err) > rank(votes[worth].err))
			worth = i;
		if (votes[i].err == -EACCES && refusing < 0)
			refusing = i;
	}
	if (refusing >= 0 && votes[worth].err != -EACCES)
		snprintf(error, size,
			 "no sentinel of %.200s answers: %.300s; %.400s",
			 sentinels->text, links[worth].error,
			 links[refusing].error);
	else
		snprintf(error, size, "no sentinel of %.400s answers: %.550s",
			 sentinels->text, links[worth].error);
	return votes[worth].err;
}

/* The index of the vote that counts, or a negative errno. */
static int judge(const struct sentinels *sentinels, const struct said *votes,
		 int *answered, char *error, size_t size)
{
	int i, answers = 0, first = -1;

	for (i = 0; i < sentinels->count; i++) {
		if (votes[i].kind == SAID_NOTHING)
			continue;
		answers++;
		if (first < 0 && votes[i].kind == SAID_MASTER)
			first = i;
	}
	*answered = answers;
	if (!answers)
		return tell_silence(sentinels, votes, error, size);
	i = find_majority(votes, sentinels->count, answers);
	if (i >= 0 && votes[i].kind == SAID_MASTER)
		return i;
	if (i >= 0) {
		snprintf(error, size,
			 "the sentinels know no master of the name \"%s\" (%s)",
			 sentinels->master, sentinels->text);
		/* While they are set up anew, that is so for a moment. */
		return sentinels->was_found ? -EAGAIN : -ENOENT;
	}
	if (first < 0)
		first = 0;
	snprintf(
		error, size,
		"the sentinels do not agree where the master is (%.300s:%d, says %.200s)",
		votes[first].host, votes[first].port,
		sentinels->links[first].address_text);
	return -EAGAIN;
}

/* === asking ============================================================= */

/*
 * Those whose address is not known yet.  Each gets its share of the time, as a
 * name may well not be found in all of it.
 */
static void look_up(struct sentinels *sentinels, const struct link_wait *wait)
{
	struct link_wait share = *wait;
	int i;

	for (i = 0; i < sentinels->count; i++) {
		struct link *link = &sentinels->links[i];
		int64_t now_ns = clock_boot_ns();

		link->err = -EAGAIN;
		if (link->address_count || sentinels->was_found)
			continue;
		share.deadline_ns = now_ns + (wait->deadline_ns - now_ns) /
						     (sentinels->count - i + 1);
		link->err = link_look_up(link, &share);
	}
}

void sentinels_begin(struct sentinels *sentinels, int64_t most_ns,
		     const struct link_wait *wait)
{
	int64_t now_ns = clock_boot_ns();
	const struct link_wait part = {
		.deadline_ns = now_ns +
			       least(most_ns, (wait->deadline_ns - now_ns) / 2),
		.cancel_fd = wait->cancel_fd,
	};
	struct call *call = &sentinels->call;
	int i;

	/*
	 * In this order: of a fail-over in between, the config epoch is a later one
	 * than that of the address, which does no harm.  The address that is told
	 * with the config epoch is for a while the old master's.
	 */
	call->before[0] = "SENTINEL";
	call->before[1] = "get-master-addr-by-name";
	call->before[2] = sentinels->master;
	call->argument_count = 0;
	call_add(call, "SENTINEL");
	call_add(call, "MASTER");
	call_add(call, sentinels->master);
	/* One that is slow may still answer the question before. */
	call->behind = true;
	sentinels->until_ns = part.deadline_ns;
	sentinels->is_brief = part.deadline_ns - now_ns < BRIEF_NS;
	sentinels->is_fresh = true;
	for (i = 0; i < sentinels->count; i++) {
		struct link *link = &sentinels->links[i];

		if (link->stage == LINK_CONNECTING) {
			link->deadline_ns = link->share_ns = part.deadline_ns;
			continue;
		}
		if (link->is_refused || link->unanswered > 2 * LATE_MOST)
			link_abort(link);
		sentinels->is_fresh &= link->conn.fd < 0;
		if (link->address_count)
			link_begin(link, call, &part);
	}
}

int sentinels_links(struct sentinels *sentinels,
		    struct link *links[URL_HOSTS_MAX])
{
	int i, count = 0;

	for (i = 0; i < sentinels->count; i++)
		if (sentinels->links[i].stage != LINK_IDLE)
			links[count++] = &sentinels->links[i];
	return count;
}

int sentinels_end(struct sentinels *sentinels, const struct link_wait *wait,
		  struct sentinels_answer *answer, char *error, size_t size)
{
	const struct link_wait part = { .deadline_ns = sentinels->until_ns,
					.cancel_fd = wait->cancel_fd };
	struct link *links[URL_HOSTS_MAX];
	struct said votes[URL_HOSTS_MAX] = { 0 };
	int i, count = sentinels_links(sentinels, links), counts;
	int err = is_settled(sentinels) ? 0
					: link_go_on(links, count, &part,
						     is_settled, sentinels);

	for (i = 0; i < count; i++) {
		/* Given up each time, one that is slow to connect never would. */
		if (!err && links[i]->stage == LINK_CONNECTING)
			continue;
		link_give_up(&links[i], 1, err ? err : -ETIMEDOUT);
		/* In all its time: the connection may be dead. */
		if (err && links[i]->err)
			link_abort(links[i]);
	}
	for (i = 0; i < sentinels->count; i++) {
		struct link *link = &sentinels->links[i];

		take_vote(link, &votes[i]);
		link_drop_answer(link);
	}
	memset(answer, 0, sizeof(*answer));
	answer->is_fresh = sentinels->is_fresh;
	answer->is_brief =
		sentinels->is_brief && one_is_silent(votes, sentinels->count);
	counts = judge(sentinels, votes, &answer->answers, error, size);
	if (err == -ECANCELED)
		return err;
	if (counts < 0)
		return counts;
	answer->is_majority = 2 * count_alike(votes, sentinels->count, counts) >
			      sentinels->count;
	if (answer->is_brief && !answer->is_majority) {
		snprintf(error, size,
			 "too few sentinels of %.400s have answered in time",
			 sentinels->text);
		return -ETIMEDOUT;
	}
	memcpy(answer->host, votes[counts].host, sizeof(answer->host));
	answer->port = votes[counts].port;
	answer->config_epoch =
		highest_config_epoch(votes, sentinels->count, counts);
	return 0;
}

void sentinels_close(struct sentinels *sentinels)
{
	int i;

	for (i = 0; i < sentinels->count; i++) {
		struct link *link = &sentinels->links[i];

		link_give_up(&link, 1, -ETIMEDOUT);
		link_drop_answer(link);
		link_close(link);
	}
}

int sentinels_ask(struct sentinels *sentinels, const struct link_wait *wait,
		  struct address addresses[RESOLVE_ADDRESSES_MAX],
		  int64_t *config_epoch, char *error, size_t size)
{
	struct link_wait part = { .cancel_fd = wait->cancel_fd };
	struct sentinels_answer answer;
	int64_t now_ns = clock_boot_ns();
	int err, count;

	sentinels_close(sentinels);
	part.deadline_ns = now_ns + (wait->deadline_ns - now_ns) / 2;
	look_up(sentinels, &part);
	sentinels_begin(sentinels, ASK_NS, wait);
	err = sentinels_end(sentinels, wait, &answer, error, size);
	sentinels_close(sentinels);
	if (err)
		return err;

	/* A name only where the sentinels announce names. */
	count = resolve_host(answer.host, answer.port, wait->deadline_ns,
			     wait->cancel_fd, addresses);
	if (count > 0) {
		sentinels->was_found = true;
		*config_epoch = answer.config_epoch;
		return count;
	}
	snprintf(error, size,
		 "cannot find the host \"%s\", which the sentinels name",
		 answer.host);
	return count == -ECANCELED ? count : -EAGAIN;
}
