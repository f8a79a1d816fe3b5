/* What doctor finds, from what a server has told. */
#include "config.h"

#include "redis/facts.h"

#include <stdarg.h>
#include <stdlib.h>

#include "tap.h"

/* As good as one server can be. */
#define GOOD_SERVER "redis_version:7.0.15\r\nredis_mode:standalone\r\n"
#define GOOD_ROLE "role:master\r\nconnected_slaves:0\r\n"
#define GOOD_LOG "aof_enabled:1\r\naof_last_write_status:ok\r\n"
#define GOOD_MEMORY "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n"
#define GOOD GOOD_SERVER GOOD_ROLE GOOD_LOG GOOD_MEMORY

static struct lease_policy policy;
static struct facts facts;
static char info[4096];

static struct {
	char name[32], text[2048], advice[2048];
	enum finding_level level;
} found[32];
static int found_count;

static void collect(void *context, const struct finding *finding)
{
	(void)context;
	snprintf(found[found_count].name, sizeof(found->name), "%s",
		 finding->name);
	snprintf(found[found_count].text, sizeof(found->text), "%s",
		 finding->text);
	snprintf(found[found_count].advice, sizeof(found->advice), "%s",
		 finding->advice);
	found[found_count++].level = finding->level;
}

/* Facts of a good server that tells `told` in INFO; NULL: nothing. */
static void begin(const char *told)
{
	int i;

	memset(&facts, 0, sizeof(facts));
	facts.address = "unix:///r";
	facts.user = "me";
	facts.policy = &policy;
	facts.has_clock = true;
	for (i = 0; i < FACTS_ROUND_TRIPS; i++)
		facts.round_trips_ns[i] = NS_PER_MS / 10;
	if (told) {
		snprintf(info, sizeof(info), "%s", told);
		facts.info = info;
	}
	facts.save.known = facts.appendfsync.known = true;
	strcpy(facts.appendfsync.value, "always");
	facts.has_written = true;
}

/* Judges, and says which finding `name` is: its level, `text` and `advice`. */
static void finds(const char *name, enum finding_level level, const char *text,
		  const char *advice)
{
	int i = 0;

	found_count = 0;
	facts_judge(&facts, collect, NULL);
	while (i < found_count && strcmp(found[i].name, name) != 0)
		i++;
	if (!ok(i < found_count, "%s is judged", name))
		return;
	is_int(found[i].level, level, "%s: the level of: %s", name, text);
	if (!ok(strstr(found[i].text, text) != NULL, "%s: says: %s", name,
		text))
		printf("#   got \"%s\"\n", found[i].text);
	if (!ok(*advice ? strstr(found[i].advice, advice) != NULL
			: !*found[i].advice,
		"%s: advises: %s", name, advice))
		printf("#   got \"%s\"\n", found[i].advice);
}

static void finds_in(const char *told, const char *name,
		     enum finding_level level, const char *text,
		     const char *advice)
{
	begin(told);
	finds(name, level, text, advice);
}

static void test_good(void)
{
	int i, bad = 0;

	begin(GOOD);
	finds("reachable", FINDING_OK, "unix:///r: connected in 0.00 ms", "");
	for (i = 0; i < found_count; i++)
		bad += found[i].level != FINDING_OK;
	is_int(bad, 0, "all is well");
	is_int(found_count, 12, "all is judged");
	facts.connect_ns = 25 * NS_PER_MS;
	finds("reachable", FINDING_OK,
	      "connected in 25 ms, a round trip "
	      "takes 0.10 ms",
	      "");
	/* Clocks are the system's: whatever they show is to be printable. */
	facts.connect_ns = -1;
	finds("reachable", FINDING_OK, "connected in 0 ms", "");
}

static void test_nothing_told(void)
{
	static const char *const names[] = { "version",  "mode",
					     "role",     "persistence",
					     "eviction", "replicas" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		begin(NULL);
		facts.info_denied = true;
		finds(names[i], FINDING_WARNING,
		      "unknown, as this user may not ask for INFO",
		      "ACL SETUSER me +info");
		facts.info_denied = false;
		finds(names[i], FINDING_WARNING,
		      "unknown, as the server does not tell INFO",
		      "ask those who run the server");
	}
}

static void test_server(void)
{
	finds_in("redis_version:4.0.9\r\n", "version", FINDING_DANGER,
		 "Redis 4.0.9", "use Redis 5");
	finds_in("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n", "version",
		 FINDING_OK, "Valkey 8.0.1 (like Redis 7.2.4)", "");
	finds_in("redis_version:7.2.4\r\nredict_version:7.3.6\r\n", "version",
		 FINDING_OK, "Redict 7.3.6 (like Redis 7.2.4)", "");
	finds_in(GOOD, "version", FINDING_OK, "Redis 7.0.15", "");

	finds_in("server_mode:standalone\r\n", "mode", FINDING_OK, "standalone",
		 "");
	finds_in("redict_mode:standalone\r\n", "mode", FINDING_OK, "standalone",
		 "");
	finds_in("redis_mode:sentinel\r\n", "mode", FINDING_DANGER,
		 "a Sentinel", "give the address of the master");
	finds_in("redis_mode:cluster\r\n", "mode", FINDING_DANGER,
		 "part of a cluster", "redis+cluster://");
	finds_in("redis_mode:standalone\r\ncluster_enabled:1\r\n", "mode",
		 FINDING_DANGER, "part of a cluster", "redis+cluster://");
	begin("redis_mode:cluster\r\n");
	facts.is_cluster = true;
	finds("mode", FINDING_OK, "cluster; this is what one of its masters",
	      "");

	finds_in("role:slave\r\nmaster_host:m\r\nmaster_port:7\r\n"
		 "master_link_status:up\r\n",
		 "role", FINDING_DANGER, "a replica, linked to its master",
		 "the address of the master: m, port 7");
	finds_in("role:slave\r\nmaster_link_status:down\r\n", "role",
		 FINDING_DANGER, "without a link to its master", "port -1");
}

static void test_rights(void)
{
	begin(GOOD);
	facts.has_written = false;
	finds("writes", FINDING_WARNING, "may not set a key", "see rights");
	begin(GOOD);
	strcpy(facts.write_error, "no disk");
	finds("writes", FINDING_DANGER, "refused: no disk", "mended");

	begin(GOOD);
	facts.rights[3] = RIGHTS_KEYS_DENIED;
	facts.rights[4] = RIGHTS_DENIED;
	facts.rights[5] = RIGHTS_DENIED;
	facts.rights[6] = RIGHTS_UNKNOWN;
	finds("rights", FINDING_DANGER, "me lacks ~cflock:* +get +mget",
	      "ACL SETUSER me ~cflock:* +get +mget");
	begin(GOOD);
	facts.rights[6] = RIGHTS_UNKNOWN;
	finds("rights", FINDING_DANGER, "does not know what these allow: +set",
	      "rename no commands");
}

static void appendfsync_is(const char *value, enum finding_level level,
			   const char *text, const char *advice)
{
	begin(GOOD);
	strcpy(facts.appendfsync.value, value);
	finds("persistence", level, text, advice);
}

static void test_persistence(void)
{
	appendfsync_is("always", FINDING_OK, "before the answer", "");
	appendfsync_is("everysec", FINDING_OK, "the last second or two", "");
	appendfsync_is("no", FINDING_WARNING, "the last half minute",
		       "set appendfsync everysec");
	begin(GOOD);
	facts.appendfsync.known = false;
	facts.appendfsync.denied = true;
	finds("persistence", FINDING_WARNING, "may not ask for CONFIG GET",
	      "+config|get");
	finds_in("aof_enabled:1\r\naof_last_write_status:err\r\n",
		 "persistence", FINDING_WARNING, "the last write", "make room");

	begin("aof_enabled:0\r\nrdb_changes_since_last_save:12\r\n");
	finds("persistence", FINDING_WARNING, "neither", "set appendonly yes");
	strcpy(facts.save.value, "900 1");
	finds("persistence", FINDING_WARNING,
	      "snapshots only (save 900 1): a crash forgets all since the "
	      "last, 12 changes",
	      "set appendonly yes");
	facts.save.known = false;
	finds("persistence", FINDING_WARNING, "does not tell CONFIG GET",
	      "ask those");
}

#define MEMORY "maxmemory:1000\r\nused_memory_human:U\r\nmaxmemory_human:M\r\n"

static void test_eviction(void)
{
	finds_in(GOOD, "eviction", FINDING_OK, "there is no maxmemory", "");
	finds_in(MEMORY "maxmemory_policy:allkeys-lru\r\nevicted_keys:3\r\n",
		 "eviction", FINDING_DANGER,
		 "allkeys-lru: drops locks that are held when memory is full "
		 "(U of M used, 3 keys",
		 "noeviction");
	finds_in(MEMORY "maxmemory_policy:noeviction\r\nused_memory:900\r\n",
		 "eviction", FINDING_WARNING, "nearly full (U of M used)",
		 "raise maxmemory");
	finds_in(MEMORY "maxmemory_policy:noeviction\r\nused_memory:899\r\n",
		 "eviction", FINDING_OK, "none (noeviction; U of M used)", "");
}

/* Two of three million bytes of log: `first` and `second` are their lines. */
static void replicas_are(const char *first, const char *second,
			 enum finding_level level, const char *text,
			 const char *advice)
{
	char told[512];

	snprintf(told, sizeof(told),
		 "connected_slaves:2\r\nslave0:ip=a,%s\r\nslave1:ip=b,%s\r\n"
		 "master_repl_offset:3000000\r\n",
		 first, second);
	finds_in(told, "replicas", level, text, advice);
}

static void test_replicas(void)
{
	static const char near[] = "state=online,offset=2999999,lag=1";

	finds_in(GOOD, "replicas", FINDING_OK, "none: while", "");
	replicas_are(near, "state=online,offset=2000000,lag=2", FINDING_WARNING,
		     "2, 2 s and 1000000 bytes behind, but", "--min-replicas");
	replicas_are(near, "state=online,offset=1999999,lag=0", FINDING_WARNING,
		     "2, all online, 1 s and 1000001 bytes behind",
		     "look at the network");
	replicas_are("state=online,offset=3000000,lag=3", near, FINDING_WARNING,
		     "2, all online, 3 s and 1 bytes", "look at the network");
	replicas_are(near, "state=wait_bgsave,offset=3000000,lag=0",
		     FINDING_WARNING, "2, not all online, 1 s",
		     "look at the network");
	/* What stands in the next line is not its own. */
	replicas_are("state=wait_bgsave", near, FINDING_WARNING,
		     "not all online, 1 s and 3000000 bytes",
		     "look at the network");
	replicas_are(near, "nothing", FINDING_WARNING,
		     "not all online, 1 s and 3000000 bytes",
		     "look at the network");
	finds_in("connected_slaves:3\r\nmaster_repl_offset:5\r\n"
		 "slave0:state=online,offset=5,lag=0\r\n"
		 "min_slaves_good_slaves:1\r\n",
		 "replicas", FINDING_OK, "writes are refused when too few", "");
}

static void test_clock(void)
{
	begin(GOOD);
	facts.has_clock = false;
	finds("clock", FINDING_WARNING, "may not ask for TIME", "+time");
	begin(GOOD);
	facts.ahead_ms = -2009;
	facts.uncertain_ms = 10;
	finds("clock", FINDING_OK, "differ by 2.0 s at most", "");
	facts.ahead_ms = -2010;
	finds("clock", FINDING_WARNING, "the server's is 2.0 s behind ours",
	      "NTP");
	facts.ahead_ms = 2010;
	finds("clock", FINDING_WARNING, "the server's is 2.0 s ahead of ours",
	      "NTP");
}

/* The median and the worst of the round trips. */
static void trips_take(int64_t median_ns, int64_t worst_ns)
{
	int i;

	begin(GOOD);
	for (i = FACTS_ROUND_TRIPS / 2; i < FACTS_ROUND_TRIPS; i++)
		facts.round_trips_ns[i] = median_ns;
	facts.round_trips_ns[FACTS_ROUND_TRIPS - 1] = worst_ns;
}

static void test_times(void)
{
	/* 2 s between renewals; 4 s for one. */
	trips_take(100 * NS_PER_MS, NS_PER_S);
	finds("round-trip", FINDING_OK,
	      "100 ms (median of 21), which is little "
	      "of the 2.0 s",
	      "");
	trips_take(100 * NS_PER_MS + 1, NS_PER_S);
	finds("round-trip", FINDING_WARNING, "is much of the 2.0 s",
	      "longer ttl");
	trips_take(2 * NS_PER_S, 3 * NS_PER_S);
	finds("round-trip", FINDING_WARNING, "is much of the 2.0 s",
	      "longer ttl");
	trips_take(2 * NS_PER_S + 1, 3 * NS_PER_S);
	finds("round-trip", FINDING_DANGER, "is much of the 2.0 s",
	      "longer ttl");

	trips_take(NS_PER_MS, 400 * NS_PER_MS);
	finds("latency", FINDING_OK, "took 400 ms, and a renewal has 4.0 s",
	      "");
	trips_take(NS_PER_MS, 400 * NS_PER_MS + 1);
	finds("latency", FINDING_WARNING, "took 400 ms", "longer ttl");
	trips_take(NS_PER_MS, 4 * NS_PER_S + 1);
	finds("latency", FINDING_DANGER, "took 4.0 s", "longer ttl");
	trips_take(NS_PER_MS, NS_PER_MS);
	facts.spike_ms = 4001;
	strcpy(facts.spike_event, "fork");
	finds("latency", FINDING_DANGER,
	      "took 1.00 ms, and a renewal has 4.0 s; the server itself has "
	      "seen 4.0 s (fork)",
	      "longer ttl");
	facts.spike_ms = 20;
	facts.round_trips_ns[FACTS_ROUND_TRIPS - 1] = 30 * NS_PER_MS;
	finds("latency", FINDING_OK,
	      "took 30 ms, and a renewal has 4.0 s; the "
	      "server itself has seen 20 ms (fork)",
	      "");
}

int main(void)
{
	const char *why;

	is_int(lease_policy_init(&policy, 10 * NS_PER_S, 60, &why), 0,
	       "a ttl of 10 s");
	test_good();
	test_nothing_told();
	test_server();
	test_rights();
	test_persistence();
	test_eviction();
	test_replicas();
	test_clock();
	test_times();
	return done_testing();
}
