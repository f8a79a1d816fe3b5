/*
 * What is done with int64_t, of times and counts, in many places.
 */
#ifndef CFLOCK_INT64_H
#define CFLOCK_INT64_H

#include <stdint.h>

/* Of the ms, places and counts that others tell: 285 years, no overflow in ns. */
#define TOLD_MOST INT64_C(9000000000000)

/* 2^53 - 1: what a double, and thus Redis' Lua, counts exactly; no token is higher. */
#define TOKEN_MOST INT64_C(9007199254740991)

static inline int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* For qsort(3): the least comes first. */
static inline int int64_compare(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

#endif
