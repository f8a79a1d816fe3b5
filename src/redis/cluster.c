#include "config.h"

#include "redis/cluster.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* Of a host of the URL; the others find their way from any node. */
#define ADDRESSES_OF_HOST_MAX 2

#define PORT_MAX 65535

#define KNOWN_NAMES_MAX 8

struct cluster {
	int host_count;
	struct url_host hosts[URL_HOSTS_MAX];
	int count; /* 0: not looked up yet */
	struct address nodes[LINK_ADDRESSES_MAX];
	/* Of hosts that others have named, with any port; the oldest is
	 * overwritten. */
	int name_count;
	struct address names[KNOWN_NAMES_MAX];
};

struct cluster *cluster_new(const struct url *url)
{
	struct cluster *cluster = calloc(1, sizeof(*cluster));

	if (!cluster)
		return NULL;
	cluster->host_count = url->host_count;
	memcpy(cluster->hosts, url->hosts, sizeof(cluster->hosts));
	return cluster;
}

struct cluster *cluster_copy(const struct cluster *from)
{
	struct cluster *cluster = malloc(sizeof(*cluster));

	if (cluster)
		*cluster = *from;
	return cluster;
}

void cluster_free(struct cluster *cluster)
{
	free(cluster);
}

/* === the order ========================================================== */

static void set_port(struct address *address, int port)
{
	if (address->to.any.sa_family == AF_INET6)
		address->to.v6.sin6_port = htons((uint16_t)port);
	else
		address->to.v4.sin_port = htons((uint16_t)port);
}

/* -1 when it is not known. */
static int index_of(const struct cluster *cluster,
		    const struct address *address)
{
	int i;

	for (i = 0; i < cluster->count; i++)
		if (resolve_is_same(&cluster->nodes[i], address))
			return i;
	return -1;
}

/* The name in the URL stays with an address, whatever others call it. */
static void keep_name(const struct cluster *cluster, struct address *address)
{
	int known = index_of(cluster, address), i;

	for (i = 0; known >= 0 && i < cluster->host_count; i++)
		if (strcmp(cluster->nodes[known].name,
			   cluster->hosts[i].name) == 0)
			strcpy(address->name, cluster->hosts[i].name);
}

static void take_out(struct cluster *cluster, int i)
{
	cluster->count--;
	memmove(&cluster->nodes[i], &cluster->nodes[i + 1],
		(size_t)(cluster->count - i) * sizeof(cluster->nodes[0]));
}

/* `address` must not be one of nodes[].  Where all is full, the last goes. */
static void put(struct cluster *cluster, int i, const struct address *address)
{
	int old = index_of(cluster, address);

	if (old >= 0)
		take_out(cluster, old);
	else if (cluster->count == LINK_ADDRESSES_MAX)
		cluster->count--;
	if (i > cluster->count)
		i = cluster->count;
	memmove(&cluster->nodes[i + 1], &cluster->nodes[i],
		(size_t)(cluster->count - i) * sizeof(cluster->nodes[0]));
	cluster->nodes[i] = *address;
	cluster->count++;
}

void cluster_prefer(struct cluster *cluster, const struct address *address)
{
	put(cluster, 0, address);
}

void cluster_avoid(struct cluster *cluster, const struct address *address)
{
	/* One that is reached by ASK alone need not be kept. */
	if (index_of(cluster, address) >= 0)
		put(cluster, LINK_ADDRESSES_MAX, address);
}

int cluster_find(struct cluster *cluster, const struct link_wait *wait,
		 struct address addresses[LINK_ADDRESSES_MAX], char *error,
		 size_t size)
{
	struct address found[RESOLVE_ADDRESSES_MAX];
	int i, j, err = -EAGAIN;
	bool is_new = !cluster->count;

	for (i = 0; is_new && i < cluster->host_count; i++) {
		/* The rest of the time is for those that are found. */
		int64_t now_ns = clock_boot_ns(), left_ns;
		int count;

		left_ns = wait->deadline_ns - now_ns;
		count = resolve_host(
			cluster->hosts[i].name, cluster->hosts[i].port,
			now_ns + left_ns / (cluster->host_count - i + 1),
			wait->cancel_fd, found);
		if (count == -ECANCELED)
			return count;
		/* -ENOENT only when none of the names exists. */
		if (count < 0 && (i == 0 || err == -ENOENT))
			err = count;
		for (j = 0; j < count && j < ADDRESSES_OF_HOST_MAX; j++)
			put(cluster, LINK_ADDRESSES_MAX, &found[j]);
	}
	if (!cluster->count) {
		snprintf(
			error, size,
			"cannot find any host of the cluster, such as \"%s\"%s",
			cluster->hosts[0].name,
			err == -ENOENT ? ": there is no such name" : "");
		return err;
	}
	memcpy(addresses, cluster->nodes, sizeof(cluster->nodes));
	return cluster->count;
}

/* === where others send us =============================================== */

bool cluster_is_redirection(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ERROR &&
	       (strncmp(reply->str, "MOVED ", 6) == 0 ||
		strncmp(reply->str, "ASK ", 4) == 0);
}

/* "HOST:PORT" of `length` bytes.  An IPv6 address has no brackets there. */
static bool read_endpoint(const char *text, size_t length,
			  char host[URL_HOST_MAX], int *port)
{
	const char *colon = memrchr(text, ':', length);
	size_t host_length = colon ? (size_t)(colon - text) : 0;
	unsigned long number;
	char *end;

	if (!colon || host_length >= URL_HOST_MAX || colon[1] < '0' ||
	    colon[1] > '9')
		return false;
	number = strtoul(colon + 1, &end, 10);
	if (end != text + length || number < 1 || number > PORT_MAX)
		return false;
	memcpy(host, text, host_length);
	host[host_length] = '\0';
	*port = (int)number;
	return true;
}

bool cluster_read_redirection(const redisReply *reply,
			      struct redirection *redirection)
{
	const char *endpoint = strrchr(reply->str, ' ');

	if (!endpoint)
		return false;
	endpoint++;
	redirection->is_ask = *reply->str == 'A';
	/* "?": the node does not know its name. */
	return read_endpoint(endpoint, strlen(endpoint), redirection->host,
			     &redirection->port) &&
	       strcmp(redirection->host, "?") != 0;
}

int cluster_resolve(struct cluster *cluster,
		    const struct redirection *redirection,
		    const struct address *here, const struct link_wait *wait,
		    struct address addresses[RESOLVE_ADDRESSES_MAX])
{
	struct address *known;
	int i, count;

	if (!*redirection->host) {
		addresses[0] = *here;
		set_port(&addresses[0], redirection->port);
		keep_name(cluster, &addresses[0]);
		return 1;
	}
	for (i = 0; i < cluster->name_count && i < KNOWN_NAMES_MAX; i++) {
		known = &cluster->names[i];
		if (strcmp(known->name, redirection->host) != 0)
			continue;
		addresses[0] = *known;
		set_port(&addresses[0], redirection->port);
		keep_name(cluster, &addresses[0]);
		return 1;
	}
	count = resolve_host(redirection->host, redirection->port,
			     wait->deadline_ns, wait->cancel_fd, addresses);
	if (count > 0) {
		known = &cluster->names[cluster->name_count++ %
					KNOWN_NAMES_MAX];
		*known = addresses[0];
	}
	for (i = 0; i < count; i++)
		keep_name(cluster, &addresses[i]);
	return count;
}

/* === what they tell of each other ======================================= */

#define FIELDS 4

/* ID ENDPOINT FLAGS MASTER ... */
struct node_line {
	const char *fields[FIELDS];
	size_t lengths[FIELDS];
};

/* From *text on, which is moved behind the line; false at the end. */
static bool next_line(const char **text, struct node_line *line)
{
	for (;;) {
		const char *field = *text, *end = field + strcspn(field, "\n");
		int i;

		if (!*field)
			return false;
		*text = *end ? end + 1 : end;
		for (i = 0; i < FIELDS && field < end; i++) {
			line->fields[i] = field;
			line->lengths[i] = strcspn(field, " \n");
			field += line->lengths[i];
			field += field < end;
		}
		if (i == FIELDS)
			return true;
	}
}

static bool has_flag(const struct node_line *line, const char *flag)
{
	size_t length = strlen(flag), left = line->lengths[2];
	const char *at = line->fields[2];

	while (left) {
		const char *comma = memchr(at, ',', left);
		size_t n = comma ? (size_t)(comma - at) : left;

		if (n == length && memcmp(at, flag, n) == 0)
			return true;
		n += comma != NULL;
		at += n;
		left -= n;
	}
	return false;
}

/* Of "IP:PORT@BUS,NAME,..." the NAME, which may be missing, or empty. */
static void read_name(const struct node_line *line, struct address *address)
{
	const char *endpoint = line->fields[1],
		   *end = endpoint + line->lengths[1];
	const char *name = endpoint + strcspn(endpoint, ", \n");
	size_t length;

	if (name >= end)
		return;
	length = strcspn(++name, ", \n");
	if (!length || length >= sizeof(address->name))
		return;
	memcpy(address->name, name, length);
	address->name[length] = '\0';
}

/* Its IP and port; no names are looked up. */
static bool read_address(const struct node_line *line,
			 const struct address *here, struct address *address)
{
	struct address found[RESOLVE_ADDRESSES_MAX];
	const char *endpoint = line->fields[1];
	char host[URL_HOST_MAX], digits[sizeof(struct in6_addr)];
	int port;

	if (!read_endpoint(endpoint, strcspn(endpoint, "@, \n"), host, &port))
		return false;
	if (!*host) {
		*address = *here;
		set_port(address, port);
		read_name(line, address);
		return true;
	}
	if (inet_pton(AF_INET, host, digits) != 1 &&
	    inet_pton(AF_INET6, host, digits) != 1)
		return false;
	if (resolve_host(host, port, 0, -1, found) < 1)
		return false;
	*address = found[0];
	read_name(line, address);
	return true;
}

/* The same; one that is known keeps its name.  Sets *known to its index, or -1. */
static bool find_address(const struct cluster *cluster,
			 const struct node_line *line,
			 const struct address *here, struct address *address,
			 int *known)
{
	if (!read_address(line, here, address))
		return false;
	*known = index_of(cluster, address);
	if (*known >= 0)
		*address = cluster->nodes[*known];
	return true;
}

void cluster_learn(struct cluster *cluster, const redisReply *reply,
		   const struct address *here)
{
	struct node_line self = { .lengths = { 0 } }, line;
	struct address address;
	const char *text;

	if (reply->type != REDIS_REPLY_STRING)
		return;
	for (text = reply->str; next_line(&text, &line);)
		if (has_flag(&line, "myself"))
			self = line;
	for (text = reply->str; next_line(&text, &line);) {
		bool is_ours = self.lengths[0] &&
			       line.lengths[3] == self.lengths[0] &&
			       memcmp(line.fields[3], self.fields[0],
				      self.lengths[0]) == 0;
		int known;

		if (has_flag(&line, "noaddr") || has_flag(&line, "handshake") ||
		    has_flag(&line, "myself") ||
		    !find_address(cluster, &line, here, &address, &known))
			continue;
		/* Its replicas are those who may follow it. */
		if (is_ours)
			put(cluster, 1, &address);
		else if (has_flag(&line, "master") && known < 0 &&
			 cluster->count < LINK_ADDRESSES_MAX)
			put(cluster, LINK_ADDRESSES_MAX, &address);
	}
}

int cluster_each_master(const struct cluster *cluster, const redisReply *reply,
			const struct address *here,
			int (*found)(void *context, const struct address *),
			void *context)
{
	const char *text = reply->str;
	struct node_line line;
	struct address address;
	int known, err = 0;

	while (!err && next_line(&text, &line)) {
		if (!has_flag(&line, "master") || has_flag(&line, "noaddr") ||
		    has_flag(&line, "handshake") || has_flag(&line, "fail"))
			continue;
		if (find_address(cluster, &line, here, &address, &known))
			err = found(context, &address);
	}
	return err;
}
