/*
 * The rights that cflock and cflockctl need of a user of Redis: what a rule of
 * ACL must allow (contrib/redis-acl holds that rule).  No input or output.
 */
#ifndef CFLOCK_REDIS_RIGHTS_H
#define CFLOCK_REDIS_RIGHTS_H

#include <hiredis.h>
#include <stddef.h>

/* The key pattern among them, as a rule has it. */
#define RIGHTS_KEYS "~cflock:*"

struct right {
	const char *rule; /* as in "+zadd" */
	/* A command, NULL behind it, that uses the right and changes nothing. */
	const char *words[8];
};

#define RIGHTS_COUNT 27

extern const struct right rights[RIGHTS_COUNT];

enum rights_answer {
	RIGHTS_GIVEN,
	RIGHTS_DENIED,      /* the command */
	RIGHTS_KEYS_DENIED, /* the command is allowed, but not on our keys */
	RIGHTS_UNKNOWN,     /* the server does not know the command */
};

/* What the reply to the words of a right says about it. */
enum rights_answer rights_judge(const redisReply *reply);

/*
 * Appends to `error` what right is missing, where the error reply does not tell:
 * Redis 6 and 7.0 only give the line of the `script`.
 */
void rights_name_denied(const redisReply *reply, const char *script,
			char *error, size_t size);

#endif
