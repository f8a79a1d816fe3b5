/*
 * The nodes of a cluster that are known: those of the URL, those that others
 * have sent us to, and those that one has told of.  All keys of a lock are in one
 * slot, so that one node at a time is enough; in front is the one to try first.
 *
 * Names are looked up once, as long as the cluster announces addresses.
 *
 * By TLS, a node must have a certificate for the name in the URL by which it was
 * found, if any; else for what MOVED or ASK called it; else for the host name,
 * or without that the address, that CLUSTER NODES has for it.
 */
#ifndef CFLOCK_REDIS_CLUSTER_H
#define CFLOCK_REDIS_CLUSTER_H

#include <hiredis.h>

#include "redis/link.h"
#include "redis/resolve.h"
#include "url.h"

struct cluster;

/* NULL without memory. */
struct cluster *cluster_new(const struct url *url);
struct cluster *cluster_copy(const struct cluster *from);
void cluster_free(struct cluster *cluster);

/*
 * Fills addresses[] in the order to try them; looks the hosts of the URL up, if
 * no node is known.  Returns how many, or a negative errno, with a line for
 * people in `error`.
 */
int cluster_find(struct cluster *cluster, const struct link_wait *wait,
		 struct address addresses[LINK_ADDRESSES_MAX], char *error,
		 size_t size);

/* From now on this one is the first, or the last, to be tried. */
void cluster_prefer(struct cluster *cluster, const struct address *address);
void cluster_avoid(struct cluster *cluster, const struct address *address);

/* What MOVED or ASK says. */
struct redirection {
	bool is_ask;             /* for this call only */
	char host[URL_HOST_MAX]; /* "": where it was said */
	int port;
};

/* True when the reply is MOVED or ASK. */
bool cluster_is_redirection(const redisReply *reply);

/* Fills it in; false when it does not say where to. */
bool cluster_read_redirection(const redisReply *reply,
			      struct redirection *redirection);

/* Finds its address, from `here` on.  How many, or a negative errno. */
int cluster_resolve(struct cluster *cluster,
		    const struct redirection *redirection,
		    const struct address *here, const struct link_wait *wait,
		    struct address addresses[RESOLVE_ADDRESSES_MAX]);

/* Takes in what `here` answers to CLUSTER NODES; nothing of an error. */
void cluster_learn(struct cluster *cluster, const redisReply *reply,
		   const struct address *here);

/*
 * Calls `found` with the address of each master in an answer to CLUSTER NODES of
 * `here`, until that returns other than 0, which is then returned.
 */
int cluster_each_master(const struct cluster *cluster, const redisReply *reply,
			const struct address *here,
			int (*found)(void *context, const struct address *),
			void *context);

#endif
