#include "config.h"

#include "door.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Who knocks, and says no name, is not waited for longer. */
#define SAY_NAME_MS 200

/* A release takes 2 s at most. */
#define ANSWER_S 10

enum answer {
	RELEASED = 'r',
	NOT_RELEASED = 'f',
	OTHER_LOCK = 'o',
	OTHER_USER = 'u',
};

static socklen_t fill_address(struct sockaddr_un *address, const char *id)
{
	int length;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	/* The name begins with a zero byte: no file. */
	length = snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1,
			  "cflock/%.80s", id);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)length);
}

int door_open(struct door *door, const char *id, const char *name)
{
	struct sockaddr_un address;
	socklen_t length = fill_address(&address, id);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, length) < 0 ||
	    listen(fd, 4) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	door->name = name;
	door->fd = fd;
	door->visitor = -1;
	return 0;
}

static void answer(int fd, enum answer what)
{
	char byte = (char)what;

	/* Who has gone away needs no answer. */
	if (send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

static bool says_name(int fd, const char *name)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	char said[256];
	ssize_t n;

	if (poll(&readable, 1, SAY_NAME_MS) <= 0)
		return false;
	n = recv(fd, said, sizeof(said) - 1, MSG_DONTWAIT);
	if (n <= 0)
		return false;
	said[n] = '\0';
	return strcmp(said, name) == 0;
}

bool door_let_in(struct door *door)
{
	int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		/* Without a descriptor for them, they would knock for ever. */
		if (errno == EMFILE || errno == ENFILE) {
			close(door->fd);
			door->fd = -1;
		}
		return false;
	}
	if (!is_allowed(fd)) {
		answer(fd, OTHER_USER);
	} else if (!says_name(fd, door->name)) {
		answer(fd, OTHER_LOCK);
	} else if (door->visitor >= 0) {
		answer(fd, NOT_RELEASED); /* another has come before */
	} else {
		door->visitor = fd;
		return true;
	}
	close(fd);
	return false;
}

void door_answer(struct door *door, bool released)
{
	if (door->visitor < 0)
		return;
	answer(door->visitor, released ? RELEASED : NOT_RELEASED);
	close(door->visitor);
	door->visitor = -1;
}

/*
 * Who refuses us answers and closes, without reading our name: that may not go
 * out any more, or the answer may stand behind an error.
 */
static int ask(int fd, const char *name, char *byte)
{
	ssize_t n;

	send(fd, name, strlen(name), MSG_NOSIGNAL);
	n = recv(fd, byte, 1, 0);
	if (n < 0 && errno == ECONNRESET)
		n = recv(fd, byte, 1, 0);
	return n == 1 ? 0 : -EIO;
}

int door_knock(const char *id, const char *name)
{
	struct sockaddr_un address;
	socklen_t length = fill_address(&address, id);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = ANSWER_S };
	char byte = 0;
	int err = 0;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&address, length) < 0)
		err = errno == ECONNREFUSED ? -ENOENT : -errno;
	else if (!is_allowed(fd)) /* whoever it is, it holds no lock of ours */
		err = -ENOENT;
	else
		err = ask(fd, name, &byte);
	close(fd);
	if (err)
		return err;
	switch (byte) {
	case RELEASED:
		return 0;
	case OTHER_LOCK:
		return -ENOENT;
	case OTHER_USER:
		return -EACCES;
	default:
		return -EIO;
	}
}
