/*
 * The answer to INFO: lines of the form "field:value".  All take NULL for an
 * answer without a field.
 */
#ifndef CFLOCK_REDIS_INFO_H
#define CFLOCK_REDIS_INFO_H

#include <stdbool.h>

#define INFO_VALUE_MAX 256

/* The value of a field, up to the end of its line; NULL when it is not there. */
const char *info_find(const char *info, const char *field);

/* False, with "" in `value`, when the field is not there. */
bool info_text(const char *info, const char *field, char value[INFO_VALUE_MAX]);

/* -1 when the field is not there. */
long long info_number(const char *info, const char *field);

bool info_is(const char *info, const char *field, const char *value);

#endif
