/*
 * TLS over a connected, non-blocking socket.  tls.c, by OpenSSL, is linked into
 * cflock-tls and cflockctl-tls alone; the others have notls.c, which can do
 * nothing, and become one of those (see tlsprogram.h).
 *
 * The server must show a certificate for its name, by a CA that is trusted.
 * Nothing here raises SIGPIPE, asks on a terminal, or waits.
 */
#ifndef CFLOCK_REDIS_TLS_H
#define CFLOCK_REDIS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "url.h"

#define TLS_ERROR_MAX 420

/* What connections share, to whichever server; may be used by several threads. */
struct tls_context;
struct tls; /* one connection */

bool tls_is_there(void);

/*
 * Reads the files of `settings`.  0; -ENOMEM; -EACCES when a file is not what it
 * should be.  `error` gets a line for people.
 */
int tls_context_new(const struct url_tls *settings,
		    struct tls_context **context, char error[TLS_ERROR_MAX]);

/* One more user of it, who will drop it; NULL: none. */
struct tls_context *tls_context_share(struct tls_context *context);
void tls_context_drop(struct tls_context *context);

/*
 * To the server `host`, a name or an address: its certificate must be for that,
 * or for the name that the settings have in its place.  NULL without memory, or
 * without a name.  The context must last longer, the socket as long.
 */
struct tls *tls_new(const struct tls_context *context, const char *host,
		    int fd);
void tls_free(struct tls *tls);

/*
 * Each of these returns -EAGAIN when it is to be called again, as it was, as
 * soon as the socket is ready for *events, of poll(2).  Other errors are final:
 *   -EACCES      one end does not accept the certificate of the other
 *   -EPROTO      what answers does not speak TLS, or an old one
 *   -ECONNRESET  the server closed the connection, or gave up
 */

/* 0 when the server is the right one. */
int tls_handshake(struct tls *tls, short *events);

/* How many bytes. */
ssize_t tls_send(struct tls *tls, const void *data, size_t length,
		 short *events);

/* How many bytes; 0: the server closed. */
ssize_t tls_receive(struct tls *tls, void *buffer, size_t size, short *events);

/* Why it failed, one line for people. */
const char *tls_error(const struct tls *tls);

#endif
