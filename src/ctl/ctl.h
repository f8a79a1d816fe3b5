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

/* One request; looking must not hang where a lock would not, either. */
#define CTL_REQUEST_NS (5 * NS_PER_S)

struct ctl {
	/* As given; operands are as many as the verb wants. */
	char **operands;
	int count;
	bool json;

	/* Of the environment and the files; without name and command. */
	const struct options *options;
	struct store *store; /* NULL for verbs that need no service */
};

/* A verb.  Returns the exit code, having said on stderr why it is not 0. */
typedef int ctl_verb_fn(struct ctl *ctl);

ctl_verb_fn ctl_status;
ctl_verb_fn ctl_list;
ctl_verb_fn ctl_doctor;

/* Says that `err` kept a request from being answered; returns the exit code. */
int ctl_fail_store(const struct ctl *ctl, int err);

/* Says that there was no memory; returns the exit code. */
int ctl_fail_memory(void);

/* Writes out what stands in stdout's buffer; returns the exit code. */
int ctl_flush(void);

#endif
