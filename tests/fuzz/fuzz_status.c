/*
 * libFuzzer: what cflockctl shows of whatever servers answer: `status`, `list`, and
 * the judgements of `doctor`.  The first byte says which, as text or as JSON, and
 * of how many servers; the rest is what they answer, each up to a byte FE.  What is
 * shown steers no terminal, and is JSON where it is to be.
 */
#include "config.h"

#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "log.h"
#include "redis/facts.h"
#include "redis/service.h"

#define JSON 1
#define LIST 2
#define DOCTOR 4
#define THREE 8
#define SEPARATOR 0xfe

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In the place of src/ctl.c, which has a main(). */

const char *ctl_error(const struct ctl *ctl, int err)
{
	return err ? store_error(ctl->store) : "";
}

int ctl_fail_store(const struct ctl *ctl, int err)
{
	if (strlen(ctl_error(ctl, err)) >= STORE_ERROR_MAX)
		abort();
	return EXIT_UNREACHABLE;
}

int ctl_fail_memory(void)
{
	abort();
}

int ctl_flush(void)
{
	return fflush(stdout);
}

/*
 * Connects `single` to one that has sent `data`, and will send no more.  Returns
 * the other end: closed, it would refuse what is sent.
 */
static int connect_to(struct single *single, const uint8_t *data, size_t size)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0 ||
	    write(ends[1], data, size) != (ssize_t)size ||
	    shutdown(ends[1], SHUT_WR) < 0 ||
	    conn_adopt(&single->link.conn, ends[0]) < 0)
		abort();
	return ends[1];
}

static void open_store(struct ctl *ctl, int count)
{
	static const char *const urls[] = { "unix:///nowhere/1",
					    "unix:///nowhere/2",
					    "unix:///nowhere/3" };
	static struct url parsed[3];
	struct url_list list = { .urls = parsed };
	const char *why;

	for (list.count = 0; list.count < count; list.count++)
		if (url_parse(urls[list.count], &list.urls[list.count], &why))
			abort();
	ctl->store = store_open(&list, -1);
	if (!ctl->store)
		abort();
}

static void check_shown(char *shown, size_t length, bool is_json)
{
	char *copy = malloc(length + 1);
	json_object *parsed;
	size_t i;

	if (strlen(shown) != length || !copy)
		abort();
	if (is_json && length) {
		parsed = json_tokener_parse(shown);
		if (!parsed)
			abort();
		json_object_put(parsed);
	}
	for (i = 0; i < length; i++)
		if (shown[i] == '\n')
			shown[i] = ' ';
	if (strcmp(log_printable(shown, copy, length + 1), shown) != 0)
		abort();
	free(copy);
}

static void found(void *context, const struct finding *finding)
{
	size_t *length = context;

	*length += strlen(finding->text) + strlen(finding->advice);
}

/* Four bytes of facts, then INFO. */
static void judge(const uint8_t *data, size_t size)
{
	struct lease_policy policy;
	struct facts facts = { .address = "unix:///nowhere",
			       .user = "default",
			       .policy = &policy };
	const char *why;
	size_t length = 0;
	char *info;

	if (size < 4 || lease_policy_init(&policy, 10 * NS_PER_S, 60, &why))
		return;
	facts.has_clock = facts.save.known = facts.appendfsync.known = data[0];
	facts.ahead_ms = (int64_t)data[1] << (data[2] % 32);
	facts.spike_ms = (int64_t)data[2] << (data[3] % 24);
	info = strndup((const char *)data + 4, size - 4);
	if (!info)
		return;
	facts.info = info;
	snprintf(facts.save.value, sizeof(facts.save.value), "%s", info);
	snprintf(facts.appendfsync.value, sizeof(facts.appendfsync.value), "%s",
		 info);
	facts_judge(&facts, found, &length);
	free(info);
	if (!length)
		abort();
}

/* Connects the servers of the store; their other ends in ends[]. */
static void connect_all(const struct ctl *ctl, int count, const uint8_t *data,
			size_t size, int *ends)
{
	int i;

	for (i = 0; i < count; i++) {
		struct single *single =
			count == 1 ? &ctl->store->single
				   : quorum_member(ctl->store->quorum, i);
		const uint8_t *end = memchr(data, SEPARATOR, size);
		size_t length = end ? (size_t)(end - data) : size;

		ends[i] = connect_to(single, data, length);
		data += length + (end != NULL);
		size -= length + (end != NULL);
	}
}

static void show(struct ctl *ctl, bool list)
{
	FILE *const given = stdout;
	char *shown = NULL;
	size_t length = 0;

	stdout = open_memstream(&shown, &length);
	if (!stdout)
		abort();
	if (list)
		ctl_list(ctl);
	else
		ctl_status(ctl);
	fclose(stdout);
	stdout = given;
	check_shown(shown, length, ctl->json);
	free(shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[] = "name", *operands[] = { name, NULL };
	struct ctl ctl = { .operands = operands };
	int ends[3], count;

	if (size < 2 || size > 60000)
		return 0;
	if (*data & DOCTOR) {
		judge(data + 1, size - 1);
		return 0;
	}
	ctl.json = *data & JSON;
	count = *data & THREE ? 3 : 1;
	open_store(&ctl, count);
	connect_all(&ctl, count, data + 1, size - 1, ends);
	show(&ctl, *data & LIST);
	store_close(ctl.store);
	while (count-- > 0)
		close(ends[count]);
	return 0;
}
