/*
 * Of single.c, for the other files of this folder.
 */
#ifndef CFLOCK_REDIS_SINGLE_H
#define CFLOCK_REDIS_SINGLE_H

#include <hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "store.h"

/*
 * Sends a command of at most 13 words, NULL behind the last, and receives its
 * reply, which may be an error: 0, to be freed with freeReplyObject(), or a
 * negative errno as in store.h.
 */
int single_command(struct store *store, const char *const *words,
		   int64_t deadline_ns, redisReply **reply);

/* Waits until then: 0, or -ECANCELED. */
int single_pause(struct store *store, int64_t until_ns);

/* The URL without its password, and the name that Redis knows the user by. */
const char *single_address(const struct store *store);
const char *single_user(const struct store *store);

/* True for a cluster, where a command without a key goes to any node. */
bool single_is_cluster(const struct store *store);

/* What store_error() returns: STORE_ERROR_MAX bytes. */
char *single_error(struct store *store);

#endif
