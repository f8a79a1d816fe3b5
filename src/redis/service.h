/*
 * The store, for the files of this folder: one server, or a quorum of several.
 */
#ifndef CFLOCK_REDIS_SERVICE_H
#define CFLOCK_REDIS_SERVICE_H

#include <stdint.h>

#include "redis/link.h"
#include "redis/quorum.h"
#include "redis/single.h"
#include "store.h"

struct store {
	int cancel_fd;
	void (*meanwhile)(void *);
	void *meanwhile_context;
	struct quorum *quorum; /* NULL: it is `single` */
	struct single single;
};

/*
 * store_list() of one server, or of all masters of a cluster; `cancel_fd` ends
 * it.  On failure single->link.error says why.
 */
int service_list(struct single *single, const char *glob, int64_t each_ns,
		 int cancel_fd, store_found_fn *found, void *context);

#endif
