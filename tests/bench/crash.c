/*
 * crash FILE PID...
 *
 * Kills the processes by SIGKILL, within a few microseconds, in this order, as if
 * their host had crashed, and then appends to FILE "crash MS": the ms of
 * CLOCK_MONOTONIC from before the first was killed.  Exits with 1 when the
 * first was not there any more: the others may end by its death.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct timespec at;
	int i, missing;
	FILE *file;

	if (argc < 3)
		return 64;
	file = fopen(argv[1], "a");
	if (!file)
		return 71;
	clock_gettime(CLOCK_MONOTONIC, &at);
	missing = kill(atoi(argv[2]), SIGKILL) != 0;
	for (i = 3; i < argc; i++)
		kill(atoi(argv[i]), SIGKILL);
	fprintf(file, "crash %lld.%06ld\n",
		(long long)at.tv_sec * 1000 + at.tv_nsec / 1000000,
		at.tv_nsec % 1000000);
	return fclose(file) == 0 && !missing ? 0 : 1;
}
