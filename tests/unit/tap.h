/*
 * The Test Anything Protocol for unit tests: one line a check, and the plan at
 * the end.  Names are printf formats.  main() ends with
 * `return done_testing();`.
 */
#ifndef CFLOCK_TAP_H
#define CFLOCK_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failures;

#define TAP_PRINTF(n) __attribute__((unused, format(printf, n, (n) + 1)))

__attribute__((format(printf, 4, 0))) static bool
tap_result(bool good, const char *file, int line, const char *name,
	   va_list arguments)
{
	char text[512];
	char *c;

	vsnprintf(text, sizeof(text), name, arguments);
	for (c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == '#')
			*c = '?';
	}
	printf("%sok %d - %s\n", good ? "" : "not ", ++tap_count, text);
	if (!good) {
		printf("#   at %s:%d\n", file, line);
		tap_failures++;
	}
	fflush(stdout);
	return good;
}

TAP_PRINTF(4)
static bool tap_ok(bool good, const char *file, int line, const char *name, ...)
{
	va_list arguments;

	va_start(arguments, name);
	tap_result(good, file, line, name, arguments);
	va_end(arguments);
	return good;
}

TAP_PRINTF(5)
static bool tap_is_int(long long got, long long expected, const char *file,
		       int line, const char *name, ...)
{
	va_list arguments;

	va_start(arguments, name);
	if (!tap_result(got == expected, file, line, name, arguments))
		printf("#   got %lld, expected %lld\n", got, expected);
	va_end(arguments);
	return got == expected;
}

TAP_PRINTF(5)
static bool tap_is_str(const char *got, const char *expected, const char *file,
		       int line, const char *name, ...)
{
	bool good = got && expected ? !strcmp(got, expected) : got == expected;
	va_list arguments;

	va_start(arguments, name);
	if (!tap_result(good, file, line, name, arguments))
		printf("#   got \"%s\", expected \"%s\"\n", got ? got : "NULL",
		       expected ? expected : "NULL");
	va_end(arguments);
	return good;
}

#define ok(good, ...) tap_ok((good), __FILE__, __LINE__, __VA_ARGS__)
#define is_int(got, expected, ...) \
 tap_is_int((got), (expected), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, expected, ...) \
 tap_is_str((got), (expected), __FILE__, __LINE__, __VA_ARGS__)

__attribute__((unused)) static int done_testing(void)
{
	printf("1..%d\n", tap_count);
	return tap_failures != 0;
}

#endif
