/* Waiting for a descriptor until an absolute deadline. */
#ifndef CFLOCK_READY_H
#define CFLOCK_READY_H

#include <stdint.h>

/*
 * Waits until `fd` (-1: none) is ready for `events` of poll(2).  Returns 0,
 * -ETIMEDOUT at deadline_ns (CLOCK_BOOTTIME), or -ECANCELED when cancel_fd
 * (-1: none) becomes readable.  What is ready at the deadline still counts.
 */
int wait_until_ready(int fd, short events, int64_t deadline_ns, int cancel_fd);

#endif
