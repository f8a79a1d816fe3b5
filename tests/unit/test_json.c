/* The encoder: whatever it is given, one well-formed object of valid UTF-8. */
#include "config.h"

#include "json.h"

#include "tap.h"

static char buffer[4096];
static struct json json;

static void begin(size_t size)
{
	memset(buffer, 'X', sizeof(buffer));
	json_begin(&json, buffer, size);
}

static void is_object(const char *expected, const char *what)
{
	size_t length = json_end(&json);

	is_int((long long)length, (long long)strlen(expected), "%s: its length",
	       what);
	is_str(buffer, expected, "%s", what);
}

static void is_string(const char *text, size_t most, const char *expected,
		      const char *what)
{
	char object[256];

	begin(sizeof(buffer));
	json_string(&json, "k", text, most);
	snprintf(object, sizeof(object), "{\"k\":\"%s\"}", expected);
	is_object(object, what);
}

static void test_structure(void)
{
	begin(sizeof(buffer));
	is_object("{}", "empty");

	begin(sizeof(buffer));
	json_number(&json, "a", -1);
	json_open(&json, "b");
	json_open(&json, "c");
	json_close(&json);
	json_number(&json, "d", INT64_MAX);
	json_number(&json, "e", INT64_MIN);
	json_close(&json);
	json_string(&json, "f", "", 9);
	is_object("{\"a\":-1,\"b\":{\"c\":{},\"d\":9223372036854775807,"
		  "\"e\":-9223372036854775808},\"f\":\"\"}",
		  "numbers, objects and texts");

	begin(sizeof(buffer));
	json_open(&json, "a");
	json_open(&json, "b");
	is_object("{\"a\":{\"b\":{}}}", "what is open is closed");
}

static void test_strings(void)
{
	is_string("a b", 99, "a b", "plain");
	is_string("\"\\/", 99, "\\\"\\\\/", "quotes and backslashes");
	is_string("\x01\n\t\r\x1b[2J\x7f", 99, "?????[2J?", "controls");
	is_string("\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x92", 99,
		  "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x92", "UTF-8 as it is");
	is_string("\xff\xc3", 99, "??", "bytes that are not UTF-8");
	is_string("a\xc3", 99, "a?", "a character that is not whole");
	is_string("\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80", 99, "?????????",
		  "overlong, a surrogate, beyond the last");
	is_string("\xc2\x9b", 99, "??", "a C1 control");
	is_string("</script>", 99, "</script>", "what only HTML minds");
	is_string("\xe2\x80\xa8\xe2\x80\xae", 99, "??????",
		  "another kind of newline, and what turns the text round");
}

static void test_cuts(void)
{
	is_string("abc", 2, "ab", "cut");
	is_string("abc", 0, "", "cut to nothing");
	is_string("a\"b", 2, "a", "no half of an escape");
	is_string("a\"b", 3, "a\\\"", "a whole escape");
	is_string("a\xe2\x82\xac", 3, "a", "no part of a character");
	is_string("a\xe2\x82\xac", 4, "a\xe2\x82\xac", "a whole character");
}

/* True for one object with balanced braces and quotes, and no other bytes. */
static bool is_well_formed(const char *text, size_t length)
{
	bool in_string = false;
	int depth = 0;
	size_t i;

	for (i = 0; i < length; i++) {
		if (in_string && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			in_string = !in_string;
		else if (!in_string && text[i] == '{')
			depth++;
		else if (!in_string && text[i] == '}' && --depth == 0)
			return i + 1 == length && !text[length];
		else if (!in_string && text[i] == ',' && text[i + 1] == '}')
			return false;
	}
	return false;
}

static void test_sizes(void)
{
	size_t size, length, bad = 0, last = 0, shrunk = 0;

	for (size = 3; size < 120; size++) {
		begin(size);
		json_string(&json, "a", "\"\"\xe2\x82\xac\"", 99);
		json_open(&json, "b");
		json_number(&json, "c", 12345);
		json_open(&json, "long-name-of-an-object");
		json_string(&json, "d", "text", 99);
		json_close(&json);
		json_number(&json, "e", 1);
		json_close(&json);
		json_string(&json, "f", "the end", 99);
		length = json_end(&json);
		bad += !is_well_formed(buffer, length) || length >= size ||
		       buffer[size] != 'X';
		shrunk += length + 24 < last;
		last = length;
	}
	is_int((long long)bad, 0, "well-formed in a buffer of any size");
	is_int((long long)shrunk, 0, "more room, more of it");
	is_str(buffer,
	       "{\"a\":\"\\\"\\\"\xe2\x82\xac\\\"\",\"b\":{\"c\":12345,"
	       "\"long-name-of-an-object\":{\"d\":\"text\"},\"e\":1},"
	       "\"f\":\"the end\"}",
	       "all of it, in the end");

	begin(24);
	json_open(&json, "long-name-of-an-object");
	json_number(&json, "a", 1);
	json_close(&json);
	json_number(&json, "b", 2);
	is_object("{\"b\":2}", "what is in an object that is left out is, too");
}

int main(void)
{
	test_structure();
	test_strings();
	test_cuts();
	test_sizes();
	return done_testing();
}
