/*
 * libFuzzer: what url_parse() accepts is in range, can be written and read
 * again; the password's span is inside of the text and is all of it.
 */
#include "config.h"

#include "url.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) \
 do {                    \
  if (!(condition))      \
   abort();              \
 } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_good(const struct url *url, char *text)
{
	char shown[URL_TEXT_MAX];
	size_t start, length;
	struct url again;
	const char *why;

	CHECK(url->db >= 0 && url->db <= 1000000);
	CHECK(url->is_unix == (*url->path == '/'));
	CHECK(url->is_unix == !*url->host);
	CHECK(url->is_unix ? !url->port : url->port > 0 && url->port < 65536);
	CHECK(url->has_user == (*url->user != '\0'));
	CHECK(url->has_password || !*url->password);
	url_format(url, shown, sizeof(shown));
	CHECK(strlen(shown) + 1 < sizeof(shown));
	if (!url->is_unix && !url->has_user) {
		CHECK(!url_parse(shown, &again, &why));
		CHECK(!strcmp(again.host, url->host));
		CHECK(again.port == url->port && again.db == url->db);
	}

	CHECK(url_password_span(text, &start, &length) == url->has_password);
	if (!url->has_password)
		return;
	memset(text + start, '*', length);
	CHECK(!url_parse(text, &again, &why));
	CHECK(strlen(again.password) == length);
	CHECK(strspn(again.password, "*") == length);
	CHECK(!strcmp(again.user, url->user));
	CHECK(!strcmp(again.host, url->host));
	CHECK(!strcmp(again.path, url->path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	size_t start = 0, length = 0;
	const char *why = NULL;
	struct url url;
	int rc;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	if (url_password_span(text, &start, &length))
		CHECK(start + length <= strlen(text));
	rc = url_parse(text, &url, &why);
	CHECK(!rc || rc == -EINVAL || rc == -ENOSYS);
	if (rc)
		CHECK(why);
	/* Stars for a password of three times the length may be too long. */
	else if (length < URL_PASSWORD_MAX)
		check_good(&url, text);
	free(text);
	return 0;
}
