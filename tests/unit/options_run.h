/*
 * For the tests of options: options.c is included, not linked, so that the
 * system's configuration file is one below the working directory.
 */
#ifndef CFLOCK_OPTIONS_RUN_H
#define CFLOCK_OPTIONS_RUN_H

#undef SYSCONFDIR
#define SYSCONFDIR "sysconf"
#include "options.c" /* NOLINT */

#include "tap.h"

#define S INT64_C(1000000000)

static struct options options;
static char error[OPTIONS_ERROR_MAX];
static char line[8192];
static char *words[128];

/* Reads the words of `text`; '' is an empty one, and _ stands for a blank. */
static int run(const char *text)
{
	int count = 0;
	char *word, *next;

	snprintf(line, sizeof(line), "cflock %s", text);
	next = line;
	while ((word = strsep(&next, " "))) {
		char *c;

		if (!*word)
			continue;
		if (!strcmp(word, "''"))
			*word = '\0';
		for (c = word; *c; c++) {
			if (*c == '_')
				*c = ' ';
		}
		words[count++] = word;
	}
	words[count] = NULL;
	memset(&options, 0x55, sizeof(options));
	strcpy(error, "untouched");
	return options_read(count, words, &options, error);
}

static void clean_environment(void)
{
	clearenv();
	setenv("CFLOCK_CONFIG", "", 1);
}

static void is_bad(const char *text, int expected, const char *part)
{
	struct options untouched;

	memset(&untouched, 0x55, sizeof(untouched));
	is_int(run(text), expected, "%s: refused", text);
	if (!ok(strstr(error, part) != NULL, "%s: says '%s'", text, part))
		printf("#   said: %s\n", error);
	ok(!strpbrk(error, "\n\r\t") && !strstr(error, "hunter"),
	   "%s: one line without a password", text);
	ok(!memcmp(&options, &untouched, sizeof(options)),
	   "%s: the result is untouched", text);
}

static bool is_good(const char *text)
{
	bool good = is_int(run(text), OPTIONS_RUN, "%s: read", text);

	is_str(error, "untouched", "%s: no message", text);
	return good;
}

#endif
