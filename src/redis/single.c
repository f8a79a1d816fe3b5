/*
 * The store that is one Redis server, or whatever its link finds instead: the
 * master that sentinels name, the node of a cluster that has the lock's slot.
 *
 * A request is one script call.  On a new connection AUTH and SELECT go out in
 * the same packet, so that a run costs two round trips in all: acquire and
 * release.
 */
#include "config.h"

#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"
#include "redis/cluster.h"
#include "redis/link.h"
#include "redis/reply.h"
#include "redis/rights.h"
#include "redis/scripts.h"
#include "redis/single.h"

#define KIND_MAX_BYTES 32

/*
 * A server that has nothing else to do looks for blocking reads that are to end
 * only each 100 ms (its hz).  To end one from here costs a new connection.
 */
#define UNBLOCK_NS (150 * NS_PER_MS)

/* Of requests that no lease depends on: a thousand who wait may be told of. */
#define LOOK_USER_TIMEOUT_MS 10000
#define LOOK_MOST_BYTES 4194304

struct store {
	struct link link;
	int cancel_fd;
	void (*meanwhile)(void *);
	void *meanwhile_context;
	bool claimed; /* the service may hold a lease or a place of ours */
	bool doubt;   /* an acquire that was given up may yet be served */
};

struct store *store_open(const struct url *url, int cancel_fd)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	link_init(&store->link, url);
	store->cancel_fd = cancel_fd;
	return store;
}

struct store *store_clone(const struct store *store, int cancel_fd)
{
	struct store *clone = calloc(1, sizeof(*clone));

	if (!clone)
		return NULL;
	link_copy(&clone->link, &store->link);
	clone->cancel_fd = cancel_fd;
	/* What is on its way beside it may come later than what it sends. */
	clone->doubt = true;
	return clone;
}

void store_close(struct store *store)
{
	link_destroy(&store->link);
	free(store);
}

void store_set_cancel_fd(struct store *store, int cancel_fd)
{
	store->cancel_fd = cancel_fd;
}

void store_set_meanwhile(struct store *store, void (*meanwhile)(void *),
			 void *context)
{
	store->meanwhile = meanwhile;
	store->meanwhile_context = context;
}

const char *store_error(const struct store *store)
{
	return store->link.error;
}

/* === calling ============================================================ */

/* Makes the call.  0 with *answer to be freed, or a negative errno. */
static int call_script(struct store *store, const struct call *call,
		       int64_t deadline_ns, redisReply **answer)
{
	const struct link_wait wait = {
		.deadline_ns = deadline_ns,
		.cancel_fd = store->cancel_fd,
		.meanwhile = store->meanwhile,
		.context = store->meanwhile_context,
	};

	return link_call(&store->link, call, &wait, answer);
}

/* Returns `result`, which `answer` came to, having named what was denied. */
static int name_denied(struct store *store, const struct call *call,
		       const redisReply *answer, int result)
{
	if (result == -EACCES)
		rights_name_denied(answer, call->script->text,
				   store->link.error,
				   sizeof(store->link.error));
	return result;
}

/* === the requests ======================================================= */

/* KEYS as common.lua wants them, the same for each script. */
static void add_keys(const struct store *store, struct call *call,
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
	if (single_is_cluster(store))
		snprintf(call->keys[call->key_count++], CALL_KEY_MAX_BYTES,
			 "cflock:{%s}:epoch", name);
	else
		strcpy(call->keys[call->key_count++], "cflock:epoch");
}

static const char *kind_text(const struct claim *claim,
			     char buffer[KIND_MAX_BYTES])
{
	switch (claim->kind) {
	case CLAIM_EXCLUSIVE:
		return "exclusive";
	case CLAIM_SHARED:
		return "shared";
	case CLAIM_SLOTS:
		snprintf(buffer, KIND_MAX_BYTES, "slots:%d", claim->slots);
	}
	return buffer;
}

static const char *number_text(int64_t number, char buffer[24])
{
	snprintf(buffer, 24, "%lld", (long long)number);
	return buffer;
}

/* Text for the arguments of acquire.lua, which are to last until it was called. */
struct acquire_text {
	char ttl[24], spare[24], cooldown[24], kind[KIND_MAX_BYTES];
};

/* `token`: of the lease, to have it back; "" for a new one. */
static void fill_acquire(const struct store *store, struct call *call,
			 struct acquire_text *text, const struct claim *claim,
			 const char *token)
{
	call->script = &script_acquire;
	call->user_timeout_ms = (unsigned int)claim->ttl_ms;
	call->replicas = claim->min_replicas;
	add_keys(store, call, claim->name);
	call_add(call, claim->owner.id);
	call_add(call, number_text(claim->ttl_ms, text->ttl));
	call_add(call, number_text(claim->spare_ms, text->spare));
	call_add(call, kind_text(claim, text->kind));
	call_add(call, claim->may_wait ? "wait" : "");
	call_add(call, number_text(claim->cooldown_ms, text->cooldown));
	call_add(call, claim->retry_failed ? "retry" : "");
	call_add(call, claim->ancestors);
	call_add(call, claim->owner.host);
	call_add(call, claim->owner.pid);
	call_add(call, claim->owner.user);
	call_add(call, claim->owner.command);
	call_add(call, claim->owner.message);
	call_add(call, claim->no_grace ? "no-grace" : "");
	call_add(call, token);
}

static void fill_release(struct call *call, const struct store *store,
			 const struct claim *claim, bool lift)
{
	call->script = &script_release;
	call->user_timeout_ms = (unsigned int)claim->ttl_ms;
	add_keys(store, call, claim->name);
	call_add(call, claim->owner.id);
	call_add(call, lift ? "lift" : "");
	call_add(call, store->doubt ? "doubt" : "");
}

/*
 * What too few replicas have is no grant: meanwhile, others may have it.  Where
 * that does not succeed, the claim is still to be withdrawn.
 */
static void hand_back(struct store *store, const struct claim *claim,
		      int64_t deadline_ns)
{
	struct call call = { 0 };
	char cause[STORE_ERROR_MAX];
	redisReply *answer;

	/* It would keep us from asking again. */
	if (store->doubt)
		return;
	memcpy(cause, store->link.error, sizeof(cause));
	fill_release(&call, store, claim, true);
	if (call_script(store, &call, deadline_ns, &answer) == 0) {
		store->claimed = answer->type != REDIS_REPLY_INTEGER;
		freeReplyObject(answer);
	}
	memcpy(store->link.error, cause, sizeof(cause));
}

int store_acquire(struct store *store, const struct claim *claim,
		  int64_t deadline_ns, struct grant *grant,
		  struct refusal *refusal)
{
	struct call call = { 0 };
	struct acquire_text text;
	char token[STORE_TOKEN_MAX];
	struct instant sent = clock_now();
	redisReply *answer;
	int result;

	/* This one goes out on another connection, which may be served first. */
	store->doubt |= link_owes_answer(&store->link) && !store->link.blocked;

	fill_acquire(store, &call, &text, claim, "");
	result = call_script(store, &call, deadline_ns, &answer);
	if (result) {
		store->claimed |= store->link.was_sent;
		store->doubt |= store->claimed && store->link.conn.fd < 0;
		if (result == -ENOLCK)
			hand_back(store, claim, deadline_ns);
		return result;
	}
	result = reply_acquire(answer, token, refusal, store->link.error,
			       sizeof(store->link.error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	/* An error may come from the middle of the script. */
	store->claimed = result != STORE_REFUSED || refusal->place > 0 ||
			 refusal->reason == REFUSAL_TAKEN ||
			 refusal->reason == REFUSAL_GRACE || store->doubt;
	if (result == STORE_DONE) {
		memcpy(grant->token, token, sizeof(grant->token));
		grant->sent = sent;
	}
	return result;
}

int store_wait(struct store *store, const struct claim *claim, int64_t until_ns,
	       bool exactly)
{
	const struct link_wait wait = {
		.deadline_ns = exactly ? until_ns : until_ns + UNBLOCK_NS,
		.cancel_fd = store->cancel_fd,
	};
	/* Behind the WAIT of the refusal, it begins late, if replicas are. */
	struct call call = { .may_learn = true, .behind = true };
	char key[CALL_KEY_MAX_BYTES], block[24];
	int64_t ns = until_ns - clock_boot_ns();
	redisReply *reply;
	int err;

	link_settle(&store->link);
	/* Not connected, or with an answer to come: nothing can wake us. */
	if (store->link.conn.fd < 0 || link_owes_answer(&store->link))
		return wait_until_ready(-1, 0, until_ns, store->cancel_fd);

	/* BLOCK 0 would be without end. */
	number_text(ns > NS_PER_MS ? ns / NS_PER_MS : 1, block);
	snprintf(key, sizeof(key), "cflock:{%s}:wake:%s", claim->name,
		 claim->owner.id);
	call_add(&call, "XREAD");
	call_add(&call, "BLOCK");
	call_add(&call, block);
	call_add(&call, "STREAMS");
	call_add(&call, key);
	call_add(&call, "0");
	err = link_call(&store->link, &call, &wait, &reply);
	store->link.blocked = err && store->link.unanswered;
	if (err)
		return err;
	err = reply_wait(reply, store->link.error, sizeof(store->link.error));
	freeReplyObject(reply);
	return err;
}

/* Asks for a lease back that the server may have forgotten, and itself. */
static int reclaim(struct store *store, const struct claim *claim,
		   const struct grant *grant, int64_t deadline_ns)
{
	struct call call = { 0 };
	struct acquire_text text;
	char token[STORE_TOKEN_MAX], error[STORE_ERROR_MAX];
	struct refusal refusal;
	redisReply *answer;
	int result;

	/* It may have taken long until we are here. */
	if (clock_boot_ns() >= deadline_ns)
		return link_fail(&store->link, -ETIMEDOUT,
				 "get an answer from");
	/* What is to be told is why the renewal was refused. */
	memcpy(error, store->link.error, sizeof(error));
	fill_acquire(store, &call, &text, claim, grant->token);
	result = call_script(store, &call, deadline_ns, &answer);
	if (result)
		return result;
	result = reply_acquire(answer, token, &refusal, store->link.error,
			       sizeof(store->link.error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	if (result != STORE_REFUSED && !store_error_is_final(result))
		return result;
	memcpy(store->link.error, error, sizeof(error));
	return STORE_REFUSED;
}

int store_renew(struct store *store, const struct claim *claim,
		const struct grant *grant, bool stands, int64_t deadline_ns,
		struct asked *asked)
{
	struct call call = {
		.script = &script_renew,
		.user_timeout_ms = (unsigned int)claim->ttl_ms,
		.may_learn = true,
		.replicas = claim->min_replicas,
	};
	redisReply *answer;
	char ttl[24];
	int result;

	add_keys(store, &call, claim->name);
	call_add(&call, claim->owner.id);
	call_add(&call, grant->token);
	call_add(&call, number_text(claim->ttl_ms, ttl));

	result = call_script(store, &call, deadline_ns, &answer);
	if (result)
		return result;
	result = reply_renew(answer, asked, store->link.error,
			     sizeof(store->link.error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	if (result != STORE_REFUSED || !stands)
		return result;
	result = reclaim(store, claim, grant, deadline_ns);
	if (result == STORE_DONE)
		memset(asked, 0, sizeof(*asked));
	return result;
}

int store_release(struct store *store, const struct claim *claim, bool lift,
		  int64_t deadline_ns)
{
	struct call call = { 0 };
	redisReply *answer;
	int result;

	fill_release(&call, store, claim, lift);
	result = call_script(store, &call, deadline_ns, &answer);
	if (result)
		return result;
	result = reply_release(answer, store->link.error,
			       sizeof(store->link.error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	if (result == STORE_DONE)
		store->claimed = false;
	return result;
}

void store_withdraw(struct store *store, const struct claim *claim,
		    int64_t deadline_ns)
{
	/* As text: nobody may be there any more to send it again. */
	struct call call = { .by_text = true, .behind = true };
	const struct link_wait wait = { deadline_ns, -1, NULL, NULL };
	char cause[STORE_ERROR_MAX];
	redisReply *reply;

	if (!store->claimed)
		return;
	/* What is to be told is why the acquire failed. */
	memcpy(cause, store->link.error, sizeof(cause));
	link_settle(&store->link);
	/* Behind what blocks, the release would wait for its end, and not be
	 * carried out at all when we are gone by then. */
	if (link_is_blocked(&store->link)) {
		store->doubt |=
			link_owes_answer(&store->link) && !store->link.blocked;
		link_abort(&store->link);
	}
	fill_release(&call, store, claim, true);
	if (link_call(&store->link, &call, &wait, &reply) == 0)
		freeReplyObject(reply);
	link_close(&store->link);
	store->claimed = false;
	memcpy(store->link.error, cause, sizeof(cause));
}

/* === looking ============================================================ */

int single_command(struct store *store, const char *const *words,
		   int64_t deadline_ns, redisReply **reply)
{
	struct call call = { .user_timeout_ms = LOOK_USER_TIMEOUT_MS };

	while (*words)
		call_add(&call, *words++);
	return call_script(store, &call, deadline_ns, reply);
}

int single_pause(struct store *store, int64_t until_ns)
{
	int err = wait_until_ready(-1, 0, until_ns, store->cancel_fd);

	return err == -ETIMEDOUT ? 0 : link_fail(&store->link, err, "wait for");
}

const char *single_address(const struct store *store)
{
	return store->link.address_text;
}

const char *single_user(const struct store *store)
{
	return store->link.url.has_user ? store->link.url.user : "default";
}

bool single_is_cluster(const struct store *store)
{
	return store->link.url.kind == URL_CLUSTER;
}

char *single_error(struct store *store)
{
	return store->link.error;
}

/* 0 with *text, malloc'ed, of a script that returns one; or a negative errno. */
static int call_for_text(struct store *store, const struct call *call,
			 int64_t deadline_ns, char **text)
{
	redisReply *answer;
	int err;

	store->link.conn.most = LOOK_MOST_BYTES;
	err = call_script(store, call, deadline_ns, &answer);
	if (err)
		return err;
	err = reply_text(answer, text, store->link.error,
			 sizeof(store->link.error));
	err = name_denied(store, call, answer, err);
	freeReplyObject(answer);
	return err;
}

int store_look(struct store *store, const char *name, int waiters,
	       int64_t deadline_ns, char **json)
{
	struct call call = {
		.script = &script_look,
		.user_timeout_ms = LOOK_USER_TIMEOUT_MS,
	};
	char most[24];

	add_keys(store, &call, name);
	call_add(&call, number_text(waiters, most));
	return call_for_text(store, &call, deadline_ns, json);
}

int store_break(struct store *store, const struct break_request *request,
		int64_t deadline_ns, int64_t *ms)
{
	struct call call = {
		.script = &script_break,
		.user_timeout_ms = LOOK_USER_TIMEOUT_MS,
	};
	redisReply *answer;
	char ask[24];
	int result;

	add_keys(store, &call, request->name);
	call_add(&call, request->force ? "force" : "ask");
	call_add(&call, request->ids);
	call_add(&call, request->who);
	call_add(&call, number_text(request->ask_ms, ask));
	call_add(&call, request->asking);
	result = call_script(store, &call, deadline_ns, &answer);
	if (result)
		return result;
	result = reply_break(answer, ms, store->link.error,
			     sizeof(store->link.error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	return result;
}

static int list_one(struct store *store, const char *glob, int64_t each_ns,
		    store_found_fn *found, void *context)
{
	char cursor[24] = "0", *text;
	int err;

	do {
		struct call call = {
			.script = &script_list,
			.user_timeout_ms = LOOK_USER_TIMEOUT_MS,
		};
		char *rest, *line;

		call_add(&call, cursor);
		call_add(&call, glob);
		err = call_for_text(store, &call, clock_boot_ns() + each_ns,
				    &text);
		if (err)
			return err;
		rest = text;
		line = strsep(&rest, "\n");
		snprintf(cursor, sizeof(cursor), "%s", line);
		while (!err && (line = strsep(&rest, "\n")) && *line)
			err = found(context, line);
		free(text);
	} while (!err && strcmp(cursor, "0") != 0);
	return err;
}

/* Of the listing of a cluster. */
struct listing {
	struct store *store;
	const char *glob;
	int64_t each_ns;
	store_found_fn *found;
	void *context;
};

/* In `context` is the listing. */
static int list_master(void *context, const struct address *address)
{
	struct listing *listing = context;
	struct store *store = listing->store;
	struct store *node = store_open(&store->link.url, store->cancel_fd);
	int err;

	if (!node) {
		snprintf(store->link.error, sizeof(store->link.error),
			 "no memory for a connection");
		return -ENOMEM;
	}
	/* As if its address were all that the URL names. */
	node->link.url.kind = URL_SINGLE;
	node->link.addresses[0] = *address;
	node->link.address_count = 1;
	resolve_format(address, node->link.address_text);
	err = list_one(node, listing->glob, listing->each_ns, listing->found,
		       listing->context);
	memcpy(store->link.error, node->link.error, sizeof(store->link.error));
	store_close(node);
	return err;
}

int store_list(struct store *store, const char *glob, int64_t each_ns,
	       store_found_fn *found, void *context)
{
	static const char *const words[] = { "CLUSTER", "NODES", NULL };
	struct listing listing = { store, glob, each_ns, found, context };
	const struct link *link = &store->link;
	redisReply *reply;
	int err;

	if (link->url.kind != URL_CLUSTER)
		return list_one(store, glob, each_ns, found, context);
	err = single_command(store, words, clock_boot_ns() + each_ns, &reply);
	if (err)
		return err;
	if (reply->type == REDIS_REPLY_STRING)
		err = cluster_each_master(reply,
					  &link->addresses[link->address],
					  list_master, &listing);
	else
		err = reply_error(reply, store->link.error,
				  sizeof(store->link.error));
	freeReplyObject(reply);
	return err;
}
