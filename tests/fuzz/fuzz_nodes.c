/*
 * libFuzzer: where a cluster and sentinels send us.  Each reply in the data is taken
 * for an answer to CLUSTER NODES, a redirection, and what each of three sentinels
 * names; what comes of it is an address, and steers no terminal.
 */
#include "config.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "redis/cluster.h"

/* For what is static there. */
#include "redis/sentinel.c" /* NOLINT(bugprone-suspicious-include) */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct url cluster_url, sentinel_url;
static struct address here;

static int check_address(void *context, const struct address *address)
{
	int *count = context;

	if (strlen(address->name) >= sizeof(address->name) ||
	    (address->to.any.sa_family != AF_INET &&
	     address->to.any.sa_family != AF_INET6))
		abort();
	return ++*count > 1000 ? -EOVERFLOW : 0;
}

static void learn(struct cluster *cluster, const redisReply *reply)
{
	struct address nodes[LINK_ADDRESSES_MAX];
	const struct link_wait wait = { .deadline_ns = 0, .cancel_fd = -1 };
	struct redirection to = { .port = 0 };
	char error[STORE_ERROR_MAX];
	int i, count, seen = 0;

	if (cluster_is_redirection(reply) &&
	    cluster_read_redirection(reply, &to) &&
	    (to.port < 1 || to.port > PORT_MAX ||
	     strlen(to.host) >= sizeof(to.host)))
		abort();
	cluster_learn(cluster, reply, &here);
	if (reply->type == REDIS_REPLY_STRING)
		cluster_each_master(cluster, reply, &here, check_address,
				    &seen);
	count = cluster_find(cluster, &wait, nodes, error, sizeof(error));
	if (count < 1 || count > LINK_ADDRESSES_MAX)
		abort();
	for (i = 0; i < count; i++) {
		check_address(&seen, &nodes[i]);
		if (i % 2)
			cluster_avoid(cluster, &nodes[i]);
		else
			cluster_prefer(cluster, &nodes[i]);
	}
}

static void name(struct sentinels *sentinels, struct said *votes, int i,
		 redisReply *reply)
{
	char error[STORE_ERROR_MAX] = "", shown[STORE_ERROR_MAX];
	struct link *link = &sentinels->links[i];
	int counts, answered;

	link->answer = reply;
	link->err = 0;
	take_vote(link, &votes[i]);
	link->answer = NULL;
	if (votes[i].kind == SAID_MASTER &&
	    (!*votes[i].host || votes[i].port < 1 || votes[i].port > PORT_MAX))
		abort();
	counts = judge(sentinels, votes, &answered, error, sizeof(error));
	if (counts >= sentinels->count || (counts < 0 && !*error))
		abort();
	if (strcmp(log_printable(error, shown, sizeof(shown)), error) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	redisReader *reader = redisReaderCreate();
	struct said votes[3] = { { .kind = SAID_NOTHING } };
	struct sentinels *sentinels;
	struct cluster *cluster;
	redisReply *reply;
	const char *why;
	int i = 0;

	if (!*cluster_url.hosts[0].name &&
	    (url_parse("redis+cluster://127.0.0.1:7000", &cluster_url, &why) ||
	     url_parse("redis+sentinel://127.0.0.1,127.0.0.2,127.0.0.3/jobs",
		       &sentinel_url, &why) ||
	     resolve_host("127.0.0.1", 7000, 0, -1, &here) < 1))
		abort();
	cluster = cluster_new(&cluster_url);
	sentinels = sentinels_new(&sentinel_url, NULL);
	if (!cluster || !sentinels || !reader)
		abort();
	cluster_prefer(cluster, &here);
	redisReaderFeed(reader, (const char *)data, size);
	while (redisReaderGetReply(reader, (void **)&reply) == REDIS_OK &&
	       reply) {
		learn(cluster, reply);
		name(sentinels, votes, i++ % 3, reply);
		freeReplyObject(reply);
	}
	redisReaderFree(reader);
	cluster_free(cluster);
	sentinels_free(sentinels);
	return 0;
}
