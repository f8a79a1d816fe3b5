/* Server URLs, and the wiping of passwords in them. */
#include "config.h"

#include "url.h"

#include "tap.h"

#include <errno.h>
#include <stdlib.h>

struct good {
	const char *text;
	struct url url;
	const char *shown;
};

static const struct good good[] = {
	{ "redis://h", { .host = "h", .port = 6379 }, "redis://h:6379/0" },
	{ "rediss://h",
	  { .is_tls = true, .host = "h", .port = 6379 },
	  "rediss://h:6379/0" },
	{ "RedisS://u:p@[::1]:7000/5",
	  { .is_tls = true,
	    .has_user = true,
	    .user = "u",
	    .has_password = true,
	    .password = "p",
	    .host = "::1",
	    .port = 7000,
	    .db = 5 },
	  "rediss://u@[::1]:7000/5" },
	{ "redis://h/", { .host = "h", .port = 6379 }, "redis://h:6379/0" },
	{ "REDIS://Host.Example",
	  { .host = "Host.Example", .port = 6379 },
	  "redis://Host.Example:6379/0" },
	{ "redis://127.0.0.1:1/2",
	  { .host = "127.0.0.1", .port = 1, .db = 2 },
	  "redis://127.0.0.1:1/2" },
	{ "redis://h_1-a:65535/1000000",
	  { .host = "h_1-a", .port = 65535, .db = 1000000 },
	  "redis://h_1-a:65535/1000000" },
	{ "redis://:secret@h",
	  { .has_password = true,
	    .password = "secret",
	    .host = "h",
	    .port = 6379 },
	  "redis://h:6379/0" },
	{ "redis://ann:secret@h:7000/3",
	  { .has_user = true,
	    .user = "ann",
	    .has_password = true,
	    .password = "secret",
	    .host = "h",
	    .port = 7000,
	    .db = 3 },
	  "redis://ann@h:7000/3" },
	{ "redis://ann:@h",
	  { .has_user = true,
	    .user = "ann",
	    .has_password = true,
	    .host = "h",
	    .port = 6379 },
	  "redis://ann@h:6379/0" },
	{ "redis://:@h",
	  { .has_password = true, .host = "h", .port = 6379 },
	  "redis://h:6379/0" },
	{ "redis://secret@h",
	  { .has_user = true, .user = "secret", .host = "h", .port = 6379 },
	  "redis://h:6379/0" },
	{ "redis://a%40b:p%3a%2F%40%25%0a:x@h",
	  { .has_user = true,
	    .user = "a@b",
	    .has_password = true,
	    .password = "p:/@%\n:x",
	    .host = "h",
	    .port = 6379 },
	  "redis://a@b@h:6379/0" },
	{ "redis://[::1]",
	  { .host = "::1", .port = 6379 },
	  "redis://[::1]:6379/0" },
	{ "redis://u:p@[2001:db8::1.2.3.4]:7000/5",
	  { .has_user = true,
	    .user = "u",
	    .has_password = true,
	    .password = "p",
	    .host = "2001:db8::1.2.3.4",
	    .port = 7000,
	    .db = 5 },
	  "redis://u@[2001:db8::1.2.3.4]:7000/5" },
	{ "redis://[fe80::1%eth0]:1",
	  { .host = "fe80::1%eth0", .port = 1 },
	  "redis://[fe80::1%25eth0]:1/0" },
	{ "redis://[fe80::1%25eth0]:1",
	  { .host = "fe80::1%eth0", .port = 1 },
	  "redis://[fe80::1%25eth0]:1/0" },
	{ "unix:///run/redis.sock",
	  { .is_unix = true, .path = "/run/redis.sock" },
	  "unix:///run/redis.sock" },
	{ "unix:///run/a@b:c.sock?db=7",
	  { .is_unix = true, .path = "/run/a@b:c.sock", .db = 7 },
	  "unix:///run/a@b:c.sock?db=7" },
	{ "unix://ann:secret@/r%20s%3F?db=0",
	  { .is_unix = true,
	    .has_user = true,
	    .user = "ann",
	    .has_password = true,
	    .password = "secret",
	    .path = "/r s?" },
	  "unix://ann@/r s?" },
	{ "redis+sentinel://h/m",
	  { .kind = URL_SENTINEL,
	    .host_count = 1,
	    .hosts = { { "h", 26379 } },
	    .master = "m" },
	  "redis+sentinel://h:26379/m" },
	{ "Redis+Sentinel://ann:secret@h1:1,[::1]:2,[::1],h4/my%2dm?db=5",
	  { .kind = URL_SENTINEL,
	    .has_user = true,
	    .user = "ann",
	    .has_password = true,
	    .password = "secret",
	    .host_count = 4,
	    .hosts = { { "h1", 1 },
		       { "::1", 2 },
		       { "::1", 26379 },
		       { "h4", 26379 } },
	    .master = "my-m",
	    .db = 5 },
	  "redis+sentinel://ann@h1:1,[::1]:2,[::1]:26379,h4:26379/my-m?db=5" },
	{ "redis+sentinel://h/m?sentinel-password=a%26b@:/&sentinel-user=bob&db=0",
	  { .kind = URL_SENTINEL,
	    .host_count = 1,
	    .hosts = { { "h", 26379 } },
	    .master = "m",
	    .sentinel_user = "bob",
	    .sentinel_password = "a&b@:/" },
	  "redis+sentinel://h:26379/m" },
	{ "redis+sentinel://h/m?sentinel-user=bob&sentinel-password=",
	  { .kind = URL_SENTINEL,
	    .host_count = 1,
	    .hosts = { { "h", 26379 } },
	    .master = "m",
	    .sentinel_user = "bob" },
	  "redis+sentinel://h:26379/m" },
	{ "redis+cluster://h1,h2:7001,1.2.3.4",
	  { .kind = URL_CLUSTER,
	    .host_count = 3,
	    .hosts = { { "h1", 6379 }, { "h2", 7001 }, { "1.2.3.4", 6379 } } },
	  "redis+cluster://h1:6379,h2:7001,1.2.3.4:6379" },
	{ "rediss+sentinel://h,[::1]:1/m",
	  { .kind = URL_SENTINEL,
	    .is_tls = true,
	    .host_count = 2,
	    .hosts = { { "h", 26379 }, { "::1", 1 } },
	    .master = "m" },
	  "rediss+sentinel://h:26379,[::1]:1/m" },
	{ "Rediss+Cluster://u:p@h1,h2:7001",
	  { .kind = URL_CLUSTER,
	    .is_tls = true,
	    .has_user = true,
	    .user = "u",
	    .has_password = true,
	    .password = "p",
	    .host_count = 2,
	    .hosts = { { "h1", 6379 }, { "h2", 7001 } } },
	  "rediss+cluster://u@h1:6379,h2:7001" },
	{ "redis+cluster://:pw@h1/0",
	  { .kind = URL_CLUSTER,
	    .has_password = true,
	    .password = "pw",
	    .host_count = 1,
	    .hosts = { { "h1", 6379 } } },
	  "redis+cluster://h1:6379" },
	{ "redis+cluster://a,b,c,d,e,f,g,h/",
	  { .kind = URL_CLUSTER,
	    .host_count = 8,
	    .hosts = { { "a", 6379 },
		       { "b", 6379 },
		       { "c", 6379 },
		       { "d", 6379 },
		       { "e", 6379 },
		       { "f", 6379 },
		       { "g", 6379 },
		       { "h", 6379 } } },
	  "redis+cluster://a:6379,b:6379,c:6379,d:6379,e:6379,f:6379,g:6379,h:6379" },
	{ "unix://:p@/s",
	  { .is_unix = true,
	    .has_password = true,
	    .password = "p",
	    .path = "/s" },
	  "unix:///s" },
};

static const char *const bad[] = {
	"",
	"redis",
	"redis:",
	"redis:/h",
	"redis//h",
	"h:6379",
	"//h",
	"http://h",
	"tcp://h",
	"xredis://h",
	" redis://h",
	"redis ://h",
	"redis://",
	"redis:///",
	"redis:///0",
	"redis://:6379",
	"redis://u:p@",
	"redis://u:p@:1",
	"redis://u:p@/0",
	"redis://@h",
	"redis://a@b@h",
	"redis://a:b@c@h",
	"redis://:pa/ss@h",
	"redis://:pa?ss@h",
	"redis://:pa#ss@h",
	"redis://h:",
	"redis://h:0",
	"redis://h:65536",
	"redis://h:99999999999",
	"redis://h:4294967297",
	"redis://h:-1",
	"redis://h:+1",
	"redis://h: 1",
	"redis://h:1x",
	"redis://h:0x1",
	"redis://h:1:2",
	"redis://h:/0",
	"redis://h/x",
	"redis://h/1x",
	"redis://h/-1",
	"redis://h/1000001",
	"redis://h/4294967296",
	"redis://h/1/2",
	"redis://h//",
	"redis://h/0?x=1",
	"redis://h?db=1",
	"redis://h#1",
	"redis://h/0#1",
	"redis://h h",
	"redis://h\n",
	"redis://h\t/0",
	"redis://h%41",
	"redis://h,i",
	"redis://h\\i",
	"redis://h\xc3\xa4",
	"redis://::1",
	"redis://::1:6379",
	"redis://[::1",
	"redis://::1]",
	"redis://[]",
	"redis://[]:1",
	"redis://[h]",
	"redis://[1.2.3.4]",
	"redis://[::1]x",
	"redis://[::1]:",
	"redis://[::1]6379",
	"redis://[::1]:0",
	"redis://[::1%]",
	"redis://[::1%a/b]",
	"redis://[::g]",
	"redis://[1:2:3:4:5:6:7:8:9]",
	"redis://[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]",
	"redis://%00:p@h",
	"redis://u:%00@h",
	"redis://u:%@h",
	"redis://u:%4@h",
	"redis://u:%4g@h",
	"redis://u:%g4@h",
	"redis://%@h",
	"redis://a%0ab:p@h",
	"redis://a%7f:p@h",
	"redis://u:p%@h",
	"unix:",
	"unix://",
	"unix:///",
	"unix://run/s",
	"unix://h/s",
	"unix://@/s",
	"unix://u:p@",
	"unix://u:p@s",
	"unix://a@b@/s",
	"unix:///s?",
	"unix:///s?db",
	"unix:///s?db=",
	"unix:///s?db=x",
	"unix:///s?db=-1",
	"unix:///s?db=1000001",
	"unix:///s?db=1&x=2",
	"unix:///s?x=1",
	"unix:///s?db=1?db=1",
	"unix:///s#x",
	"unix:///s%00",
	"unix:///s%0a",
	"unix:///s%",
	"unix:///a b",
	"redis+sentinel://",
	"redis+sentinel://h",
	"redis+sentinel://h/",
	"redis+sentinel://h/?db=1",
	"redis+sentinel:///m",
	"redis+sentinel://h,/m",
	"redis+sentinel://,h/m",
	"redis+sentinel://h,,i/m",
	"redis+sentinel://u:p@/m",
	"redis+sentinel://@h/m",
	"redis+sentinel://h:0,i/m",
	"redis+sentinel://h/m/0",
	"redis+sentinel://h/m#x",
	"redis+sentinel://h?m",
	"redis+sentinel://h/m?",
	"redis+sentinel://h/m?db",
	"redis+sentinel://h/m?db=",
	"redis+sentinel://h/m?db=x",
	"redis+sentinel://h/m?db=1&",
	"redis+sentinel://h/m?db=1&&db=2",
	"redis+sentinel://h/m?password=x",
	"redis+sentinel://h/m?sentinel-password=x&sentinel-password=y",
	"redis+sentinel://h/m?sentinel-password=&sentinel-password=y",
	"redis+sentinel://h/m?sentinel-user=x?y",
	"redis+sentinel://h/m?sentinel-user=%0a",
	"redis+sentinel://h/m%0a",
	"redis+sentinel://a,b,c,d,e,f,g,h,i/m",
	"redis+cluster://",
	"redis+cluster://h,",
	"redis+cluster://h/1",
	"redis+cluster://h/0/",
	"redis+cluster://h?db=1",
	"redis+cluster://a,b,c,d,e,f,g,h,i",
};

static void test_good(const struct good *c)
{
	char text[URL_TEXT_MAX];
	const char *why = NULL;
	struct url url;
	int i;

	memset(&url, 0x55, sizeof(url));
	if (!is_int(url_parse(c->text, &url, &why), 0, "%s is read", c->text))
		return;
	ok(url.kind == c->url.kind, "%s: kind", c->text);
	is_int(url.host_count, c->url.host_count, "%s: hosts", c->text);
	for (i = 0; i < url.host_count && i < c->url.host_count; i++) {
		is_str(url.hosts[i].name, c->url.hosts[i].name, "%s: host %d",
		       c->text, i);
		is_int(url.hosts[i].port, c->url.hosts[i].port, "%s: its port",
		       c->text);
	}
	is_str(url.master, c->url.master, "%s: master", c->text);
	is_str(url.sentinel_user, c->url.sentinel_user, "%s: sentinel-user",
	       c->text);
	is_str(url.sentinel_password, c->url.sentinel_password,
	       "%s: sentinel-password", c->text);
	ok(url.is_unix == c->url.is_unix, "%s: is_unix", c->text);
	ok(url.has_user == c->url.has_user, "%s: has_user", c->text);
	ok(url.has_password == c->url.has_password, "%s: has_password",
	   c->text);
	is_str(url.user, c->url.user, "%s: user", c->text);
	is_str(url.password, c->url.password, "%s: password", c->text);
	is_str(url.host, c->url.host, "%s: host", c->text);
	is_str(url.path, c->url.path, "%s: path", c->text);
	is_int(url.port, c->url.port, "%s: port", c->text);
	is_int(url.db, c->url.db, "%s: database", c->text);
	is_str(url_format(&url, text, sizeof(text)), c->shown,
	       "%s: shown without its password", c->text);
}

static void test_bad(const char *text, int expected)
{
	static const struct url untouched = { .host = "untouched" };
	struct url url = untouched;
	const char *why = NULL;

	is_int(url_parse(text, &url, &why), expected, "%s is refused", text);
	ok(why && *why, "%s: it says why", text);
	ok(!memcmp(&url, &untouched, sizeof(url)),
	   "%s: the result is untouched", text);
}

/* "PREFIX" + `length` times 'x' + "SUFFIX": is it read? */
static void test_length(const char *prefix, size_t length, const char *suffix,
			int expected)
{
	static char text[8192];
	size_t used = strlen(prefix);
	const char *why;
	struct url url;

	strcpy(text, prefix);
	memset(text + used, 'x', length);
	strcpy(text + used + length, suffix);
	is_int(url_parse(text, &url, &why), expected, "%s<%zu bytes>%s: %s",
	       prefix, length, suffix, expected ? "refused" : "read");
}

/* Both passwords; NULL where there is none. */
static void test_spans(const char *text, const char *first, const char *second)
{
	const char *passwords[URL_PASSWORDS_MAX] = { first, second };
	struct url_span spans[URL_PASSWORDS_MAX];
	int i, count = url_password_spans(text, spans);

	is_int(count, !!first + !!second, "%s: passwords", text);
	for (i = 0; i < count && i < URL_PASSWORDS_MAX; i++) {
		char got[256];

		snprintf(got, sizeof(got), "%.*s", (int)spans[i].length,
			 text + spans[i].start);
		is_str(got, passwords[i], "%s: password %d", text, i + 1);
	}
}

static void test_span(const char *text, const char *password)
{
	test_spans(text, password, NULL);
}

/* As many hosts as there is room for. */
static void test_long_hosts(void)
{
	static char text[4096] = "redis+cluster://";
	char shown[URL_TEXT_MAX];
	const char *why;
	struct url url;
	int i;

	for (i = 0; i < URL_HOSTS_MAX; i++) {
		size_t used = strlen(text);

		memset(text + used, 'a' + i, 255);
		strcpy(text + used + 255, i + 1 < URL_HOSTS_MAX ? "," : "");
	}
	is_int(url_parse(text, &url, &why), 0, "eight long hosts");
	url_format(&url, shown, sizeof(shown));
	ok(!strncmp(shown, text, 16 + 255), "the first is shown");
	is_str(shown + 16 + 255, ":6379,...", "the others are not");
}

int main(void)
{
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(*good); i++)
		test_good(&good[i]);
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		test_bad(bad[i], -EINVAL);
	test_bad("rediss://", -EINVAL);
	test_bad("redisss://h", -EINVAL);
	test_bad("rediss+sentinel://h1,h2", -EINVAL);
	test_bad("rediss+cluster://h1,h2/1", -EINVAL);
	test_bad("rediss+unix:///s", -EINVAL);
	test_bad("redis+x://h1", -EINVAL);

	test_length("redis://", 255, "", 0);
	test_length("redis://", 256, "", -EINVAL);
	test_length("redis://", 255, ":p@h", 0);
	test_length("redis://", 256, ":p@h", -EINVAL);
	test_length("redis://u:", 1023, "@h", 0);
	test_length("redis://u:", 1024, "@h", -EINVAL);
	test_length("unix:///", 106, "", 0);
	test_length("unix:///", 107, "", -EINVAL);
	test_length("redis://[::1%", 251, "]", 0);
	test_length("redis://[::1%", 252, "]", -EINVAL);

	test_length("redis+sentinel://h/", 127, "", 0);
	test_length("redis+sentinel://h/", 128, "", -EINVAL);
	test_length("redis+sentinel://h/m?sentinel-password=", 1023, "", 0);
	test_length("redis+sentinel://h/m?sentinel-password=", 1024, "",
		    -EINVAL);
	test_long_hosts();

	test_span("redis://h", NULL);
	test_span("redis://h:6379/0", NULL);
	test_span("redis://u@h", NULL);
	test_span("redis://:pw@h", "pw");
	test_span("redis://u:pw@h:1/2", "pw");
	test_span("redis://u:p%40w:x@[::1]:1", "p%40w:x");
	test_span("redis://u:@h", "");
	test_span("unix:///run/a:b@c", NULL);
	test_span("unix://u:pw@/run/a:b@c", "pw");
	/* Malformed, or not built: rather too much. */
	test_span("redis://u:p@w@h", "p@w");
	test_span("redis://u:p/w@h", "p/w");
	test_span("rediss://u:pw@h", "pw");
	test_span("redis+sentinel://u:pw@h1:1,h2:2/m", "pw");
	test_spans("rediss+sentinel://u:pw@h/m?sentinel-password=x", "pw", "x");
	test_span("rediss+cluster://u:pw@h1:1,h2:2", "pw");
	test_span("redis+sentinel://h1:1,h2:2/m", NULL);
	test_span("redis+cluster://u:pw@h1:1,h2:2", "pw");
	test_spans("redis+sentinel://u:pw@h:1/m?sentinel-password=x@y:z&db=1",
		   "pw", "x@y:z");
	test_spans("redis+sentinel://u:@h:1/m?sentinel-password=x", "", "x");
	test_span("redis+sentinel://h:1/m?sentinel-password=xy&db=1", "xy");
	test_span("redis+sentinel://h:1/m?sentinel-password=", "");
	test_span("redis+sentinel://h/m?sentinel-user=sentinel-password=a&"
		  "sentinel-password=xy",
		  "xy");
	test_span("redis+sentinel://a&sentinel-password=b@h/m?"
		  "sentinel-password=xy",
		  "xy");
	test_spans("redis+sentinel://u:p@h/m?sentinel-password=x&y=1", "p",
		   "x&y=1");
	test_spans("redis+sentinel://u:p@h/m?password=x&y=1", "p", "x&y=1");
	test_span("unix:///tmp/password=x", NULL);
	test_span("u:pw@h", "pw");
	test_span(":pw@h", "pw");
	test_span("redis:/u:pw@h", "/u:pw");
	test_span("redis://u:pw", "pw");
	test_span("redis://:pw@", "pw");
	test_span("http://pw@h", "pw");
	test_span("", NULL);
	test_span("nonsense", NULL);
	return done_testing();
}
