/*
 * A connection to one Redis server: a non-blocking socket of our own, with
 * hiredis for the protocol.  (hiredis' own sockets count their time-outs from
 * each read anew, raise SIGPIPE, and leak into the command.)
 *
 * Nothing here waits.  What cannot go on returns CONN_WAITS, and is to be called
 * again when `fd` is ready for `events`; so one thread can serve several.
 */
#ifndef CFLOCK_REDIS_CONN_H
#define CFLOCK_REDIS_CONN_H

#include <hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis/resolve.h"
#include "redis/tls.h"

#define CONN_WAITS 1

/* Not to be moved while it is open: the reader points back to it. */
struct conn {
	int fd;       /* -1: closed */
	short events; /* of poll(2); after CONN_WAITS */
	redisReader *reader;
	const redisReplyObjectFunctions *hiredis_functions;
	redisReplyObjectFunctions functions;
	char *out; /* queued, and not sent yet */
	size_t out_length, out_sent;
	size_t unread; /* bytes taken in since the last reply */
	size_t most;   /* more than that is no reply; 0: a default */
	struct tls_context *tls_context; /* a share of it; NULL: no TLS */
	struct tls *tls;
	bool shaking_hands; /* as far as TLS came, also when it is closed */
	char error[TLS_ERROR_MAX]; /* why TLS failed, if it did; also then */
};

/*
 * Begins to connect a closed one, by TLS if it has a `tls_context`, to the server
 * that has the address' name.  `user_timeout_ms`: after so long without an
 * acknowledgement the kernel gives the connection up.  0 when it is connected,
 * CONN_WAITS, or a negative errno, and it is closed again.
 */
int conn_start(struct conn *conn, const struct address *address,
	       unsigned int user_timeout_ms);

/*
 * Goes on with that, when `fd` is ready.  As conn_start(); -EACCES when one end
 * does not accept the certificate of the other.
 */
int conn_proceed(struct conn *conn);

/* The same as conn_start() for a socket that is connected; it is taken over. */
int conn_adopt(struct conn *conn, int fd);

/* Queues a command to be sent.  0 or -ENOMEM. */
int conn_queue(struct conn *conn, int argc, const char **argv);

/* Sends what is queued.  0, CONN_WAITS, or a negative errno: only close is left. */
int conn_flush(struct conn *conn);

/*
 * Receives one reply, to be freed with freeReplyObject().  0; CONN_WAITS; -EPROTO
 * when it is not Redis' protocol or larger than any reply that cflock asks for;
 * -EACCES as above, as a server may look at a certificate late; -ECONNRESET when
 * the server closed; or another negative errno.
 */
int conn_receive(struct conn *conn, redisReply **reply);

/* Closes; what was sent still arrives.  Nothing on a closed connection. */
void conn_close(struct conn *conn);

/* Closes so that nothing that is still on its way from here arrives later. */
void conn_abort(struct conn *conn);

#endif
