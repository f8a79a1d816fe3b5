#include "config.h"

#include "redis/find.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "redis/cluster.h"
#include "redis/sentinel.h"

/* An answer to CLUSTER NODES has some 150 bytes a node. */
#define NODES_MOST_BYTES 1048576

int link_look_up(struct link *link, const struct link_wait *wait)
{
	struct address *first = &link->addresses[0];
	int count;

	if (link->address_count)
		return 0;
	if (link->url.is_unix) {
		first->to.local.sun_family = AF_UNIX;
		memcpy(first->to.local.sun_path, link->url.path,
		       sizeof(link->url.path));
		first->length = sizeof(first->to.local);
		link->address_count = 1;
		return 0;
	}
	count = resolve_host(link->url.host, link->url.port, wait->deadline_ns,
			     wait->cancel_fd, link->addresses);
	if (count > 0) {
		link->address_count = count;
		return 0;
	}
	snprintf(link->error, sizeof(link->error),
		 "cannot find the host \"%s\": %s", link->url.host,
		 count == -ENOENT ? "there is no such name"
		 : count == -ETIMEDOUT
			 ? "the name service did not answer in time"
		 : count == -ENOEXEC
			 ? "its helper program cflock-resolve cannot be run"
			 : "the name service failed");
	return count;
}

int find_tls(struct link *link)
{
	char cause[TLS_ERROR_MAX];
	int err;

	if (!link->url.is_tls || link->conn.tls_context)
		return 0;
	err = tls_context_new(&link->url.tls, &link->conn.tls_context, cause);
	if (err)
		snprintf(link->error, sizeof(link->error),
			 "cannot speak TLS with %.400s: %s", link->address_text,
			 cause);
	return err;
}

static int ask_sentinels(struct link *link, const struct link_wait *wait)
{
	int64_t config_epoch;
	int count;

	link->address_count = 0;
	if (!link->sentinels)
		link->sentinels =
			sentinels_new(&link->url, link->conn.tls_context);
	if (!link->sentinels)
		return link_fail(link, -ENOMEM, "connect to");
	count = sentinels_ask(link->sentinels, wait, link->addresses,
			      &config_epoch, link->error, sizeof(link->error));
	if (count < 0)
		return count;
	link->address_count = count;
	link_set_config_epoch(link, config_epoch);
	return 0;
}

static int find_nodes(struct link *link, const struct link_wait *wait)
{
	int count;

	link->address_count = 0;
	if (!link->cluster)
		link->cluster = cluster_new(&link->url);
	if (!link->cluster)
		return link_fail(link, -ENOMEM, "connect to");
	if (link->conn.most < NODES_MOST_BYTES)
		link->conn.most = NODES_MOST_BYTES;
	count = cluster_find(link->cluster, wait, link->addresses, link->error,
			     sizeof(link->error));
	if (count < 0)
		return count;
	link->address_count = count;
	return 0;
}

int find_addresses(struct link *link, const struct link_wait *wait)
{
	switch (link->url.kind) {
	case URL_SENTINEL:
		return ask_sentinels(link, wait);
	case URL_CLUSTER:
		return find_nodes(link, wait);
	case URL_SINGLE:
		break;
	}
	return link_look_up(link, wait);
}
