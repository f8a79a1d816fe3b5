/*
 * The store that is Redis: one server, whose requests are made here, each in one
 * step; or several, see quorum.c.
 */
#include "config.h"

#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"
#include "redis/confirm.h"
#include "redis/service.h"

/*
 * A server that has nothing else to do looks for blocking reads that are to end
 * only each 100 ms (its hz).  To end one from here costs a new connection.
 */
#define UNBLOCK_NS (150 * NS_PER_MS)

static const struct vote no_vote = { "", 0, false };

/* === stores ============================================================= */

static struct store *new_store(int cancel_fd)
{
	struct store *store = calloc(1, sizeof(*store));

	if (store)
		store->cancel_fd = cancel_fd;
	return store;
}

/* Takes the quorum over. */
static struct store *new_quorum_store(struct quorum *quorum, int cancel_fd)
{
	struct store *store = quorum ? new_store(cancel_fd) : NULL;

	if (store)
		store->quorum = quorum;
	else if (quorum)
		quorum_free(quorum);
	return store;
}

struct store *store_open(const struct url_list *urls, int cancel_fd)
{
	struct store *store;

	if (urls->count > 1)
		return new_quorum_store(quorum_new(urls), cancel_fd);
	store = new_store(cancel_fd);
	if (store)
		single_init(&store->single, &urls->urls[0]);
	return store;
}

struct store *store_clone(const struct store *store, int cancel_fd)
{
	struct store *clone;

	if (store->quorum)
		return new_quorum_store(quorum_copy(store->quorum), cancel_fd);
	clone = new_store(cancel_fd);
	if (clone)
		single_copy(&clone->single, &store->single);
	return clone;
}

void store_close(struct store *store)
{
	if (store->quorum)
		quorum_free(store->quorum);
	else
		single_destroy(&store->single);
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
	return store->quorum ? quorum_error(store->quorum)
			     : store->single.link.error;
}

const char *store_trouble(const struct store *store)
{
	return store->quorum ? quorum_trouble(store->quorum) : "";
}

static struct link_wait make_wait(const struct store *store,
				  int64_t deadline_ns)
{
	return (struct link_wait){
		.deadline_ns = deadline_ns,
		.cancel_fd = store->cancel_fd,
		.meanwhile = store->meanwhile,
		.context = store->meanwhile_context,
	};
}

static void finish(struct store *store, const struct link_wait *wait)
{
	struct link *link = &store->single.link;

	link_finish(&link, 1, wait, NULL, NULL);
}

/* === the requests ======================================================= */

/*
 * What too few replicas have is no grant: meanwhile, others may have it.  Where
 * that does not succeed, the claim is still to be withdrawn.
 */
static void hand_back(struct store *store, const struct claim *claim,
		      const struct link_wait *wait)
{
	char cause[STORE_ERROR_MAX];
	struct request request;

	/* Its mark would keep us from asking again. */
	if (store->single.doubt)
		return;
	memcpy(cause, store->single.link.error, sizeof(cause));
	single_begin_release(&store->single, &request, claim, true, false,
			     wait);
	finish(store, wait);
	single_end_release(&store->single, &request);
	memcpy(store->single.link.error, cause, sizeof(cause));
}

int store_acquire(struct store *store, const struct claim *claim,
		  int64_t deadline_ns, struct grant *grant,
		  struct refusal *refusal)
{
	const struct link_wait wait = make_wait(store, deadline_ns);
	char token[STORE_TOKEN_MAX];
	struct request request;
	struct instant sent;
	bool was_closed = store->single.link.conn.fd < 0;
	int result;

	if (store->quorum)
		return quorum_acquire(store->quorum, claim, &wait, grant,
				      refusal);
	sent = clock_now();
	single_begin_acquire(&store->single, &request, claim, "", &no_vote,
			     &wait);
	finish(store, &wait);
	result = single_end_acquire(&store->single, &request, token, refusal);
	/* To connect, they have just been asked. */
	if (result == STORE_DONE &&
	    !(was_closed && clock_elapsed_ns(sent, clock_now()) <
				    claim->spare_ms * NS_PER_MS))
		result = confirm(&store->single.link, &wait);
	if (result == STORE_DONE) {
		memcpy(grant->token, token, sizeof(grant->token));
		grant->sent = sent;
	}
	if (result == -ENOLCK)
		hand_back(store, claim, &wait);
	return result;
}

int store_wait(struct store *store, const struct claim *claim, int64_t until_ns,
	       bool exactly)
{
	struct link_wait wait =
		make_wait(store, exactly ? until_ns : until_ns + UNBLOCK_NS);
	struct request request;

	wait.meanwhile = NULL;
	if (store->quorum)
		return quorum_wait(store->quorum, claim, until_ns, &wait);
	if (!single_begin_wait(&store->single, &request, claim, until_ns,
			       &wait))
		return wait_until_ready(-1, 0, until_ns, store->cancel_fd);
	finish(store, &wait);
	return single_end_wait(&store->single);
}

/* Asks for a lease back that the server may have forgotten, and itself. */
static int reclaim(struct store *store, const struct claim *claim,
		   const struct grant *grant, const struct link_wait *wait)
{
	struct link *link = &store->single.link;
	char token[STORE_TOKEN_MAX], error[STORE_ERROR_MAX];
	struct request request;
	struct refusal refusal;
	int result;

	/* It may have taken long until we are here. */
	if (clock_boot_ns() >= wait->deadline_ns)
		return link_fail(link, -ETIMEDOUT, "get an answer from");
	/* What is to be told is why the renewal was refused. */
	memcpy(error, link->error, sizeof(error));
	single_begin_acquire(&store->single, &request, claim, grant->token,
			     &no_vote, wait);
	finish(store, wait);
	result = single_end_acquire(&store->single, &request, token, &refusal);
	if (result == STORE_DONE)
		result = confirm(link, wait);
	if (link->err ||
	    (result != STORE_REFUSED && !store_error_is_final(result)))
		return result;
	memcpy(link->error, error, sizeof(error));
	return STORE_REFUSED;
}

int store_renew(struct store *store, const struct claim *claim,
		const struct grant *grant, bool stands, int64_t deadline_ns,
		struct asked *asked)
{
	const struct link_wait wait = make_wait(store, deadline_ns);
	struct link *link = &store->single.link;
	bool was_closed = link->conn.fd < 0;
	struct request request;
	int result;

	if (store->quorum)
		return quorum_renew(store->quorum, claim, grant, stands, &wait,
				    asked);
	single_begin_renew(&store->single, &request, claim, grant->token,
			   &wait);
	/* To connect, they have just been asked. */
	if (!was_closed)
		confirm_begin(link, &wait);
	confirm_finish(link, &wait);
	result = single_end_renew(&store->single, &request, asked);
	if (result == STORE_DONE && !was_closed)
		result = confirm_end(link, &wait);
	else
		confirm_drop(link);
	if (result != STORE_REFUSED || !stands)
		return result;
	result = reclaim(store, claim, grant, &wait);
	if (result == STORE_DONE)
		memset(asked, 0, sizeof(*asked));
	return result;
}

int store_release(struct store *store, const struct claim *claim, bool lift,
		  int64_t deadline_ns)
{
	const struct link_wait wait = make_wait(store, deadline_ns);
	struct request request;

	if (store->quorum)
		return quorum_release(store->quorum, claim, lift, &wait);
	single_begin_release(&store->single, &request, claim, lift, false,
			     &wait);
	finish(store, &wait);
	return single_end_release(&store->single, &request);
}

void store_withdraw(struct store *store, const struct claim *claim,
		    int64_t deadline_ns)
{
	const struct link_wait wait = { deadline_ns, -1, NULL, NULL };
	char cause[STORE_ERROR_MAX];
	struct request request;

	if (store->quorum) {
		quorum_withdraw(store->quorum, claim, &wait);
		return;
	}
	if (!store->single.claimed)
		return;
	/* What is to be told is why the acquire failed. */
	memcpy(cause, store->single.link.error, sizeof(cause));
	single_begin_release(&store->single, &request, claim, true, true,
			     &wait);
	finish(store, &wait);
	single_end_release(&store->single, &request);
	link_close(&store->single.link);
	store->single.claimed = false;
	memcpy(store->single.link.error, cause, sizeof(cause));
}

int store_look(struct store *store, const char *name, int waiters,
	       int64_t deadline_ns, store_looked_fn *looked, void *context)
{
	const struct link_wait wait = make_wait(store, deadline_ns);
	struct request request;
	char *text;
	int err;

	if (store->quorum)
		return quorum_look(store->quorum, name, waiters, &wait, looked,
				   context);
	single_begin_look(&store->single, &request, name, waiters, &wait);
	finish(store, &wait);
	err = single_end_text(&store->single, &request, &text);
	if (err)
		return err;
	err = looked(context, text);
	free(text);
	return err;
}

int store_votes(const struct store *store)
{
	return store->quorum ? quorum_majority(store->quorum) : 1;
}

int store_break(struct store *store, const struct break_request *what,
		int64_t deadline_ns, int64_t *ms)
{
	const struct link_wait wait = make_wait(store, deadline_ns);
	struct request request;

	if (store->quorum)
		return quorum_break(store->quorum, what, &wait, ms);
	single_begin_break(&store->single, &request, what, &wait);
	finish(store, &wait);
	return single_end_break(&store->single, &request, ms);
}

int store_list(struct store *store, const char *glob, int64_t each_ns,
	       store_found_fn *found, void *context)
{
	if (store->quorum)
		return quorum_list(store->quorum, glob, each_ns,
				   store->cancel_fd, found, context);
	return service_list(&store->single, glob, each_ns, store->cancel_fd,
			    found, context);
}
