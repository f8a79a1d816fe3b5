/* Literal addresses, for which nobody is asked. */
#include "config.h"

#include "redis/resolve.h"

#include <errno.h>
#include <net/if.h>
#include <stdint.h>

#include "tap.h"

static struct address addresses[RESOLVE_ADDRESSES_MAX];
static char text[RESOLVE_TEXT_MAX];

static struct address address_of(const char *host, int port)
{
	is_int(resolve_host(host, port, INT64_MAX, -1, addresses), 1, "%s",
	       host);
	is_str(addresses[0].name, host, "... is what its certificate is for");
	return addresses[0];
}

static void formats_as(const struct address *address, const char *expected)
{
	resolve_format(address, text);
	is_str(text, expected, "as %s", expected);
}

static void test_v4(void)
{
	struct address address = address_of("192.0.2.1", 6379), other;

	formats_as(&address, "192.0.2.1:6379");
	is_int(address.length, sizeof(struct sockaddr_in), "its length");
	other = address_of("192.0.2.1", 6379);
	ok(resolve_is_same(&address, &other), "the same");
	other = address_of("192.0.2.1", 6380);
	ok(!resolve_is_same(&address, &other), "another port");
	other = address_of("192.0.2.2", 6379);
	ok(!resolve_is_same(&address, &other), "another host");
	other = address_of("::ffff:192.0.2.1", 6379);
	ok(!resolve_is_same(&address, &other), "of another kind");
}

static void test_v6(void)
{
	struct address address = address_of("2001:db8::1", 6379), other;

	formats_as(&address, "[2001:db8::1]:6379");
	is_int(address.length, sizeof(struct sockaddr_in6), "its length");
	other = address_of("2001:DB8:0::1", 6379);
	ok(resolve_is_same(&address, &other), "the same, written otherwise");
	other = address_of("2001:db8::1", 6380);
	ok(!resolve_is_same(&address, &other), "another port");
	other = address_of("2001:db8::2", 6379);
	ok(!resolve_is_same(&address, &other), "another host");
}

static void test_zone(void)
{
	struct address address = address_of("fe80::1%lo", 1), other;

	is_int(address.to.v6.sin6_scope_id, if_nametoindex("lo"),
	       "an interface by its name");
	other = address_of("fe80::1%4711", 1);
	is_int(other.to.v6.sin6_scope_id, 4711, "... or its number");
	ok(!resolve_is_same(&address, &other), "the same host, elsewhere");
}

static void test_others(void)
{
	struct address local = { .to.local = { .sun_family = AF_UNIX,
					       .sun_path = "/run/redis" } };
	static char long_name[2 * URL_HOST_MAX];

	formats_as(&local, "/run/redis");
	memset(long_name, 'a', sizeof(long_name) - 1);
	is_int(resolve_host(long_name, 1, INT64_MAX, -1, addresses), -ENOENT,
	       "a name that is longer than any");
}

int main(void)
{
	test_v4();
	test_v6();
	test_zone();
	test_others();
	return done_testing();
}
