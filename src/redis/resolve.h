/*
 * From a host's name to its addresses, within a deadline.  getaddrinfo() knows
 * no deadline, and takes the shared libraries of the name service; so a program
 * of its own calls it, cflock-resolve, which can be killed.  A literal address
 * needs neither.
 */
#ifndef CFLOCK_REDIS_RESOLVE_H
#define CFLOCK_REDIS_RESOLVE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "url.h"

#define RESOLVE_ADDRESSES_MAX 8

struct address {
	/* What was looked up: whom its certificate must be for.  "": nobody. */
	char name[URL_HOST_MAX];
	socklen_t length;
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	} to;
};

/*
 * What cflock-resolve HOST is to do: print at most RESOLVE_ADDRESSES_MAX
 * literal addresses, the first to be tried first, each on a line of less than
 * RESOLVE_LINE_MAX bytes, and exit with 0 or one of these.
 */
#define RESOLVE_LINE_MAX 80
#define RESOLVE_EXIT_NO_NAME 1
#define RESOLVE_EXIT_FAILED 2

/*
 * Fills addresses[] in the order to try them.  Returns how many (>= 1), or
 * -ENOENT when the name does not exist, -ETIMEDOUT, -ECANCELED when cancel_fd
 * (-1: none) became readable, -ENOEXEC when cflock-resolve could not be run,
 * -EAGAIN when the name service failed.
 */
int resolve_host(const char *host, int port, int64_t deadline_ns, int cancel_fd,
		 struct address addresses[RESOLVE_ADDRESSES_MAX]);

/* Whether both are the same port of the same host, neither a Unix socket. */
bool resolve_is_same(const struct address *a, const struct address *b);

/* Of one that is no Unix socket. */
int resolve_port(const struct address *address);

/* The address as in a URL, with its port; a Unix socket's path. */
#define RESOLVE_TEXT_MAX 128
void resolve_format(const struct address *address, char text[RESOLVE_TEXT_MAX]);

#endif
