#include "config.h"

#include "attached.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "tree.h"

/* A tree that grows faster than it is stopped must not keep us for ever. */
#define FREEZE_ROUNDS_MAX 50

struct found {
	pid_t pid;
	int pidfd;
};

static bool is_readable(int pidfd)
{
	struct pollfd fd = { .fd = pidfd, .events = POLLIN };

	return poll(&fd, 1, 0) > 0;
}

/* Takes `pidfd` over.  Without memory it is left out, and met again. */
static void add(struct attached *attached, pid_t pid, int pidfd)
{
	if (attached->count == attached->room) {
		size_t room = attached->room ? 2 * attached->room : 64;
		struct found *grown =
			reallocarray(attached->found, room, sizeof(*grown));

		if (!grown) {
			close(pidfd);
			return;
		}
		attached->found = grown;
		attached->room = room;
	}
	attached->found[attached->count].pid = pid;
	attached->found[attached->count++].pidfd = pidfd;
}

static bool is_known(const struct attached *attached, pid_t pid)
{
	size_t i;

	if (pid == attached->spared[0] || pid == attached->spared[1])
		return true;
	for (i = 0; i < attached->count; i++)
		if (attached->found[i].pid == pid &&
		    !is_readable(attached->found[i].pidfd))
			return true;
	return false;
}

/*
 * A child that was listed may have ended, and its number have passed to a
 * stranger, before it is held.  A stranger has started after the listing.
 */
static void add_child(struct attached *attached, pid_t pid, int64_t listed_ns)
{
	int64_t started_ns;
	int pidfd;

	if (is_known(attached, pid))
		return;
	pidfd = tree_open_pidfd(pid);
	if (pidfd < 0)
		return;
	if (tree_started_ns(pid, &started_ns) && started_ns <= listed_ns)
		add(attached, pid, pidfd);
	else
		close(pidfd);
}

int attached_open(struct attached *attached, pid_t pid)
{
	struct rlimit files;
	int pidfd, err;

	if (pid == getpid())
		return -EINVAL;
	if (pid == 1)
		return -ENOTSUP;
	pidfd = tree_open_pidfd(pid);
	if (pidfd < 0)
		return errno == EINVAL ? -ESRCH : -errno;
	err = is_readable(pidfd) ? -ESRCH : tree_signal_pidfd(pidfd, 0);
	if (err) {
		close(pidfd);
		return err;
	}
	/* A descriptor for each process that it has started. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	attached->pid = pid;
	attached->pidfd = pidfd;
	add(attached, pid, pidfd);
	return attached->count ? 0 : -ENOMEM;
}

bool attached_has_ended(const struct attached *attached)
{
	return is_readable(attached->pidfd);
}

bool attached_is_stopped(const struct attached *attached)
{
	pid_t parent;
	char state;

	return tree_look_up(attached->pid, &state, &parent) && state == 'T' &&
	       !attached_has_ended(attached);
}

/* Those that have ended, but for the first, need no descriptor any more. */
static void drop_dead(struct attached *attached)
{
	size_t i, kept = 1;

	for (i = 1; i < attached->count; i++) {
		if (is_readable(attached->found[i].pidfd))
			close(attached->found[i].pidfd);
		else
			attached->found[kept++] = attached->found[i];
	}
	attached->count = kept;
}

void attached_gather(struct attached *attached)
{
	size_t i, j, count;
	pid_t *children;

	drop_dead(attached);

	/* The list grows while it is walked. */
	for (i = 0; i < attached->count; i++) {
		int64_t listed_ns;

		if (is_readable(attached->found[i].pidfd))
			continue;
		count = tree_children(attached->found[i].pid, &children);
		listed_ns = clock_boot_ns();
		/* Now that the number may be another's, so may the children. */
		if (!is_readable(attached->found[i].pidfd))
			for (j = 0; j < count; j++)
				add_child(attached, children[j], listed_ns);
		free(children);
	}
}

/* True once none of those that were found can start another. */
static bool all_frozen(const struct attached *attached)
{
	pid_t parent;
	char state;
	size_t i;

	for (i = 0; i < attached->count; i++)
		if (!is_readable(attached->found[i].pidfd) &&
		    tree_look_up(attached->found[i].pid, &state, &parent) &&
		    state != 'T' && state != 'Z')
			return false;
	return true;
}

/*
 * Stops all, until none is found that could start another, so that none is left
 * out: what loses its parent before it is found is never found.
 */
static void freeze(struct attached *attached)
{
	size_t before, i;
	int rounds = 0;
	bool done;

	do {
		for (i = 0; i < attached->count; i++)
			tree_signal_pidfd(attached->found[i].pidfd, SIGSTOP);
		done = all_frozen(attached);
		before = attached->count;
		attached_gather(attached);
		if (attached->count > before)
			done = false;
		else if (!done)
			poll(NULL, 0,
			     1); /* it takes effect when they run next */
	} while (!done && ++rounds < FREEZE_ROUNDS_MAX);
}

void attached_signal(struct attached *attached, const int *signals,
		     size_t count, int64_t until_ns)
{
	size_t i, j;

	freeze(attached);
	for (i = 0; i < attached->count && clock_boot_ns() < until_ns; i++)
		for (j = 0; j < count; j++)
			tree_signal_pidfd(attached->found[i].pidfd, signals[j]);
}

size_t attached_kill(struct attached *attached)
{
	size_t refused = 0, i;

	freeze(attached);
	for (i = 0; i < attached->count; i++)
		if (tree_signal_pidfd(attached->found[i].pidfd, SIGKILL) ==
		    -EPERM)
			refused++;
	return refused;
}

bool attached_is_dead(const struct attached *attached)
{
	size_t i;

	for (i = 0; i < attached->count; i++)
		if (!is_readable(attached->found[i].pidfd))
			return false;
	return true;
}
