/*
 * One Redis server, or whatever its link finds instead: the master that sentinels
 * name, the node of a cluster that has the lock's slot.
 *
 * A request is one script call.  On a new connection AUTH and SELECT go out in
 * the same packet, so that a run costs two round trips in all: acquire and
 * release.
 */
#include "config.h"

#include "redis/single.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "redis/reply.h"
#include "redis/rights.h"
#include "redis/scripts.h"

/* Of requests that no lease depends on: a thousand who wait may be told of. */
#define LOOK_USER_TIMEOUT_MS 10000
#define LOOK_MOST_BYTES 4194304

void single_init(struct single *single, const struct url *url)
{
	memset(single, 0, sizeof(*single));
	link_init(&single->link, url);
}

void single_copy(struct single *to, const struct single *from)
{
	memset(to, 0, sizeof(*to));
	link_copy(&to->link, &from->link);
	to->keeps_order = from->keeps_order;
	/* What is on its way beside it may come later than what it sends. */
	to->claimed = to->doubt = true;
}

void single_destroy(struct single *single)
{
	link_destroy(&single->link);
}

bool single_is_cluster(const struct single *single)
{
	return single->link.url.kind == URL_CLUSTER;
}

/* === calls ============================================================== */

/* KEYS as common.lua wants them, the same for each script. */
static void add_keys(const struct single *single, struct call *call,
		     const char *name)
{
	static const char *const suffixes[] = {
		"",       ":token",   ":holders",  ":line",
		":beats", ":waiters", ":cooldown",
	};
	size_t i;

	/* One hash tag for all keys of a lock; NAME cannot hold a brace. */
	for (i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		snprintf(call->keys[call->key_count++], CALL_KEY_MAX_BYTES,
			 "cflock:{%s}%s", name, suffixes[i]);
	/* One for all locks, as a server forgets them together; but in a cluster
	 * not in reach of the lock's own keys. */
	if (single_is_cluster(single))
		snprintf(call->keys[call->key_count++], CALL_KEY_MAX_BYTES,
			 "cflock:{%s}:epoch", name);
	else
		strcpy(call->keys[call->key_count++], "cflock:epoch");
}

/* The answers of those that were given up come first, on the same connection. */
static bool is_behind(const struct single *single)
{
	const struct link *link = &single->link;

	return single->keeps_order && link->unanswered > 0 && !link->blocked &&
	       !link->is_refused;
}

static struct call *begin(struct single *single, struct request *request,
			  const struct script *script, const char *name)
{
	struct call *call = &request->call;

	call->script = script;
	call->key_count = call->argument_count = 0;
	call->by_text = call->may_learn = false;
	call->replicas = 0;
	call->before[0] = NULL;
	call->behind = is_behind(single);
	call->user_timeout_ms = LOOK_USER_TIMEOUT_MS;
	if (name)
		add_keys(single, call, name);
	return call;
}

/* Of a request that a lease may depend on. */
static struct call *begin_of_claim(struct single *single,
				   struct request *request,
				   const struct script *script,
				   const struct claim *claim)
{
	struct call *call = begin(single, request, script, claim->name);

	call->user_timeout_ms = (unsigned int)claim->ttl_ms;
	call_add(call, claim->owner.id);
	return call;
}

/* Frees the answer.  Returns `result`, which it came to, having named what was
 * denied. */
static int end(struct single *single, const struct request *request, int result)
{
	struct link *link = &single->link;

	if (result == -EACCES)
		rights_name_denied(link->answer, request->call.script->text,
				   link->error, sizeof(link->error));
	link_drop_answer(link);
	return result;
}

static const char *number_text(int64_t number, char buffer[LINK_NUMBER_MAX])
{
	snprintf(buffer, LINK_NUMBER_MAX, "%lld", (long long)number);
	return buffer;
}

static const char *kind_text(const struct claim *claim,
			     char buffer[SINGLE_KIND_MAX])
{
	switch (claim->kind) {
	case CLAIM_EXCLUSIVE:
		return "exclusive";
	case CLAIM_SHARED:
		return "shared";
	case CLAIM_SLOTS:
		snprintf(buffer, SINGLE_KIND_MAX, "slots:%d", claim->slots);
	}
	return buffer;
}

/* === the requests of a claim ============================================ */

void single_begin_acquire(struct single *single, struct request *request,
			  const struct claim *claim, const char *token,
			  const struct vote *vote, const struct link_wait *wait)
{
	struct call *call =
		begin_of_claim(single, request, &script_acquire, claim);
	const struct link *link = &single->link;

	call->replicas = claim->min_replicas;
	/* Else it goes out on another connection, which may be served first. */
	if (link_owes_answer(link) && !link->blocked && !call->behind)
		single->doubt = true;

	call_add(call, number_text(claim->ttl_ms, request->ttl));
	call_add(call, number_text(claim->spare_ms, request->spare));
	call_add(call, kind_text(claim, request->kind));
	call_add(call, claim->may_wait ? "wait" : "");
	call_add(call, number_text(claim->cooldown_ms, request->cooldown));
	call_add(call, claim->retry_failed ? "retry" : "");
	call_add(call, claim->ancestors);
	call_add(call, claim->owner.host);
	call_add(call, claim->owner.pid);
	call_add(call, claim->owner.user);
	call_add(call, claim->owner.command);
	call_add(call, claim->owner.message);
	call_add(call, vote->is_new      ? "grace"
		       : claim->no_grace ? "no-grace"
					 : "");
	call_add(call, token);
	call_add(call, vote->token);
	call_add(call, vote->ticket ? number_text(vote->ticket, request->ticket)
				    : "");
	/* Of when it is sent: to connect, they are asked. */
	call_add(call, single->link.config_epoch);
	link_begin(&single->link, call, wait);
}

int single_end_acquire(struct single *single, const struct request *request,
		       char token[STORE_TOKEN_MAX], struct refusal *refusal)
{
	struct link *link = &single->link;
	int result;

	if (link->err) {
		single->claimed |= link->was_sent;
		single->doubt |= single->claimed && link->conn.fd < 0;
		return link->err;
	}
	result = reply_acquire(link->answer, token, refusal, link->error,
			       sizeof(link->error));
	/* An error may come from the middle of the script. */
	single->claimed = result != STORE_REFUSED || refusal->place > 0 ||
			  refusal->reason == REFUSAL_TAKEN ||
			  refusal->reason == REFUSAL_GRACE ||
			  refusal->reason == REFUSAL_VOTES || single->doubt;
	return end(single, request, result);
}

bool single_begin_wait(struct single *single, struct request *request,
		       const struct claim *claim, int64_t until_ns,
		       const struct link_wait *wait)
{
	struct call *call = begin(single, request, NULL, NULL);
	int64_t ns = until_ns - clock_boot_ns();

	link_settle(&single->link);
	/* Not connected, or with an answer to come: nothing can wake us. */
	if (single->link.conn.fd < 0 || link_owes_answer(&single->link))
		return false;
	/* Behind the WAIT of the refusal, it begins late, if replicas are. */
	call->behind = true;

	/* For as long as whoever connects here wants: it is connected. */
	call->user_timeout_ms = 0;
	call->may_learn = true;
	snprintf(call->keys[0], sizeof(call->keys[0]), "cflock:{%s}:wake:%s",
		 claim->name, claim->owner.id);
	/* BLOCK 0 would be without end. */
	number_text(ns > NS_PER_MS ? ns / NS_PER_MS : 1, request->ttl);
	call_add(call, "XREAD");
	call_add(call, "BLOCK");
	call_add(call, request->ttl);
	call_add(call, "STREAMS");
	call_add(call, call->keys[0]);
	call_add(call, "0");
	link_begin(&single->link, call, wait);
	return true;
}

int single_end_wait(struct single *single)
{
	struct link *link = &single->link;
	int err;

	link->blocked = link->err && link->unanswered;
	if (link->err)
		return link->err;
	err = reply_wait(link->answer, link->error, sizeof(link->error));
	link_drop_answer(link);
	return err;
}

void single_begin_renew(struct single *single, struct request *request,
			const struct claim *claim, const char *token,
			const struct link_wait *wait)
{
	struct call *call =
		begin_of_claim(single, request, &script_renew, claim);

	call->may_learn = true;
	call->replicas = claim->min_replicas;
	call_add(call, token);
	call_add(call, number_text(claim->ttl_ms, request->ttl));
	link_begin(&single->link, call, wait);
}

int single_end_renew(struct single *single, const struct request *request,
		     struct asked *asked)
{
	struct link *link = &single->link;

	if (link->err)
		return link->err;
	return end(single, request,
		   reply_renew(link->answer, asked, link->error,
			       sizeof(link->error)));
}

void single_begin_release(struct single *single, struct request *request,
			  const struct claim *claim, bool lift, bool last,
			  const struct link_wait *wait)
{
	struct call *call =
		begin_of_claim(single, request, &script_release, claim);

	/* Behind what blocks, it would wait for the end of that, and not be carried
	 * out at all if we are gone by then. */
	link_settle(&single->link);
	if (last && link_is_blocked(&single->link)) {
		single->doubt |= link_owes_answer(&single->link) &&
				 !single->link.blocked;
		link_abort(&single->link);
	}
	call->by_text = last;
	call->behind |= last;
	call_add(call, lift ? "lift" : "");
	call_add(call, single->doubt ? "doubt" : "");
	call_add(call, "");
	call_add(call, "");
	link_begin(&single->link, call, wait);
}

void single_begin_give_back(struct single *single, struct request *request,
			    const struct claim *claim, const struct vote *vote,
			    const struct link_wait *wait)
{
	struct call *call =
		begin_of_claim(single, request, &script_release, claim);

	call_add(call, "lift");
	/* It will ask again: what comes behind this is no ghost. */
	call_add(call, "");
	call_add(call, vote->ticket ? number_text(vote->ticket, request->ticket)
				    : "");
	call_add(call, vote->token);
	link_begin(&single->link, call, wait);
}

int single_end_release(struct single *single, const struct request *request)
{
	struct link *link = &single->link;
	int result;

	if (link->err)
		return link->err;
	result = end(single, request,
		     reply_release(link->answer, link->error,
				   sizeof(link->error)));
	if (result == STORE_DONE)
		single->claimed = false;
	return result;
}

/* === looking ============================================================ */

void single_begin_look(struct single *single, struct request *request,
		       const char *name, int waiters,
		       const struct link_wait *wait)
{
	struct call *call = begin(single, request, &script_look, name);

	single->link.conn.most = LOOK_MOST_BYTES;
	call_add(call, number_text(waiters, request->ttl));
	link_begin(&single->link, call, wait);
}

void single_begin_list(struct single *single, struct request *request,
		       const char *cursor, const char *glob,
		       const struct link_wait *wait)
{
	struct call *call = begin(single, request, &script_list, NULL);

	single->link.conn.most = LOOK_MOST_BYTES;
	call_add(call, cursor);
	call_add(call, glob);
	link_begin(&single->link, call, wait);
}

int single_end_text(struct single *single, const struct request *request,
		    char **text)
{
	struct link *link = &single->link;

	if (link->err)
		return link->err;
	return end(single, request,
		   reply_text(link->answer, text, link->error,
			      sizeof(link->error)));
}

void single_begin_break(struct single *single, struct request *request,
			const struct break_request *what,
			const struct link_wait *wait)
{
	struct call *call = begin(single, request, &script_break, what->name);

	call_add(call, what->force ? "force" : "ask");
	call_add(call, what->ids);
	call_add(call, what->who);
	call_add(call, number_text(what->ask_ms, request->ttl));
	call_add(call, what->asking);
	call_add(call, number_text(LEASE_RENEWALS_UNTIL_LOST, request->spare));
	link_begin(&single->link, call, wait);
}

int single_end_break(struct single *single, const struct request *request,
		     int64_t *ms)
{
	struct link *link = &single->link;

	if (link->err)
		return link->err;
	return end(single, request,
		   reply_break(link->answer, ms, link->error,
			       sizeof(link->error)));
}

int single_command(struct single *single, const char *const *words,
		   const struct link_wait *wait, redisReply **reply)
{
	struct request request;
	struct call *call = begin(single, &request, NULL, NULL);

	while (*words)
		call_add(call, *words++);
	return link_call(&single->link, call, wait, reply);
}
