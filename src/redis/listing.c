/*
 * The names of all locks of a server, part by part.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "redis/cluster.h"
#include "redis/reply.h"
#include "redis/service.h"

struct listing {
	struct single *single;
	const char *glob;
	int64_t each_ns;
	int cancel_fd;
	store_found_fn *found;
	void *context;
};

static struct link_wait wait_of(const struct listing *listing)
{
	return (struct link_wait){
		.deadline_ns = clock_boot_ns() + listing->each_ns,
		.cancel_fd = listing->cancel_fd,
	};
}

static int list_one(const struct listing *listing, struct single *single)
{
	struct link *link = &single->link;
	char cursor[24] = "0", mark[24] = "", *text;
	unsigned int turns = 1;
	int err;

	do {
		const struct link_wait wait = wait_of(listing);
		struct request request;
		char *rest, *line;

		single_begin_list(single, &request, cursor, listing->glob,
				  &wait);
		link_finish(&link, 1, &wait, NULL, NULL);
		err = single_end_text(single, &request, &text);
		if (err)
			return err;
		rest = text;
		line = strsep(&rest, "\n");
		snprintf(cursor, sizeof(cursor), "%s", line);
		while (!err && (line = strsep(&rest, "\n")))
			if (*line)
				err = listing->found(listing->context, line);
		free(text);
		if (!err && strcmp(cursor, mark) == 0)
			err = link_fail(link, -EPROTO, "list the locks of");
		/* Whatever goes round comes to one of these again. */
		if ((turns & (turns - 1)) == 0)
			memcpy(mark, cursor, sizeof(mark));
		turns++;
	} while (!err && strcmp(cursor, "0") != 0);
	return err;
}

/* In `context` is the listing of the cluster. */
static int list_master(void *context, const struct address *address)
{
	const struct listing *listing = context;
	struct link *link = &listing->single->link;
	struct single node;
	int err;

	single_init(&node, &link->url);
	/* As if its address were all that the URL names. */
	node.link.url.kind = URL_SINGLE;
	node.link.addresses[0] = *address;
	node.link.address_count = 1;
	node.link.conn.tls_context = tls_context_share(link->conn.tls_context);
	resolve_format(address, node.link.address_text);
	err = list_one(listing, &node);
	memcpy(link->error, node.link.error, sizeof(link->error));
	single_destroy(&node);
	return err;
}

int service_list(struct single *single, const char *glob, int64_t each_ns,
		 int cancel_fd, store_found_fn *found, void *context)
{
	static const char *const words[] = { "CLUSTER", "NODES", NULL };
	struct listing listing = { single,    glob,  each_ns,
				   cancel_fd, found, context };
	const struct link_wait wait = wait_of(&listing);
	struct link *link = &single->link;
	redisReply *reply;
	int err;

	if (!single_is_cluster(single))
		return list_one(&listing, single);
	err = single_command(single, words, &wait, &reply);
	if (err)
		return err;
	if (reply->type == REDIS_REPLY_STRING)
		err = cluster_each_master(link->cluster, reply,
					  &link->addresses[link->address],
					  list_master, &listing);
	else
		err = reply_error(reply, link->error, sizeof(link->error));
	freeReplyObject(reply);
	return err;
}
