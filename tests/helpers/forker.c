/*
 * Processes that are hard to be rid of, for tests.
 *
 *   forker churn N FILE    N processes, each of which forks its successor and
 *                          ends, for ever: none lives longer than a moment
 *   forker spawn FILE      forks children in sessions of their own that sleep,
 *                          for ever, as many as it may
 *
 *   forker crowd N FILE    N children in sessions of their own that sleep
 *
 * FILE is made once that has begun.  All ignore SIGTERM.  Descriptors are
 * passed on: who holds the other end of a pipe sees when the last of them is
 * dead.  Each ends by itself after LIFE_S.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Should a test fail to kill them. */
#define LIFE_S 60

/* More children would only slow the machine down. */
#define SPAWN_MAX 300
#define SPAWN_EVERY_US 500

static time_t end;

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void make(const char *file)
{
	int fd = open(file, O_WRONLY | O_CREAT, 0600);

	if (fd < 0)
		_exit(1);
	close(fd);
}

/* Forks; when that is not possible at the moment, again and again. */
static pid_t fork_at_last(void)
{
	pid_t pid;

	while ((pid = fork()) < 0 && errno == EAGAIN && now_s() < end)
		usleep(1000);
	return pid;
}

static void churn(void)
{
	while (now_s() < end) {
		pid_t pid = fork_at_last();

		if (pid != 0)
			_exit(pid < 0);
	}
	_exit(0);
}

static void spawn(const char *file)
{
	int count = 0;

	while (now_s() < end) {
		pid_t pid = count < SPAWN_MAX ? fork_at_last() : -1;

		if (pid == 0) {
			setsid();
			sleep(LIFE_S);
			_exit(0);
		}
		if (pid > 0 && count++ == 0)
			make(file);
		usleep(SPAWN_EVERY_US);
	}
}

static void crowd(int count, const char *file)
{
	while (count-- > 0) {
		if (fork_at_last() == 0) {
			setsid();
			sleep(LIFE_S);
			_exit(0);
		}
	}
	make(file);
	sleep(LIFE_S);
}

int main(int argc, char **argv)
{
	int i, count;

	end = now_s() + LIFE_S;
	signal(SIGTERM, SIG_IGN);
	/* Its dead children are nobody's zombies. */
	signal(SIGCHLD, SIG_IGN);

	if (argc == 4 && !strcmp(argv[1], "churn")) {
		count = atoi(argv[2]);
		for (i = 1; i < count; i++) {
			if (fork_at_last() == 0)
				churn();
		}
		make(argv[3]);
		churn();
	}
	if (argc == 3 && !strcmp(argv[1], "spawn")) {
		spawn(argv[2]);
		return 0;
	}
	if (argc == 4 && !strcmp(argv[1], "crowd")) {
		crowd(atoi(argv[2]), argv[3]);
		return 0;
	}
	fprintf(stderr,
		"usage: forker churn|crowd N FILE | forker spawn FILE\n");
	return 2;
}
