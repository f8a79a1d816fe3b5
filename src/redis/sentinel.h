/*
 * The sentinels of a URL, which know where the master is.  All are asked at
 * once, each time anew; what the majority of those that answer says, counts: one
 * that has not heard of a fail-over yet names the old master.
 *
 * The sentinels' own names are looked up until a master has been found, and
 * never after that.
 */
#ifndef CFLOCK_REDIS_SENTINEL_H
#define CFLOCK_REDIS_SENTINEL_H

#include "redis/link.h"
#include "redis/resolve.h"
#include "url.h"

struct sentinels;

/* By TLS if the URL says so, in that context.  NULL without memory. */
struct sentinels *sentinels_new(const struct url *url,
				struct tls_context *tls_context);

/* With the same addresses; no connections. */
struct sentinels *sentinels_copy(const struct sentinels *from);

void sentinels_free(struct sentinels *sentinels);

/*
 * Asks for the master, by new connections, in a part of the time that `wait` gives.
 * Fills addresses[], those of one host, and *config_epoch, and returns how many; or
 * a negative errno as in store.h, with a line for people in `error`.
 */
int sentinels_ask(struct sentinels *sentinels, const struct link_wait *wait,
		  struct address addresses[RESOLVE_ADDRESSES_MAX],
		  int64_t *config_epoch, char *error, size_t size);

/* What they say in one asking. */
struct sentinels_answer {
	int answers;      /* so many of them have answered */
	bool is_majority; /* of all, not only of those, says what follows */
	bool is_fresh;    /* on connections that were made for it alone */
	bool is_brief; /* some have not, in so little time that it says nothing */
	char host[URL_HOST_MAX];
	int port;
	/* The highest of those who say so.  It grows with each fail-over. */
	int64_t config_epoch;
};

/*
 * The asking alone, in two halves, so that another is asked meanwhile.  It begins,
 * for `most_ns` at most, on connections that stay for the next asking; no name is
 * looked up.  The links that are still to answer may be gone on with, or not.  The
 * end waits for what is wanting, and returns 0 with all of the answer, or a
 * negative errno with a line in `error`, and how many have answered.
 */
void sentinels_begin(struct sentinels *sentinels, int64_t most_ns,
		     const struct link_wait *wait);
int sentinels_links(struct sentinels *sentinels,
		    struct link *links[URL_HOSTS_MAX]);
int sentinels_end(struct sentinels *sentinels, const struct link_wait *wait,
		  struct sentinels_answer *answer, char *error, size_t size);

/* Also ends an asking that has begun. */
void sentinels_close(struct sentinels *sentinels);

#endif
