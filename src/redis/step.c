/*
 * A call as a machine of stages, none of which waits:
 *
 *	CONNECTING -> SENDING -> RECEIVING -> IDLE
 *	  ^  next  |     ^           |
 *	  +--------+     +-----------+  after ROLE; a script once more, as text
 *	  ^                          |
 *	  +--------------------------+  MOVED, ASK
 */
#include "config.h"

#include "redis/step.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "redis/cluster.h"
#include "redis/reply.h"
#include "redis/scripts.h"

/* One, and one more for each time that the slot has moved on since. */
#define REDIRECTIONS_MAX 5

/*
 * For so long WAIT may block: a replica that takes longer is not there.  It ends
 * before the call's deadline, by as much as its answer may be late: a server that
 * has nothing else to do looks each 100 ms for what is to end.
 */
#define REPLICAS_MOST_MS 1000
#define REPLICAS_MARGIN_MS 150

/* === connecting ========================================================= */

/* Of a cluster, others are tried before this node from now on. */
static void avoid_node(struct link *link)
{
	if (link->cluster && link->address < link->address_count)
		cluster_avoid(link->cluster, &link->addresses[link->address]);
}

static int queue(struct link *link, enum awaited awaited, int argc,
		 const char **argv)
{
	int err = -ENOBUFS;

	if (link->unanswered < LINK_AWAITED_MAX)
		err = conn_queue(&link->conn, argc, argv);
	if (!err)
		link->awaited[link->unanswered++] = awaited;
	return err;
}

static int queue_handshake(struct link *link)
{
	const char *auth[3] = { "AUTH" }, *select[2] = { "SELECT" };
	const char *role[1] = { "ROLE" };
	char db[16];
	int argc = 1, err = 0;

	if (link->url.has_password) {
		if (link->url.has_user)
			auth[argc++] = link->url.user;
		auth[argc++] = link->url.password;
		err = queue(link, AWAITED_OK, argc, auth);
	}
	if (!err && link->url.db) {
		snprintf(db, sizeof(db), "%d", link->url.db);
		select[1] = db;
		err = queue(link, AWAITED_OK, 2, select);
	}
	if (!err && link->url.kind == URL_SENTINEL)
		err = queue(link, AWAITED_ROLE, 1, role);
	return err;
}

static int queue_wait(struct link *link)
{
	int64_t left_ms = (link->deadline_ns - clock_boot_ns()) / NS_PER_MS;
	int64_t ms = left_ms - REPLICAS_MARGIN_MS;
	char replicas[16], timeout[24];
	const char *argv[3] = { "WAIT", replicas, timeout };

	if (ms < left_ms / 2)
		ms = left_ms / 2;
	if (ms > REPLICAS_MOST_MS)
		ms = REPLICAS_MOST_MS;
	/* 0 would be without end. */
	if (ms < 1)
		ms = 1;
	snprintf(replicas, sizeof(replicas), "%d", link->call->replicas);
	snprintf(timeout, sizeof(timeout), "%lld", (long long)ms);
	return queue(link, AWAITED_REPLICAS, 3, argv);
}

static int queue_call(struct link *link)
{
	const struct call *call = link->call;
	const char *argv[3 + CALL_KEYS_MAX + CALL_ARGUMENTS_MAX];
	const char *asking[1] = { "ASKING" },
		   *nodes[2] = { "CLUSTER", "NODES" };
	char key_count[16];
	int argc = 0, before_count = 0, i, err;

	if (link->cluster && call->may_learn && !link->has_learned &&
	    !link->asking) {
		err = queue(link, AWAITED_NODES, 2, nodes);
		if (err)
			return err;
		link->has_learned = true;
	}
	/* It counts for the next command only. */
	err = link->asking ? queue(link, AWAITED_OK, 1, asking) : 0;
	if (err)
		return err;

	while (before_count < CALL_BEFORE_MAX && call->before[before_count])
		before_count++;
	if (before_count)
		err = queue(link, AWAITED_BEFORE, before_count,
			    (const char **)call->before);
	if (err)
		return err;

	if (call->script) {
		snprintf(key_count, sizeof(key_count), "%d", call->key_count);
		argv[argc++] = link->by_text ? "EVAL" : "EVALSHA";
		argv[argc++] =
			link->by_text ? call->script->text : call->script->sha1;
		argv[argc++] = key_count;
	}
	for (i = 0; i < call->key_count; i++)
		argv[argc++] = call->keys[i];
	for (i = 0; i < call->argument_count; i++)
		argv[argc++] = call->arguments[i];
	err = queue(link, AWAITED_CALL, argc, argv);
	return err || !call->replicas ? err : queue_wait(link);
}

/* === the call, step by step ============================================= */

enum link_stage step_end(struct link *link, int err)
{
	/* What was granted does not count. */
	if (err)
		link_drop_answer(link);
	link->err = err;
	return link->stage = LINK_IDLE;
}

enum link_stage step_start_sending(struct link *link)
{
	int err = queue_call(link);

	link->was_sent |= !err;
	if (!err)
		return link->stage = LINK_SENDING;
	link_abort(link);
	return step_end(link, link_fail(link, err, "send to"));
}

static enum link_stage connected(struct link *link)
{
	link->has_learned = false;
	link->unanswered = link->stale = 0;
	link->blocked = link->is_refused = false;
	if (queue_handshake(link)) {
		link_abort(link);
		return step_end(link, link_fail(link, -ENOMEM, "send to"));
	}
	/* What is no master must not get the call. */
	if (link->url.kind == URL_SENTINEL)
		return link->stage = LINK_SENDING;
	return step_start_sending(link);
}

/*
 * This address was of no use, for *err.  False when it was the last; *err is then
 * that of all: while a node of a cluster may come back, it is of no use for ever
 * that another has refused us.
 */
static bool turn_to_next(struct link *link, int *err)
{
	avoid_node(link);
	if (link->cluster && !store_error_is_final(*err))
		link->passing_err = *err;
	if (link->address + 1 == link->address_count) {
		if (link->passing_err)
			*err = link->passing_err;
		return false;
	}
	link->address++;
	return true;
}

/* Each address gets its share of the time. */
enum link_stage step_try_address(struct link *link)
{
	for (;;) {
		int left = link->address_count - link->address;
		int64_t now_ns = clock_boot_ns();
		int err;

		link->share_ns = now_ns + (link->deadline_ns - now_ns) / left;
		err = conn_start(&link->conn, &link->addresses[link->address],
				 link->call->user_timeout_ms);
		if (!err)
			return connected(link);
		if (err == CONN_WAITS)
			return link->stage = LINK_CONNECTING;
		if (!turn_to_next(link, &err))
			return step_end(link,
					link_fail(link, err, "connect to"));
	}
}

static enum link_stage step_connecting(struct link *link, bool is_late)
{
	int err = -ETIMEDOUT;

	if (is_late)
		conn_close(&link->conn);
	else
		err = conn_proceed(&link->conn);
	if (err == CONN_WAITS)
		return link->stage;
	if (!err)
		return connected(link);
	if (!turn_to_next(link, &err))
		return step_end(link, link_fail(link, err, "connect to"));
	return step_try_address(link);
}

static enum link_stage step_sending(struct link *link)
{
	int err = conn_flush(&link->conn);

	if (err == CONN_WAITS)
		return link->stage;
	if (!err) {
		link->conn.events = POLLIN;
		return link->stage = LINK_RECEIVING;
	}
	avoid_node(link);
	link_abort(link);
	return step_end(link, link_fail(link, err, "send to"));
}

/* Takes the oldest of those that are awaited off the queue. */
enum awaited step_next_awaited(struct link *link)
{
	enum awaited first = link->awaited[0];

	link->unanswered--;
	memmove(link->awaited, link->awaited + 1,
		(size_t)link->unanswered * sizeof(link->awaited[0]));
	return first;
}

/* The handshake is over when the last reply to it says that this is a master. */
static enum link_stage take_role(struct link *link, const redisReply *reply)
{
	int err = reply_role(reply, link->error, sizeof(link->error));

	if (!err)
		return step_start_sending(link);
	/* Asked again, the sentinels may know better. */
	link_close(link);
	return step_end(link, err);
}

/*
 * To the node that has the slot, or, for this call, that is about to get it.
 * What says so has not carried the call out, and never will.
 */
static enum link_stage follow(struct link *link, const redisReply *reply)
{
	const struct link_wait wait = { .deadline_ns = link->deadline_ns,
					.cancel_fd = link->cancel_fd };
	struct address found[RESOLVE_ADDRESSES_MAX];
	struct redirection to;
	int count;

	link->was_sent = false;
	if (++link->redirections > REDIRECTIONS_MAX ||
	    !cluster_read_redirection(reply, &to)) {
		snprintf(link->error, sizeof(link->error),
			 "the nodes of %.600s do not agree where the lock is",
			 link->address_text);
		link_close(link);
		return step_end(link, -EAGAIN);
	}
	count = cluster_resolve(link->cluster, &to,
				&link->addresses[link->address], &wait, found);
	link_close(link);
	if (count < 0) {
		snprintf(link->error, sizeof(link->error),
			 "cannot find the host \"%s\", which the cluster names",
			 to.host);
		return step_end(link, count == -ECANCELED ? count : -EAGAIN);
	}
	if (!to.is_ask)
		cluster_prefer(link->cluster, &found[0]);
	memcpy(link->addresses, found, (size_t)count * sizeof(found[0]));
	link->address_count = count;
	link->address = 0;
	link->passing_err = 0;
	link->asking = to.is_ask;
	link->by_text = link->call->by_text;
	return step_try_address(link);
}

/* What the server says is the end of the call: 0, or why it does not count. */
static enum link_stage end_answered(struct link *link, int err)
{
	/* The next call is for the owner of the slot again. */
	if (link->asking)
		link_close(link);
	return step_end(link, err);
}

/* A script that the server does not know, once more, as text. */
static enum link_stage send_as_text(struct link *link)
{
	bool asking = link->asking;

	link->by_text = true;
	if (!link->call->replicas)
		return step_start_sending(link);
	/* The WAIT behind the first may block what comes now. */
	link->was_sent = false;
	link_close(link);
	link->asking = asking;
	return step_try_address(link);
}

/* Stays where it is when replicas are to acknowledge what was granted. */
static enum link_stage take_answer(struct link *link, redisReply *reply)
{
	if (link->cluster && cluster_is_redirection(reply)) {
		follow(link, reply);
		freeReplyObject(reply);
		return link->stage;
	}

	if (link->call->script && !link->by_text && reply_is_noscript(reply)) {
		freeReplyObject(reply);
		return send_as_text(link);
	}
	/* It has not carried the call out, and never will. */
	if (link->url.kind == URL_SENTINEL && reply_is_no_master(reply))
		link_close(link);
	link->answer = reply;
	if (link->call->replicas && reply_is_grant(reply))
		return link->stage;
	return end_answered(link, 0);
}

static enum link_stage take_replicas(struct link *link, const redisReply *reply)
{
	return end_answered(link,
			    reply_replicas(reply, link->call->replicas,
					   link->error, sizeof(link->error)));
}

/*
 * The replies to the handshake, then the one to the call.  The connection is
 * kept where a release may still go out behind the call: after a time-out, a
 * cancellation, and a refused handshake, which does not keep every server from
 * carrying out what came in the same packet.
 */
static enum link_stage step_receiving(struct link *link)
{
	for (;;) {
		enum awaited awaited;
		bool is_stale = true;
		redisReply *reply;
		int err = conn_receive(&link->conn, &reply);

		if (err == CONN_WAITS)
			return link->stage;
		/* A reply that nothing has asked for is none of Redis. */
		if (!err && !link->unanswered) {
			freeReplyObject(reply);
			err = -EPROTO;
		}
		if (err) {
			avoid_node(link);
			link_abort(link);
			return step_end(link, link_fail(link, err,
							"get an answer from"));
		}
		awaited = step_next_awaited(link);
		if (link->stale > 0)
			link->stale--;
		else
			is_stale = false;
		if (is_stale && awaited != AWAITED_OK) {
			freeReplyObject(reply);
			continue;
		}
		switch (awaited) {
		case AWAITED_OK:
			err = reply_handshake(reply, link->error,
					      sizeof(link->error));
			freeReplyObject(reply);
			link->is_refused |= err != 0;
			if (err)
				return step_end(link, err);
			break;
		case AWAITED_ROLE:
			take_role(link, reply);
			freeReplyObject(reply);
			return link->stage;
		case AWAITED_NODES:
			cluster_learn(link->cluster, reply,
				      &link->addresses[link->address]);
			freeReplyObject(reply);
			break;
		case AWAITED_BEFORE:
			link->before = reply;
			break;
		case AWAITED_CALL:
			if (take_answer(link, reply) != LINK_RECEIVING)
				return link->stage;
			break;
		case AWAITED_REPLICAS:
			take_replicas(link, reply);
			freeReplyObject(reply);
			return link->stage;
		}
	}
}

/* Goes on until it has to wait, or has ended. */
void step(struct link *link, bool is_late)
{
	enum link_stage before;

	do {
		before = link->stage;
		switch (before) {
		case LINK_CONNECTING:
			step_connecting(link, is_late);
			break;
		case LINK_SENDING:
			step_sending(link);
			break;
		case LINK_RECEIVING:
			step_receiving(link);
			break;
		case LINK_IDLE:
			break;
		}
		is_late = false;
		/* What has just been sent is not answered yet. */
	} while (link->stage != before && link->stage == LINK_SENDING);
}

/* The time is over, or nobody wants the answer any more. */
void step_give_up(struct link *link, int err)
{
	static const char *const doing[] = {
		[LINK_CONNECTING] = "connect to",
		[LINK_SENDING] = "send to",
		[LINK_RECEIVING] = "get an answer from",
	};

	/* A blocking read may well end so. */
	if (err == -ETIMEDOUT && link->call->script)
		avoid_node(link);
	if (link->stage == LINK_CONNECTING)
		link_close(link);
	else if (link->stage == LINK_SENDING)
		link_abort(link);
	link_fail(link, err, doing[link->stage]);
	step_end(link, err);
}
