/*
 * A process that is not ours, a script that has attached a lock to itself, and
 * what it has started: found by its parents, from the attached process down,
 * and kept once found, as its parents may end; and what had lost its parents
 * before, a daemon, by the id of the lease in its environment.
 *
 * Processes are held by pidfds, so that no number that has passed to another
 * process is ever signalled; those for which no descriptor is left, by their
 * number and the time of their start, and by a pidfd while they are signalled.
 * Needs Linux 5.3.
 */
#ifndef CFLOCK_ATTACHED_H
#define CFLOCK_ATTACHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* For a pidfd, and for what is read of it. */
#define ATTACHED_RESERVE 3

struct found;

struct attached {
	pid_t pid;
	int pidfd; /* readable once the process has ended */
	struct found *found;
	size_t count, room;
	pid_t spared[2]; /* of its descendants: ours */
	int kept_below;  /* pidfds above are not kept */
	int reserve[ATTACHED_RESERVE];
	const char *id; /* of the lease, for attached_look() */
};

/*
 * Returns 0 or a negative errno: -ESRCH no such process, -EPERM it may not be
 * signalled by this user, -ENOTSUP it is the first of its container, which cannot
 * be killed from within, -ENOSYS the kernel is too old, -EINVAL it is we,
 * -EMFILE there are not even descriptors enough to signal it by.
 */
int attached_open(struct attached *attached, pid_t pid);

/* Once, before the rest, in a process that has not closed what it does not need:
 * has descriptors for it. */
void attached_use_reserve(struct attached *attached);

/* The attached process itself. */
bool attached_has_ended(const struct attached *attached);
bool attached_is_stopped(const struct attached *attached);

/* Looks for more that it has started.  To be called again and again.  Returns how
 * many were found. */
size_t attached_gather(struct attached *attached);

/*
 * Looks for daemons that it has started, until_ns (CLOCK_BOOTTIME) at most.
 * Returns true when all were found.  Single-threaded callers only; so for
 * attached_signal(), which does it, for at most look_ns.
 */
bool attached_look(struct attached *attached, int64_t until_ns);

/*
 * Stops all that is found, as below, and sends the `count` signals, in their order, of which the last is to be SIGCONT, to all,
 * parents before their children; begins no other process after until_ns
 * (CLOCK_BOOTTIME).
 */
void attached_signal(struct attached *attached, const int *signals,
		     size_t count, int64_t look_ns, int64_t until_ns);

/*
 * Stops all that is found, until none is found that could start another, or
 * until_ns (CLOCK_BOOTTIME), and then kills it.  To be called until all is dead.
 * Returns how many may not be killed by this user.
 */
size_t attached_kill(struct attached *attached, int64_t until_ns);

/* All that was ever found. */
bool attached_is_dead(const struct attached *attached);

#endif
