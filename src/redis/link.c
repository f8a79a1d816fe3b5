#include "config.h"

#include "redis/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "redis/cluster.h"
#include "redis/find.h"
#include "redis/reply.h"
#include "redis/scripts.h"
#include "redis/sentinel.h"

#define LINKS_MAX 16

/* One, and one more for each time that the slot has moved on since. */
#define REDIRECTIONS_MAX 5

/*
 * For so long WAIT may block: a replica that takes longer is not there.  It ends
 * before the call's deadline, by as much as its answer may be late: a server that
 * has nothing else to do looks each 100 ms for what is to end.
 */
#define REPLICAS_MOST_MS 1000
#define REPLICAS_MARGIN_MS 150

void call_add(struct call *call, const char *argument)
{
	call->arguments[call->argument_count++] = argument;
}

void link_init(struct link *link, const struct url *url)
{
	memset(link, 0, sizeof(*link));
	link->url = *url;
	url_format(url, link->address_text, sizeof(link->address_text));
	link->conn.fd = -1;
}

void link_copy(struct link *to, const struct link *from)
{
	link_init(to, &from->url);
	memcpy(to->addresses, from->addresses, sizeof(to->addresses));
	to->address_count = from->address_count;
	to->conn.tls_context = tls_context_share(from->conn.tls_context);
	/* Without memory they are looked up when they are needed. */
	if (from->cluster)
		to->cluster = cluster_copy(from->cluster);
	if (from->sentinels)
		to->sentinels = sentinels_copy(from->sentinels);
}

/* What belonged to the connection that is closed now. */
static void forget(struct link *link)
{
	link->asking = false;
	link->unanswered = 0;
	link->blocked = link->is_refused = false;
}

void link_close(struct link *link)
{
	conn_close(&link->conn);
	forget(link);
}

void link_abort(struct link *link)
{
	conn_abort(&link->conn);
	forget(link);
}

void link_destroy(struct link *link)
{
	link_close(link);
	sentinels_free(link->sentinels);
	cluster_free(link->cluster);
	link->sentinels = NULL;
	link->cluster = NULL;
	tls_context_drop(link->conn.tls_context);
	link->conn.tls_context = NULL;
	explicit_bzero(&link->url, sizeof(link->url));
}

int link_fail(struct link *link, int err, const char *doing)
{
	const char *cause = strerror(-err);
	char node[RESOLVE_TEXT_MAX + 8] = "";

	if (*link->conn.error)
		cause = link->conn.error;
	else if (err == -ETIMEDOUT && link->conn.shaking_hands)
		cause = "no answer to the TLS handshake in time; is it a port without TLS?";
	else if (err == -ETIMEDOUT)
		cause = "no answer in time";
	else if (err == -ECONNRESET && link->url.is_tls)
		cause = "the server closed the connection";
	else if (err == -ECONNRESET)
		cause = "the server closed the connection; is it a TLS port, or not a Redis server?";
	else if (err == -EPROTO && link->url.is_tls)
		cause = "what answers there is not a Redis server";
	else if (err == -EPROTO)
		cause = "what answers there is not a Redis server (or it is a TLS port)";
	else if (err == -EAGAIN && link->url.is_unix)
		cause = "its queue of connections is full";
	if (link->url.kind != URL_SINGLE &&
	    link->address < link->address_count) {
		resolve_format(&link->addresses[link->address], node);
		strcat(node, " of ");
	}
	snprintf(link->error, sizeof(link->error), "cannot %s %.140s%.400s: %s",
		 doing, node, link->address_text, cause);
	/* A socket that is not there may come; a host's name does not. */
	return err == -ENOENT ? -ECONNREFUSED : err;
}

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
	int argc = 0, i, err;

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

/*
 * Each step goes as far as it can without waiting, and says what comes then: the
 * same stage, where it waits, another one, or LINK_IDLE: the call has ended.
 */

static enum link_stage end(struct link *link, int err)
{
	/* What was granted does not count. */
	if (err && link->answer) {
		freeReplyObject(link->answer);
		link->answer = NULL;
	}
	link->err = err;
	return link->stage = LINK_IDLE;
}

static enum link_stage start_sending(struct link *link)
{
	int err = queue_call(link);

	link->was_sent |= !err;
	if (!err)
		return link->stage = LINK_SENDING;
	link_abort(link);
	return end(link, link_fail(link, err, "send to"));
}

static enum link_stage connected(struct link *link)
{
	link->has_learned = false;
	link->unanswered = link->stale = 0;
	link->blocked = link->is_refused = false;
	if (queue_handshake(link)) {
		link_abort(link);
		return end(link, link_fail(link, -ENOMEM, "send to"));
	}
	/* What is no master must not get the call. */
	if (link->url.kind == URL_SENTINEL)
		return link->stage = LINK_SENDING;
	return start_sending(link);
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
static enum link_stage try_address(struct link *link)
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
			return end(link, link_fail(link, err, "connect to"));
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
		return end(link, link_fail(link, err, "connect to"));
	return try_address(link);
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
	return end(link, link_fail(link, err, "send to"));
}

/* Takes the oldest of those that are awaited off the queue. */
static enum awaited next_awaited(struct link *link)
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
		return start_sending(link);
	/* Asked again, the sentinels may know better. */
	link_close(link);
	return end(link, err);
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
		return end(link, -EAGAIN);
	}
	count = cluster_resolve(link->cluster, &to,
				&link->addresses[link->address], &wait, found);
	link_close(link);
	if (count < 0) {
		snprintf(link->error, sizeof(link->error),
			 "cannot find the host \"%s\", which the cluster names",
			 to.host);
		return end(link, count == -ECANCELED ? count : -EAGAIN);
	}
	if (!to.is_ask)
		cluster_prefer(link->cluster, &found[0]);
	memcpy(link->addresses, found, (size_t)count * sizeof(found[0]));
	link->address_count = count;
	link->address = 0;
	link->passing_err = 0;
	link->asking = to.is_ask;
	link->by_text = link->call->by_text;
	return try_address(link);
}

/* What the server says is the end of the call: 0, or why it does not count. */
static enum link_stage end_answered(struct link *link, int err)
{
	/* The next call is for the owner of the slot again. */
	if (link->asking)
		link_close(link);
	return end(link, err);
}

/* A script that the server does not know, once more, as text. */
static enum link_stage send_as_text(struct link *link)
{
	bool asking = link->asking;

	link->by_text = true;
	if (!link->call->replicas)
		return start_sending(link);
	/* The WAIT behind the first may block what comes now. */
	link->was_sent = false;
	link_close(link);
	link->asking = asking;
	return try_address(link);
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
			return end(link,
				   link_fail(link, err, "get an answer from"));
		}
		awaited = next_awaited(link);
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
				return end(link, err);
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
static void step(struct link *link, bool is_late)
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
static void give_up(struct link *link, int err)
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
	end(link, err);
}

void link_settle(struct link *link)
{
	while (link->unanswered && link->awaited[0] == AWAITED_REPLICAS) {
		redisReply *reply;
		int err = conn_receive(&link->conn, &reply);

		if (err == CONN_WAITS)
			return;
		if (err) {
			link_abort(link);
			return;
		}
		next_awaited(link);
		freeReplyObject(reply);
	}
}

bool link_owes_answer(const struct link *link)
{
	int i;

	for (i = 0; i < link->unanswered; i++)
		if (link->awaited[i] != AWAITED_REPLICAS)
			return true;
	return false;
}

bool link_is_blocked(const struct link *link)
{
	return link->blocked ||
	       (link->unanswered &&
		link->awaited[link->unanswered - 1] == AWAITED_REPLICAS);
}

void link_begin(struct link *link, const struct call *call,
		const struct link_wait *wait)
{
	int err;

	link_settle(link);
	*link->conn.error = '\0';
	if ((link->unanswered || link->asking || link->is_refused) &&
	    !call->behind)
		link_abort(link);
	link->call = call;
	link->by_text = call->by_text;
	link->deadline_ns = wait->deadline_ns;
	link->cancel_fd = wait->cancel_fd;
	link->redirections = 0;
	link->was_sent = false;
	link->answer = NULL;
	link->passing_err = 0;
	if (link->conn.fd >= 0) {
		link->stale = link->unanswered;
		link->blocked = false;
		start_sending(link);
		step(link, false);
		return;
	}
	link->address = 0;
	err = find_tls(link);
	if (!err)
		err = find_addresses(link, wait);
	if (err) {
		end(link, err);
		return;
	}
	if (try_address(link) == LINK_SENDING)
		step(link, false);
}

/* === all calls at once ================================================== */

/* Fills fds[], also for those that have ended.  Returns when to look again. */
static int64_t fill(struct link *const links[], int count,
		    const struct link_wait *wait, struct pollfd *fds)
{
	int64_t until_ns = wait->deadline_ns;
	int i;

	for (i = 0; i < count; i++) {
		bool is_busy = links[i]->stage != LINK_IDLE;

		fds[i].fd = is_busy ? links[i]->conn.fd : -1;
		fds[i].events = links[i]->conn.events;
		if (links[i]->stage == LINK_CONNECTING &&
		    links[i]->share_ns < until_ns)
			until_ns = links[i]->share_ns;
	}
	fds[count].fd = wait->cancel_fd;
	fds[count].events = POLLIN;
	return until_ns;
}

static bool is_any(struct link *const links[], int count, enum link_stage stage)
{
	int i;

	for (i = 0; i < count; i++)
		if (links[i]->stage == stage)
			return true;
	return false;
}

static bool all_idle(struct link *const links[], int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (links[i]->stage != LINK_IDLE)
			return false;
	return true;
}

int link_go_on(struct link *const links[], int count,
	       const struct link_wait *wait, bool (*enough)(void *),
	       void *context)
{
	struct pollfd fds[LINKS_MAX + 1];
	bool has_ended = true;
	int i, err = 0;

	while (!all_idle(links, count)) {
		struct timespec timeout;
		int64_t until_ns;
		int n;

		if (has_ended && enough && enough(context))
			return 0;
		has_ended = false;
		if (wait->meanwhile && is_any(links, count, LINK_RECEIVING))
			wait->meanwhile(wait->context);

		until_ns = fill(links, count, wait, fds);
		timeout = clock_timespec(until_ns - clock_boot_ns());
		n = ppoll(fds, (nfds_t)count + 1, &timeout, NULL);
		if (n < 0 && errno != EINTR)
			err = -errno;
		if (n < 0)
			memset(fds, 0, sizeof(fds));
		for (i = 0; i < count; i++) {
			bool is_late = links[i]->stage == LINK_CONNECTING &&
				       clock_boot_ns() >= links[i]->share_ns;

			if (!fds[i].revents && !is_late)
				continue;
			step(links[i], !fds[i].revents);
			has_ended |= links[i]->stage == LINK_IDLE;
		}
		/* What has come in time counts, also then. */
		if (!err && n > 0 && fds[count].revents && !has_ended)
			err = -ECANCELED;
		if (!err && n == 0 && clock_boot_ns() >= wait->deadline_ns)
			err = -ETIMEDOUT;
		if (err)
			return err;
	}
	return 0;
}

void link_give_up(struct link *const links[], int count, int err)
{
	int i;

	for (i = 0; i < count; i++)
		if (links[i]->stage != LINK_IDLE)
			give_up(links[i], err);
}

void link_finish(struct link *const links[], int count,
		 const struct link_wait *wait, bool (*enough)(void *),
		 void *context)
{
	int err = link_go_on(links, count, wait, enough, context);

	link_give_up(links, count, err ? err : -ETIMEDOUT);
}

int link_call(struct link *link, const struct call *call,
	      const struct link_wait *wait, redisReply **answer)
{
	link_begin(link, call, wait);
	link_finish(&link, 1, wait, NULL, NULL);
	*answer = link->answer;
	return link->err;
}
