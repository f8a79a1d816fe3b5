/*
 * stamp FILE FIFO
 *
 * What handover.sh runs under a lock: appends "start MS" to FILE at once, and
 * "end MS" as its last act; ms of CLOCK_MONOTONIC.  In between, if FIFO is
 * there, it waits until somebody has opened and closed it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int append(int fd, const char *what, const struct timespec *at)
{
	char line[64];

	snprintf(line, sizeof(line), "%s %lld.%06ld\n", what,
		 (long long)at->tv_sec * 1000 + at->tv_nsec / 1000000,
		 at->tv_nsec % 1000000);
	/* In one piece, as the next may come while the last has yet to exit. */
	return write(fd, line, strlen(line)) == (ssize_t)strlen(line);
}

int main(int argc, char **argv)
{
	struct timespec start, end;
	char byte;
	int fd, fifo;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (argc != 3)
		return 64;
	fd = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0600);
	if (fd < 0 || !append(fd, "start", &start))
		return 71;
	fifo = open(argv[2], O_RDONLY);
	if (fifo >= 0)
		while (read(fifo, &byte, 1) > 0)
			;
	clock_gettime(CLOCK_MONOTONIC, &end);
	return append(fd, "end", &end) ? 0 : 71;
}
