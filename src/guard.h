/*
 * The guardian's work, in its own process: it keeps the lease's deadline, obeys
 * cflock's orders, and ends the tree of the command.  Of guardian.c alone, which
 * starts and orders it.
 */
#ifndef CFLOCK_GUARD_H
#define CFLOCK_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "attached.h"
#include "guardian.h"
#include "lease.h"
#include "store.h"
#include "tree.h"

enum order_kind {
	ORDER_RENEWED,
	ORDER_LOSE,
	ORDER_LIFT_DEADLINE,
	ORDER_SIGNAL,
	ORDER_ASK,
	ORDER_LET_GO,
};

struct order {
	enum order_kind kind;
	int number;          /* ORDER_SIGNAL */
	bool from_terminal;  /* ORDER_SIGNAL */
	struct instant sent; /* ORDER_RENEWED */
};

/* The first message to the guardian; orders follow. */
struct start {
	struct lease lease;
	char token[STORE_TOKEN_MAX];
};

struct guard {
	const struct guardian_job *job;
	struct lease lease;
	struct tree tree;
	int socket, deaths, timer;
	pid_t parent, group; /* cflock's */
	bool orphaned;       /* cflock is gone */
	bool stopping, refusal_reported;
	unsigned int sweeps;
	int64_t next_sweep_ns;
	pid_t command;
	bool command_ended;
	int status;
	struct attached attached; /* job->attached, and what is found of it */
	bool is_paused;           /* attached, and stopped: reported */
	bool let_go;
	unsigned int empty_looks; /* in a row, for what carries the id */
	int64_t next_look_ns;
};

/*
 * Returns when nothing is left of the tree, or, where the job says so, when the
 * command has ended.
 */
void guard_tree(struct guard *guard);

/*
 * Sends a report to cflock, with these flags of send(2).  Reports that only inform
 * may be lost, when cflock is stopped and reads none.
 */
void guard_report(struct guard *guard, enum guardian_report_kind kind,
		  int status, int flags);

/* By which the guardian sees what it guards. */
int guard_watched_fd(const struct guard *guard);

#endif
