/*
 * cflockctl: what its verbs share.
 */
#ifndef CFLOCK_CTL_H
#define CFLOCK_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include "duration.h"
#include "exitcodes.h"
#include "options.h"
#include "store.h"
#include "url.h"

/* One request; looking must not hang where a lock would not, either. */
#define CTL_REQUEST_NS (5 * NS_PER_S)

/* It was asked for, and did not come about; why is said. */
#define CTL_EXIT_NO 1

struct ctl {
	/* As given; operands are as many as the verb wants. */
	char **operands;
	int count;
	char **command; /* behind "--", NULL-terminated; NULL: not taken */
	bool json;
	bool force;
	const char *message;
	int64_t min_left_ns;
	int64_t wait_ns;   /* break; negative when not given */
	const char *token; /* of --token; NULL: not given */

	/* Of the environment and the files; without name and command. */
	const struct options *options;
	struct store *store;       /* NULL for verbs that need no service */
	char server[URL_TEXT_MAX]; /* for people */
};

/*
 * A verb.  Returns the exit code, having said on stderr why it is not 0; what
 * runs a command returns only if it could not.
 */
typedef int ctl_verb_fn(struct ctl *ctl);

ctl_verb_fn ctl_break;
ctl_verb_fn ctl_check;
ctl_verb_fn ctl_list;
ctl_verb_fn ctl_doctor;
ctl_verb_fn ctl_fence;
ctl_verb_fn ctl_status;
ctl_verb_fn ctl_watch;

/* What `err` of a request means: one line. */
const char *ctl_error(const struct ctl *ctl, int err);

/* Says that `err` kept a request from being answered; returns the exit code. */
int ctl_fail_store(const struct ctl *ctl, int err);

/* Says that there was no memory; returns the exit code. */
int ctl_fail_memory(void);

/* Writes out what stands in stdout's buffer; returns the exit code. */
int ctl_flush(void);

#endif
