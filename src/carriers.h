/*
 * Processes that carry the id of a lease in their environment: whatever was
 * started under the lease and has not been made to forget it, wherever it has
 * come to in the tree of processes.
 */
#ifndef CFLOCK_CARRIERS_H
#define CFLOCK_CARRIERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* `started_ns` as of tree_started_ns(). */
typedef void carriers_found_fn(void *context, pid_t pid, int64_t started_ns);

/*
 * Calls `found` for each process whose program was started with `id` as one of
 * the words of `variable`, as far as this user may see that.  Returns true when
 * all processes were looked at; false when that took longer than until_ns
 * (CLOCK_BOOTTIME), or could not be begun.
 *
 * To read the memory of another process can take as long as that hangs: it is
 * done by a child, which is left to itself then.  Single-threaded callers only.
 */
bool carriers_find(const char *variable, const char *id, int64_t until_ns,
		   carriers_found_fn *found, void *context);

#endif
