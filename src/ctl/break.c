/*
 * cflockctl break NAME: has whoever holds a lock end, and waits until it has.
 *
 * Asked, a holder gets the stop signal and keeps its lease until it has ended.
 * With --force it can renew no more: it is stopped before its lease is over, or
 * was out of reach, and dead by then; the lock stays shut until that.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "ctl/look.h"
#include "holder.h"
#include "log.h"

#define LOOK_EVERY_MS 100

/* For those who were told to end, by default. */
#define WAIT_MS 30000

/* Worth a word: until they are told. */
#define TOLD_SOON_MS 5000

/* Those who are asked go on hearing of it for so long after we have gone. */
#define ASK_MORE_MS 60000

struct breaking {
	struct ctl *ctl;
	const char *name;
	char *ids; /* of the holders that are meant, by blanks */
	char who[HOLDER_TEXT_MAX]; /* we */
	char asking[STORE_ASKING_MAX];
	int64_t begun_ns;
};

static void describe_self(struct breaking *breaking)
{
	static char *const command[] = { NULL };
	const char *message = breaking->ctl->message;
	struct holder self;

	holder_describe_self(&self, "", command, message ? message : "");
	snprintf(breaking->who, sizeof(breaking->who), "%s@%s%s%s%s", self.user,
		 self.host, message ? " (" : "", message ? self.message : "",
		 message ? ")" : "");
	/* Unlike any other of this host. */
	snprintf(breaking->asking, sizeof(breaking->asking), "%llx.%d",
		 (unsigned long long)clock_boot_ns(), (int)getpid());
}

/* Tells whom it is about.  Returns 0 or -ENOMEM. */
static int collect_ids(struct breaking *breaking, json_object *lock)
{
	json_object *holders = look_list(lock, "holders");
	char text[HOLDER_TEXT_MAX];
	size_t i, used = 0;

	breaking->ids = calloc(look_count(holders) + 1, HOLDER_ID_MAX + 1);
	if (!breaking->ids)
		return -ENOMEM;
	for (i = 0; i < look_count(holders); i++) {
		json_object *holder = look_item(holders, i);

		used += (size_t)sprintf(breaking->ids + used, "%s%.*s",
					used ? " " : "", HOLDER_ID_MAX,
					look_text(holder, "id"));
		printf("held by %s\n",
		       look_format_person(holder, text, sizeof(text)));
	}
	return 0;
}

/* True while one of those who are meant holds the lock, or it is shut. */
static bool is_held(const struct breaking *breaking, json_object *lock)
{
	json_object *holders = look_list(lock, "holders");
	size_t i;

	if (breaking->ctl->force &&
	    !strncmp(look_text(lock, "value"), "broken by ", 10))
		return true;
	for (i = 0; i < look_count(holders); i++)
		if (strstr(breaking->ids,
			   look_text(look_item(holders, i), "id")))
			return true;
	return false;
}

/* 1: it has ended; 0: not until until_ns; or a negative errno. */
static int wait_for_end(const struct breaking *breaking, int64_t until_ns)
{
	for (;;) {
		bool ended, last = clock_boot_ns() >= until_ns;
		json_object *lock;
		int err = look_at(breaking->ctl, breaking->name, 0, &lock);

		if (err)
			return err;
		ended = !is_held(breaking, lock);
		json_object_put(lock);
		if (ended || last)
			return ended;
		poll(NULL, 0, LOOK_EVERY_MS);
	}
}

/* `ms` as of store_break(). */
static int64_t wait_until_ns(const struct breaking *breaking, int64_t ms)
{
	const struct ctl *ctl = breaking->ctl;

	/* A lease that nobody renews ends, however long it is waited for. */
	if (ctl->force)
		return clock_boot_ns() + ms * NS_PER_MS + CTL_REQUEST_NS;
	return breaking->begun_ns +
	       (ctl->wait_ns < 0 ? (ms + WAIT_MS) * NS_PER_MS : ctl->wait_ns);
}

static void tell_asked(const struct ctl *ctl, int64_t ms)
{
	char text[DURATION_TEXT_MAX];

	if (ctl->force)
		puts("fenced off; waiting until its lease is over");
	else if (ms < TOLD_SOON_MS)
		puts("asked to end");
	else
		printf("asked to end; it is told when it renews, in %s at the "
		       "latest\n",
		       duration_format(ms * NS_PER_MS, text, sizeof(text)));
}

static void tell_still_held(const struct breaking *breaking, int64_t ms)
{
	int64_t took_ns = clock_boot_ns() - breaking->begun_ns;
	char took[DURATION_TEXT_MAX], left[DURATION_TEXT_MAX];

	duration_format(took_ns, took, sizeof(took));
	duration_format(ms * NS_PER_MS - took_ns, left, sizeof(left));
	if (!breaking->ctl->force && took_ns < ms * NS_PER_MS)
		log_line(
			LOG_FATAL,
			"after %s it is still held: by one who may not have been "
			"told yet, and will be in %s at the latest, unless it is "
			"out of reach",
			took, left);
	else
		log_line(LOG_FATAL,
			 "after %s it is still held: by a command that takes "
			 "its time, or a holder out of reach; --force fences "
			 "it off, and has it killed",
			 took);
}

static int ask_and_wait(const struct breaking *breaking)
{
	const struct ctl *ctl = breaking->ctl;
	const struct break_request request = {
		.name = breaking->name,
		.force = ctl->force,
		.ids = breaking->ids,
		.who = breaking->who,
		.asking = breaking->asking,
		.ask_ms = (ctl->wait_ns < 0 ? WAIT_MS
					    : ctl->wait_ns / NS_PER_MS) +
			  ASK_MORE_MS,
	};
	char took[DURATION_TEXT_MAX];
	int64_t ms = 0;
	int result;

	result = store_break(ctl->store, &request,
			     clock_boot_ns() + CTL_REQUEST_NS, &ms);
	if (result < 0)
		return ctl_fail_store(ctl, result);
	if (result == STORE_REFUSED && ctl->force) {
		log_line(LOG_FATAL, "others have come to hold it meanwhile: "
				    "look again");
		return CTL_EXIT_NO;
	}
	tell_asked(ctl, ms);
	if (ctl_flush())
		return EXIT_OS_ERROR;

	result = wait_for_end(breaking, wait_until_ns(breaking, ms));
	if (result < 0)
		return ctl_fail_store(ctl, result);
	if (!result) {
		tell_still_held(breaking, ms);
		return CTL_EXIT_NO;
	}
	printf("ended after %s\n",
	       duration_format(clock_boot_ns() - breaking->begun_ns, took,
			       sizeof(took)));
	return ctl_flush();
}

/* A lock whose holders cannot be asked. */
static int tell_foreign(const struct ctl *ctl, json_object *lock)
{
	const char *value = look_text(lock, "value");
	char left[DURATION_TEXT_MAX];
	int64_t left_ms = look_number(lock, "left_ms");

	duration_format(left_ms * NS_PER_MS, left, sizeof(left));
	if (left_ms >= 0)
		log_line(LOG_FATAL,
			 "a client that is not cflock holds it, and cannot be "
			 "asked (value \"%s\"); it ends by itself in %s",
			 value, left);
	else
		log_line(LOG_FATAL,
			 "a client that is not cflock holds it without an end "
			 "(value \"%s\"); once you know that nothing runs "
			 "under it: redis-cli DEL 'cflock:{%s}'",
			 value, ctl->operands[0]);
	return CTL_EXIT_NO;
}

int ctl_break(struct ctl *ctl)
{
	struct breaking breaking = {
		.ctl = ctl,
		.name = ctl->operands[0],
		.begun_ns = clock_boot_ns(),
	};
	json_object *lock;
	const char *state;
	int err, code;

	log_setup(LOG_WARNING, breaking.name);
	err = look_at(ctl, breaking.name, 0, &lock);
	if (err)
		return ctl_fail_store(ctl, err);
	state = look_text(lock, "state");
	if (!strcmp(state, "free")) {
		puts("nobody holds it");
		code = ctl_flush();
	} else if (!strcmp(state, "foreign")) {
		code = tell_foreign(ctl, lock);
	} else if (collect_ids(&breaking, lock) < 0) {
		code = ctl_fail_memory();
	} else {
		describe_self(&breaking);
		code = ask_and_wait(&breaking);
	}
	free(breaking.ids);
	json_object_put(lock);
	return code;
}
