/* libFuzzer: what duration_parse() accepts is in range, and can be shown. */
#include "config.h"

#include "duration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char shown[DURATION_TEXT_MAX];
	char *text = malloc(size + 1);
	int64_t ns = -1;
	int rc;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	rc = duration_parse(text, &ns);
	if (rc ? ns != -1 || (rc != -EINVAL && rc != -ERANGE)
	       : ns < 0 || ns > DURATION_MAX_NS)
		abort();
	free(text);

	if (size >= sizeof(ns)) {
		memcpy(&ns, data, sizeof(ns));
		duration_format(ns, shown, sizeof(shown));
		if (strlen(shown) + 1 >= sizeof(shown))
			abort();
	}
	return 0;
}
