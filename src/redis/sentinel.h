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
 * Fills addresses[], those of one host, and returns how many; or a negative errno
 * as in store.h, with a line for people in `error`.
 */
int sentinels_ask(struct sentinels *sentinels, const struct link_wait *wait,
		  struct address addresses[RESOLVE_ADDRESSES_MAX], char *error,
		  size_t size);

/*
 * The same in two halves, so that others are asked meanwhile: begins; the links
 * that have not answered, which may be gone on with, or not; and the end, which
 * waits for what is wanting.  The connections stay for the next asking.
 */
void sentinels_begin(struct sentinels *sentinels, const struct link_wait *wait);
int sentinels_links(struct sentinels *sentinels,
		    struct link *links[URL_HOSTS_MAX]);
int sentinels_end(struct sentinels *sentinels, const struct link_wait *wait,
		  struct address addresses[RESOLVE_ADDRESSES_MAX], char *error,
		  size_t size);

/* True when it was begun by a connection of before: which may have been dead. */
bool sentinels_were_connected(const struct sentinels *sentinels);

/* Also ends an asking that has begun. */
void sentinels_close(struct sentinels *sentinels);

#endif
