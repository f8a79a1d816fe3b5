/*
 * crash FILE PID...
 *
 * Kills the processes by SIGKILL, within a few microseconds, in this order, as if
 * their host had crashed, and then appends to FILE "crash MS": the ms of
 * CLOCK_MONOTONIC from before the first was killed.  Exits with 1 when one was
 * not there any more.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct timespec at;
	int i, missing = 0;
	FILE *file;

	if (argc < 3)
		return 64;
	file = fopen(argv[1], "a");
	if (!file)
		return 71;
	clock_gettime(CLOCK_MONOTONIC, &at);
	for (i = 2; i < argc; i++)
		missing |= kill(atoi(argv[i]), SIGKILL) != 0;
	fprintf(file, "crash %lld.%06ld\n",
		(long long)at.tv_sec * 1000 + at.tv_nsec / 1000000,
		at.tv_nsec % 1000000);
	return fclose(file) == 0 && !missing ? 0 : 1;
}
