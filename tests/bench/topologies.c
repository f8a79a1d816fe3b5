/*
 * topologies ROUNDS CA_FILE [LABEL REPLICAS URL[ URL]...]...: what a lock costs by
 * way of each of these, in turns.  Prints the medians, in us, and what they are of
 * the first one's: of taking a lock and giving it back when connected; of one
 * renewal; and of the first lock, with a connection that is made for it.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "int64.h"
#include "store.h"
#include "url.h"

#define TOPOLOGIES_MAX 16
#define EACH_NS (5 * NS_PER_S)

/* The first lock is measured once in so many rounds. */
#define FIRST_EACH 5

enum measure {
	TAKE_AND_GIVE,
	RENEW,
	FIRST,
	MEASURES
};

struct topology {
	const char *label;
	struct url urls[URL_LIST_MAX];
	struct url_list list;
	struct store *store;
	struct claim claim;
	int64_t *took_ns[MEASURES];
	size_t count[MEASURES];
};

static struct topology topologies[TOPOLOGIES_MAX];

static void die(const struct topology *topology, const struct store *store,
		const char *doing)
{
	fprintf(stderr, "%s: cannot %s: %s\n", topology->label, doing,
		store ? store_error(store) : "");
	exit(1);
}

static struct grant take(const struct topology *topology, struct store *store)
{
	struct refusal refusal;
	struct grant grant;

	if (store_acquire(store, &topology->claim, clock_boot_ns() + EACH_NS,
			  &grant, &refusal) != STORE_DONE)
		die(topology, store, "take the lock");
	return grant;
}

static void give(const struct topology *topology, struct store *store)
{
	if (store_release(store, &topology->claim, false,
			  clock_boot_ns() + EACH_NS) != STORE_DONE)
		die(topology, store, "give it back");
}

static void note(struct topology *topology, enum measure measure,
		 int64_t since_ns)
{
	topology->took_ns[measure][topology->count[measure]++] =
		clock_boot_ns() - since_ns;
}

static void run_connected(struct topology *topology)
{
	struct asked asked;
	struct grant grant;
	int64_t since_ns = clock_boot_ns();

	take(topology, topology->store);
	give(topology, topology->store);
	note(topology, TAKE_AND_GIVE, since_ns);

	grant = take(topology, topology->store);
	since_ns = clock_boot_ns();
	if (store_renew(topology->store, &topology->claim, &grant, true,
			since_ns + EACH_NS, &asked) != STORE_DONE)
		die(topology, topology->store, "renew");
	note(topology, RENEW, since_ns);
	give(topology, topology->store);
}

static void run_first(struct topology *topology)
{
	int64_t since_ns = clock_boot_ns();
	struct store *store = store_open(&topology->list, -1);

	if (!store)
		die(topology, store, "get memory");
	take(topology, store);
	give(topology, store);
	note(topology, FIRST, since_ns);
	store_close(store);
}

static void open_one(struct topology *topology, const char *label,
		     const char *replicas, const char *urls,
		     const char *ca_file, size_t rounds)
{
	struct url_span span = { 0, 0 };
	const char *why;
	int i;

	topology->label = label;
	topology->list.urls = topology->urls;
	while (url_find(urls, span.start + span.length, &span)) {
		struct url *url = &topology->urls[topology->list.count++];
		char text[URL_TEXT_MAX];

		snprintf(text, sizeof(text), "%.*s", (int)span.length,
			 urls + span.start);
		if (url_parse(text, url, &why)) {
			fprintf(stderr, "%s: %s\n", text, why);
			exit(1);
		}
		url->tls.ca_file = ca_file;
	}
	topology->claim = (struct claim){
		.name = "bench",
		.ttl_ms = 10000,
		.spare_ms = 4000,
		.no_grace = true,
		.min_replicas = atoi(replicas),
		.ancestors = "",
	};
	snprintf(topology->claim.owner.id, sizeof(topology->claim.owner.id),
		 "bench-%d", (int)(topology - topologies));
	for (i = 0; i < MEASURES; i++)
		topology->took_ns[i] = calloc(rounds, sizeof(int64_t));
	topology->store = store_open(&topology->list, -1);
}

static double median_us(struct topology *topology, enum measure measure)
{
	size_t middle = topology->count[measure] / 2;

	qsort(topology->took_ns[measure], topology->count[measure],
	      sizeof(int64_t), int64_compare);
	return (double)topology->took_ns[measure][middle] / 1000;
}

int main(int argc, char **argv)
{
	size_t rounds = argc > 2 ? strtoul(argv[1], NULL, 10) : 0, round;
	int count = 0, i, j;

	for (i = 3; i + 2 < argc && count < TOPOLOGIES_MAX; i += 3)
		open_one(&topologies[count++], argv[i], argv[i + 1],
			 argv[i + 2], argv[2], rounds);
	if (!count || !rounds)
		return 1;
	for (i = 0; i < count; i++)
		run_connected(&topologies[i]);
	for (round = 0; round < rounds; round++)
		for (i = 0; i < count; i++) {
			if (!round)
				topologies[i].count[0] =
					topologies[i].count[1] = 0;
			run_connected(&topologies[i]);
			if (round % FIRST_EACH == 0)
				run_first(&topologies[i]);
		}

	printf("%-28s %20s %20s %20s\n", "", "take and give back", "renew",
	       "the first lock");
	for (i = 0; i < count; i++) {
		printf("%-28s", topologies[i].label);
		for (j = 0; j < MEASURES; j++) {
			double us = median_us(&topologies[i], j);

			printf(" %9.0f us %5.2f x", us,
			       us / median_us(&topologies[0], j));
		}
		putchar('\n');
	}
	return 0;
}
