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
	bool is_single = url->kind == URL_SINGLE;
	char shown[URL_TEXT_MAX];
	struct url_span spans[URL_PASSWORDS_MAX];
	struct url again;
	const char *why;
	int i, count;

	CHECK(url->db >= 0 && url->db <= 1000000);
	CHECK(url->is_unix == (*url->path == '/'));
	CHECK(is_single || !url->is_unix);
	CHECK((is_single && !url->is_unix) == (*url->host != '\0'));
	CHECK(*url->host ? url->port > 0 && url->port < 65536 : !url->port);
	CHECK(is_single == !url->host_count);
	CHECK(url->host_count <= URL_HOSTS_MAX);
	for (i = 0; i < url->host_count; i++) {
		CHECK(*url->hosts[i].name);
		CHECK(url->hosts[i].port > 0 && url->hosts[i].port < 65536);
	}
	CHECK((url->kind == URL_SENTINEL) == (*url->master != '\0'));
	CHECK(url->kind != URL_CLUSTER || !url->db);
	CHECK(url->has_user == (*url->user != '\0'));
	CHECK(url->has_password || !*url->password);
	url_format(url, shown, sizeof(shown));
	CHECK(strlen(shown) + 1 < sizeof(shown));
	if (is_single && !url->is_unix && !url->has_user) {
		CHECK(!url_parse(shown, &again, &why));
		CHECK(!strcmp(again.host, url->host));
		CHECK(again.port == url->port && again.db == url->db);
	}

	count = url_password_spans(text, spans);
	CHECK(count == url->has_password + url->has_sentinel_password);
	for (i = 0; i < count; i++) {
		/* Stars for a password of three times the length. */
		if (spans[i].length >= URL_PASSWORD_MAX)
			return;
		memset(text + spans[i].start, '*', spans[i].length);
	}
	if (!count)
		return;
	CHECK(!url_parse(text, &again, &why));
	CHECK(strspn(again.password, "*") == strlen(again.password));
	CHECK(strspn(again.sentinel_password, "*") ==
	      strlen(again.sentinel_password));
	CHECK(!strcmp(again.user, url->user));
	CHECK(!strcmp(again.host, url->host));
	CHECK(!strcmp(again.path, url->path));
	CHECK(!strcmp(again.master, url->master));
	CHECK(again.host_count == url->host_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct url_span spans[URL_PASSWORDS_MAX];
	size_t from = 0;
	int i, count;
	const char *why = NULL;
	struct url url;
	int rc;

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	count = url_password_spans(text, spans);
	for (i = 0; i < count; i++) {
		CHECK(spans[i].start >= from);
		from = spans[i].start + spans[i].length;
		CHECK(from <= strlen(text));
	}
	rc = url_parse(text, &url, &why);
	CHECK(!rc || rc == -EINVAL || rc == -ENOSYS);
	if (rc)
		CHECK(why);
	else
		check_good(&url, text);
	free(text);
	return 0;
}
