#include "config.h"

#include "redis/link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "redis/cluster.h"
#include "redis/find.h"
#include "redis/sentinel.h"
#include "redis/step.h"

#define LINKS_MAX 16

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

void link_drop_answer(struct link *link)
{
	/* Of hiredis before 1.0 it does not take NULL. */
	if (link->answer)
		freeReplyObject(link->answer);
	if (link->before)
		freeReplyObject(link->before);
	link->answer = link->before = NULL;
}

void link_set_config_epoch(struct link *link, int64_t config_epoch)
{
	snprintf(link->config_epoch, sizeof(link->config_epoch), "%lld",
		 (long long)config_epoch);
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
		step_next_awaited(link);
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
	link->answer = link->before = NULL;
	link->passing_err = 0;
	if (link->conn.fd >= 0) {
		link->stale = link->unanswered;
		link->blocked = false;
		step_start_sending(link);
		step(link, false);
		return;
	}
	link->address = 0;
	err = find_tls(link);
	if (!err)
		err = find_addresses(link, wait);
	if (err) {
		step_end(link, err);
		return;
	}
	if (step_try_address(link) == LINK_SENDING)
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
			step_give_up(links[i], err);
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
