#include "config.h"

#include "ready.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>

#include "clock.h"

int wait_until_ready(int fd, short events, int64_t deadline_ns, int cancel_fd)
{
	struct pollfd fds[] = {
		{ .fd = fd, .events = events },
		{ .fd = cancel_fd, .events = POLLIN },
	};

	for (;;) {
		struct timespec timeout =
			clock_timespec(deadline_ns - clock_boot_ns());
		int n;

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
