#include "config.h"

#include "ready.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <time.h>

#include "clock.h"

int wait_until_ready(int fd, short events, int64_t deadline_ns, int cancel_fd)
{
	struct pollfd fds[] = {
		{ .fd = fd, .events = events },
		{ .fd = cancel_fd, .events = POLLIN },
	};

	for (;;) {
		int64_t left_ns = deadline_ns - clock_boot_ns();
		struct timespec timeout;
		int n;

		if (left_ns < 0)
			left_ns = 0;
		timeout.tv_sec = left_ns / NS_PER_S;
		timeout.tv_nsec = left_ns % NS_PER_S;
		n = ppoll(fds, 2, &timeout, NULL);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && fds[0].revents)
			return 0;
		if (n > 0 && fds[1].revents)
			return -ECANCELED;
		if (n == 0)
			return -ETIMEDOUT;
	}
}
