/*
 * Where the server of a link is, before it connects; for link.c.  On failure
 * link->error says why.
 */
#ifndef CFLOCK_REDIS_FIND_H
#define CFLOCK_REDIS_FIND_H

#include "redis/link.h"

/* Fills link->addresses, by its kind.  0 or a negative errno. */
int find_addresses(struct link *link, const struct link_wait *wait);

/* What is read of files is kept for all connections, and those of copies. */
int find_tls(struct link *link);

#endif
