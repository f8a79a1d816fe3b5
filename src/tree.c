#include "config.h"

#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A growing list of process numbers; what does not fit in memory is left out. */
struct pids {
	pid_t *list;
	size_t count;
	size_t space;
};

static void add_pid(struct pids *pids, pid_t pid)
{
	if (pids->count == pids->space) {
		size_t space = pids->space ? 2 * pids->space : 64;
		pid_t *list = realloc(pids->list, space * sizeof(*list));

		/* The next sweep meets it again, when others are gone. */
		if (!list)
			return;
		pids->list = list;
		pids->space = space;
	}
	pids->list[pids->count++] = pid;
}

/* Adds the process numbers in the file `path`.  0 or a negative errno. */
static int add_children_listed_in(const char *path, struct pids *pids)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buffer[4096];
	pid_t pid = 0;
	ssize_t n, i;

	if (fd < 0)
		return -errno;
	/* Numbers may be cut in two by the end of the buffer. */
	while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
		for (i = 0; i < n; i++) {
			if (buffer[i] >= '0' && buffer[i] <= '9') {
				pid = pid * 10 + (buffer[i] - '0');
				continue;
			}
			if (pid)
				add_pid(pids, pid);
			pid = 0;
		}
	}
	if (pid)
		add_pid(pids, pid);
	close(fd);
	return n < 0 ? -errno : 0;
}

/* Adds the children of all threads of `pid`. */
static void add_children_of(pid_t pid, struct pids *pids)
{
	char path[64];
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return;
	while ((entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", (int)pid,
			 entry->d_name);
		add_children_listed_in(path, pids);
	}
	closedir(tasks);
}

/* The parent of `pid` by /proc/PID/stat; 0 when it is gone. */
static pid_t parent_of(pid_t pid)
{
	char path[32], stat[512], *after_name;
	int fd, parent = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	stat[n] = '\0';
	/* The name stands in brackets and may hold anything, brackets, too. */
	after_name = strrchr(stat, ')');
	if (!after_name || sscanf(after_name + 1, " %*c %d", &parent) != 1)
		return 0;
	return parent;
}

static int open_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
	return (int)syscall(SYS_pidfd_open, pid, 0);
#else
	(void)pid;
	errno = ENOSYS;
	return -1;
#endif
}

/* Returns 0 or a negative errno. */
static int signal_by_pidfd(int pidfd, int signal)
{
#ifdef SYS_pidfd_send_signal
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
#else
	(void)pidfd;
	(void)signal;
	return -ENOSYS;
#endif
}

/*
 * Signals a process that is not our own child.  Its number may have passed to
 * a stranger since it was listed, so it is held by a pidfd first and counts
 * only if its parent is still the one that it was found under.
 */
static int signal_grandchild(pid_t pid, pid_t parent, int signal)
{
	int pidfd = open_pidfd(pid);
	int result = -ESRCH;

	if (pidfd < 0 && errno != ENOSYS)
		return -errno;
	if (parent_of(pid) == parent) {
		result = pidfd < 0 ? -ENOSYS : signal_by_pidfd(pidfd, signal);
		if (result == -ENOSYS) /* before Linux 5.3 */
			result = kill(pid, signal) < 0 ? -errno : 0;
	}
	if (pidfd >= 0)
		close(pidfd);
	return result;
}

bool tree_is_stranger(const struct tree_strangers *strangers, pid_t pid)
{
	size_t i;

	for (i = 0; i < strangers->count; i++)
		if (strangers->pids[i] == pid)
			return true;
	return false;
}

int tree_adopt(struct tree_strangers *strangers)
{
	struct pids pids = { 0 };
	int err = add_children_listed_in("/proc/thread-self/children", &pids);

	if (err)
		return err;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return -errno;
	strangers->pids = pids.list;
	strangers->count = pids.count;
	return 0;
}

size_t tree_signal(const struct tree_strangers *strangers, int signal, size_t *refused)
{
	struct pids pids = { 0 }, parents = { 0 };
	size_t i, sent = 0;

	add_children_listed_in("/proc/thread-self/children", &pids);
	for (i = 0; i < pids.count; i++)
		add_pid(&parents, getpid());

	/* The list grows while it is walked: each process adds its children. */
	for (i = 0; i < pids.count && i < parents.count; i++) {
		pid_t pid = pids.list[i], parent = parents.list[i];
		bool own = parent == getpid();
		size_t before = pids.count;
		int result;

		if (own && tree_is_stranger(strangers, pid))
			continue;
		add_children_of(pid, &pids);
		while (before++ < pids.count)
			add_pid(&parents, pid);

		if (own)
			result = kill(pid, signal) < 0 ? -errno : 0;
		else
			result = signal_grandchild(pid, parent, signal);
		if (!result)
			sent++;
		else if (result == -EPERM)
			(*refused)++;
	}
	free(pids.list);
	free(parents.list);
	return sent;
}
