#include "config.h"

#include "redis/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "ready.h"

/* No reply that cflock asks for comes near: a holder's fields are 256 bytes. */
#define REPLY_MAX_BYTES 65536
#define REPLY_MAX_ELEMENTS 64

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/*
 * A header that announces a million elements would have hiredis allocate for
 * them before the first has come.
 */
static void *create_small_array(const redisReadTask *task,
				element_count elements)
{
	const struct conn *conn = task->privdata;

	if (elements > REPLY_MAX_ELEMENTS)
		return NULL;
	return conn->hiredis_functions->createArray(task, elements);
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
	conn->fd = fd;
	return 0;
}

static void set_option(int fd, int level, int name, int value)
{
	/* None of them is needed for safety. */
	setsockopt(fd, level, name, &value, sizeof(value));
}

static int connect_one(const struct address *address,
		       unsigned int user_timeout_ms, int64_t deadline_ns,
		       int cancel_fd)
{
	int fd, err = 0;
	socklen_t length = sizeof(err);

	fd = socket(address->to.any.sa_family,
		    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (address->to.any.sa_family != AF_UNIX) {
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
			   (int)user_timeout_ms);
	}
	if (connect(fd, &address->to.any, address->length) == 0)
		return fd;
	/* EAGAIN: a Unix socket whose backlog is full, so it never will be. */
	err = errno;
	if (err == EINPROGRESS) {
		err = -wait_until_ready(fd, POLLOUT, deadline_ns, cancel_fd);
		if (!err &&
		    getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &length) < 0)
			err = errno;
	}
	if (!err)
		return fd;
	close(fd);
	return -err;
}

int conn_open(struct conn *conn, const struct address *addresses, int count,
	      unsigned int user_timeout_ms, int64_t deadline_ns, int cancel_fd)
{
	int fd = -ETIMEDOUT, i;

	for (i = 0; i < count; i++) {
		int64_t now_ns = clock_boot_ns();
		int64_t share_ns = (deadline_ns - now_ns) / (count - i);

		fd = connect_one(&addresses[i], user_timeout_ms,
				 now_ns + share_ns, cancel_fd);
		if (fd >= 0 || fd == -ECANCELED)
			break;
	}
	return fd < 0 ? fd : conn_adopt(conn, fd);
}

int conn_send(struct conn *conn, const char *bytes, size_t length,
	      int64_t deadline_ns, int cancel_fd)
{
	while (length > 0) {
		ssize_t n = send(conn->fd, bytes, length, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			int err = wait_until_ready(conn->fd, POLLOUT,
						   deadline_ns, cancel_fd);

			if (err)
				return err;
			continue;
		}
		if (n < 0)
			return -errno;
		bytes += n;
		length -= (size_t)n;
	}
	return 0;
}

int conn_receive(struct conn *conn, redisReply **reply, int64_t deadline_ns,
		 int cancel_fd)
{
	char buffer[4096];

	for (;;) {
		void *parsed = NULL;
		ssize_t n;
		int err;

		if (redisReaderGetReply(conn->reader, &parsed) != REDIS_OK)
			return -EPROTO;
		if (parsed) {
			*reply = parsed;
			conn->unread = 0;
			return 0;
		}
		if (conn->unread > (conn->most ? conn->most : REPLY_MAX_BYTES))
			return -EPROTO;

		err = wait_until_ready(conn->fd, POLLIN, deadline_ns,
				       cancel_fd);
		if (err)
			return err;
		n = recv(conn->fd, buffer, sizeof(buffer), 0);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		conn->unread += (size_t)n;
		if (redisReaderFeed(conn->reader, buffer, (size_t)n) !=
		    REDIS_OK)
			return -ENOMEM;
	}
}

void conn_close(struct conn *conn)
{
	if (conn->fd < 0)
		return;
	close(conn->fd);
	conn->fd = -1;
	redisReaderFree(conn->reader);
	conn->reader = NULL;
}

void conn_abort(struct conn *conn)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	if (conn->fd >= 0)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once,
			   sizeof(at_once));
	conn_close(conn);
}
