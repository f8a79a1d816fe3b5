/*
 * URLs as texts: written for people, and found, with the passwords in them, where
 * others have written them.
 */
#include "config.h"

#include "url.h"

#include <stdio.h>
#include <string.h>

/* "[", an address with its zone after "%25", "]", ":65535". */
#define HOST_TEXT_MAX (URL_HOST_MAX + 16)
#define HOSTS_TEXT_MAX (URL_TEXT_MAX - 2 * URL_USER_MAX - 64)

/* How an IPv6 address stands in a URL, and all others as they are. */
static int format_host(const char *host, int port, char *buffer, size_t size)
{
	bool is_ipv6 = strchr(host, ':');
	size_t address = strcspn(host, "%");
	const char *zone = host + address;

	return snprintf(buffer, size, "%s%.*s%s%s%s:%d", is_ipv6 ? "[" : "",
			(int)address, host, *zone ? "%25" : "",
			*zone ? zone + 1 : "", is_ipv6 ? "]" : "", port);
}

/* Those that there is room for: the first at least. */
static void format_hosts(const struct url *url, char buffer[HOSTS_TEXT_MAX])
{
	size_t length = 0;
	int i;

	for (i = 0; i < url->host_count; i++) {
		char text[HOST_TEXT_MAX];
		int n = format_host(url->hosts[i].name, url->hosts[i].port,
				    text, sizeof(text));

		if (length + (size_t)n + sizeof(",,...") > HOSTS_TEXT_MAX) {
			strcpy(buffer + length, ",...");
			return;
		}
		if (i)
			buffer[length++] = ',';
		memcpy(buffer + length, text, (size_t)n + 1);
		length += (size_t)n;
	}
}

char *url_format(const struct url *url, char *buffer, size_t size)
{
	/* A user without a password may be a password in the wrong place. */
	const char *user = url->has_password ? url->user : "";
	const char *at = *user ? "@" : "", *s = url->is_tls ? "s" : "";
	char hosts[HOSTS_TEXT_MAX], db[16] = "";

	if (url->db)
		snprintf(db, sizeof(db), "?db=%d", url->db);
	if (url->kind == URL_SENTINEL) {
		format_hosts(url, hosts);
		snprintf(buffer, size, "redis%s+sentinel://%s%s%s/%s%s", s,
			 user, at, hosts, url->master, db);
	} else if (url->kind == URL_CLUSTER) {
		format_hosts(url, hosts);
		snprintf(buffer, size, "redis%s+cluster://%s%s%s", s, user, at,
			 hosts);
	} else if (url->is_unix) {
		snprintf(buffer, size, "unix://%s%s%s%s", user, at, url->path,
			 db);
	} else {
		format_host(url->host, url->port, hosts, sizeof(hosts));
		snprintf(buffer, size, "redis%s://%s%s%s/%d", s, user, at,
			 hosts, url->db);
	}
	return buffer;
}

char *url_list_format(const struct url_list *list, char *buffer, size_t size)
{
	char text[URL_TEXT_MAX];
	size_t used = 0;
	int i;

	for (i = 0; i < list->count && used < size; i++)
		used += (size_t)snprintf(
			buffer + used, size - used, "%s%s", i ? " " : "",
			url_format(&list->urls[i], text, sizeof(text)));
	return buffer;
}

/* The length of a scheme with its "://" that `text` begins with; or 0. */
static size_t scheme_length(const char *text)
{
	size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz+");

	return length && !strncmp(text + length, "://", 3) ? length + 3 : 0;
}

bool url_find(const char *text, size_t from, struct url_span *span)
{
	static const char blanks[] = " \t";
	size_t end;

	span->start = from + strspn(text + from, blanks);
	for (end = span->start; text[end];) {
		size_t next = end + strspn(text + end, blanks);

		if (next > end && (!text[next] || scheme_length(text + next)))
			break;
		end = next > end ? next : end + 1;
	}
	span->length = end - span->start;
	return span->length > 0;
}

/* === passwords ========================================================== */

/* That in front of the '@'. */
static bool find_user_password(const char *text, bool is_url,
			       const struct url *url, struct url_span *span)
{
	const char *begin = strstr(text, "://");
	const char *at, *colon, *end;

	begin = begin ? begin + 3 : text;
	if (is_url && !url->has_password)
		return false;
	at = is_url ? strchr(begin, '@') : strrchr(begin, '@');

	end = at ? at : begin + strlen(begin);
	colon = memchr(begin, ':', (size_t)(end - begin));
	if (!colon && !at)
		return false;
	if (colon)
		begin = colon + 1;
	span->start = (size_t)(begin - text);
	span->length = (size_t)(end - begin);
	return true;
}

/* That of the sentinels, at `from` or behind it. */
static bool find_parameter(const char *text, size_t from, bool is_url,
			   const struct url *url, struct url_span *span)
{
	const char *value;

	if (is_url && !url->has_sentinel_password)
		return false;
	/* As a URL it has one '?', and in front of this either that or a '&'. */
	value = is_url ? strstr(text + strcspn(text, "?"), "sentinel-password=")
		       : strcasestr(text + from, "password=");
	while (is_url && value[-1] != '?' && value[-1] != '&')
		value = strstr(value + 1, "sentinel-password=");
	if (!value)
		return false;
	value = strchr(value, '=') + 1;
	span->start = (size_t)(value - text);
	span->length = is_url ? strcspn(value, "&") : strlen(value);
	return true;
}

int url_password_spans(const char *text,
		       struct url_span spans[URL_PASSWORDS_MAX])
{
	const char *why;
	struct url url;
	bool is_url = !url_parse(text, &url, &why);
	size_t from = 0;
	int count = 0;

	if (find_user_password(text, is_url, &url, &spans[count])) {
		from = spans[count].start + spans[count].length;
		count++;
	}
	if (find_parameter(text, from, is_url, &url, &spans[count]))
		count++;
	if (is_url)
		explicit_bzero(&url, sizeof(url));
	return count;
}
