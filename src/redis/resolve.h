/*
 * From a host's name to its addresses, within a deadline.  getaddrinfo() knows
 * no deadline, so it runs in a child process that can be killed; a literal
 * address needs neither.  Only for processes that have one thread.
 */
#ifndef CFLOCK_REDIS_RESOLVE_H
#define CFLOCK_REDIS_RESOLVE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

#define RESOLVE_ADDRESSES_MAX 8

struct address {
	socklen_t length;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	} to;
};

/*
 * Fills addresses[] in the order to try them.  Returns how many (>= 1), or
 * -ENOENT when the name does not exist, -ETIMEDOUT, -ECANCELED when cancel_fd
 * (-1: none) became readable, -EAGAIN when the name service failed.
 */
int resolve_host(const char *host, int port, int64_t deadline_ns, int cancel_fd,
		 struct address addresses[RESOLVE_ADDRESSES_MAX]);

#endif
