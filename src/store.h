/*
 * What a lock service must be able to do for cflock.  One implementation a
 * folder; nothing outside of that folder knows which one it is.
 *
 * A store is one connection, used by one thread at a time; it connects when it
 * is first asked, and again after an error.  Every request is bounded by a
 * deadline (CLOCK_BOOTTIME), and may be repeated after any error: acquire,
 * renew and release are idempotent by the id of the owner.
 *
 * Those who wait stand in a line, first come, first served.  A claim keeps its
 * place by asking again, at the latest when it was told to; between that it
 * sleeps in store_wait(), and is woken when it is its turn.  Whoever asks too
 * late has lost its place, and finds itself at the end of the line.
 */
#ifndef CFLOCK_STORE_H
#define CFLOCK_STORE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "holder.h"
#include "lease.h"
#include "url.h"

#define STORE_TOKEN_MAX 24
#define STORE_ERROR_MAX 1024
#define STORE_ASKED_BY_MAX 512
#define STORE_ASKING_MAX 64

struct store;

enum claim_kind {
	CLAIM_EXCLUSIVE,
	CLAIM_SHARED,
	CLAIM_SLOTS, /* one of `slots` */
};

struct claim {
	const char *name; /* the lock's */
	enum claim_kind kind;
	int slots;
	int64_t ttl_ms;
	/* The lease may be taken over that long before its end. */
	int64_t spare_ms;
	bool may_wait;       /* in the line; else it is refused at once */
	int64_t cooldown_ms; /* from the grant on; 0: none */
	bool retry_failed;   /* a failed run ends the cooldown */
	bool no_grace; /* not to wait when leases may have been forgotten */
	/* So many copies of the service must have each grant and renewal; else
	 * they fail with -ENOLCK, and what was granted is released again. */
	int min_replicas;
	/* Ids that hold locks above us, separated by blanks; never NULL. */
	const char *ancestors;
	struct holder owner; /* owner.id: never used by any other claim */
};

struct grant {
	char token[STORE_TOKEN_MAX]; /* fencing token: a decimal number */
	struct instant sent;         /* read before the request was sent */
};

enum store_result {
	STORE_DONE,    /* granted, renewed, released */
	STORE_REFUSED, /* not now: held by others, ... */
};

enum refusal_reason {
	REFUSAL_HELD,     /* by others */
	REFUSAL_LINE,     /* free, but others wait for it */
	REFUSAL_TAKEN,    /* taken over by us: begins when left_ms are over */
	REFUSAL_COOLING,  /* nobody may start for left_ms */
	REFUSAL_ANCESTOR, /* held by one of claim.ancestors */
	REFUSAL_KIND,     /* others use it with other slots, or as shared */
	REFUSAL_GRACE, /* the service may have forgotten leases: none for left_ms */
	REFUSAL_VOTES, /* of several servers: nobody has a majority (yet) */
};

/* Why a claim was not granted, and how it stands. */
struct refusal {
	enum refusal_reason reason;
	int64_t again_ms; /* after so long, ask again at the latest */
	bool exactly;     /* ... and it matters that it is not later */
	int64_t place;    /* in the line, from 1 on; 0: not in it */
	int64_t waiting;  /* length of the line */
	int64_t left_ms;  /* of the lease in the way; -1: without an end */
	int64_t holders;  /* how many there are */
	int64_t ticket;   /* of our place in the line; 0: none */
	/* One who is in the way: holding the lock, or first in the line.
	 * REFUSAL_KIND: its value says how others use the lock.  REFUSAL_GRACE:
	 * "restart", "failover", "failback" or "flush"; since_ms: when. */
	struct holder holder;
};

/*
 * The results below are an enum store_result, or a negative errno with its
 * cause in store_error():
 *   -EACCES      credentials or rights refused: asking again is useless
 *   -EPROTO      what answers is no such service, or the lock's key is not a
 *                lock: asking again is useless
 *   -ENOENT      the host's name does not exist: asking again is useless
 *   -ECANCELED   the cancel descriptor became readable
 *   -ENOLCK      fewer copies than claim.min_replicas have it
 *   -ETIMEDOUT, -EAGAIN and all others: may work when asked again
 */
static inline bool store_error_is_final(int err)
{
	return err == -EACCES || err == -EPROTO || err == -ENOENT;
}

/*
 * Makes a store of the service at `urls`: one, or a majority of several that know
 * nothing of one another.  No input or output yet.  NULL without memory.
 * Requests end with -ECANCELED when `cancel_fd` (-1: none) becomes readable.
 */
struct store *store_open(const struct url_list *urls, int cancel_fd);

/* A store of its own to where `store` was last connected, without look-ups. */
struct store *store_clone(const struct store *store, int cancel_fd);

void store_close(struct store *store);

/* From now on requests end when this becomes readable; -1: none. */
void store_set_cancel_fd(struct store *store, int cancel_fd);

/*
 * From now on this is called when a script is on its way, before its answer is
 * awaited: for what can be done meanwhile.  NULL: nothing.
 */
void store_set_meanwhile(struct store *store, void (*meanwhile)(void *),
			 void *context);

/* DONE fills *grant; REFUSED fills *refusal. */
int store_acquire(struct store *store, const struct claim *claim,
		  int64_t deadline_ns, struct grant *grant,
		  struct refusal *refusal);

/*
 * Sleeps until it is the turn of a claim that stands in the line (0), until
 * until_ns (-ETIMEDOUT), or until an error.  Not exactly: some 100 ms later, if
 * that spares the service a new connection.
 */
int store_wait(struct store *store, const struct claim *claim, int64_t until_ns,
	       bool exactly);

/* That the holder is to end. */
struct asked {
	char by[STORE_ASKED_BY_MAX]; /* for people; "" when nobody has asked */
	char asking[STORE_ASKING_MAX]; /* differs when it is asked again */
};

/*
 * Renews; or has the lease back, if it `stands` by our clock, where the service
 * has forgotten it and nobody can have been given it since.
 * REFUSED: the lease is not ours any more; store_error() says whose it is.
 * DONE sets *asked.
 */
int store_renew(struct store *store, const struct claim *claim,
		const struct grant *grant, bool stands, int64_t deadline_ns,
		struct asked *asked);

/*
 * Ends the lease, or the waiting, of a claim.  `lift`: its cooldown, too, as it
 * never ran or may be run again.  DONE, too, when there was nothing to release.
 */
int store_release(struct store *store, const struct claim *claim, bool lift,
		  int64_t deadline_ns);

/*
 * Gives up a claim that stands in the line, or whose acquire may have been
 * granted without our seeing it: in that case sends a release behind it, on the
 * same connection where that is still open, so that it is carried out even if
 * it can no longer be waited for.  The claim must not be used after.  Does
 * nothing when the service knows of no such claim.
 */
void store_withdraw(struct store *store, const struct claim *claim,
		    int64_t deadline_ns);

/*
 * Returns 0, or a negative errno, with which the looking ends; but -EBADMSG, of
 * what is no answer, only if too few of several servers have given one.
 */
typedef int store_looked_fn(void *context, const char *json);

/*
 * Calls `looked` with what the service knows of a lock, of at most `waiters` of
 * those who wait for it, as JSON; its fields are those of `cflockctl status
 * --json`.  What others have written stands in it as it is.  Of several servers:
 * what each says that answers.  0 or a negative errno.
 */
int store_look(struct store *store, const char *name, int waiters,
	       int64_t deadline_ns, store_looked_fn *looked, void *context);

/* How many of the servers have to agree. */
int store_votes(const struct store *store);

struct break_request {
	const char *name;
	bool force;
	const char *ids;    /* of the holders that are meant, by blanks */
	const char *who;    /* wants it, and why, for people */
	const char *asking; /* as that of struct asked */
	int64_t ask_ms;     /* for so long, at least, they are asked */
};

/*
 * Has holders end.  Without `force` they are asked to, as soon as they renew
 * next.  With it, they can renew no more, and the lock stays shut until their
 * leases are over.  DONE sets *ms: until that, as it is now, or until all that
 * can be reached have been asked; REFUSED: none of them holds the lock, or, with
 * `force`, others do, too.
 */
int store_break(struct store *store, const struct break_request *request,
		int64_t deadline_ns, int64_t *ms);

/* Returns 0, or a negative errno, with which the listing ends. */
typedef int store_found_fn(void *context, const char *name);

/*
 * Calls `found` with the name of each lock that matches `glob` (as of redis-cli
 * keys) and is held, waited for or cooling down; with some of them twice.
 * Takes many requests, each of which has each_ns.  0 or a negative errno.
 */
int store_list(struct store *store, const char *glob, int64_t each_ns,
	       store_found_fn *found, void *context);

enum finding_level {
	FINDING_OK,
	FINDING_WARNING, /* something is not promised, or could not be seen */
	FINDING_DANGER,  /* locks may break, or cannot be had */
};

/* Texts are one line each; what the service says stands in them as it is. */
struct finding {
	const char *server; /* for people */
	const char *name; /* one of those in cflockctl(1); they never change */
	enum finding_level level;
	const char *text;   /* the reason, with the value that was measured */
	const char *advice; /* what to change; "" when it is ok */
};

typedef void store_finding_fn(void *context, const struct finding *finding);

/*
 * Finds out what the service can promise to leases of that policy, and calls
 * `found` for each finding, in a fixed order, whose texts last until it returns.
 * Changes nothing.  Takes a second, and many requests, each of which has
 * each_ns.  Returns 0; or a negative errno, with that as the only finding.
 */
int store_examine(struct store *store, const struct lease_policy *policy,
		  int64_t each_ns, store_finding_fn *found, void *context);

/* Why the last request failed: one line, without secrets. */
const char *store_error(const struct store *store);

/* What is wrong with the minority that was not needed for it; "" for nothing. */
const char *store_trouble(const struct store *store);

#endif
