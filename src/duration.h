/*
 * Durations as people write them: `250ms`, `10s`, `1.5m`, `2h`; a bare number
 * is seconds.
 */
#ifndef CFLOCK_DURATION_H
#define CFLOCK_DURATION_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* The longest duration that is accepted: ten years of 365 days. */
#define DURATION_MAX_NS (INT64_C(10) * 365 * 24 * 3600 * NS_PER_S)

/*
 * Parses all of `text`: digits, at most one '.', at least one digit, then one
 * of "", "ms", "s", "m", "h".  No sign, blank, exponent or trailing rubbish,
 * whatever the locale.  Exact to the nanosecond; finer digits are cut off.
 * Returns 0 and sets *ns to 0 .. DURATION_MAX_NS; -EINVAL when it is not a
 * duration, -ERANGE when it is longer than DURATION_MAX_NS.  *ns is untouched
 * on failure.
 */
int duration_parse(const char *text, int64_t *ns);

/*
 * Writes `ns` for a person to read: "250 ms", "9.3 s", "2 m 05 s", "3 h 20 m".
 * Negative values are shown as "0 ms".  Returns `buffer`.
 */
#define DURATION_TEXT_MAX 32
char *duration_format(int64_t ns, char *buffer, size_t size);

#endif
