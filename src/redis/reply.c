#include "config.h"

#include "redis/reply.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "int64.h"
#include "log.h"

#define CODE_MAX 32
#define TEXT_MAX 256

/* The error replies that have a meaning for us; all others may pass. */
static const struct meaning {
	const char *code;
	int err;
	const char *text; /* what happened, and what to do */
} meanings[] = {
	{ "NOAUTH", -EACCES,
	  "the server wants a password: set CFLOCK_PASSWORD or password-file" },
	{ "WRONGPASS", -EACCES, "the server refused the user or the password" },
	{ "NOPASS", -EACCES,
	  "the server knows no password for this user: leave it out" },
	{ "NOPERM", -EACCES,
	  "the server's ACL does not allow this user what cflock needs" },
	{ "DENIED", -EACCES,
	  "the server is in protected mode and refuses this client" },
	{ "WRONGTYPE", -EPROTO,
	  "the lock's key holds something that is not a lock: "
	  "another program uses it; choose another name" },
	{ "BADDB", -EPROTO,
	  "the server has no database of that number: DB index is out of range" },
	{ "TOKEN", -EPROTO, "the key of the fencing token is out of range" },
	{ "LOADING", -EAGAIN, "the server is still loading its data" },
	{ "OOM", -EAGAIN, "the server is out of memory (maxmemory)" },
	{ "READONLY", -EAGAIN,
	  "the server is a read-only replica: give the address of the master, "
	  "or those of the sentinels as redis+sentinel://" },
	{ "UNBLOCKED", -EAGAIN, "the server has become a replica" },
	{ "MISCONF", -EAGAIN,
	  "the server refuses writes because it cannot save to its disk" },
	{ "NOREPLICAS", -EAGAIN,
	  "the server refuses writes because it has too few replicas" },
	{ "MASTERDOWN", -EAGAIN,
	  "the server is a replica and has lost its master" },
	{ "MAXCLIENTS", -EAGAIN,
	  "the server has as many clients as it takes (maxclients)" },
	{ "BUSY", -EAGAIN, "the server is busy with another script" },
	{ "CLUSTERDOWN", -EAGAIN, "the cluster is down" },
	{ "TRYAGAIN", -EAGAIN, "the cluster is moving the lock's keys" },
	{ "MOVED", -EPROTO,
	  "the server is part of a cluster: "
	  "write redis+cluster:// for redis://" },
	{ "ASK", -EPROTO,
	  "the server is part of a cluster: "
	  "write redis+cluster:// for redis://" },
	{ "CROSSSLOT", -EPROTO,
	  "the server is part of a cluster: "
	  "write redis+cluster:// for redis://" },
};

/* Errors without a code of their own, and the one that they amount to. */
static const struct {
	const char *phrase;
	const char *code;
} phrases[] = {
	{ "invalid password", "WRONGPASS" }, /* Redis 5 */
	{ "without any password configured", "NOPASS" },
	{ "DB index is out of range", "BADDB" },
	{ "max number of clients reached", "MAXCLIENTS" },
	{ "The user executing the script can't", "NOPERM" }, /* Redis 7.0 */
	{ "ACL failure in script", "NOPERM" },               /* Redis 8 */
	{ "unauthenticated multibulk length", "NOAUTH" }, /* a long request */
};

/* Copies the first word of `text` that is in capitals, without a leading '-'. */
static void copy_code(const char *text, char code[CODE_MAX])
{
	size_t length;

	if (*text == '-')
		text++;
	length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
	if (length >= CODE_MAX)
		length = CODE_MAX - 1;
	memcpy(code, text, length);
	code[length] = '\0';
}

static const struct meaning *find_meaning(const char *text)
{
	char code[CODE_MAX];
	size_t i;

	copy_code(text, code);
	for (i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (strcmp(meanings[i].code, code) == 0)
			return &meanings[i];
	return NULL;
}

/*
 * Redis before 7 wraps an error that a command in a script met: "ERR Error
 * running script (call to f_...): @user_script:14: -OOM command not allowed".
 */
static const struct meaning *find_wrapped_meaning(const char *text)
{
	const char *mark = text;

	while ((mark = strstr(mark, ": "))) {
		const struct meaning *meaning = find_meaning(mark += 2);

		if (meaning)
			return meaning;
	}
	return NULL;
}

static const struct meaning *meaning_of(const char *text)
{
	const struct meaning *meaning = find_meaning(text);
	size_t i;

	if (meaning || strncmp(text, "ERR ", 4) != 0)
		return meaning;
	for (i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (strstr(text, phrases[i].phrase))
			return find_meaning(phrases[i].code);
	return find_wrapped_meaning(text);
}

static int unexpected(const redisReply *reply, char *error, size_t size)
{
	static const char *const types[] = {
		[REDIS_REPLY_STRING] = "a string",
		[REDIS_REPLY_ARRAY] = "an array",
		[REDIS_REPLY_INTEGER] = "a number",
		[REDIS_REPLY_NIL] = "nothing (nil)",
		[REDIS_REPLY_STATUS] = "a status",
	};
	size_t type = (size_t)reply->type;
	const char *name =
		type < sizeof(types) / sizeof(types[0]) ? types[type] : NULL;

	snprintf(
		error, size,
		"the server's reply is not one that cflock's script gives: it is %s%s",
		name ? name : "of an unknown type",
		reply->type == REDIS_REPLY_ARRAY ? " of other contents" : "");
	return -EPROTO;
}

bool reply_is_noscript(const redisReply *reply)
{
	return reply->type == REDIS_REPLY_ERROR &&
	       strncmp(reply->str, "NOSCRIPT", 8) == 0;
}

bool reply_is_no_master(const redisReply *reply)
{
	static const char *const codes[] = { "READONLY", "UNBLOCKED", "LOADING",
					     "MASTERDOWN" };
	const struct meaning *meaning = NULL;
	size_t i;

	if (reply->type == REDIS_REPLY_ERROR)
		meaning = meaning_of(reply->str);
	for (i = 0; meaning && i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(meaning->code, codes[i]) == 0)
			return true;
	return false;
}

int reply_error(const redisReply *reply, char *error, size_t size)
{
	const struct meaning *meaning;
	char text[TEXT_MAX];

	if (reply->type != REDIS_REPLY_ERROR)
		return unexpected(reply, error, size);

	log_printable(reply->str, text, sizeof(text));
	meaning = meaning_of(reply->str);
	if (meaning) {
		snprintf(error, size, "%s (%s)", meaning->text, text);
		return meaning->err;
	}
	snprintf(error, size, "the server answered with an error: %s", text);
	/* ERR is a request that this server will never understand. */
	return strncmp(reply->str, "ERR ", 4) == 0 ? -EPROTO : -EAGAIN;
}

int reply_handshake(const redisReply *reply, char *error, size_t size)
{
	char whole[STORE_ERROR_MAX];
	const struct meaning *meaning;
	int err;

	if (reply->type == REDIS_REPLY_STATUS && strcmp(reply->str, "OK") == 0)
		return 0;
	err = reply_error(reply, whole, sizeof(whole));
	if (reply->type != REDIS_REPLY_ERROR)
		snprintf(error, size, "%s", whole);
	else if ((meaning = meaning_of(reply->str)))
		snprintf(error, size, "%s (%s in answer to AUTH or SELECT)",
			 meaning->text, meaning->code);
	else
		snprintf(error, size,
			 "the server refused AUTH or SELECT: does it know "
			 "passwords, and the number of the database?");
	return err;
}

int reply_role(const redisReply *reply, char *error, size_t size)
{
	int err;

	if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
	    reply->element[0]->type == REDIS_REPLY_STRING) {
		if (strcmp(reply->element[0]->str, "master") == 0)
			return 0;
		snprintf(error, size,
			 "what the sentinels name as the master is none (yet)");
		return -EAGAIN;
	}
	err = reply_error(reply, error, size);
	if (err == -EACCES && strncmp(reply->str, "NOPERM", 6) == 0)
		snprintf(
			error, size,
			"the server's ACL does not allow this user ROLE, which "
			"cflock needs with redis+sentinel://: +role");
	return err;
}

static const char *text_at(const redisReply *reply, size_t i)
{
	if (i >= reply->elements ||
	    reply->element[i]->type != REDIS_REPLY_STRING)
		return NULL;
	return reply->element[i]->str;
}

static bool number_at(const redisReply *reply, size_t i, long long *number)
{
	if (reply->type != REDIS_REPLY_ARRAY || i >= reply->elements ||
	    reply->element[i]->type != REDIS_REPLY_INTEGER)
		return false;
	*number = reply->element[i]->integer;
	return true;
}

bool reply_is_grant(const redisReply *reply)
{
	long long granted;

	return number_at(reply, 0, &granted) && granted == 1;
}

int reply_replicas(const redisReply *reply, int wanted, char *error,
		   size_t size)
{
	int err;

	if (reply->type == REDIS_REPLY_INTEGER) {
		if (reply->integer >= wanted)
			return 0;
		snprintf(error, size,
			 "only %lld of %d replicas acknowledged the lease in "
			 "time (--min-replicas)",
			 reply->integer, wanted);
		return -ENOLCK;
	}
	err = reply_error(reply, error, size);
	if (err == -EACCES && strncmp(reply->str, "NOPERM", 6) == 0)
		snprintf(
			error, size,
			"the server's ACL does not allow this user WAIT, which "
			"cflock needs with --min-replicas: +wait");
	return err;
}

static bool token_is_valid(const char *token)
{
	size_t length = token ? strlen(token) : 0;

	return length > 0 && length < STORE_TOKEN_MAX &&
	       strspn(token, "0123456789") == length &&
	       strtoll(token, NULL, 10) <= TOKEN_MOST;
}

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

/* The holder, from its id at element `i` on. */
static void fill_holder(const redisReply *reply, size_t i,
			struct holder *holder)
{
	const char *since = text_at(reply, i + 6);

	copy_text(holder->id, sizeof(holder->id), text_at(reply, i));
	copy_text(holder->host, sizeof(holder->host), text_at(reply, i + 1));
	copy_text(holder->pid, sizeof(holder->pid), text_at(reply, i + 2));
	copy_text(holder->user, sizeof(holder->user), text_at(reply, i + 3));
	copy_text(holder->command, sizeof(holder->command),
		  text_at(reply, i + 4));
	copy_text(holder->message, sizeof(holder->message),
		  text_at(reply, i + 5));
	holder->since_ms = since ? strtoll(since, NULL, 10) : 0;
	if (holder->since_ms < 0 || holder->since_ms > TOLD_MOST)
		holder->since_ms = 0; /* unknown */
}

/* What acquire.lua says behind the 0; its head describes it. */
static bool fill_refusal(const redisReply *reply, struct refusal *refusal)
{
	static const char *const reasons[] = {
		[REFUSAL_HELD] = "held",         [REFUSAL_LINE] = "line",
		[REFUSAL_TAKEN] = "taken",       [REFUSAL_COOLING] = "cooling",
		[REFUSAL_ANCESTOR] = "ancestor", [REFUSAL_KIND] = "kind",
		[REFUSAL_GRACE] = "grace",       [REFUSAL_VOTES] = "token",
	};
	const char *reason = text_at(reply, 1), *value = text_at(reply, 8);
	const char *ticket = text_at(reply, 16);
	long long numbers[6];
	size_t i;

	if (!reason || !value)
		return false;
	for (i = 0; i < 6; i++) {
		if (!number_at(reply, i + 2, &numbers[i]))
			return false;
		/* The lock of another client may last that long. */
		if (numbers[i] > TOLD_MOST)
			numbers[i] = TOLD_MOST;
		if (numbers[i] < -1)
			numbers[i] = -1;
	}
	for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (strcmp(reasons[i], reason) == 0)
			break;
	if (i == sizeof(reasons) / sizeof(reasons[0]))
		return false;

	memset(refusal, 0, sizeof(*refusal));
	refusal->reason = (enum refusal_reason)i;
	refusal->again_ms = numbers[0];
	refusal->exactly = numbers[1];
	refusal->place = numbers[2];
	refusal->waiting = numbers[3];
	refusal->left_ms = numbers[4];
	refusal->holders = numbers[5];
	refusal->ticket = ticket ? strtoll(ticket, NULL, 10) : 0;
	copy_text(refusal->holder.value, sizeof(refusal->holder.value), value);
	fill_holder(reply, 9, &refusal->holder);
	return true;
}

int reply_acquire(const redisReply *reply, char token[STORE_TOKEN_MAX],
		  struct refusal *refusal, char *error, size_t size)
{
	long long granted;

	if (reply->type == REDIS_REPLY_ERROR)
		return reply_error(reply, error, size);
	if (!number_at(reply, 0, &granted))
		return unexpected(reply, error, size);
	if (granted == 1 && token_is_valid(text_at(reply, 1))) {
		copy_text(token, STORE_TOKEN_MAX, text_at(reply, 1));
		return STORE_DONE;
	}
	if (granted == 0 && fill_refusal(reply, refusal))
		return STORE_REFUSED;
	return unexpected(reply, error, size);
}

/* True for the value of a lock whose holders need not be alone. */
static bool is_shared(const char *value)
{
	return strcmp(value, "shared") == 0 ||
	       strncmp(value, "slots:", strlen("slots:")) == 0;
}

int reply_renew(const redisReply *reply, struct asked *asked, char *error,
		size_t size)
{
	char text[TEXT_MAX];
	long long renewed, taken_over;

	if (reply->type == REDIS_REPLY_ERROR)
		return reply_error(reply, error, size);
	if (!number_at(reply, 0, &renewed))
		return unexpected(reply, error, size);
	if (renewed == 1 && text_at(reply, 1) && text_at(reply, 2)) {
		log_printable(text_at(reply, 1), asked->by, sizeof(asked->by));
		log_printable(text_at(reply, 2), asked->asking,
			      sizeof(asked->asking));
		return STORE_DONE;
	}
	if (renewed == 0 && text_at(reply, 1) &&
	    number_at(reply, 2, &taken_over)) {
		log_printable(text_at(reply, 1), text, sizeof(text));
		if (taken_over)
			snprintf(
				error, size,
				"no renewal came in time, and the next in the line has "
				"taken the lease over");
		else if (is_shared(text))
			snprintf(
				error, size,
				"no renewal came in time: the lease has ended, others "
				"hold the lock (value \"%s\")",
				text);
		else if (strncmp(text, "broken by ", 10) == 0)
			snprintf(error, size, "it was %s", text);
		else if (*text)
			snprintf(error, size,
				 "another holds the lock now (value \"%s\")",
				 text);
		else
			snprintf(
				error, size,
				"the lock's key is gone: deleted, evicted, or lost "
				"in a restart of the server");
		return STORE_REFUSED;
	}
	return unexpected(reply, error, size);
}

int reply_release(const redisReply *reply, char *error, size_t size)
{
	if (reply->type == REDIS_REPLY_INTEGER)
		return STORE_DONE;
	return reply_error(reply, error, size);
}

int reply_break(const redisReply *reply, int64_t *ms, char *error, size_t size)
{
	long long count, left;

	if (reply->type == REDIS_REPLY_ERROR)
		return reply_error(reply, error, size);
	if (!number_at(reply, 0, &count) || !number_at(reply, 1, &left))
		return unexpected(reply, error, size);
	if (!count)
		return STORE_REFUSED;
	*ms = left < 0 ? 0 : left > TOLD_MOST ? TOLD_MOST : left;
	return STORE_DONE;
}

int reply_wait(const redisReply *reply, char *error, size_t size)
{
	if (reply->type == REDIS_REPLY_NIL)
		return -ETIMEDOUT;
	/* What stands in the entry says nothing more. */
	if (reply->type == REDIS_REPLY_ARRAY)
		return 0;
	return reply_error(reply, error, size);
}

int reply_text(const redisReply *reply, char **text, char *error, size_t size)
{
	if (reply->type != REDIS_REPLY_STRING)
		return reply_error(reply, error, size);
	*text = strndup(reply->str, reply->len);
	if (*text)
		return 0;
	snprintf(error, size, "no memory for the answer");
	return -ENOMEM;
}
