/*
 * The address of a lock service.  Texts handed out through `why` are static
 * and hold no part of the URL.
 */
#include "config.h"

#include "url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DB_MAX 1000000

/* Part of a URL, not terminated. */
struct span {
	const char *start;
	size_t length;
};

static struct span span_between(const char *start, const char *end)
{
	struct span span = { start, (size_t)(end - start) };

	return span;
}

static const char *span_find(struct span span, char c)
{
	return span.length ? memchr(span.start, c, span.length) : NULL;
}

static int fail(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One to seven digits, at most `most`; -1 when not so. */
static int parse_number(struct span span, int most)
{
	int number = 0;
	size_t i;

	if (!span.length || span.length > 7)
		return -1;
	for (i = 0; i < span.length; i++) {
		if (!is_digit(span.start[i]))
			return -1;
		number = number * 10 + (span.start[i] - '0');
	}
	return number <= most ? number : -1;
}

/* Copies `span` with %XX decoded.  Control characters only where `any`. */
static int decode(struct span span, bool any, char *out, size_t size,
		  const char **why)
{
	size_t i, used = 0;

	for (i = 0; i < span.length; i++) {
		char c = span.start[i];

		if (c == '%') {
			int high = -1, low = -1;

			if (span.length - i > 2) {
				high = hex_value(span.start[i + 1]);
				low = hex_value(span.start[i + 2]);
			}
			if (high < 0 || low < 0)
				return fail(why, "a '%' must be followed by "
						 "two hexadecimal digits");
			c = (char)(high * 16 + low);
			if (!c)
				return fail(why, "%00 is not allowed");
			if (!any && is_control(c))
				return fail(why, "control characters are not "
						 "allowed");
			i += 2;
		}
		if (used + 1 >= size)
			return fail(why, "a part of it is too long");
		out[used++] = c;
	}
	out[used] = '\0';
	return 0;
}

static int parse_userinfo(struct span span, struct url *url, const char **why)
{
	const char *end = span.start + span.length;
	const char *colon = span_find(span, ':');
	int rc;

	if (!span.length)
		return fail(why, "nothing stands before the '@'");
	if (span_find(span, '@'))
		return fail(why, "an '@' in user or password is written %40");
	if (colon) {
		url->has_password = true;
		rc = decode(span_between(colon + 1, end), true, url->password,
			    sizeof(url->password), why);
		if (rc < 0)
			return rc;
		end = colon;
	}
	url->has_user = end > span.start;
	return decode(span_between(span.start, end), false, url->user,
		      sizeof(url->user), why);
}

static bool is_host_char(char c)
{
	return is_digit(c) || is_letter(c) || c == '-' || c == '_' || c == '.';
}

/* What stands in the brackets: an IPv6 address, perhaps with a %zone. */
static int parse_ipv6(struct span span, struct url *url, const char **why)
{
	const char *zone = span_find(span, '%');
	struct in6_addr address;
	char text[INET6_ADDRSTRLEN];
	size_t length = zone ? (size_t)(zone - span.start) : span.length;
	size_t i, zone_length;

	if (length >= sizeof(text))
		return fail(why, "no IPv6 address stands in the brackets");
	memcpy(text, span.start, length);
	text[length] = '\0';
	if (inet_pton(AF_INET6, text, &address) != 1)
		return fail(why, "no IPv6 address stands in the brackets");
	memcpy(url->host, text, length + 1);
	if (!zone)
		return 0;

	/* RFC 6874 writes the '%' itself as %25. */
	zone++;
	zone_length = span.length - length - 1;
	if (zone_length > 2 && !memcmp(zone, "25", 2)) {
		zone += 2;
		zone_length -= 2;
	}
	if (!zone_length || length + 1 + zone_length >= sizeof(url->host))
		return fail(why, "the IPv6 zone is empty or too long");
	for (i = 0; i < zone_length; i++) {
		if (!is_host_char(zone[i]))
			return fail(why, "the IPv6 zone is malformed");
	}
	url->host[length] = '%';
	memcpy(url->host + length + 1, zone, zone_length);
	url->host[length + 1 + zone_length] = '\0';
	return 0;
}

static int parse_host(struct span span, struct url *url, const char **why)
{
	size_t i;

	if (!span.length)
		return fail(why, "the host is missing");
	if (span.length >= sizeof(url->host))
		return fail(why, "the host is too long");
	for (i = 0; i < span.length; i++) {
		if (!is_host_char(span.start[i]))
			return fail(why, "the host may hold only letters, "
					 "digits, '.', '-' and '_'");
	}
	memcpy(url->host, span.start, span.length);
	url->host[span.length] = '\0';
	return 0;
}

static int parse_host_and_port(struct span span, struct url *url,
			       const char **why)
{
	const char *end = span.start + span.length;
	const char *colon;
	int rc;

	if (span.length && *span.start == '[') {
		const char *bracket = span_find(span, ']');

		if (!bracket)
			return fail(why, "a ']' is missing");
		rc = parse_ipv6(span_between(span.start + 1, bracket), url,
				why);
		colon = bracket + 1 < end ? bracket + 1 : NULL;
		if (!rc && colon && *colon != ':')
			return fail(why, "only a port may follow the ']'");
	} else {
		colon = span_find(span, ':');
		if (colon && span_find(span_between(colon + 1, end), ':'))
			return fail(why, "an IPv6 address must stand in "
					 "brackets");
		rc = parse_host(span_between(span.start, colon ? colon : end),
				url, why);
	}
	if (rc < 0)
		return rc;

	url->port = URL_DEFAULT_PORT;
	if (colon)
		url->port = parse_number(span_between(colon + 1, end), 65535);
	if (url->port < 1)
		return fail(why, "the port must be 1 to 65535");
	return 0;
}

static int parse_db(struct span span, struct url *url, const char **why)
{
	url->db = parse_number(span, DB_MAX);
	if (url->db < 0)
		return fail(why, "the database must be a number, 0 to 1000000");
	return 0;
}

/* What stands behind redis:// */
static int parse_tcp(const char *text, struct url *url, const char **why)
{
	struct span authority = { text, strcspn(text, "/?#") };
	const char *end = text + authority.length;
	const char *at = memrchr(text, '@', authority.length);
	int rc = 0;

	if (at)
		rc = parse_userinfo(span_between(text, at), url, why);
	if (!rc)
		rc = parse_host_and_port(span_between(at ? at + 1 : text, end),
					 url, why);
	if (rc < 0)
		return rc;
	if (*end && *end != '/')
		return fail(why, "only /DB may follow the host and port");
	if (*end && end[1])
		return parse_db(span_between(end + 1, end + strlen(end)), url,
				why);
	return 0;
}

/* What stands behind unix:// */
static int parse_unix(const char *text, struct url *url, const char **why)
{
	const char *path = strchr(text, '/');
	const char *end;
	int rc = 0;

	url->is_unix = true;
	if (!path)
		return fail(why, "the absolute path of a socket is missing");
	if (path > text && path[-1] != '@')
		return fail(why, "the path of the socket must be absolute: "
				 "unix:///path");
	if (path > text)
		rc = parse_userinfo(span_between(text, path - 1), url, why);
	if (rc < 0)
		return rc;

	end = path + strcspn(path, "?#");
	if (end - path < 2)
		return fail(why, "the path of the socket is missing");
	rc = decode(span_between(path, end), false, url->path,
		    sizeof(url->path), why);
	if (rc < 0 || !*end)
		return rc;
	if (strncmp(end, "?db=", 4))
		return fail(why, "only ?db=N may follow the path");
	end += 4;
	return parse_db(span_between(end, end + strlen(end)), url, why);
}

/* What stands behind `scheme`, whatever its case; NULL when not that scheme. */
static const char *skip_scheme(const char *text, const char *scheme)
{
	for (; *scheme; scheme++, text++) {
		char c = *text;

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (c != *scheme)
			return NULL;
	}
	return text;
}

int url_parse(const char *text, struct url *url, const char **why)
{
	struct url parsed = { 0 };
	const char *rest;
	int rc;

	if (skip_scheme(text, "redis+sentinel://")) {
		*why = "redis+sentinel:// is not built yet";
		return -ENOSYS;
	}
	if (skip_scheme(text, "redis+cluster://")) {
		*why = "redis+cluster:// is not built yet";
		return -ENOSYS;
	}

	for (rest = text; *rest; rest++) {
		if (is_control(*rest) || *rest == ' ')
			return fail(why, "blanks and control characters are "
					 "not allowed");
	}
	rest = skip_scheme(text, "redis://");
	if (!rest) {
		rest = skip_scheme(text, "rediss://");
		parsed.is_tls = rest != NULL;
	}
	if (rest) {
		rc = parse_tcp(rest, &parsed, why);
	} else {
		rest = skip_scheme(text, "unix://");
		if (!rest)
			return fail(why, "it must begin with redis://, "
					 "rediss:// or unix://");
		rc = parse_unix(rest, &parsed, why);
	}
	if (!rc)
		*url = parsed;
	explicit_bzero(&parsed, sizeof(parsed));
	return rc;
}

char *url_format(const struct url *url, char *buffer, size_t size)
{
	/* A user without a password may be a password in the wrong place. */
	const char *user = url->has_password ? url->user : "";
	const char *at = *user ? "@" : "";
	bool is_ipv6 = strchr(url->host, ':');
	size_t address = strcspn(url->host, "%");
	const char *zone = url->host + address;

	if (!url->is_unix)
		snprintf(buffer, size, "redis%s://%s%s%s%.*s%s%s%s:%d/%d",
			 url->is_tls ? "s" : "", user, at, is_ipv6 ? "[" : "",
			 (int)address, url->host, *zone ? "%25" : "",
			 *zone ? zone + 1 : "", is_ipv6 ? "]" : "", url->port,
			 url->db);
	else if (url->db)
		snprintf(buffer, size, "unix://%s%s%s?db=%d", user, at,
			 url->path, url->db);
	else
		snprintf(buffer, size, "unix://%s%s%s", user, at, url->path);
	return buffer;
}

bool url_password_span(const char *text, size_t *start, size_t *length)
{
	const char *begin = strstr(text, "://");
	const char *at, *colon, *end;
	const char *why;
	struct url url;

	begin = begin ? begin + 3 : text;
	if (!url_parse(text, &url, &why)) {
		bool has_password = url.has_password;

		explicit_bzero(&url, sizeof(url));
		if (!has_password)
			return false;
		at = strchr(begin, '@');
	} else {
		at = strrchr(begin, '@');
	}

	end = at ? at : begin + strlen(begin);
	colon = memchr(begin, ':', (size_t)(end - begin));
	if (!colon && !at)
		return false;
	if (colon)
		begin = colon + 1;
	*start = (size_t)(begin - text);
	*length = (size_t)(end - begin);
	return true;
}
