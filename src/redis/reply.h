/*
 * What Redis answers: from replies to results.  No input or output.
 */
#ifndef CFLOCK_REDIS_REPLY_H
#define CFLOCK_REDIS_REPLY_H

#include <hiredis.h>
#include <stdbool.h>
#include <stddef.h>

#include "store.h"

/* True for the error that asks for EVAL instead of EVALSHA. */
bool reply_is_noscript(const redisReply *reply);

/* True for what a replica, or what is to become one, says to a script. */
bool reply_is_no_master(const redisReply *reply);

/*
 * The answer to ROLE: 0 of a master; -EAGAIN of another, or an error as below.
 */
int reply_role(const redisReply *reply, char *error, size_t size);

/* True for what acquire.lua and renew.lua answer when they grant or renew. */
bool reply_is_grant(const redisReply *reply);

/*
 * The answer to WAIT: 0 when at least `wanted` replicas have acknowledged; -ENOLCK
 * when fewer have, or an error as below.
 */
int reply_replicas(const redisReply *reply, int wanted, char *error,
		   size_t size);

/*
 * What an error reply means: -EACCES, -EPROTO or -EAGAIN as in store.h, with
 * a line for people in `error`.  -EPROTO when it is not an error reply.
 */
int reply_error(const redisReply *reply, char *error, size_t size);

/*
 * The answer to AUTH or SELECT: 0 when it is the status OK; else an
 * error as above, but without the server's own words: it, or a proxy, may
 * repeat the password.
 */
int reply_handshake(const redisReply *reply, char *error, size_t size);

/*
 * The answers of acquire.lua, renew.lua, release.lua and break.lua: an enum store_result,
 * or a negative errno with its line in `error`.  Outputs are untouched unless
 * the result is the one that they belong to.
 */
int reply_acquire(const redisReply *reply, char token[STORE_TOKEN_MAX],
		  struct refusal *refusal, char *error, size_t size);
int reply_renew(const redisReply *reply, struct asked *asked, char *error,
		size_t size);
int reply_release(const redisReply *reply, char *error, size_t size);
int reply_break(const redisReply *reply, int64_t *ms, char *error, size_t size);

/* A text: 0 with a copy in *text, to be freed, or an error as above. */
int reply_text(const redisReply *reply, char **text, char *error, size_t size);

/* The answer to the blocking read: 0 woken, -ETIMEDOUT, or an error. */
int reply_wait(const redisReply *reply, char *error, size_t size);

#endif
