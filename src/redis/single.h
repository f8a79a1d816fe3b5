/*
 * The requests of store.h to one server, each in two halves: what begins it may
 * be called for several servers, then link_finish() for the links of all of them,
 * then what ends it.  What is in between belongs to the caller.
 */
#ifndef CFLOCK_REDIS_SINGLE_H
#define CFLOCK_REDIS_SINGLE_H

#include <hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "redis/link.h"
#include "store.h"

#define SINGLE_KIND_MAX 32

/* Not to be moved while it is connected. */
struct single {
	struct link link;
	/* Requests go out behind those that were given up, and not instead. */
	bool keeps_order;
	bool claimed; /* the server may hold a lease or a place of ours */
	bool doubt;   /* an acquire that was given up may yet be served */
};

/* A request: it must last until it was ended. */
struct request {
	struct call call;
	char ttl[LINK_NUMBER_MAX], spare[LINK_NUMBER_MAX];
	char cooldown[LINK_NUMBER_MAX], ticket[LINK_NUMBER_MAX];
	char kind[SINGLE_KIND_MAX];
};

/* Where an acquire has the token that it asks the vote for. */
#define ACQUIRE_VOTE 15

/* To be one vote of several. */
struct vote {
	const char *token; /* the one that it is for; "": the server's own */
	int64_t ticket;    /* in the line; 0: the server's own */
	/* For a lease that does not rest on this server's vote: it may have forgotten
	 * the one that it gave to somebody else. */
	bool is_new;
};

void single_init(struct single *single, const struct url *url);

/* Makes `to` a connection of its own to where `from` was last connected. */
void single_copy(struct single *to, const struct single *from);

void single_destroy(struct single *single);

/*
 * store_acquire().  `token` is that of a lease that is to be had back, "" for a
 * new one.  DONE fills token[]; REFUSED *refusal.
 */
void single_begin_acquire(struct single *single, struct request *request,
			  const struct claim *claim, const char *token,
			  const struct vote *vote,
			  const struct link_wait *wait);
int single_end_acquire(struct single *single, const struct request *request,
		       char token[STORE_TOKEN_MAX], struct refusal *refusal);

/* store_renew(), without having back. */
void single_begin_renew(struct single *single, struct request *request,
			const struct claim *claim, const char *token,
			const struct link_wait *wait);
int single_end_renew(struct single *single, const struct request *request,
		     struct asked *asked);

/* store_release().  `last`: nobody will be there to send it again. */
void single_begin_release(struct single *single, struct request *request,
			  const struct claim *claim, bool lift, bool last,
			  const struct link_wait *wait);

/*
 * Gives back what may be a vote for that token or a lower one, as it never ran;
 * with the ticket that it has, if any, it stays in the line.
 */
void single_begin_give_back(struct single *single, struct request *request,
			    const struct claim *claim, const struct vote *vote,
			    const struct link_wait *wait);

/* Of both. */
int single_end_release(struct single *single, const struct request *request);

/* store_wait(); false when nothing can wake us from here. */
bool single_begin_wait(struct single *single, struct request *request,
		       const struct claim *claim, int64_t until_ns,
		       const struct link_wait *wait);
int single_end_wait(struct single *single);

/* store_look(). */
void single_begin_look(struct single *single, struct request *request,
		       const char *name, int waiters,
		       const struct link_wait *wait);

/* store_break(). */
void single_begin_break(struct single *single, struct request *request,
			const struct break_request *what,
			const struct link_wait *wait);
int single_end_break(struct single *single, const struct request *request,
		     int64_t *ms);

/* A call of list.lua. */
void single_begin_list(struct single *single, struct request *request,
		       const char *cursor, const char *glob,
		       const struct link_wait *wait);

/* Of look.lua and list.lua: 0 with *text to be freed, or a negative errno. */
int single_end_text(struct single *single, const struct request *request,
		    char **text);

/*
 * Sends a command of at most 13 words, NULL behind the last, and receives its
 * reply, which may be an error: 0, to be freed with freeReplyObject(), or a
 * negative errno as in store.h.
 */
int single_command(struct single *single, const char *const *words,
		   const struct link_wait *wait, redisReply **reply);

/* True for a cluster, where a command without a key goes to any node. */
bool single_is_cluster(const struct single *single);

#endif
