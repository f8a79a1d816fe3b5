/*
 * stopwatch ROUNDS COMMAND [ARG]... [, COMMAND [ARG]...]...
 *
 * Runs the commands in turns, ROUNDS times each, and prints for each, in their
 * order, a line of its run times in ms: the median, and those that a tenth of
 * the runs stayed below and above.  A run lasts from before the process is
 * made until its end was seen.  All are started in the same way, with stdin
 * and stdout on /dev/null; each round begins with the next of them, so that
 * none always follows the same one.  Runs to warm up are not counted.  Exits
 * with 1 as soon as a command fails: what fails fast must not win.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS_MAX 16
#define ROUNDS_MAX 10000
#define WARM_UP_ROUNDS 5

extern char **environ;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Returns the run time in ns; -1, and says so, when it cannot run or fails. */
static int64_t time_command(char **command)
{
	posix_spawn_file_actions_t actions;
	int64_t start_ns, end_ns;
	int status = 0, err;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
					 O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	start_ns = now_ns();
	err = posix_spawnp(&pid, command[0], &actions, NULL, command, environ);
	if (!err && waitpid(pid, &status, 0) < 0)
		err = errno;
	end_ns = now_ns();
	posix_spawn_file_actions_destroy(&actions);
	if (err || status) {
		fprintf(stderr, "stopwatch: %s: %s (wait status %d)\n",
			command[0], err ? strerror(err) : "failed", status);
		return -1;
	}
	return end_ns - start_ns;
}

static int compare(const void *a, const void *b)
{
	int64_t first = *(const int64_t *)a, second = *(const int64_t *)b;

	return (first > second) - (first < second);
}

static double to_ms(int64_t ns)
{
	return (double)ns / 1e6;
}

int main(int argc, char **argv)
{
	static int64_t times[COMMANDS_MAX][ROUNDS_MAX];
	char **commands[COMMANDS_MAX];
	size_t rounds, count = 0, round, i;
	int argument;

	if (argc < 3)
		return 64;
	rounds = strtoul(argv[1], NULL, 10);
	if (rounds < 1 || rounds > ROUNDS_MAX)
		return 64;
	for (argument = 2; argument < argc && count < COMMANDS_MAX;) {
		commands[count++] = argv + argument;
		while (argument < argc && strcmp(argv[argument], ",") != 0)
			argument++;
		if (argument < argc)
			argv[argument++] = NULL;
	}
	for (i = 0; i < count; i++) {
		if (!commands[i][0] || strcmp(commands[i][0], ",") == 0)
			return 64;
	}

	for (round = 0; round < WARM_UP_ROUNDS + rounds; round++) {
		for (i = 0; i < count; i++) {
			size_t which = (round + i) % count;
			int64_t ns = time_command(commands[which]);

			if (ns < 0)
				return 1;
			if (round >= WARM_UP_ROUNDS)
				times[which][round - WARM_UP_ROUNDS] = ns;
		}
	}
	for (i = 0; i < count; i++) {
		qsort(times[i], rounds, sizeof(times[i][0]), compare);
		printf("%.3f %.3f %.3f\n", to_ms(times[i][rounds / 2]),
		       to_ms(times[i][rounds / 10]),
		       to_ms(times[i][rounds - 1 - rounds / 10]));
	}
	return 0;
}
