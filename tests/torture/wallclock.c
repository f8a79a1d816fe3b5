/*
 * A library to preload: the wall clock is ahead by so many ns as stand, as an
 * int64_t, in the file $WALLCLOCK, which may be changed at any time.  All other
 * clocks are as they were.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

static const volatile int64_t *ahead;

__attribute__((constructor)) static void find_file(void)
{
	const char *path = getenv("WALLCLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *mapped;

	if (fd < 0)
		return;
	mapped = mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);
	if (mapped != MAP_FAILED)
		ahead = mapped;
	close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
	long result = syscall(SYS_clock_gettime, clock, at);
	int64_t ns;

	if (result || !ahead ||
	    (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return (int)result;
	ns = at->tv_sec * NS_PER_S + at->tv_nsec + *ahead;
	at->tv_sec = ns / NS_PER_S;
	at->tv_nsec = ns % NS_PER_S;
	return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}
