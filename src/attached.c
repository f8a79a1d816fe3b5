#include "config.h"

#include "attached.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "carriers.h"
#include "clock.h"
#include "holder.h"
#include "tree.h"

/* A tree that grows faster than it is stopped must not keep us for ever. */
#define FREEZE_ROUNDS_MAX 50

/* Descriptors that are left for reading /proc, and for what is not kept. */
#define SPARE_FILES 16

struct found {
	pid_t pid;
	int pidfd; /* -1: descriptors were short; held when it is needed */
	int64_t started_ns; /* tells it from another of that number */
};

static bool is_readable(int pidfd)
{
	struct pollfd fd = { .fd = pidfd, .events = POLLIN };

	return poll(&fd, 1, 0) > 0;
}

/*
 * Returns a pidfd, to be let go of; -ESRCH when the process has ended; or
 * another negative errno, when nobody can say that, as descriptors are short.
 */
static int hold(const struct found *found)
{
	int pidfd = found->pidfd, err = 0;
	int64_t started_ns;

	if (pidfd >= 0)
		return is_readable(pidfd) ? -ESRCH : pidfd;
	pidfd = tree_open_pidfd(found->pid);
	if (pidfd < 0) /* EINVAL: a thread has that number now */
		return errno == EINVAL ? -ESRCH : -errno;
	if (!tree_started_ns(found->pid, &started_ns))
		err = -EAGAIN;
	else if (started_ns != found->started_ns)
		err = -ESRCH;
	/* Behind that: had it ended, that was not read of it. */
	if (is_readable(pidfd))
		err = -ESRCH;
	if (!err)
		return pidfd;
	close(pidfd);
	return err;
}

static void let_go(const struct found *found, int pidfd)
{
	if (pidfd >= 0 && pidfd != found->pidfd)
		close(pidfd);
}

static bool has_ended(const struct found *found)
{
	int pidfd = hold(found);

	let_go(found, pidfd);
	return pidfd == -ESRCH;
}

/* Returns 0 or a negative errno, -ESRCH when it has ended. */
static int send_signal(const struct found *found, int number)
{
	int pidfd = hold(found);
	int err = pidfd < 0 ? pidfd : tree_signal_pidfd(pidfd, number);

	let_go(found, pidfd);
	return err;
}

/* Takes `pidfd` over.  Without memory it is left out, and met again. */
static void add(struct attached *attached, const struct found *found, int pidfd)
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
	/* The lowest that was free: above it there are some more. */
	if (pidfd != attached->pidfd && pidfd >= attached->kept_below) {
		close(pidfd);
		pidfd = -1;
	}
	attached->found[attached->count] = *found;
	attached->found[attached->count++].pidfd = pidfd;
}

static bool is_known(const struct attached *attached, pid_t pid)
{
	size_t i;

	if (pid == attached->spared[0] || pid == attached->spared[1])
		return true;
	for (i = 0; i < attached->count; i++)
		if (attached->found[i].pid == pid &&
		    !has_ended(&attached->found[i]))
			return true;
	return false;
}

/* Unless it is known, or has ended since it was seen to have started then. */
static void add_seen(void *context, pid_t pid, int64_t started_ns)
{
	struct found found = {
		.pid = pid,
		.pidfd = -1,
		.started_ns = started_ns,
	};
	struct attached *attached = context;
	int pidfd;

	if (is_known(attached, pid))
		return;
	pidfd = hold(&found);
	if (pidfd >= 0)
		add(attached, &found, pidfd);
}

/*
 * A child that was listed may have ended, and its number have passed to a
 * stranger, before it is held.  A stranger has started after the listing.
 */
static void add_child(struct attached *attached, pid_t pid, int64_t listed_ns)
{
	int64_t started_ns;

	if (!is_known(attached, pid) && tree_started_ns(pid, &started_ns) &&
	    started_ns <= listed_ns)
		add_seen(attached, pid, started_ns);
}

/* As many as there may be.  Returns the number below which pidfds are kept. */
static int raise_file_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return 0;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		getrlimit(RLIMIT_NOFILE, &files);
	return files.rlim_cur > INT_MAX ? INT_MAX
					: (int)files.rlim_cur - SPARE_FILES;
}

int attached_open(struct attached *attached, pid_t pid)
{
	struct found found = { .pid = pid };
	int pidfd, err;
	size_t i;

	if (pid == getpid())
		return -EINVAL;
	if (pid == 1)
		return -ENOTSUP;
	pidfd = tree_open_pidfd(pid);
	if (pidfd < 0)
		return errno == EINVAL ? -ESRCH : -errno;
	err = tree_signal_pidfd(pidfd, 0);
	if (!err && !tree_started_ns(pid, &found.started_ns))
		err = -EMFILE;
	if (is_readable(pidfd))
		err = -ESRCH;
	attached->kept_below = raise_file_limit();
	for (i = 0; i < ATTACHED_RESERVE && !err; i++) {
		attached->reserve[i] = fcntl(pidfd, F_DUPFD_CLOEXEC, 0);
		if (attached->reserve[i] < 0)
			err = -errno;
	}
	if (err) {
		close(pidfd);
		return err;
	}
	attached->pid = pid;
	attached->pidfd = pidfd;
	add(attached, &found, pidfd);
	return attached->count ? 0 : -ENOMEM;
}

void attached_use_reserve(struct attached *attached)
{
	size_t i;

	for (i = 0; i < ATTACHED_RESERVE; i++)
		close(attached->reserve[i]);
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
		const struct found *found = &attached->found[i];

		if (!has_ended(found))
			attached->found[kept++] = *found;
		else if (found->pidfd >= 0)
			close(found->pidfd);
	}
	attached->count = kept;
}

size_t attached_gather(struct attached *attached)
{
	size_t i, j, count, known;
	pid_t *children;

	drop_dead(attached);
	known = attached->count;

	/* The list grows while it is walked. */
	for (i = 0; i < attached->count; i++) {
		struct found found = attached->found[i];
		int pidfd = hold(&found);
		int64_t listed_ns;

		if (pidfd < 0)
			continue;
		count = tree_children(found.pid, &children);
		listed_ns = clock_boot_ns();
		/* Now that the number may be another's, so may the children. */
		if (is_readable(pidfd))
			count = 0;
		let_go(&found, pidfd);
		for (j = 0; j < count; j++)
			add_child(attached, children[j], listed_ns);
		free(children);
	}
	return attached->count - known;
}

bool attached_look(struct attached *attached, int64_t until_ns)
{
	return carriers_find(ANCESTORS_VARIABLE, attached->id, until_ns,
			     add_seen, attached);
}

/* True once none of those that were found can start another. */
static bool all_frozen(const struct attached *attached)
{
	pid_t parent;
	char state;
	size_t i;

	for (i = 0; i < attached->count; i++)
		if (!has_ended(&attached->found[i]) &&
		    tree_look_up(attached->found[i].pid, &state, &parent) &&
		    state != 'T' && state != 'Z')
			return false;
	return true;
}

/*
 * Stops all, until none is found that could start another, so that none is left
 * out: what loses its parent before it is found is hard to find.  Gives up
 * until_ns: on a busy machine it takes long until they act on it.
 */
static void freeze(struct attached *attached, int64_t until_ns)
{
	int rounds = 0;
	bool done;
	size_t i;

	do {
		for (i = 0; i < attached->count; i++)
			send_signal(&attached->found[i], SIGSTOP);
		done = all_frozen(attached);
		if (attached_gather(attached))
			done = false;
		if (!done) /* it takes effect when they run next */
			poll(NULL, 0, 1);
	} while (!done && ++rounds < FREEZE_ROUNDS_MAX &&
		 clock_boot_ns() < until_ns);
}

void attached_signal(struct attached *attached, const int *signals,
		     size_t count, int64_t look_ns, int64_t until_ns)
{
	int64_t now_ns = clock_boot_ns(), looked_ns;
	/* Half of the time is theirs. */
	int64_t frozen_ns = now_ns + (until_ns - now_ns) / 2;
	size_t i, j;

	freeze(attached, frozen_ns);
	looked_ns = clock_boot_ns() + look_ns;
	attached_look(attached, looked_ns < frozen_ns ? looked_ns : frozen_ns);
	freeze(attached, frozen_ns);
	for (i = 0; i < attached->count && clock_boot_ns() < until_ns; i++)
		for (j = 0; j < count; j++)
			send_signal(&attached->found[i], signals[j]);
}

/*
 * What is killed runs no code of its own any more, but needs the processor to
 * die; on a busy machine it would wait for its turn.
 */
static int kill_one(const struct found *found)
{
	static const struct sched_param at_once = { .sched_priority = 1 };
	int pidfd = hold(found);
	int err = pidfd < 0 ? pidfd : tree_signal_pidfd(pidfd, SIGKILL);

	if (!err && !is_readable(pidfd))
		sched_setscheduler(found->pid, SCHED_FIFO, &at_once);
	let_go(found, pidfd);
	return err;
}

size_t attached_kill(struct attached *attached, int64_t until_ns)
{
	size_t refused = 0, i;

	freeze(attached, until_ns);
	for (i = 0; i < attached->count; i++)
		if (kill_one(&attached->found[i]) == -EPERM)
			refused++;
	return refused;
}

bool attached_is_dead(const struct attached *attached)
{
	size_t i;

	for (i = 0; i < attached->count; i++)
		if (!has_ended(&attached->found[i]))
			return false;
	return true;
}
