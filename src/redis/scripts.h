/*
 * The Lua scripts of this folder.  scripts.c, which holds their text byte for
 * byte, is made from the .lua files by embed.sh when cflock is built.
 */
#ifndef CFLOCK_REDIS_SCRIPTS_H
#define CFLOCK_REDIS_SCRIPTS_H

#include <stddef.h>

struct script {
	const char *sha1; /* of text, 40 hex digits: what EVALSHA takes */
	const char *text; /* what EVAL takes */
	size_t length;    /* of text, in bytes */
};

/* What each script wants in KEYS and ARGV, and returns, its first lines say. */
extern const struct script script_acquire;
extern const struct script script_break;
extern const struct script script_list;
extern const struct script script_look;
extern const struct script script_renew;
extern const struct script script_release;

#endif
