/*
 * What a lock service must be able to do for cflock.  One implementation a
 * folder; nothing outside of that folder knows which one it is.
 *
 * A store is one connection, used by one thread at a time; it connects when it
 * is first asked, and again after an error.  Every request is bounded by a
 * deadline (CLOCK_BOOTTIME), and may be repeated after any error: acquire,
 * renew and release are idempotent by the id of the owner.
 */
#ifndef CFLOCK_STORE_H
#define CFLOCK_STORE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "holder.h"
#include "url.h"

#define STORE_TOKEN_MAX 24
#define STORE_ERROR_MAX 1024

struct store;

struct claim {
	const char *name; /* the lock's */
	int64_t ttl_ms;
	struct holder owner; /* owner.id: never used by any other claim */
};

struct grant {
	char token[STORE_TOKEN_MAX]; /* fencing token: a decimal number */
	struct instant sent;         /* read before the request was sent */
};

enum store_result {
	STORE_DONE,    /* granted, renewed, released */
	STORE_REFUSED, /* held by another */
};

/*
 * The results below are an enum store_result, or a negative errno with its
 * cause in store_error():
 *   -EACCES      credentials or rights refused: asking again is useless
 *   -EPROTO      what answers is no such service, or the lock's key is not a
 *                lock: asking again is useless
 *   -ENOENT      the host's name does not exist: asking again is useless
 *   -ECANCELED   the cancel descriptor became readable
 *   -ETIMEDOUT, -EAGAIN and all others: may work when asked again
 */
static inline bool store_error_is_final(int err)
{
	return err == -EACCES || err == -EPROTO || err == -ENOENT;
}

/*
 * Makes a store for `url`; no input or output yet.  NULL without memory.
 * Requests end with -ECANCELED when `cancel_fd` (-1: none) becomes readable.
 */
struct store *store_open(const struct url *url, int cancel_fd);

/* A store of its own to where `store` was last connected, without look-ups. */
struct store *store_clone(const struct store *store, int cancel_fd);

void store_close(struct store *store);

/* From now on requests end when this becomes readable; -1: none. */
void store_set_cancel_fd(struct store *store, int cancel_fd);

/* DONE fills *grant; REFUSED fills *holder. */
int store_acquire(struct store *store, const struct claim *claim,
		  int64_t deadline_ns, struct grant *grant,
		  struct holder *holder);

/* REFUSED: the lease is not ours any more; store_error() says whose it is. */
int store_renew(struct store *store, const struct claim *claim,
		const struct grant *grant, int64_t deadline_ns);

/* DONE, too, when there was nothing to release. */
int store_release(struct store *store, const struct claim *claim,
		  int64_t deadline_ns);

/*
 * Gives up a claim whose acquire may have been granted without our seeing it:
 * sends a release behind it, on the same connection where that is still open,
 * so that it is carried out even if it can no longer be waited for.  The claim
 * must not be used after.  Does nothing when no acquire is in doubt.
 */
void store_withdraw(struct store *store, const struct claim *claim,
		    int64_t deadline_ns);

/* Why the last request failed: one line, without secrets. */
const char *store_error(const struct store *store);

#endif
