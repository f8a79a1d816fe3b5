/* What the bytes that a server answers come to. */
#include "config.h"

#include "redis/reply.h"

#include <stdlib.h>

#include "tap.h"

static char error[STORE_ERROR_MAX];

/* To be freed; ends the test when the bytes are no whole reply. */
static redisReply *parse(const char *bytes)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	if (!reader ||
	    redisReaderFeed(reader, bytes, strlen(bytes)) != REDIS_OK ||
	    redisReaderGetReply(reader, &reply) != REDIS_OK || !reply) {
		printf("Bail out! no reply: %s\n", bytes);
		exit(1);
	}
	redisReaderFree(reader);
	strcpy(error, "untouched");
	return reply;
}

static void says(const char *part)
{
	ok(strstr(error, part) != NULL, "... with the words: %s", part);
	if (!strstr(error, part))
		printf("#   got \"%s\"\n", error);
}

static int error_of(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int err = reply_error(reply, error, sizeof(error));

	freeReplyObject(reply);
	return err;
}

static void test_error(void)
{
	is_int(error_of("-NOAUTH Authentication required.\r\n"), -EACCES,
	       "a password is wanted");
	says("set CFLOCK_PASSWORD");
	is_int(error_of("--NOPERM this user has no permissions\r\n"), -EACCES,
	       "a code behind a minus of its own, as a script's");
	is_int(error_of("-OOM command not allowed\r\n"), -EAGAIN, "no memory");
	is_int(error_of("-ERR Error running script (call to f_1): "
			"@user_script:14: @user_script: 14: "
			"-OOM command not allowed\r\n"),
	       -EAGAIN, "wrapped, as by Redis before 7");
	says("out of memory");
	is_int(error_of("-ERR invalid password\r\n"), -EACCES,
	       "an error that has no code of its own");
	is_int(error_of("-ERR a: b: c\r\n"), -EPROTO,
	       "ERR, and nothing known in it");
	says("the server answered with an error: ERR a: b: c");
	is_int(error_of("-ERR\r\n"), -EAGAIN, "not even a blank");
	is_int(error_of("-SOMETHING new\r\n"), -EAGAIN,
	       "an unknown code may pass");
	is_int(error_of("-SOMETHING invalid password\r\n"), -EAGAIN,
	       "... whatever stands behind it");
	is_int(error_of("-OOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOM a"
			"\r\n"),
	       -EAGAIN, "a code that is longer than any");
	is_int(error_of("-\r\n"), -EAGAIN, "no text at all");
	is_int(error_of("-OOM \x1b[31m\r\n"), -EAGAIN, "an escape sequence");
	ok(!strchr(error, '\x1b'), "... does not reach the terminal");
}

static void test_unexpected(void)
{
	redisReply strange = { .type = 0 };

	is_int(error_of("$1\r\na\r\n"), -EPROTO, "a string is no error");
	says("it is a string");
	is_int(error_of("*1\r\n:1\r\n"), -EPROTO, "nor is an array");
	says("it is an array of other contents");
	is_int(error_of(":1\r\n"), -EPROTO, "nor is a number");
	says("it is a number");
	is_int(error_of("$-1\r\n"), -EPROTO, "nor is nil");
	says("it is nothing (nil)");
	is_int(error_of("+OK\r\n"), -EPROTO, "nor is a status");
	says("it is a status");
	/* As of another version of the protocol. */
	is_int(reply_error(&strange, error, sizeof(error)), -EPROTO,
	       "nor is what has no type");
	says("it is of an unknown type");
	strange.type = 99;
	is_int(reply_error(&strange, error, sizeof(error)), -EPROTO,
	       "nor is what has one that is not known");
	says("it is of an unknown type");
}

static bool is_noscript(const char *bytes)
{
	redisReply *reply = parse(bytes);
	bool is = reply_is_noscript(reply);

	freeReplyObject(reply);
	return is;
}

static bool is_no_master(const char *bytes)
{
	redisReply *reply = parse(bytes);
	bool is = reply_is_no_master(reply);

	freeReplyObject(reply);
	return is;
}

static bool is_grant(const char *bytes)
{
	redisReply *reply = parse(bytes);
	bool is = reply_is_grant(reply);

	freeReplyObject(reply);
	return is;
}

static void test_questions(void)
{
	ok(is_noscript("-NOSCRIPT No matching script.\r\n"), "no such script");
	ok(!is_noscript("-NOAUTH\r\n"), "another error");
	ok(!is_noscript("$8\r\nNOSCRIPT\r\n"), "a text is no error");

	ok(is_no_master("-READONLY You can't write\r\n"), "a replica");
	ok(is_no_master("-MASTERDOWN Link with MASTER is down\r\n"),
	   "... without its master");
	ok(!is_no_master("-OOM\r\n"), "a master without memory is one");
	ok(!is_no_master("-SOMETHING\r\n"), "who knows what that is");
	ok(!is_no_master("+READONLY\r\n"), "not an error");

	ok(is_grant("*2\r\n:1\r\n$1\r\n7\r\n"), "1 is a grant");
	ok(!is_grant("*2\r\n:0\r\n$1\r\n7\r\n"), "0 is none");
	ok(!is_grant("*1\r\n$1\r\n1\r\n"), "nor is a text");
	ok(!is_grant("*0\r\n"), "nor an empty array");
	ok(!is_grant(":1\r\n"), "nor a bare number");
}

static int handshake_of(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int err = reply_handshake(reply, error, sizeof(error));

	freeReplyObject(reply);
	return err;
}

static void test_handshake(void)
{
	is_int(handshake_of("+OK\r\n"), 0, "AUTH or SELECT was accepted");
	is_str(error, "untouched", "... without a word");
	is_int(handshake_of("+QUEUED\r\n"), -EPROTO, "another status");
	says("it is a status");
	is_int(handshake_of("$2\r\nOK\r\n"), -EPROTO, "OK, but as a text");
	is_int(handshake_of("-WRONGPASS s3cret is wrong\r\n"), -EACCES,
	       "refused");
	says("(WRONGPASS in answer to AUTH or SELECT)");
	ok(!strstr(error, "s3cret"), "... without the server's own words");
	is_int(handshake_of("-ERR unknown command 'AUTH' 's3cret'\r\n"),
	       -EPROTO, "not understood");
	says("does it know passwords");
	ok(!strstr(error, "s3cret"),
	   "... without the password that it repeats");
}

static int role_of(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int err = reply_role(reply, error, sizeof(error));

	freeReplyObject(reply);
	return err;
}

static void test_role(void)
{
	is_int(role_of("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"), 0, "a master");
	is_int(role_of("*1\r\n$5\r\nslave\r\n"), -EAGAIN, "a replica");
	says("is none (yet)");
	is_int(role_of("*0\r\n"), -EPROTO, "an empty array");
	is_int(role_of("*1\r\n:1\r\n"), -EPROTO, "an array without a role");
	is_int(role_of("$6\r\nmaster\r\n"), -EPROTO, "a text");
	is_int(role_of("-NOPERM no\r\n"), -EACCES, "ROLE is not allowed");
	says("+role");
	is_int(role_of("-NOAUTH no\r\n"), -EACCES, "nothing is");
	says("set CFLOCK_PASSWORD");
}

static int replicas_of(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int err = reply_replicas(reply, 2, error, sizeof(error));

	freeReplyObject(reply);
	return err;
}

static void test_replicas(void)
{
	is_int(replicas_of(":2\r\n"), 0, "as many as were wanted");
	is_int(replicas_of(":1\r\n"), -ENOLCK, "fewer");
	says("only 1 of 2 replicas");
	is_int(replicas_of("-NOPERM no\r\n"), -EACCES, "WAIT is not allowed");
	says("+wait");
	is_int(replicas_of("-NOAUTH no\r\n"), -EACCES, "nothing is");
	says("set CFLOCK_PASSWORD");
	is_int(replicas_of("+OK\r\n"), -EPROTO, "no number");
}

/* Gives what acquire.lua answers: $reason, six $numbers and the rest. */
static const char *refusal_of(const char *reason, const char *numbers,
			      const char *rest)
{
	static char bytes[1024];
	int more = 0;
	const char *c;

	/* Each number or text begins with one of these. */
	for (c = numbers; *c; c++)
		more += *c == ':' || *c == '$';
	for (c = rest; *c; c++)
		more += *c == ':' || *c == '$';
	snprintf(bytes, sizeof(bytes), "*%d\r\n:0\r\n$%zu\r\n%s\r\n%s%s",
		 2 + more, strlen(reason), reason, numbers, rest);
	return bytes;
}

#define NUMBERS ":1\r\n:0\r\n:2\r\n:3\r\n:4\r\n:5\r\n"
#define VALUE "$3\r\na/7\r\n"

static char token[STORE_TOKEN_MAX];
static struct refusal refusal;

static int acquired(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int result;

	strcpy(token, "untouched");
	memset(&refusal, 0xff, sizeof(refusal));
	result = reply_acquire(reply, token, &refusal, error, sizeof(error));
	freeReplyObject(reply);
	return result;
}

static void test_grant(void)
{
	is_int(acquired("*2\r\n:1\r\n$2\r\n42\r\n"), STORE_DONE, "a grant");
	is_str(token, "42", "... with its token");
	is_int(acquired("*2\r\n:1\r\n$0\r\n\r\n"), -EPROTO, "no digit");
	is_str(token, "untouched", "... leaves the token alone");
	is_int(acquired("*2\r\n:1\r\n$2\r\n4x\r\n"), -EPROTO, "not a number");
	is_int(acquired("*2\r\n:1\r\n$24\r\n123456789012345678901234\r\n"),
	       -EPROTO, "more digits than there is room for");
	is_int(acquired("*2\r\n:1\r\n$16\r\n9007199254740992\r\n"), -EPROTO,
	       "2^53");
	is_int(acquired("*2\r\n:1\r\n$16\r\n9007199254740991\r\n"), STORE_DONE,
	       "the highest of all");
	is_int(acquired("*2\r\n:1\r\n:42\r\n"), -EPROTO, "not a text");
	is_int(acquired("*1\r\n:1\r\n"), -EPROTO, "no token");
	is_int(acquired("*2\r\n:2\r\n$2\r\n42\r\n"), -EPROTO,
	       "neither 0 nor 1");
	is_int(acquired("*0\r\n"), -EPROTO, "nothing");
	is_int(acquired("-OOM\r\n"), -EAGAIN, "an error");
}

static void test_refusal(void)
{
	is_int(acquired(refusal_of("held", NUMBERS,
				   VALUE "$1\r\nI\r\n$1\r\nh\r\n$1\r\np\r\n"
					 "$1\r\nu\r\n$1\r\nc\r\n$1\r\nm\r\n"
					 "$3\r\n123\r\n$2\r\n99\r\n")),
	       STORE_REFUSED, "held by another");
	is_int(refusal.reason, REFUSAL_HELD, "... for that reason");
	is_int(refusal.again_ms, 1, "ask again");
	ok(!refusal.exactly, "not exactly then");
	is_int(refusal.place, 2, "the place");
	is_int(refusal.waiting, 3, "of so many");
	is_int(refusal.left_ms, 4, "what is left");
	is_int(refusal.holders, 5, "the holders");
	is_int(refusal.ticket, 99, "the ticket");
	is_str(refusal.holder.value, "a/7", "the value");
	is_str(refusal.holder.id, "I", "the id");
	is_str(refusal.holder.host, "h", "the host");
	is_str(refusal.holder.pid, "p", "the pid");
	is_str(refusal.holder.user, "u", "the user");
	is_str(refusal.holder.command, "c", "the command");
	is_str(refusal.holder.message, "m", "the message");
	is_int(refusal.holder.since_ms, 123, "since when");

	is_int(acquired(refusal_of("token", NUMBERS, VALUE)), STORE_REFUSED,
	       "nothing is known of the holder");
	is_int(refusal.reason, REFUSAL_VOTES, "the last of the reasons");
	is_str(refusal.holder.id, "", "no id");
	is_int(refusal.holder.since_ms, 0, "nor since when");
	is_int(refusal.ticket, 0, "nor a ticket");

	is_int(acquired(refusal_of("held",
				   ":1\r\n:1\r\n:2\r\n:3\r\n"
				   ":9223372036854775807\r\n:-2\r\n",
				   VALUE)),
	       STORE_REFUSED, "numbers that are too large or small");
	is_int(refusal.left_ms, INT64_C(9000000000000), "the largest");
	is_int(refusal.holders, -1, "the smallest");
	ok(refusal.exactly, "exactly then");

	is_int(acquired(refusal_of("because", NUMBERS, VALUE)), -EPROTO,
	       "an unknown reason");
	is_int(refusal.place, -1, "... leaves the refusal alone");
	is_int(acquired(refusal_of("held", ":1\r\n:2\r\n:3\r\n", VALUE)),
	       -EPROTO, "numbers are missing");
	is_int(acquired(refusal_of("held", NUMBERS, "")), -EPROTO,
	       "the value is missing");
	is_int(acquired(refusal_of("held",
				   "$1\r\n1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n",
				   VALUE)),
	       -EPROTO, "a text where a number belongs");
	is_int(acquired("*1\r\n:0\r\n"), -EPROTO, "not even a reason");
}

static struct asked asked;

static int renewed(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int result;

	strcpy(asked.by, "untouched");
	result = reply_renew(reply, &asked, error, sizeof(error));
	freeReplyObject(reply);
	return result;
}

static void test_renew(void)
{
	is_int(renewed("*3\r\n:1\r\n$4\r\nme\t!\r\n$1\r\n3\r\n"), STORE_DONE,
	       "renewed, and asked to end");
	ok(!strchr(asked.by, '\t'), "by whom, printable");
	is_str(asked.asking, "3", "for which time");
	is_int(renewed("*2\r\n:1\r\n$2\r\nme\r\n"), -EPROTO, "a text too few");
	is_str(asked.by, "untouched", "... leaves what was asked alone");
	is_int(renewed("*3\r\n:1\r\n:1\r\n$1\r\n3\r\n"), -EPROTO,
	       "a number where a text belongs");
	is_int(renewed("*3\r\n:2\r\n$1\r\na\r\n$1\r\n3\r\n"), -EPROTO,
	       "neither 0 nor 1");
	is_int(renewed(":1\r\n"), -EPROTO, "a bare number");
	is_int(renewed("-READONLY\r\n"), -EAGAIN, "an error");

	is_int(renewed("*3\r\n:0\r\n$1\r\na\r\n:1\r\n"), STORE_REFUSED,
	       "refused: taken over");
	says("taken the lease over");
	is_int(renewed("*3\r\n:0\r\n$6\r\nshared\r\n:0\r\n"), STORE_REFUSED,
	       "refused: ended, and others share the lock");
	says("others hold the lock (value \"shared\")");
	is_int(renewed("*3\r\n:0\r\n$7\r\nslots:3\r\n:0\r\n"), STORE_REFUSED,
	       "refused: ended, and others have its slots");
	says("others hold the lock (value \"slots:3\")");
	is_int(renewed("*3\r\n:0\r\n$12\r\nbroken by me\r\n:0\r\n"),
	       STORE_REFUSED, "refused: broken");
	says("it was broken by me");
	is_int(renewed("*3\r\n:0\r\n$3\r\nb/8\r\n:0\r\n"), STORE_REFUSED,
	       "refused: another has it");
	says("another holds the lock now (value \"b/8\")");
	is_int(renewed("*3\r\n:0\r\n$0\r\n\r\n:0\r\n"), STORE_REFUSED,
	       "refused: nobody has it");
	says("the lock's key is gone");
	is_int(renewed("*2\r\n:0\r\n$1\r\na\r\n"), -EPROTO,
	       "refused, and not why");
	is_int(renewed("*3\r\n:0\r\n:1\r\n:1\r\n"), -EPROTO,
	       "refused, and a number for the value");
}

static int released(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int result = reply_release(reply, error, sizeof(error));

	freeReplyObject(reply);
	return result;
}

static int64_t ms;

static int broken(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int result;

	ms = -7;
	result = reply_break(reply, &ms, error, sizeof(error));
	freeReplyObject(reply);
	return result;
}

static int waited(const char *bytes)
{
	redisReply *reply = parse(bytes);
	int err = reply_wait(reply, error, sizeof(error));

	freeReplyObject(reply);
	return err;
}

static void test_others(void)
{
	redisReply *reply;
	char *text = NULL;

	is_int(released(":0\r\n"), STORE_DONE, "released, or nothing to");
	is_int(released("+OK\r\n"), -EPROTO, "not what release.lua says");
	is_int(released("-OOM\r\n"), -EAGAIN, "an error");

	is_int(broken("*2\r\n:1\r\n:30\r\n"), STORE_DONE, "broken");
	is_int(ms, 30, "... in 30 ms");
	is_int(broken("*2\r\n:1\r\n:-1\r\n"), STORE_DONE, "long over");
	is_int(ms, 0, "... now");
	is_int(broken("*2\r\n:1\r\n:9223372036854775807\r\n"), STORE_DONE,
	       "in ages");
	is_int(ms, INT64_C(9000000000000), "... that do not overflow");
	is_int(broken("*2\r\n:0\r\n:30\r\n"), STORE_REFUSED, "nobody to break");
	is_int(ms, -7, "... leaves the time alone");
	is_int(broken("*1\r\n:1\r\n"), -EPROTO, "no time");
	is_int(broken("*2\r\n$1\r\n1\r\n:30\r\n"), -EPROTO, "no count");
	is_int(broken("-OOM\r\n"), -EAGAIN, "an error");

	is_int(waited("*-1\r\n"), -ETIMEDOUT, "not woken");
	is_int(waited("*1\r\n:1\r\n"), 0, "woken");
	is_int(waited(":1\r\n"), -EPROTO, "something else");
	is_int(waited("-UNBLOCKED\r\n"), -EAGAIN, "an error");

	reply = parse("$3\r\na\tb\r\n");
	is_int(reply_text(reply, &text, error, sizeof(error)), 0, "a text");
	is_str(text, "a\tb", "... as it is");
	freeReplyObject(reply);
	free(text);
	text = NULL;
	reply = parse(":3\r\n");
	is_int(reply_text(reply, &text, error, sizeof(error)), -EPROTO,
	       "a number is none");
	ok(!text, "... and leaves it alone");
	freeReplyObject(reply);
}

int main(void)
{
	test_error();
	test_unexpected();
	test_questions();
	test_handshake();
	test_role();
	test_replicas();
	test_grant();
	test_refusal();
	test_renew();
	test_others();
	return done_testing();
}
