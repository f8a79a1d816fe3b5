/*
 * cflockctl check: within a command under a lock, is the lease still its own?
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "ctl/look.h"
#include "log.h"
#include "options.h"

/* Returns the holder that we are; NULL when we are none (any more).  Without a
 * token, as the command was started without the lock, any lease of ours will do. */
static json_object *find_self(json_object *lock, const char *id,
			      const char *token)
{
	json_object *holders = look_list(lock, "holders");
	size_t i;

	for (i = 0; i < look_count(holders); i++) {
		json_object *holder = look_item(holders, i);

		if (!strcmp(look_text(holder, "id"), id) &&
		    (!token || !strcmp(look_text(holder, "token"), token)))
			return holder;
	}
	return NULL;
}

int ctl_check(struct ctl *ctl)
{
	const char *name = getenv("CFLOCK_NAME"), *id = getenv("CFLOCK_ID");
	const char *token = getenv("CFLOCK_TOKEN");
	char left[DURATION_TEXT_MAX], wanted[DURATION_TEXT_MAX];
	struct instant sent = clock_now();
	json_object *lock, *self;
	int64_t left_ns = -1;
	int err;

	if (!name || !name_is_valid(name) || !id) {
		log_line(LOG_FATAL, "check: it is for a command that cflock "
				    "runs: CFLOCK_NAME or CFLOCK_ID is "
				    "missing");
		return EXIT_BAD_USAGE;
	}
	log_setup(LOG_WARNING, name);
	err = look_at(ctl, name, 0, &lock);
	if (err)
		return ctl_fail_store(ctl, err);
	self = find_self(lock, id, token);
	if (self)
		left_ns = look_number(self, "left_ms") * NS_PER_MS;
	json_object_put(lock);
	if (!self) {
		log_line(LOG_FATAL,
			 token ? "check: the lease is not this command's any "
				 "more"
			       : "check: this command runs without the lock");
		return EXIT_LEASE_LOST;
	}
	/* The server counted no later than it was sent. */
	left_ns -= clock_elapsed_ns(sent, clock_now());
	if (left_ns <= 0 || left_ns < ctl->min_left_ns) {
		log_line(LOG_FATAL, "check: %s of the lease are left, not %s",
			 duration_format(left_ns, left, sizeof(left)),
			 duration_format(ctl->min_left_ns, wanted,
					 sizeof(wanted)));
		return CTL_EXIT_NO;
	}
	return EXIT_SUCCESS;
}
