/* Durations as text.  Integers only, and no locale. */
#include "config.h"

#include "duration.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Nanoseconds in one `unit`, 0 when there is no such unit. */
static int64_t unit_ns(const char *unit)
{
	if (!strcmp(unit, "") || !strcmp(unit, "s"))
		return NS_PER_S;
	if (!strcmp(unit, "ms"))
		return NS_PER_MS;
	if (!strcmp(unit, "m"))
		return 60 * NS_PER_S;
	if (!strcmp(unit, "h"))
		return 3600 * NS_PER_S;
	return 0;
}

int duration_parse(const char *text, int64_t *ns)
{
	const char *whole = text;
	const char *whole_end, *fraction, *fraction_end;
	int64_t unit, most, count = 0, rest = 0;

	while (is_digit(*text))
		text++;
	whole_end = text;
	if (*text == '.')
		text++;
	fraction = text;
	while (is_digit(*text))
		text++;
	fraction_end = text;

	unit = unit_ns(text);
	if (!unit || (whole == whole_end && fraction == fraction_end))
		return -EINVAL;

	most = DURATION_MAX_NS / unit;
	for (; whole < whole_end; whole++) {
		count = count * 10 + (*whole - '0');
		if (count > most)
			return -ERANGE;
	}

	/*
	 * From the last digit to the first, so that cutting off at every step
	 * is the same as cutting off once at the end, and nothing overflows.
	 */
	while (fraction_end > fraction)
		rest = ((*--fraction_end - '0') * unit + rest) / 10;

	if (count * unit > DURATION_MAX_NS - rest)
		return -ERANGE;
	*ns = count * unit + rest;
	return 0;
}

char *duration_format(int64_t ns, char *buffer, size_t size)
{
	int64_t s = ns / NS_PER_S;

	if (ns < 0)
		snprintf(buffer, size, "0 ms");
	else if (s < 1)
		snprintf(buffer, size, "%" PRId64 " ms", ns / NS_PER_MS);
	else if (s < 60)
		snprintf(buffer, size, "%" PRId64 ".%d s", s,
			 (int)(ns % NS_PER_S / (NS_PER_S / 10)));
	else if (s < 3600)
		snprintf(buffer, size, "%" PRId64 " m %02d s", s / 60,
			 (int)(s % 60));
	else
		snprintf(buffer, size, "%" PRId64 " h %02d m", s / 3600,
			 (int)(s % 3600 / 60));
	return buffer;
}
