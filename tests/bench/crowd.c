/*
 * crowd COUNT COMMAND [ARG]...
 *
 * Starts COMMAND COUNT times at once, and prints the ms from before the first was
 * made until the end of the last was seen.  stdin and stdout are /dev/null.
 * Exits with 1 when one failed.
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

extern char **environ;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	unsigned long count, made, failed = 0;
	int64_t start_ns;
	int status, err = 0;
	pid_t pid;

	if (argc < 3)
		return 64;
	count = strtoul(argv[1], NULL, 10);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
					 O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	start_ns = now_ns();
	for (made = 0; made < count && !err; made++)
		err = posix_spawnp(&pid, argv[2], &actions, NULL, argv + 2,
				   environ);
	while (wait(&status) > 0)
		failed += status != 0;
	if (err || failed) {
		fprintf(stderr, "crowd: %s: %s; %lu failed\n", argv[2],
			err ? strerror(err) : "all started", failed);
		return 1;
	}
	printf("%.3f\n", (double)(now_ns() - start_ns) / 1e6);
	return 0;
}
