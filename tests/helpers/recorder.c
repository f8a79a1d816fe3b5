/*
 * recorder FILE: writes the number of each signal that it gets to FILE, one a
 * line, "ready" first, until it gets SIGRTMAX, which it writes, too; then it
 * ends with exit code 44.  Signals stay blocked and are fetched one by one: of
 * several that wait, the lowest comes first, so what was sent before SIGRTMAX
 * is written before it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

int main(int argc, char **argv)
{
	/* Should a test fail to end it. */
	const struct timespec life = { .tv_sec = 60 };
	sigset_t all;
	int number = 0;
	FILE *file;

	if (argc != 2) {
		fprintf(stderr, "usage: recorder FILE\n");
		return 2;
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);

	file = fopen(argv[1], "ae");
	if (!file)
		return 1;
	fprintf(file, "ready\n");
	fflush(file);
	while (number != SIGRTMAX) {
		number = sigtimedwait(&all, NULL, &life);
		/* Interrupted means: it was stopped and continued. */
		if (number < 0 && errno == EINTR)
			continue;
		if (number < 0)
			return 3;
		fprintf(file, "%d\n", number);
		fflush(file);
	}
	return 44;
}
