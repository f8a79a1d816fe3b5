/*
 * A run of cflock, for main.c and attach.c: what it was asked for, and what it
 * has by now.
 */
#ifndef CFLOCK_RUN_H
#define CFLOCK_RUN_H

#include <stdbool.h>

#include "attached.h"
#include "guardian.h"
#include "lease.h"
#include "options.h"
#include "signals.h"
#include "store.h"
#include "supervise.h"
#include "tree.h"

struct run {
	struct options options;
	struct lease_policy policy;
	struct signals signals;
	struct tree tree;
	struct claim claim;
	struct grant grant;
	struct store *store;
	struct guardian_job job;
	struct guardian guardian;
	bool on_terminal;
	struct attached attached; /* with --attach */
	struct instant begun, granted;
	struct lease lease; /* as it was granted, or last proven */
};

/*
 * With the lease granted, or without: starts what guards and renews it.  Returns 0, or the
 * exit code, having said why not, and released it.
 */
int run_start(struct run *run, struct supervision *supervision);

/* Until the end of what runs under the lease, which is released then.  Returns
 * the exit code. */
int run_to_end(struct run *run, struct supervision *supervision);

/* Gives a lease back under which nothing was started. */
void run_call_off(struct run *run);

/* The command has them now.  Held by us, a pipe would not end with it. */
void run_let_go_of_pipes(void);

/* The same for one descriptor. */
void run_let_go_of(int fd);

/* Says that `doing` failed by a negative errno.  Returns the exit code. */
int run_fail_os(const char *doing, int err);

#endif
