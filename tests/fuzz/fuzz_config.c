/*
 * libFuzzer: configuration files.  Values go on to the parsers behind them;
 * every failure leaves one terminated message.
 */
#include "config.h"

#include "conffile.h"
#include "duration.h"
#include "signame.h"
#include "url.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int set(void *user, const char *where, const char *key,
	       const char *value, char error[OPTIONS_ERROR_MAX])
{
	int *keys = user;
	struct url url;
	const char *why;
	int64_t ns;

	if (strncmp(where, "fuzz:", 5) || atoi(where + 5) < 1)
		abort();
	if (!strcmp(key, "bad")) {
		strcpy(error, "bad");
		return -EINVAL;
	}
	++*keys;
	duration_parse(value, &ns);
	url_parse(value, &url, &why);
	signame_parse(value);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[OPTIONS_ERROR_MAX];
	FILE *stream;
	int keys = 0;
	int rc;

	/* fmemopen(3) refuses an empty buffer in some libraries. */
	if (!size)
		return 0;
	stream = fmemopen((void *)data, size, "r");
	if (!stream)
		return 0;
	memset(error, 0, sizeof(error));
	rc = conffile_parse(stream, "fuzz", set, &keys, error);
	if (rc && rc != -EBADF && rc != -EINVAL)
		abort();
	if (!rc != !*error || error[sizeof(error) - 1])
		abort();
	fclose(stream);
	return 0;
}
