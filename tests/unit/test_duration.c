/* Durations: exact, strict and free of overflow. */
#include "config.h"

#include "duration.h"

#include "tap.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>

static void test_good(void)
{
	static const struct {
		const char *text;
		int64_t ns;
	} cases[] = {
		{ "0", 0 },
		{ "0ms", 0 },
		{ "0.0h", 0 },
		{ "1", NS_PER_S },
		{ "10s", 10 * NS_PER_S },
		{ "250ms", 250 * NS_PER_MS },
		{ "1.5m", 90 * NS_PER_S },
		{ "2h", 7200 * NS_PER_S },
		{ ".5", NS_PER_S / 2 },
		{ "5.", 5 * NS_PER_S },
		{ "5.ms", 5 * NS_PER_MS },
		{ "007", 7 * NS_PER_S },
		{ "00000000000000000000000000001s", NS_PER_S },
		{ "0.1", 100000000 },
		{ "0.000000001", 1 },
		{ "0.0000000019", 1 },
		{ "0.0000000009", 0 },
		{ "0.999999999999999999999999999999", 999999999 },
		{ "0.0005ms", 500 },
		{ "0.333333333333333333333333333333h", 1199999999999 },
		{ "0.016666666666666666666666666666666666m", 999999999 },
		{ "1.000000000000000000000000000000000000", NS_PER_S },
		{ "0.00000000000027777777777777777777777777777777777h", 0 },
		{ "0.00000000000027777777777777777777777777777777778h", 1 },
		{ "87600h", DURATION_MAX_NS },
		{ "315360000", DURATION_MAX_NS },
		{ "315360000000ms", DURATION_MAX_NS },
		{ "315360000.0000000009", DURATION_MAX_NS },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t ns = -1;

		is_int(duration_parse(cases[i].text, &ns), 0, "'%s' is read",
		       cases[i].text);
		is_int(ns, cases[i].ns, "'%s' is %" PRId64 " ns", cases[i].text,
		       cases[i].ns);
	}
}

static void test_bad(int expected, const char *const *texts)
{
	for (; *texts; texts++) {
		int64_t ns = 42;

		is_int(duration_parse(*texts, &ns), expected, "'%s' is refused",
		       *texts);
		is_int(ns, 42, "'%s' leaves the result alone", *texts);
	}
}

static void test_format(void)
{
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {
		{ INT64_MIN, "0 ms" },
		{ -1, "0 ms" },
		{ 0, "0 ms" },
		{ 999999, "0 ms" },
		{ 250 * NS_PER_MS, "250 ms" },
		{ NS_PER_S - 1, "999 ms" },
		{ NS_PER_S, "1.0 s" },
		{ 9300 * NS_PER_MS, "9.3 s" },
		{ 9399 * NS_PER_MS, "9.3 s" },
		{ 60 * NS_PER_S - 1, "59.9 s" },
		{ 60 * NS_PER_S, "1 m 00 s" },
		{ 125 * NS_PER_S, "2 m 05 s" },
		{ 3600 * NS_PER_S - 1, "59 m 59 s" },
		{ 12000 * NS_PER_S, "3 h 20 m" },
		{ 3660 * NS_PER_S, "1 h 01 m" },
		{ DURATION_MAX_NS, "87600 h 00 m" },
		{ INT64_MAX, "2562047 h 47 m" },
	};
	char text[DURATION_TEXT_MAX];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ok(duration_format(cases[i].ns, text, sizeof(text)) == text,
		   "%" PRId64 " ns: the buffer is returned", cases[i].ns);
		is_str(text, cases[i].text, "%" PRId64 " ns is shown as '%s'",
		       cases[i].ns, cases[i].text);
	}
	is_str(duration_format(250 * NS_PER_MS, text, 4), "250",
	       "a short buffer is not overrun");
}

int main(void)
{
	static const char *const malformed[] = {
		"",     ".",        "s",      "ms",
		".s",   "-1",       "+1",     " 1",
		"1 ",   "1 s",      "1\n",    "1e3",
		"0x10", "1..2",     "1.2.3",  "1,5",
		"1S",   "1MS",      "1d",     "1us",
		"1min", "1sm",      "1mss",   "inf",
		"nan",  "1_000",    "1'000",  "--1",
		"1-",   "\xd9\xa1", "1s\xff", "99999999999999999999d",
		NULL
	};
	static const char *const too_long[] = {
		"87600.1h",
		"87601h",
		"315360000.000000001",
		"315360000001ms",
		"315360000000.000001ms",
		"9223372036854775807",
		"9223372036854775808ms",
		"18446744073709551616",
		"18446744073709551617h",
		"99999999999999999999999999999999999999999999999999.5m",
		NULL
	};

	test_good();
	test_bad(-EINVAL, malformed);
	test_bad(-ERANGE, too_long);
	test_format();

	/* Where it is installed, this locale has a comma for the point. */
	setlocale(LC_ALL, "de_DE.UTF-8");
	test_good();
	return done_testing();
}
