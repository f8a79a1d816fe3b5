/*
 * The tree of processes below the calling process: everything that its command
 * started and that is not dead yet.  The caller is a child subreaper, so that
 * a process whose parent has ended stays in the tree, as a child of the
 * caller; and it is the only one that waits for its children, so that the
 * number of a child cannot come to mean a stranger while this module uses it.
 *
 * Single-threaded callers, or the main thread only: /proc lists children by
 * the thread that forked or inherited them.
 */
#ifndef CFLOCK_TREE_H
#define CFLOCK_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct member;

struct tree {
	/* The kernel's list of our children; kept open, so that killing needs
	 * no new descriptor. */
	int children_fd;
	/* Children that the process had before it was cflock: never touched. */
	struct member *strangers;
	size_t stranger_count;
};

/*
 * Makes the caller a child subreaper and the children that it has, strangers.
 * Returns 0, or a negative errno: -ENOENT when /proc is not there or does not
 * list children (CONFIG_PROC_CHILDREN).
 */
int tree_open(struct tree *tree);

/* State (a letter as in ps) and parent of any process; false: it is gone. */
bool tree_look_up(pid_t pid, char *state, pid_t *parent);

/* Lists the children of any process: returns how many, in *children, to be freed. */
size_t tree_children(pid_t parent, pid_t **children);

/*
 * When a process has started: CLOCK_BOOTTIME, rounded down to a tick of 10 ms
 * or so.  False: it is gone.
 */
bool tree_started_ns(pid_t pid, int64_t *started_ns);

/* Returns the pidfd, close-on-exec, or -1 with errno: ENOSYS before Linux 5.3. */
int tree_open_pidfd(pid_t pid);

/* Returns 0 or a negative errno: -ENOSYS before Linux 5.1. */
int tree_signal_pidfd(int pidfd, int signal);

/*
 * Sends the `count` signals, in their order, once to each process of the tree,
 * parents before their children; begins no other process after until_ns
 * (CLOCK_BOOTTIME).
 */
void tree_signal(const struct tree *tree, const int *signals, size_t count,
		 int64_t until_ns);

/*
 * Sends SIGKILL to each child, and, when `deep`, to their descendants.  To be
 * called again and again: what a dead child leaves becomes a child.  Deep is
 * slower; it is for children that take long to die, or that may not be killed.
 * Returns how many may not be killed by this user (a set-user-id program).
 */
size_t tree_kill(const struct tree *tree, bool deep);

/*
 * True only when no process of the tree is left, dead ones that were not
 * waited for included.
 */
bool tree_is_empty(const struct tree *tree);

#endif
