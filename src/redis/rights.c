#include "config.h"

#include "redis/rights.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of no lock: a NAME cannot hold an exclamation mark. */
#define KEY "cflock:{!}"

/*
 * What writes is asked for a key that is not there, or with a mistake that Redis
 * finds behind the check of the rights and before it writes.
 */
const struct right rights[RIGHTS_COUNT] = {
	{ "+eval", { "EVAL", "return 1", "0" } },
	{ "+evalsha",
	  { "EVALSHA", "0000000000000000000000000000000000000000", "0" } },
	{ "+time", { "TIME" } },
	{ "+info", { "INFO", "server" } },
	{ "+get", { "GET", KEY } },
	{ "+mget", { "MGET", KEY } },
	{ "+set", { "SET", KEY, "1", "XX" } },
	{ "+del", { "DEL", KEY } },
	{ "+exists", { "EXISTS", KEY } },
	{ "+pttl", { "PTTL", KEY } },
	{ "+pexpire", { "PEXPIRE", KEY, "1" } },
	{ "+hget", { "HGET", KEY, "f" } },
	{ "+hset", { "HSET", KEY, "f", "1", "without-value" } },
	{ "+hdel", { "HDEL", KEY, "f" } },
	{ "+hgetall", { "HGETALL", KEY } },
	{ "+hexists", { "HEXISTS", KEY, "f" } },
	{ "+xadd", { "XADD", KEY, "no-id", "f", "1" } },
	{ "+xread", { "XREAD", "COUNT", "1", "STREAMS", KEY, "0" } },
	{ "+zadd", { "ZADD", KEY, "XX", "1", "m" } },
	{ "+zrem", { "ZREM", KEY, "m" } },
	{ "+zcard", { "ZCARD", KEY } },
	{ "+zrank", { "ZRANK", KEY, "m" } },
	{ "+zscore", { "ZSCORE", KEY, "m" } },
	{ "+zrange", { "ZRANGE", KEY, "0", "0" } },
	{ "+zrevrange", { "ZREVRANGE", KEY, "0", "0" } },
	{ "+zrangebyscore", { "ZRANGEBYSCORE", KEY, "0", "0" } },
	{ "+scan", { "SCAN", "0", "COUNT", "1" } },
};

/* Whether a refusal is about keys: "... to access one of the keys used ...". */
static bool is_about_keys(const char *said)
{
	return strstr(said, " access ") && strstr(said, " key");
}

enum rights_answer rights_judge(const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ERROR)
		return RIGHTS_GIVEN;
	if (strncmp(reply->str, "NOPERM ", 7) == 0)
		return is_about_keys(reply->str) ? RIGHTS_KEYS_DENIED
						 : RIGHTS_DENIED;
	if (strncmp(reply->str, "ERR unknown command", 19) == 0)
		return RIGHTS_UNKNOWN;
	return RIGHTS_GIVEN;
}

/* The line of the script, from 1 on, that an error speaks of; 0: none. */
static long script_line(const char *said)
{
	const char *mark = strstr(said, "@user_script:");

	return mark ? strtol(mark + strlen("@user_script:"), NULL, 10) : 0;
}

/* "+zrank or +zcard" of a line with both; "" of one that calls nothing. */
static void find_commands(const char *line, char *found, size_t size)
{
	static const char call[] = "call('";
	const char *end = strchrnul(line, '\n');
	size_t used = 0;

	*found = '\0';
	while ((line = strstr(line, call)) && line < end) {
		line += strlen(call);
		if (used + sizeof(" or +") >= size)
			return;
		used += (size_t)sprintf(found + used, used ? " or +" : "+");
		while (isupper((unsigned char)*line) && used + 1 < size)
			found[used++] = (char)tolower((unsigned char)*line++);
		found[used] = '\0';
	}
}

void rights_name_denied(const redisReply *reply, const char *script,
			char *error, size_t size)
{
	char found[64] = RIGHTS_KEYS;
	long line = script_line(reply->str);
	size_t used = strlen(error);

	if (!is_about_keys(reply->str)) {
		if (line <= 0)
			return;
		while (--line > 0 && (script = strchr(script, '\n')))
			script++;
		if (!script)
			return;
		find_commands(script, found, sizeof(found));
	}
	if (*found && used < size)
		snprintf(error + used, size - used, "; what is missing is %s",
			 found);
}
