#include "config.h"

#include "redis/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "ready.h"

#define HELPER "cflock-resolve"
#define EXIT_NOT_RUN 127 /* as in a shell; the dynamic loader's, too */

static bool parse_v6(const char *text, struct sockaddr_in6 *address)
{
	char digits[INET6_ADDRSTRLEN], *end;
	const char *zone = strchr(text, '%');
	size_t length = zone ? (size_t)(zone - text) : strlen(text);

	if (length >= sizeof(digits))
		return false;
	memcpy(digits, text, length);
	digits[length] = '\0';
	if (inet_pton(AF_INET6, digits, &address->sin6_addr) != 1)
		return false;
	if (!zone)
		return true;
	address->sin6_scope_id = if_nametoindex(++zone);
	if (address->sin6_scope_id)
		return true;
	address->sin6_scope_id = (uint32_t)strtoul(zone, &end, 10);
	return address->sin6_scope_id && *end == '\0';
}

static bool parse_address(const char *text, int port, struct address *address)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	v4.sin_port = v6.sin6_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
		address->to.v4 = v4;
		address->length = sizeof(v4);
		return true;
	}
	if (parse_v6(text, &v6)) {
		address->to.v6 = v6;
		address->length = sizeof(v6);
		return true;
	}
	return false;
}

/* In the child: becomes the helper. */
static void run_helper(const char *host, int to) __attribute__((noreturn));

static void run_helper(const char *host, int to)
{
	char name[] = HELPER;
	char *const argv[] = { name, (char *)host, NULL };

	/* It must not outlive cflock: a look-up can hang for minutes. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (dup2(to, STDOUT_FILENO) < 0)
		_exit(EXIT_NOT_RUN);
	helper_exec(HELPER, argv, environ);
	_exit(EXIT_NOT_RUN);
}

/*
 * All that comes before the end of the file.  Returns 0, -EAGAIN when there is
 * more than the buffer holds, or what wait_until_ready() does.
 */
static int read_to_end(int fd, char *buffer, size_t size, int64_t deadline_ns,
		       int cancel_fd)
{
	size_t length = 0;

	for (;;) {
		int err = wait_until_ready(fd, POLLIN, deadline_ns, cancel_fd);
		ssize_t n;

		if (err)
			return err;
		n = read(fd, buffer + length, size - length);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		length += (size_t)n;
		if (length == size)
			return -EAGAIN;
		buffer[length] = '\0';
		if (n == 0)
			return 0;
	}
}

static int wait_for(pid_t pid)
{
	const struct timespec at_once = { 0 };
	sigset_t sigchld;
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	/* Its signal, where it is blocked, would seem to ask us to cancel. */
	sigemptyset(&sigchld);
	sigaddset(&sigchld, SIGCHLD);
	sigtimedwait(&sigchld, NULL, &at_once);
	if (!WIFEXITED(status))
		return -EAGAIN;
	switch (WEXITSTATUS(status)) {
	case 0:
		return 0;
	case RESOLVE_EXIT_NO_NAME:
		return -ENOENT;
	case EXIT_NOT_RUN:
		return -ENOEXEC;
	default:
		return -EAGAIN;
	}
}

int resolve_host(const char *host, int port, int64_t deadline_ns, int cancel_fd,
		 struct address addresses[RESOLVE_ADDRESSES_MAX])
{
	char text[RESOLVE_ADDRESSES_MAX * RESOLVE_LINE_MAX + 1];
	char *line, *rest = text;
	int ends[2], count = 0, err, status;
	pid_t pid;

	if (strlen(host) >= sizeof(addresses[0].name))
		return -ENOENT;
	if (parse_address(host, port, &addresses[0])) {
		strcpy(addresses[0].name, host);
		return 1;
	}

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		run_helper(host, ends[1]);
	err = -errno;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return err;
	}

	err = read_to_end(ends[0], text, sizeof(text), deadline_ns, cancel_fd);
	close(ends[0]);
	if (err)
		kill(pid, SIGKILL);
	status = wait_for(pid);
	if (err || status)
		return err ? err : status;
	while (count < RESOLVE_ADDRESSES_MAX && (line = strsep(&rest, "\n")) &&
	       *line)
		if (parse_address(line, port, &addresses[count]))
			strcpy(addresses[count++].name, host);
	return count ? count : -ENOENT;
}

int resolve_port(const struct address *address)
{
	return ntohs(address->to.any.sa_family == AF_INET6
			     ? address->to.v6.sin6_port
			     : address->to.v4.sin_port);
}

void resolve_format(const struct address *address, char text[RESOLVE_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN] = "?";

	switch (address->to.any.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &address->to.v4.sin_addr, host,
			  sizeof(host));
		snprintf(text, RESOLVE_TEXT_MAX, "%s:%d", host,
			 resolve_port(address));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &address->to.v6.sin6_addr, host,
			  sizeof(host));
		snprintf(text, RESOLVE_TEXT_MAX, "[%s]:%d", host,
			 resolve_port(address));
		break;
	default:
		snprintf(text, RESOLVE_TEXT_MAX, "%s",
			 address->to.local.sun_path);
	}
}

bool resolve_is_same(const struct address *a, const struct address *b)
{
	if (a->to.any.sa_family != b->to.any.sa_family)
		return false;
	if (a->to.any.sa_family == AF_INET)
		return a->to.v4.sin_port == b->to.v4.sin_port &&
		       a->to.v4.sin_addr.s_addr == b->to.v4.sin_addr.s_addr;
	return a->to.v6.sin6_port == b->to.v6.sin6_port &&
	       a->to.v6.sin6_scope_id == b->to.v6.sin6_scope_id &&
	       memcmp(&a->to.v6.sin6_addr, &b->to.v6.sin6_addr,
		      sizeof(a->to.v6.sin6_addr)) == 0;
}
