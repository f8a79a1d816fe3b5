/*
 * cflock --attach: goes to the background with the lease, and holds it until a
 * process has ended that is not ours; and --release.
 */
#ifndef CFLOCK_ATTACH_H
#define CFLOCK_ATTACH_H

#include "run.h"

/*
 * Finds the process of run->options.attach; its end cancels the waiting.
 * Returns 0, or the exit code, having said why not.
 */
int attach_watch(struct run *run);

/*
 * With the lease granted.  Returns the exit code, having printed what the script
 * is to eval: the exports of the command's variables.
 */
int attach_hold(struct run *run);

/*
 * eval of nothing would succeed, and the script go on without the lock: what is
 * to be eval'ed has to fail, or, where -E has declared that to be no failure, to
 * end the script.
 */
void attach_fail_script(int code);

/* The script fails if nothing more is printed than this. */
void attach_expect_more(void);

/* True when arguments that are not right may want it. */
bool attach_is_wanted(int argc, char **argv);

/* --release: asks whoever holds the lock `name`, attached to this script.
 * Returns the exit code. */
int attach_release(const char *name);

#endif
