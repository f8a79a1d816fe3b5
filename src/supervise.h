/*
 * cflock while the command runs: passes signals on, keeps the guardian in
 * working order, and waits for its reports.  At rest it is not woken.
 */
#ifndef CFLOCK_SUPERVISE_H
#define CFLOCK_SUPERVISE_H

#include <stdbool.h>

#include "attached.h"
#include "door.h"
#include "guardian.h"
#include "renewer.h"
#include "signals.h"
#include "tree.h"

struct supervision {
	const struct guardian *guardian;
	struct renewer *renewer;
	const struct signals *signals;
	const struct tree *tree;
	struct attached *attached; /* in the place of a command; else NULL */
	int ready;         /* with that: a byte goes there when it is guarded */
	struct door *door; /* where its release may be asked for, or NULL */
	bool on_terminal;  /* command and we share a process group */
	int stop_signal;   /* the guardian's, for telling */
};

enum outcome_kind {
	OUTCOME_ENDED,       /* by itself; status */
	OUTCOME_LOST,        /* stopped, as the lease could not be proven */
	OUTCOME_NOT_STARTED, /* status: errno, or 0: the lease was over */
	OUTCOME_UNGUARDED,   /* the guardian died; the command was killed */
};

struct outcome {
	enum outcome_kind kind;
	int status;       /* a wait status, unless said otherwise */
	bool interrupted; /* SIGINT came from the terminal, to us as well */
};

/* Returns when no process of the command's tree is left, or with the command
 * itself where that is enough. */
void supervise(const struct supervision *supervision, struct outcome *outcome);

#endif
