/*
 * From facts to findings.  The order and the names are those of cflockctl(1).
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis/facts.h"
#include "redis/info.h"

#define TEXT_MAX 1280
#define OLDEST_VERSION 5

/* Wall clocks that differ by less are what people are used to. */
#define CLOCK_MOST_MS 2000

/* A round trip should take no more of the time between renewals, in percent. */
#define ROUND_TRIP_PERCENT 5

/* ... and the worst pause no more of the time that a renewal has. */
#define PAUSE_PERCENT 10

/* A replica acknowledges each second. */
#define LAG_MOST_S 2
#define LAG_MOST_BYTES 1000000

#define FULL_PERCENT 90

struct judge {
	const struct facts *facts;
	const char *info; /* of the facts */
	store_finding_fn *found;
	void *context;
};

__attribute__((format(printf, 5, 6))) static void
say(const struct judge *judge, const char *name, enum finding_level level,
    const char *advice, const char *format, ...)
{
	char text[TEXT_MAX];
	struct finding finding = {
		.name = name,
		.level = level,
		.text = text,
		.advice = level == FINDING_OK ? "" : advice,
	};
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	judge->found(judge->context, &finding);
}

/* That `what` could not be asked for, and the right that allows to. */
static void say_unknown(const struct judge *judge, const char *name,
			const char *what, const char *right, bool denied)
{
	char advice[TEXT_MAX];

	snprintf(advice, sizeof(advice), "ACL SETUSER %s %s",
		 judge->facts->user, right);
	say(judge, name, FINDING_WARNING,
	    denied ? advice : "ask those who run the server",
	    denied ? "unknown, as this user may not ask for %s"
		   : "unknown, as the server does not tell %s",
	    what);
}

/* Like duration_format(), but finer below 10 ms. */
static char *format_time(int64_t ns, char buffer[DURATION_TEXT_MAX])
{
	if (ns >= 10 * NS_PER_MS || ns < 0)
		return duration_format(ns, buffer, DURATION_TEXT_MAX);
	snprintf(buffer, DURATION_TEXT_MAX, "%d.%02d ms", (int)(ns / NS_PER_MS),
		 (int)(ns % NS_PER_MS / (NS_PER_MS / 100)));
	return buffer;
}

/* False, having said so, when INFO does not have the field. */
static bool has_info(const struct judge *judge, const char *name,
		     const char *field)
{
	if (info_find(judge->info, field))
		return true;
	say_unknown(judge, name, "INFO", "+info", judge->facts->info_denied);
	return false;
}

/* === the findings ======================================================= */

static int64_t median_ns(const struct facts *facts)
{
	return facts->round_trips_ns[FACTS_ROUND_TRIPS / 2];
}

static void judge_reachable(const struct judge *judge)
{
	char connect[DURATION_TEXT_MAX], answer[DURATION_TEXT_MAX];

	say(judge, "reachable", FINDING_OK, "",
	    "%s: connected in %s, a round trip takes %s", judge->facts->address,
	    format_time(judge->facts->connect_ns, connect),
	    format_time(median_ns(judge->facts), answer));
}

static void judge_version(const struct judge *judge)
{
	static const struct {
		const char *field, *name;
	} forks[] = {
		{ "valkey_version", "Valkey" },
		{ "redict_version", "Redict" },
	};
	char version[INFO_VALUE_MAX], forks_own[INFO_VALUE_MAX];

	if (!has_info(judge, "version", "redis_version"))
		return;
	info_text(judge->info, "redis_version", version);
	if (strtol(version, NULL, 10) < OLDEST_VERSION) {
		say(judge, "version", FINDING_DANGER,
		    "use Redis 5 or later, Valkey or Redict",
		    "Redis %s, which lacks what cflock needs", version);
		return;
	}
	for (size_t i = 0; i < sizeof(forks) / sizeof(*forks); i++) {
		if (!info_text(judge->info, forks[i].field, forks_own))
			continue;
		say(judge, "version", FINDING_OK, "", "%s %s (like Redis %s)",
		    forks[i].name, forks_own, version);
		return;
	}
	say(judge, "version", FINDING_OK, "", "Redis %s", version);
}

static void judge_mode(const struct judge *judge)
{
	char mode[INFO_VALUE_MAX];

	/* Valkey has server_mode from 8 on. */
	if (!info_text(judge->info, "server_mode", mode) &&
	    !info_text(judge->info, "redict_mode", mode) &&
	    !info_text(judge->info, "redis_mode", mode)) {
		has_info(judge, "mode", "redis_mode");
		return;
	}
	if (strcmp(mode, "sentinel") == 0)
		say(judge, "mode", FINDING_DANGER,
		    "give the address of the master",
		    "a Sentinel, which holds no locks");
	else if (judge->facts->is_cluster)
		say(judge, "mode", FINDING_OK, "",
		    "%s; this is what one of its masters says", mode);
	else if (strcmp(mode, "cluster") == 0 ||
		 info_number(judge->info, "cluster_enabled") == 1)
		say(judge, "mode", FINDING_DANGER,
		    "write redis+cluster:// for redis://",
		    "part of a cluster: most locks will be refused");
	else
		say(judge, "mode", FINDING_OK, "", "%s", mode);
}

static void judge_role(const struct judge *judge)
{
	char host[INFO_VALUE_MAX], advice[TEXT_MAX];

	if (!has_info(judge, "role", "role"))
		return;
	if (!info_is(judge->info, "role", "slave")) {
		say(judge, "role", FINDING_OK, "", "master");
		return;
	}
	info_text(judge->info, "master_host", host);
	snprintf(advice, sizeof(advice),
		 "give the address of the master: %s, port %lld", host,
		 info_number(judge->info, "master_port"));
	say(judge, "role", FINDING_DANGER, advice,
	    "a replica, %s its master: it can show locks, but not grant them",
	    info_is(judge->info, "master_link_status", "up")
		    ? "linked to"
		    : "without a link to");
}

static void judge_writes(const struct judge *judge)
{
	const char *error = judge->facts->write_error;

	if (!judge->facts->has_written)
		say(judge, "writes", FINDING_WARNING, "see rights",
		    "unknown, as this user may not set a key of ours");
	else if (*error)
		say(judge, "writes", FINDING_DANGER,
		    "no lock can be had before this is mended", "refused: %s",
		    error);
	else
		say(judge, "writes", FINDING_OK, "", "accepted");
}

/* Appends the rules of those rights that were answered so. */
static void list_rights(const struct facts *facts, enum rights_answer answer,
			char list[TEXT_MAX])
{
	size_t i, used = strlen(list);

	for (i = 0; i < RIGHTS_COUNT; i++) {
		if (facts->rights[i] != answer)
			continue;
		snprintf(list + used, TEXT_MAX - used, "%s%s", used ? " " : "",
			 rights[i].rule);
		used += strlen(list + used);
	}
}

static void judge_rights(const struct judge *judge)
{
	const struct facts *facts = judge->facts;
	char missing[TEXT_MAX] = "", unknown[TEXT_MAX] = "";
	char advice[2 * TEXT_MAX];
	size_t i;

	for (i = 0; i < RIGHTS_COUNT && !*missing; i++)
		if (facts->rights[i] == RIGHTS_KEYS_DENIED)
			strcpy(missing, RIGHTS_KEYS);
	list_rights(facts, RIGHTS_DENIED, missing);
	list_rights(facts, RIGHTS_UNKNOWN, unknown);
	snprintf(advice, sizeof(advice), "ACL SETUSER %s %s", facts->user,
		 missing);
	if (*missing)
		say(judge, "rights", FINDING_DANGER, advice,
		    "the user %s lacks %s", facts->user, missing);
	else if (*unknown)
		say(judge, "rights", FINDING_DANGER,
		    "rename no commands, and use Redis 5 or later",
		    "the server does not know what these allow: %s", unknown);
	else
		say(judge, "rights", FINDING_OK, "",
		    "the user %s has all %d, and %s", facts->user, RIGHTS_COUNT,
		    RIGHTS_KEYS);
}

static void judge_log(const struct judge *judge)
{
	const struct fact *appendfsync = &judge->facts->appendfsync;

	if (info_is(judge->info, "aof_last_write_status", "err"))
		say(judge, "persistence", FINDING_WARNING,
		    "make room on the server's disk",
		    "the last write to the append-only file has failed: a "
		    "restart forgets leases");
	else if (!appendfsync->known)
		say_unknown(judge, "persistence", "CONFIG GET", "+config|get",
			    appendfsync->denied);
	else if (strcmp(appendfsync->value, "always") == 0)
		say(judge, "persistence", FINDING_OK, "",
		    "append-only file, on disk before the answer "
		    "(appendfsync always)");
	else if (strcmp(appendfsync->value, "everysec") == 0)
		say(judge, "persistence", FINDING_OK, "",
		    "append-only file (appendfsync everysec): only a crash of "
		    "its host forgets the last second or two");
	else
		say(judge, "persistence", FINDING_WARNING,
		    "set appendfsync everysec, or always",
		    "append-only file (appendfsync %s): a crash of its host "
		    "forgets the last half minute",
		    appendfsync->value);
}

static void judge_persistence(const struct judge *judge)
{
	static const char advice[] = "set appendonly yes";
	const struct fact *save = &judge->facts->save;

	if (!has_info(judge, "persistence", "aof_enabled"))
		return;
	if (info_number(judge->info, "aof_enabled") == 1)
		judge_log(judge);
	else if (!save->known)
		say_unknown(judge, "persistence", "CONFIG GET", "+config|get",
			    save->denied);
	else if (!*save->value)
		say(judge, "persistence", FINDING_WARNING, advice,
		    "neither append-only file nor snapshots: a restart forgets "
		    "all leases");
	else
		say(judge, "persistence", FINDING_WARNING, advice,
		    "snapshots only (save %s): a crash forgets all since the "
		    "last, %lld changes now",
		    save->value,
		    info_number(judge->info, "rdb_changes_since_last_save"));
}

static void judge_eviction(const struct judge *judge)
{
	char policy[INFO_VALUE_MAX], used[INFO_VALUE_MAX];
	char most[INFO_VALUE_MAX];
	long long most_bytes;

	if (!has_info(judge, "eviction", "maxmemory_policy"))
		return;
	info_text(judge->info, "maxmemory_policy", policy);
	info_text(judge->info, "used_memory_human", used);
	info_text(judge->info, "maxmemory_human", most);
	most_bytes = info_number(judge->info, "maxmemory");
	if (most_bytes <= 0)
		say(judge, "eviction", FINDING_OK, "",
		    "none, as there is no maxmemory (policy %s)", policy);
	else if (strcmp(policy, "noeviction") != 0)
		say(judge, "eviction", FINDING_DANGER,
		    "set maxmemory-policy noeviction",
		    "%s: drops locks that are held when memory is full (%s of "
		    "%s used, %lld keys evicted so far)",
		    policy, used, most,
		    info_number(judge->info, "evicted_keys"));
	else if (info_number(judge->info, "used_memory") >=
		 most_bytes / 100 * FULL_PERCENT)
		say(judge, "eviction", FINDING_WARNING,
		    "raise maxmemory, or move other data away",
		    "none (noeviction), but memory is nearly full (%s of %s "
		    "used): then no lock can be had",
		    used, most);
	else
		say(judge, "eviction", FINDING_OK, "",
		    "none (noeviction; %s of %s used)", used, most);
}

static long long larger(long long a, long long b)
{
	return a > b ? a : b;
}

/* A number of a replica's line "ip=...,state=online,offset=14,lag=1"; or 0. */
static long long replica_number(const char *line, const char *field)
{
	const char *part = strstr(line, field);
	long long number = 0;

	if (part && part < line + strcspn(line, "\r\n"))
		number = strtoll(part + strlen(field), NULL, 10);
	return larger(number, 0);
}

static bool replica_is_online(const char *line)
{
	const char *part = strstr(line, "state=online");

	return part && part < line + strcspn(line, "\r\n");
}

static void judge_replicas(const struct judge *judge)
{
	long long offset =
		larger(info_number(judge->info, "master_repl_offset"), 0);
	long long count = info_number(judge->info, "connected_slaves");
	long long lag_s = 0, behind = 0, i;
	const char *line;
	bool online = true;
	char field[32];

	if (!has_info(judge, "replicas", "connected_slaves"))
		return;
	for (i = 0; i < count; i++) {
		snprintf(field, sizeof(field), "slave%lld", i);
		line = info_find(judge->info, field);
		if (!line)
			break;
		online &= replica_is_online(line);
		lag_s = larger(lag_s, replica_number(line, "lag="));
		behind = larger(behind,
				offset - replica_number(line, "offset="));
	}
	if (count == 0)
		say(judge, "replicas", FINDING_OK, "",
		    "none: while this server is away, no lock can be had");
	else if (!online || lag_s > LAG_MOST_S || behind > LAG_MOST_BYTES)
		say(judge, "replicas", FINDING_WARNING,
		    "look at the network and the load of the replicas",
		    "%lld, %s, %lld s and %lld bytes behind: a fail-over to "
		    "one forgets that much",
		    count, online ? "all online" : "not all online", lag_s,
		    behind);
	else if (info_find(judge->info, "min_slaves_good_slaves"))
		say(judge, "replicas", FINDING_OK, "",
		    "%lld, %lld s and %lld bytes behind; writes are refused "
		    "when too few are there",
		    count, lag_s, behind);
	else
		say(judge, "replicas", FINDING_WARNING,
		    "set min-replicas-to-write 1, or use --min-replicas",
		    "%lld, %lld s and %lld bytes behind, but cut off from them "
		    "this server would go on granting locks beside the next "
		    "master",
		    count, lag_s, behind);
}

static void judge_clock(const struct judge *judge)
{
	const struct facts *facts = judge->facts;
	int64_t least_ms = llabs(facts->ahead_ms) - facts->uncertain_ms;
	int64_t most_ms = llabs(facts->ahead_ms) + facts->uncertain_ms;
	char apart[DURATION_TEXT_MAX];

	if (!facts->has_clock) {
		say_unknown(judge, "clock", "TIME", "+time", true);
	} else if (least_ms < CLOCK_MOST_MS) {
		duration_format(most_ms * NS_PER_MS, apart, sizeof(apart));
		say(judge, "clock", FINDING_OK, "",
		    "the server's and ours differ by %s at most", apart);
	} else {
		duration_format(least_ms * NS_PER_MS, apart, sizeof(apart));
		say(judge, "clock", FINDING_WARNING,
		    "set both clocks by NTP, such as chronyd",
		    "the server's is %s %s ours: cooldowns and the times that "
		    "are shown go by it; leases are not harmed",
		    apart, facts->ahead_ms > 0 ? "ahead of" : "behind");
	}
}

static void judge_round_trip(const struct judge *judge)
{
	int64_t ns = median_ns(judge->facts);
	int64_t every_ns = judge->facts->policy->renew_every_ns;
	int64_t ttl_ns = judge->facts->policy->ttl_ns;
	char median[DURATION_TEXT_MAX], every[DURATION_TEXT_MAX];
	char ttl[DURATION_TEXT_MAX];
	bool is_long = ns > every_ns / 100 * ROUND_TRIP_PERCENT;

	say(judge, "round-trip",
	    ns > every_ns ? FINDING_DANGER
	    : is_long     ? FINDING_WARNING
			  : FINDING_OK,
	    "use a longer ttl, or a server that is nearer",
	    "%s (median of %d)%s the %s between renewals (ttl %s)",
	    format_time(ns, median), FACTS_ROUND_TRIPS,
	    is_long ? " is much of" : ", which is little of",
	    format_time(every_ns, every), format_time(ttl_ns, ttl));
}

static void judge_latency(const struct judge *judge)
{
	const struct facts *facts = judge->facts;
	int64_t worst_ns = facts->round_trips_ns[FACTS_ROUND_TRIPS - 1];
	/* From the first try to renew until the lease counts as lost. */
	int64_t time_ns =
		facts->policy->renew_by_ns - facts->policy->renew_every_ns;
	char worst[DURATION_TEXT_MAX], time[DURATION_TEXT_MAX];
	char spike[DURATION_TEXT_MAX], event[FACTS_VALUE_MAX + 64] = "";

	format_time(worst_ns, worst);
	if (facts->spike_ms > 0)
		snprintf(event, sizeof(event),
			 "; the server itself has seen %s (%s)",
			 format_time(facts->spike_ms * NS_PER_MS, spike),
			 facts->spike_event);
	if (facts->spike_ms * NS_PER_MS > worst_ns)
		worst_ns = facts->spike_ms * NS_PER_MS;
	say(judge, "latency",
	    worst_ns > time_ns                         ? FINDING_DANGER
	    : worst_ns > time_ns / 100 * PAUSE_PERCENT ? FINDING_WARNING
						       : FINDING_OK,
	    "use a longer ttl; find what holds the server up: slow commands "
	    "(SLOWLOG), swapping, its disk",
	    "the longest of %d round trips took %s, and a renewal has %s%s",
	    FACTS_ROUND_TRIPS, worst, format_time(time_ns, time), event);
}

void facts_judge(const struct facts *facts, store_finding_fn *found,
		 void *context)
{
	const struct judge judge = {
		.facts = facts,
		.info = facts->info,
		.found = found,
		.context = context,
	};

	judge_reachable(&judge);
	judge_version(&judge);
	judge_mode(&judge);
	judge_role(&judge);
	judge_writes(&judge);
	judge_rights(&judge);
	judge_persistence(&judge);
	judge_eviction(&judge);
	judge_replicas(&judge);
	judge_clock(&judge);
	judge_round_trip(&judge);
	judge_latency(&judge);
}
