/*
 * A connection to one Redis server: a non-blocking socket of our own, with
 * hiredis for the protocol.  (hiredis' own sockets count their time-outs from
 * each read anew, raise SIGPIPE, and leak into the command.)  Each call waits
 * until an absolute deadline at most.
 */
#ifndef CFLOCK_REDIS_CONN_H
#define CFLOCK_REDIS_CONN_H

#include <hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis/resolve.h"

/* Not to be moved while it is open: the reader points back to it. */
struct conn {
	int fd; /* -1: closed */
	redisReader *reader;
	const redisReplyObjectFunctions *hiredis_functions;
	redisReplyObjectFunctions functions;
	size_t unread; /* bytes taken in since the last reply */
	size_t most;   /* more than that is no reply; 0: a default */
};

/*
 * Connects to the first of the addresses that answers; each gets its share of
 * the time.  `user_timeout_ms`: after so long without an acknowledgement the
 * kernel gives the connection up.  0 or a negative errno.
 */
int conn_open(struct conn *conn, const struct address *addresses, int count,
	      unsigned int user_timeout_ms, int64_t deadline_ns, int cancel_fd);

/*
 * The same for a socket that is connected already: takes `fd` over.  0 or
 * -ENOMEM, with `fd` closed.
 */
int conn_adopt(struct conn *conn, int fd);

/* Sends all of it.  0 or a negative errno, after which only close is left. */
int conn_send(struct conn *conn, const char *bytes, size_t length,
	      int64_t deadline_ns, int cancel_fd);

/*
 * Receives one reply, to be freed with freeReplyObject().  0; -EPROTO when it
 * is not Redis' protocol or larger than any reply that cflock asks for;
 * -ECONNRESET when the server closed; or another negative errno.
 */
int conn_receive(struct conn *conn, redisReply **reply, int64_t deadline_ns,
		 int cancel_fd);

/* Closes; what was sent still arrives.  Nothing on a closed connection. */
void conn_close(struct conn *conn);

/* Closes so that nothing that is still on its way from here arrives later. */
void conn_abort(struct conn *conn);

#endif
