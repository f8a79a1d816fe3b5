/*
 * The tree of processes below the calling process: everything that its command
 * started and that is not dead yet.  The caller must be a child subreaper, so
 * that a process whose parent has ended stays in the tree; and it must be the
 * only one that waits for its children, so that no number of a direct child
 * can come to mean a stranger while this module looks at it.
 *
 * Single-threaded callers only: /proc lists children by thread.
 */
#ifndef CFLOCK_TREE_H
#define CFLOCK_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Children that the process had before it was cflock: never to be touched. */
struct tree_strangers {
	pid_t *pids;
	size_t count;
};

/*
 * Makes the caller a child subreaper, and notes the children that it has.
 * Returns 0, or a negative errno: -ENOENT when /proc is not there or does not
 * list children (CONFIG_PROC_CHILDREN).  `strangers` is never freed.
 */
int tree_adopt(struct tree_strangers *strangers);

/*
 * Sends `signal` once to each process of the tree.  Returns the number of
 * processes that it was sent to; *refused is increased for each that may not
 * be signalled by this user (a set-user-id program).
 */
size_t tree_signal(const struct tree_strangers *strangers, int signal, size_t *refused);

/*
 * True when `pid` is one of the strangers.
 */
bool tree_is_stranger(const struct tree_strangers *strangers, pid_t pid);

#endif
