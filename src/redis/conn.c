#include "config.h"

#include "redis/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* No reply that cflock asks for comes near: a holder's fields are 256 bytes. */
#define REPLY_MAX_BYTES 65536
#define REPLY_MAX_ELEMENTS 64

/* Arrays in arrays; those of a blocking read are four. */
#define REPLY_MAX_DEPTH 7

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/*
 * A header that announces a million elements would have hiredis allocate for
 * them before the first has come; and what is nested by thousands it frees by
 * recursion, for which the stack of a thread may be too small.
 */
static void *create_small_array(const redisReadTask *task,
				element_count elements)
{
	const struct conn *conn = task->privdata;
	const redisReadTask *outer;
	int depth = 1;

	for (outer = task->parent; outer; outer = outer->parent)
		depth++;
	if (elements > REPLY_MAX_ELEMENTS || depth > REPLY_MAX_DEPTH)
		return NULL;
	return conn->hiredis_functions->createArray(task, elements);
}

/* Forgets what is queued; it may hold the password. */
static void drop_out(struct conn *conn)
{
	if (conn->out)
		explicit_bzero(conn->out, conn->out_length);
	free(conn->out);
	conn->out = NULL;
	conn->out_length = conn->out_sent = 0;
}

int conn_adopt(struct conn *conn, int fd)
{
	conn->reader = redisReaderCreate();
	if (!conn->reader) {
		close(fd);
		return -ENOMEM;
	}
	conn->hiredis_functions = conn->reader->fn;
	conn->functions = *conn->reader->fn;
	conn->functions.createArray = create_small_array;
	conn->reader->fn = &conn->functions;
	conn->reader->privdata = conn;
	conn->unread = 0;
	conn->tls = NULL;
	conn->shaking_hands = false;
	conn->fd = fd;
	return 0;
}

static void set_option(int fd, int level, int name, int value)
{
	/* None of them is needed for safety. */
	setsockopt(fd, level, name, &value, sizeof(value));
}

/* Returns `result` of a call of TLS, having kept why it failed. */
static ssize_t keep_reason(struct conn *conn, ssize_t result)
{
	if (result < 0 && result != -EAGAIN)
		snprintf(conn->error, sizeof(conn->error), "%s",
			 tls_error(conn->tls));
	return result;
}

/* With the socket connected.  Returns as conn_start(). */
static int shake_hands(struct conn *conn)
{
	int err;

	if (!conn->tls)
		return 0;
	conn->shaking_hands = true;
	err = (int)keep_reason(conn, tls_handshake(conn->tls, &conn->events));
	if (err == -EAGAIN)
		return CONN_WAITS;
	if (err)
		conn_close(conn);
	else
		conn->shaking_hands = false;
	return err;
}

/* Takes the socket over, which is about to be connected to `name`. */
static int adopt(struct conn *conn, int fd, const char *name)
{
	int err = conn_adopt(conn, fd);

	if (err || !conn->tls_context)
		return err;
	conn->tls = tls_new(conn->tls_context, name, fd);
	if (conn->tls)
		return 0;
	conn_close(conn);
	return -ENOMEM;
}

int conn_start(struct conn *conn, const struct address *address,
	       unsigned int user_timeout_ms)
{
	int fd, err;

	conn->shaking_hands = false;
	*conn->error = '\0';
	fd = socket(address->to.any.sa_family,
		    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (address->to.any.sa_family != AF_UNIX) {
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
			   (int)user_timeout_ms);
	}
	if (connect(fd, &address->to.any, address->length) == 0) {
		err = adopt(conn, fd, address->name);
		return err ? err : shake_hands(conn);
	}
	/* EAGAIN: a Unix socket whose backlog is full, so it never will be. */
	err = errno;
	if (err != EINPROGRESS) {
		close(fd);
		return -err;
	}
	err = adopt(conn, fd, address->name);
	conn->events = POLLOUT;
	return err ? err : CONN_WAITS;
}

int conn_proceed(struct conn *conn)
{
	int err = 0;
	socklen_t length = sizeof(err);

	if (conn->shaking_hands)
		return shake_hands(conn);
	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &length) < 0)
		err = errno;
	if (!err)
		return shake_hands(conn);
	conn_close(conn);
	return -err;
}

int conn_queue(struct conn *conn, int argc, const char **argv)
{
	char *command, *joined;
	long long n = redisFormatCommandArgv(&command, argc, argv, NULL);
	size_t length = conn->out_length, sent = conn->out_sent;

	if (n < 0)
		return -ENOMEM;
	joined = malloc(length + (size_t)n);
	if (joined) {
		if (length)
			memcpy(joined, conn->out, length);
		memcpy(joined + length, command, (size_t)n);
		drop_out(conn);
		conn->out = joined;
		conn->out_length = length + (size_t)n;
		conn->out_sent = sent;
	}
	explicit_bzero(command, (size_t)n); /* it may hold the password */
	redisFreeCommand(command);
	return joined ? 0 : -ENOMEM;
}

/*
 * These two return how many bytes, or a negative errno; after -EAGAIN the
 * connection is to be waited for.  0 from receive_some(): the server closed.
 */

static ssize_t send_some(struct conn *conn, const char *data, size_t length)
{
	ssize_t n;

	if (conn->tls)
		return keep_reason(conn, tls_send(conn->tls, data, length,
						  &conn->events));
	conn->events = POLLOUT;
	do {
		n = send(conn->fd, data, length, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t receive_some(struct conn *conn, char *buffer, size_t size)
{
	ssize_t n;

	if (conn->tls)
		return keep_reason(conn, tls_receive(conn->tls, buffer, size,
						     &conn->events));
	conn->events = POLLIN;
	do {
		n = recv(conn->fd, buffer, size, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int conn_flush(struct conn *conn)
{
	while (conn->out_sent < conn->out_length) {
		ssize_t n = send_some(conn, conn->out + conn->out_sent,
				      conn->out_length - conn->out_sent);

		if (n == -EAGAIN)
			return CONN_WAITS;
		if (n < 0)
			return (int)n;
		conn->out_sent += (size_t)n;
	}
	drop_out(conn);
	return 0;
}

int conn_receive(struct conn *conn, redisReply **reply)
{
	const size_t most = conn->most ? conn->most : REPLY_MAX_BYTES;
	char buffer[4096];

	for (;;) {
		size_t again;
		bool has_more = false;
		void *parsed = NULL;
		ssize_t n;

		if (redisReaderGetReply(conn->reader, &parsed) != REDIS_OK)
			return -EPROTO;
		if (parsed) {
			*reply = parsed;
			conn->unread = 0;
			return 0;
		}
		if (conn->unread > most)
			return -EPROTO;

		/* Half a reply is looked at again when it is twice as long, or there
		 * is no more of it: each look may cost as much as it is long. */
		again = 2 * conn->unread < most ? 2 * conn->unread : most;
		do {
			n = receive_some(conn, buffer, sizeof(buffer));
			if (n <= 0)
				break;
			conn->unread += (size_t)n;
			has_more = true;
			if (redisReaderFeed(conn->reader, buffer, (size_t)n) !=
			    REDIS_OK)
				return -ENOMEM;
		} while (conn->unread < again);
		if (has_more)
			continue;
		if (n == 0)
			return -ECONNRESET;
		return n == -EAGAIN ? CONN_WAITS : (int)n;
	}
}

void conn_close(struct conn *conn)
{
	if (conn->fd < 0)
		return;
	tls_free(conn->tls);
	conn->tls = NULL;
	close(conn->fd);
	conn->fd = -1;
	redisReaderFree(conn->reader);
	conn->reader = NULL;
	drop_out(conn);
}

void conn_abort(struct conn *conn)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	if (conn->fd >= 0)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once,
			   sizeof(at_once));
	conn_close(conn);
}
