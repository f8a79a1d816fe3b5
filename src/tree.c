#include "config.h"

#include "tree.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

struct member {
	pid_t pid;
	pid_t parent; /* that it was found under */
};

/* What does not fit in memory is left out: the next sweep meets it again. */
struct members {
	struct member *list;
	size_t count;
	size_t space;
};

static void add_member(struct members *members, pid_t pid, pid_t parent)
{
	if (members->count == members->space) {
		size_t space = members->space ? 2 * members->space : 64;
		struct member *list =
			realloc(members->list, space * sizeof(*list));

		if (!list)
			return;
		members->list = list;
		members->space = space;
	}
	members->list[members->count].pid = pid;
	members->list[members->count++].parent = parent;
}

/* Adds the children of `parent` that `fd` lists.  0 or a negative errno. */
static int add_listed(struct members *members, int fd, pid_t parent)
{
	char buffer[4096];
	off_t offset = 0;
	pid_t pid = 0;
	ssize_t n, i;

	/* A number may be cut in two by the end of the buffer. */
	while ((n = pread(fd, buffer, sizeof(buffer), offset)) > 0) {
		for (i = 0; i < n; i++) {
			if (isdigit((unsigned char)buffer[i])) {
				pid = pid * 10 + (buffer[i] - '0');
				continue;
			}
			if (pid)
				add_member(members, pid, parent);
			pid = 0;
		}
		offset += n;
	}
	return n < 0 ? -errno : 0;
}

/* Adds the children of all threads of `parent`. */
static void add_children(struct members *members, pid_t parent)
{
	char path[64];
	struct dirent *entry;
	DIR *tasks;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)parent);
	tasks = opendir(path);
	if (!tasks)
		return;
	while ((entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children",
			 (int)parent, entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		add_listed(members, fd, parent);
		close(fd);
	}
	closedir(tasks);
}

/*
 * Reads /proc/PID/stat.  Returns what stands behind the name of the process, in
 * `stat`; NULL when it is gone.
 */
static char *read_stat(pid_t pid, char *stat, size_t size)
{
	char path[32], *name_end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	n = read(fd, stat, size - 1);
	close(fd);
	if (n <= 0)
		return NULL;
	stat[n] = '\0';
	/* The name stands in brackets and may hold anything, brackets, too. */
	name_end = strrchr(stat, ')');
	return name_end ? name_end + 1 : NULL;
}

bool tree_look_up(pid_t pid, char *state, pid_t *parent)
{
	char stat[512], *fields = read_stat(pid, stat, sizeof(stat));
	int number;

	if (!fields || sscanf(fields, " %c %d", state, &number) != 2)
		return false;
	*parent = number;
	return true;
}

bool tree_started_ns(pid_t pid, int64_t *started_ns)
{
	char stat[1024], *field = read_stat(pid, stat, sizeof(stat));
	unsigned long long ticks;
	int i;

	/* Field 22; the first behind the name is the third. */
	for (i = 3; field && i < 22; i++)
		field = strchr(field + 1, ' ');
	if (!field || sscanf(field, "%llu", &ticks) != 1)
		return false;
	*started_ns = (int64_t)(ticks * (unsigned long long)NS_PER_S /
				(unsigned long long)sysconf(_SC_CLK_TCK));
	return true;
}

size_t tree_children(pid_t parent, pid_t **children)
{
	struct members members = { 0 };
	pid_t *list;
	size_t i;

	add_children(&members, parent);
	list = calloc(members.count + 1, sizeof(*list));
	if (!list)
		members.count = 0;
	for (i = 0; i < members.count; i++)
		list[i] = members.list[i].pid;
	free(members.list);
	*children = list;
	return members.count;
}

int tree_open_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
	return (int)syscall(SYS_pidfd_open, pid, 0);
#else
	(void)pid;
	errno = ENOSYS;
	return -1;
#endif
}

int tree_signal_pidfd(int pidfd, int signal)
{
#ifdef SYS_pidfd_send_signal
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0
		       ? -errno
		       : 0;
#else
	(void)pidfd;
	(void)signal;
	return -ENOSYS;
#endif
}

/* Returns 0 or a negative errno. */
static int send_signals(pid_t pid, int pidfd, const int *signals, size_t count)
{
	int err = 0;
	size_t i;

	for (i = 0; i < count && !err; i++) {
		err = pidfd < 0 ? -ENOSYS
				: tree_signal_pidfd(pidfd, signals[i]);
		if (err == -ENOSYS) /* before Linux 5.3 */
			err = kill(pid, signals[i]) < 0 ? -errno : 0;
	}
	return err;
}

static bool is_stranger(const struct tree *tree, pid_t pid)
{
	size_t i;

	for (i = 0; i < tree->stranger_count; i++)
		if (tree->strangers[i].pid == pid)
			return true;
	return false;
}

/*
 * Adds the children of `member` and signals it: in this order, as it may end at
 * once.  A process that is not our own child may have died since it was listed,
 * and its number may have passed to a stranger.  So it is held by a pidfd
 * first; it counts only if its parent is the one it was found under, or, now
 * that that has ended, we; and its children count only if it was still there
 * after they were read.  Returns 0 or a negative errno.
 */
static int signal_member(struct members *members, struct member member,
			 const int *signals, size_t count)
{
	pid_t self = getpid(), parent;
	size_t before = members->count;
	int pidfd, err = -ESRCH;
	char state;

	if (member.parent == self) {
		add_children(members, member.pid);
		return send_signals(member.pid, -1, signals, count);
	}
	pidfd = tree_open_pidfd(member.pid);
	/* Old sandboxes answer EPERM to what they do not know. */
	if (pidfd < 0 && errno != ENOSYS && errno != EPERM)
		return -errno;
	if (tree_look_up(member.pid, &state, &parent) &&
	    (parent == member.parent || parent == self)) {
		add_children(members, member.pid);
		err = send_signals(member.pid, pidfd, signals, count);
	}
	if (err == -ESRCH)
		members->count = before;
	if (pidfd >= 0)
		close(pidfd);
	return err;
}

/* Returns how many may not be signalled by this user. */
static size_t signal_all(const struct tree *tree, const int *signals,
			 size_t count, int64_t until_ns)
{
	struct members members = { 0 };
	size_t refused = 0, i;
	pid_t self = getpid();

	add_listed(&members, tree->children_fd, self);
	/* The list grows while it is walked. */
	for (i = 0; i < members.count && clock_boot_ns() < until_ns; i++) {
		struct member member = members.list[i];

		if (member.parent == self && is_stranger(tree, member.pid))
			continue;
		if (signal_member(&members, member, signals, count) == -EPERM)
			refused++;
	}
	free(members.list);
	return refused;
}

int tree_open(struct tree *tree)
{
	int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
	struct members children = { 0 };
	int err;

	if (fd < 0)
		return -errno;
	err = add_listed(&children, fd, getpid());
	if (!err && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		err = -errno;
	if (err) {
		close(fd);
		free(children.list);
		return err;
	}
	tree->children_fd = fd;
	tree->strangers = children.list;
	tree->stranger_count = children.count;
	return 0;
}

void tree_signal(const struct tree *tree, const int *signals, size_t count,
		 int64_t until_ns)
{
	signal_all(tree, signals, count, until_ns);
}

size_t tree_kill(const struct tree *tree, bool deep)
{
	/*
	 * What is killed runs no code of its own any more, but needs the
	 * processor to die: on a busy machine it would wait for its turn.
	 */
	static const struct sched_param at_once = { .sched_priority = 1 };
	static const int sigkill = SIGKILL;
	struct members children = { 0 };
	size_t refused = 0, i;

	add_listed(&children, tree->children_fd, getpid());
	for (i = 0; i < children.count; i++) {
		pid_t pid = children.list[i].pid;

		if (is_stranger(tree, pid))
			continue;
		/* Our child, and not reaped: it is there. */
		if (kill(pid, SIGKILL) == 0)
			sched_setscheduler(pid, SCHED_FIFO, &at_once);
		else
			refused++;
	}
	free(children.list);
	/* After the quick pass: what that has orphaned needs no walk. */
	if (deep)
		refused = signal_all(tree, &sigkill, 1, INT64_MAX);
	return refused;
}

bool tree_is_empty(const struct tree *tree)
{
	struct members children = { 0 };
	siginfo_t info;
	bool empty;
	size_t i;

	/* Looks without waiting for what the caller wants to wait for. */
	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		return errno == ECHILD;
	if (!tree->stranger_count)
		return false;
	empty = add_listed(&children, tree->children_fd, getpid()) == 0;
	for (i = 0; i < children.count; i++)
		empty &= is_stranger(tree, children.list[i].pid);
	free(children.list);
	return empty;
}
