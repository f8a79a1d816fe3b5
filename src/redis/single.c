/*
 * The store that is one Redis server.
 *
 * A request is one script call.  On a new connection AUTH and SELECT go out in
 * the same packet, so that a run costs two round trips in all: acquire and
 * release.  The script goes by its SHA-1, and as text when the server does not
 * know it (any more).
 */
#include "config.h"

#include "store.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"
#include "redis/conn.h"
#include "redis/reply.h"
#include "redis/rights.h"
#include "redis/scripts.h"
#include "redis/single.h"

#define KEYS_MAX 7
#define ARGV_MAX 13
#define KEY_MAX_BYTES 320
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
	struct url url;
	char address_text[URL_TEXT_MAX];
	struct address addresses[RESOLVE_ADDRESSES_MAX];
	int address_count; /* 0: not looked up yet */
	struct conn conn;
	int cancel_fd;
	void (*meanwhile)(void *);
	void *meanwhile_context;
	int unanswered; /* replies that are still to come */
	bool blocked;   /* the last of them is that to a blocking read */
	bool claimed;   /* the service may hold a lease or a place of ours */
	bool doubt;     /* an acquire that was given up may yet be served */
	char error[STORE_ERROR_MAX];
};

struct call {
	const struct script *script; /* NULL: the arguments are a command */
	int key_count;
	char keys[KEYS_MAX][KEY_MAX_BYTES];
	int argument_count;
	const char *arguments[ARGV_MAX];
};

struct store *store_open(const struct url *url, int cancel_fd)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	store->url = *url;
	url_format(url, store->address_text, sizeof(store->address_text));
	store->conn.fd = -1;
	store->cancel_fd = cancel_fd;
	return store;
}

struct store *store_clone(const struct store *store, int cancel_fd)
{
	struct store *clone = store_open(&store->url, cancel_fd);

	if (!clone)
		return NULL;
	memcpy(clone->addresses, store->addresses, sizeof(clone->addresses));
	clone->address_count = store->address_count;
	clone->doubt = store->doubt;
	return clone;
}

void store_close(struct store *store)
{
	conn_close(&store->conn);
	explicit_bzero(&store->url, sizeof(store->url));
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
	return store->error;
}

static int fail(struct store *store, int err, const char *doing)
{
	const char *cause = strerror(-err);

	if (err == -ETIMEDOUT)
		cause = "no answer in time";
	else if (err == -ECONNRESET)
		cause = "the server closed the connection; is it a TLS port, or not a Redis server?";
	else if (err == -EPROTO)
		cause = "what answers there is not a Redis server (or it is a TLS port)";
	else if (err == -EAGAIN && store->url.is_unix)
		cause = "its queue of connections is full";
	snprintf(store->error, sizeof(store->error), "cannot %s %s: %s", doing,
		 store->address_text, cause);
	/* A socket that is not there may come; a host's name does not. */
	return err == -ENOENT ? -ECONNREFUSED : err;
}

/* As fail(), on a connection that is of no more use. */
static int fail_connection(struct store *store, int err, const char *doing)
{
	conn_abort(&store->conn);
	return fail(store, err, doing);
}

/* === connecting ========================================================= */

static int find_addresses(struct store *store, int64_t deadline_ns)
{
	struct address *first = &store->addresses[0];
	int count;

	if (store->address_count)
		return 0;
	if (store->url.is_unix) {
		first->to.local.sun_family = AF_UNIX;
		memcpy(first->to.local.sun_path, store->url.path,
		       sizeof(store->url.path));
		first->length = sizeof(first->to.local);
		store->address_count = 1;
		return 0;
	}
	count = resolve_host(store->url.host, store->url.port, deadline_ns,
			     store->cancel_fd, store->addresses);
	if (count > 0) {
		store->address_count = count;
		return 0;
	}
	snprintf(store->error, sizeof(store->error),
		 "cannot find the host \"%s\": %s", store->url.host,
		 count == -ENOENT ? "there is no such name"
		 : count == -ETIMEDOUT
			 ? "the name service did not answer in time"
		 : count == -ENOEXEC
			 ? "its helper program cflock-resolve cannot be run"
			 : "the name service failed");
	return count;
}

/* Appends a formatted command to *bytes (hiredis' malloc).  False: no memory. */
static bool append(char **bytes, size_t *length, int argc, const char **argv)
{
	char *command, *joined;
	long long n = redisFormatCommandArgv(&command, argc, argv, NULL);

	if (n < 0)
		return false;
	joined = realloc(*bytes, *length + (size_t)n);
	if (joined) {
		memcpy(joined + *length, command, (size_t)n);
		*bytes = joined;
		*length += (size_t)n;
	}
	redisFreeCommand(command);
	return joined != NULL;
}

static bool append_handshake(struct store *store, char **bytes, size_t *length)
{
	const char *auth[3] = { "AUTH" }, *select[2] = { "SELECT" };
	char db[16];
	int argc = 1;

	if (store->url.has_password) {
		if (store->url.has_user)
			auth[argc++] = store->url.user;
		auth[argc++] = store->url.password;
		if (!append(bytes, length, argc, auth))
			return false;
		store->unanswered++;
	}
	if (store->url.db) {
		snprintf(db, sizeof(db), "%d", store->url.db);
		select[1] = db;
		if (!append(bytes, length, 2, select))
			return false;
		store->unanswered++;
	}
	return true;
}

/* === calling ============================================================ */

static bool append_call(char **bytes, size_t *length, const struct call *call,
			bool by_text)
{
	const char *argv[3 + KEYS_MAX + ARGV_MAX];
	char key_count[16];
	int argc = 0, i;

	if (call->script) {
		snprintf(key_count, sizeof(key_count), "%d", call->key_count);
		argv[argc++] = by_text ? "EVAL" : "EVALSHA";
		argv[argc++] =
			by_text ? call->script->text : call->script->sha1;
		argv[argc++] = key_count;
	}
	for (i = 0; i < call->key_count; i++)
		argv[argc++] = call->keys[i];
	for (i = 0; i < call->argument_count; i++)
		argv[argc++] = call->arguments[i];
	return append(bytes, length, argc, argv);
}

/* Sends the call, on a new connection behind the handshake. */
static int send_call(struct store *store, const struct call *call, bool by_text,
		     int64_t deadline_ns, unsigned int user_timeout_ms)
{
	char *bytes = NULL;
	size_t length = 0;
	int err = 0;

	if (store->conn.fd < 0) {
		err = find_addresses(store, deadline_ns);
		if (err)
			return err;
		err = conn_open(&store->conn, store->addresses,
				store->address_count, user_timeout_ms,
				deadline_ns, store->cancel_fd);
		if (err)
			return fail(store, err, "connect to");
		store->unanswered = 0;
		store->blocked = false;
		if (!append_handshake(store, &bytes, &length))
			err = -ENOMEM;
	}
	if (!err && append_call(&bytes, &length, call, by_text)) {
		store->unanswered++;
		err = conn_send(&store->conn, bytes, length, deadline_ns,
				store->cancel_fd);
	} else {
		err = -ENOMEM;
	}
	if (bytes)
		explicit_bzero(bytes, length); /* it may hold the password */
	free(bytes);
	return err ? fail_connection(store, err, "send to") : 0;
}

/*
 * Receives the replies to the handshake, then the one to the call.  The
 * connection is kept where a release may still go out behind the call: after a
 * time-out, a cancellation, and a refused handshake, which does not keep every
 * server from carrying out what came in the same packet.
 */
static int receive_answer(struct store *store, redisReply **answer,
			  int64_t deadline_ns)
{
	redisReply *reply = NULL;
	int err;

	while (store->unanswered > 0) {
		err = conn_receive(&store->conn, &reply, deadline_ns,
				   store->cancel_fd);
		if (err) {
			if (err != -ETIMEDOUT && err != -ECANCELED)
				conn_abort(&store->conn);
			fail(store, err, "get an answer from");
			return err;
		}
		store->unanswered--;
		if (!store->unanswered)
			break;
		err = reply_handshake(reply, store->error,
				      sizeof(store->error));
		freeReplyObject(reply);
		if (err)
			return err;
	}
	*answer = reply;
	return 0;
}

/* Makes the call.  0 with *answer to be freed, or a negative errno. */
static int call_script(struct store *store, const struct call *call,
		       int64_t deadline_ns, unsigned int user_timeout_ms,
		       redisReply **answer)
{
	int by_text, err = 0;

	/* What it still carries would answer another question. */
	if (store->unanswered)
		conn_abort(&store->conn);
	for (by_text = 0; by_text <= 1; by_text++) {
		err = send_call(store, call, by_text, deadline_ns,
				user_timeout_ms);
		if (!err && store->meanwhile)
			store->meanwhile(store->meanwhile_context);
		if (!err)
			err = receive_answer(store, answer, deadline_ns);
		if (err || by_text || !call->script ||
		    !reply_is_noscript(*answer))
			break;
		freeReplyObject(*answer);
	}
	return err;
}

/* Returns `result`, which `answer` came to, having named what was denied. */
static int name_denied(struct store *store, const struct call *call,
		       const redisReply *answer, int result)
{
	if (result == -EACCES)
		rights_name_denied(answer, call->script->text, store->error,
				   sizeof(store->error));
	return result;
}

/* === the requests ======================================================= */

/* KEYS as common.lua wants them, the same for each script. */
static void add_keys(struct call *call, const char *name)
{
	static const char *const suffixes[KEYS_MAX] = {
		"",       ":token",   ":holders",  ":line",
		":beats", ":waiters", ":cooldown",
	};
	size_t i;

	/* One hash tag for all keys of a lock; NAME cannot hold a brace. */
	for (i = 0; i < KEYS_MAX; i++)
		snprintf(call->keys[call->key_count++], KEY_MAX_BYTES,
			 "cflock:{%s}%s", name, suffixes[i]);
}

static void add_argument(struct call *call, const char *argument)
{
	call->arguments[call->argument_count++] = argument;
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

int store_acquire(struct store *store, const struct claim *claim,
		  int64_t deadline_ns, struct grant *grant,
		  struct refusal *refusal)
{
	struct call call = { .script = &script_acquire };
	char ttl[24], spare[24], cooldown[24], kind[KIND_MAX_BYTES];
	char token[STORE_TOKEN_MAX];
	struct instant sent = clock_now();
	redisReply *answer;
	int result;

	/* This one goes out on another connection, which may be served first. */
	store->doubt |= store->unanswered > 0 && !store->blocked;

	add_keys(&call, claim->name);
	add_argument(&call, claim->owner.id);
	add_argument(&call, number_text(claim->ttl_ms, ttl));
	add_argument(&call, number_text(claim->spare_ms, spare));
	add_argument(&call, kind_text(claim, kind));
	add_argument(&call, claim->may_wait ? "wait" : "");
	add_argument(&call, number_text(claim->cooldown_ms, cooldown));
	add_argument(&call, claim->retry_failed ? "retry" : "");
	add_argument(&call, claim->ancestors);
	add_argument(&call, claim->owner.host);
	add_argument(&call, claim->owner.pid);
	add_argument(&call, claim->owner.user);
	add_argument(&call, claim->owner.command);
	add_argument(&call, claim->owner.message);

	result = call_script(store, &call, deadline_ns,
			     (unsigned int)claim->ttl_ms, &answer);
	if (result) {
		store->claimed |= store->unanswered > 0;
		store->doubt |= store->claimed && store->conn.fd < 0;
		return result;
	}
	result = reply_acquire(answer, token, refusal, store->error,
			       sizeof(store->error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	/* An error may come from the middle of the script. */
	store->claimed = result != STORE_REFUSED || refusal->place > 0 ||
			 refusal->reason == REFUSAL_TAKEN || store->doubt;
	if (result == STORE_DONE) {
		memcpy(grant->token, token, sizeof(grant->token));
		grant->sent = sent;
	}
	return result;
}

/* Sends the blocking read, that is to end at until_ns. */
static int send_wait(struct store *store, const struct claim *claim,
		     int64_t until_ns)
{
	char key[KEY_MAX_BYTES], block[24], *bytes = NULL;
	const char *argv[] = { "XREAD", "BLOCK", block, "STREAMS", key, "0" };
	int64_t ns = until_ns - clock_boot_ns();
	size_t length = 0;
	int err = -ENOMEM;

	/* BLOCK 0 would be without end. */
	number_text(ns > NS_PER_MS ? ns / NS_PER_MS : 1, block);
	snprintf(key, sizeof(key), "cflock:{%s}:wake:%s", claim->name,
		 claim->owner.id);
	if (append(&bytes, &length, 6, argv)) {
		store->unanswered++;
		err = conn_send(&store->conn, bytes, length, until_ns,
				store->cancel_fd);
	}
	free(bytes);
	if (err)
		return fail_connection(store, err, "send to");
	store->blocked = true;
	return 0;
}

int store_wait(struct store *store, const struct claim *claim, int64_t until_ns,
	       bool exactly)
{
	redisReply *reply;
	int err;

	/* Not connected, or with an answer to come: nothing can wake us. */
	if (store->conn.fd < 0 || store->unanswered)
		return wait_until_ready(-1, 0, until_ns, store->cancel_fd);
	err = send_wait(store, claim, until_ns);
	if (err)
		return err;
	err = receive_answer(store, &reply,
			     exactly ? until_ns : until_ns + UNBLOCK_NS);
	if (err)
		return err;
	store->blocked = false;
	err = reply_wait(reply, store->error, sizeof(store->error));
	freeReplyObject(reply);
	return err;
}

int store_renew(struct store *store, const struct claim *claim,
		const struct grant *grant, int64_t deadline_ns,
		char asked_by[STORE_ASKED_BY_MAX])
{
	struct call call = { .script = &script_renew };
	redisReply *answer;
	char ttl[24];
	int result;

	add_keys(&call, claim->name);
	add_argument(&call, claim->owner.id);
	add_argument(&call, grant->token);
	add_argument(&call, number_text(claim->ttl_ms, ttl));

	result = call_script(store, &call, deadline_ns,
			     (unsigned int)claim->ttl_ms, &answer);
	if (result)
		return result;
	result = reply_renew(answer, asked_by, store->error,
			     sizeof(store->error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	return result;
}

static void fill_release(struct call *call, const struct store *store,
			 const struct claim *claim, bool lift)
{
	call->script = &script_release;
	add_keys(call, claim->name);
	add_argument(call, claim->owner.id);
	add_argument(call, lift ? "lift" : "");
	add_argument(call, store->doubt ? "doubt" : "");
}

int store_release(struct store *store, const struct claim *claim, bool lift,
		  int64_t deadline_ns)
{
	struct call call = { 0 };
	redisReply *answer;
	int result;

	fill_release(&call, store, claim, lift);
	result = call_script(store, &call, deadline_ns,
			     (unsigned int)claim->ttl_ms, &answer);
	if (result)
		return result;
	result = reply_release(answer, store->error, sizeof(store->error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	if (result == STORE_DONE)
		store->claimed = false;
	return result;
}

void store_withdraw(struct store *store, const struct claim *claim,
		    int64_t deadline_ns)
{
	struct call call = { 0 };
	char cause[STORE_ERROR_MAX];
	redisReply *reply;

	if (!store->claimed)
		return;
	/* What is to be told is why the acquire failed. */
	memcpy(cause, store->error, sizeof(cause));
	store->cancel_fd = -1;
	/* Behind a blocking read, the release would wait for its end. */
	if (store->blocked)
		conn_abort(&store->conn);

	/* As text: nobody may be there any more to send it again. */
	fill_release(&call, store, claim, true);
	if (send_call(store, &call, true, deadline_ns,
		      (unsigned int)claim->ttl_ms) == 0)
		while (store->unanswered > 0 &&
		       conn_receive(&store->conn, &reply, deadline_ns, -1) ==
			       0) {
			freeReplyObject(reply);
			store->unanswered--;
		}
	conn_close(&store->conn);
	store->claimed = false;
	memcpy(store->error, cause, sizeof(cause));
}

/* === looking ============================================================ */

int single_command(struct store *store, const char *const *words,
		   int64_t deadline_ns, redisReply **reply)
{
	struct call call = { 0 };

	while (*words)
		add_argument(&call, *words++);
	return call_script(store, &call, deadline_ns, LOOK_USER_TIMEOUT_MS,
			   reply);
}

int single_pause(struct store *store, int64_t until_ns)
{
	int err = wait_until_ready(-1, 0, until_ns, store->cancel_fd);

	return err == -ETIMEDOUT ? 0 : fail(store, err, "wait for");
}

const char *single_address(const struct store *store)
{
	return store->address_text;
}

const char *single_user(const struct store *store)
{
	return store->url.has_user ? store->url.user : "default";
}

char *single_error(struct store *store)
{
	return store->error;
}

/* 0 with *text, malloc'ed, of a script that returns one; or a negative errno. */
static int call_for_text(struct store *store, const struct call *call,
			 int64_t deadline_ns, char **text)
{
	redisReply *answer;
	int err;

	store->conn.most = LOOK_MOST_BYTES;
	err = call_script(store, call, deadline_ns, LOOK_USER_TIMEOUT_MS,
			  &answer);
	if (err)
		return err;
	err = reply_text(answer, text, store->error, sizeof(store->error));
	err = name_denied(store, call, answer, err);
	freeReplyObject(answer);
	return err;
}

int store_look(struct store *store, const char *name, int waiters,
	       int64_t deadline_ns, char **json)
{
	struct call call = { .script = &script_look };
	char most[24];

	add_keys(&call, name);
	add_argument(&call, number_text(waiters, most));
	return call_for_text(store, &call, deadline_ns, json);
}

int store_break(struct store *store, const char *name, bool force,
		const char *ids, const char *who, int64_t ask_ms,
		int64_t deadline_ns, int64_t *left_ms)
{
	struct call call = { .script = &script_break };
	redisReply *answer;
	char ask[24];
	int result;

	add_keys(&call, name);
	add_argument(&call, force ? "force" : "ask");
	add_argument(&call, ids);
	add_argument(&call, who);
	add_argument(&call, number_text(ask_ms, ask));
	result = call_script(store, &call, deadline_ns, LOOK_USER_TIMEOUT_MS,
			     &answer);
	if (result)
		return result;
	result = reply_break(answer, left_ms, store->error,
			     sizeof(store->error));
	result = name_denied(store, &call, answer, result);
	freeReplyObject(answer);
	return result;
}

int store_list(struct store *store, const char *glob, int64_t each_ns,
	       store_found_fn *found, void *context)
{
	char cursor[24] = "0", *text;
	int err;

	do {
		struct call call = { .script = &script_list };
		char *rest, *line;

		add_argument(&call, cursor);
		add_argument(&call, glob);
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
