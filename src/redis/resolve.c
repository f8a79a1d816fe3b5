#include "config.h"

#include "redis/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ready.h"

/* What the child sends: one of these for each address, or `err` alone. */
struct answer {
	int err;
	struct address address;
};

static int look_up(const char *host, int port, int flags,
		   struct address addresses[RESOLVE_ADDRESSES_MAX])
{
	struct addrinfo hints = {
		.ai_flags = flags | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *list, *item;
	char service[16];
	int count = 0, err;

	snprintf(service, sizeof(service), "%d", port);
	err = getaddrinfo(host, service, &hints, &list);
	if (err == EAI_NONAME
#ifdef EAI_NODATA
	    || err == EAI_NODATA
#endif
	)
		return -ENOENT;
	if (err)
		return -EAGAIN;
	for (item = list; item && count < RESOLVE_ADDRESSES_MAX;
	     item = item->ai_next) {
		if (item->ai_addrlen > sizeof(addresses[0].to))
			continue;
		memcpy(&addresses[count].to, item->ai_addr, item->ai_addrlen);
		addresses[count++].length = item->ai_addrlen;
	}
	freeaddrinfo(list);
	return count ? count : -ENOENT;
}

/* In the child. */
static void answer_and_exit(const char *host, int port, int to)
	__attribute__((noreturn));

static void answer_and_exit(const char *host, int port, int to)
{
	struct address addresses[RESOLVE_ADDRESSES_MAX] = { 0 };
	struct answer answers[RESOLVE_ADDRESSES_MAX] = { 0 };
	int count, i;

	/* It must not outlive cflock: a look-up can hang for minutes. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	count = look_up(host, port, AI_ADDRCONFIG, addresses);
	if (count < 0)
		answers[0].err = count;
	for (i = 0; i < count; i++)
		answers[i].address = addresses[i];
	/* Smaller than PIPE_BUF, so it arrives in one piece. */
	_Static_assert(sizeof(answers) <= 4096, "the answer must fit a pipe");
	if (write(to, answers,
		  sizeof(answers[0]) * (size_t)(count > 0 ? count : 1)) < 0)
		_exit(1);
	_exit(0);
}

int resolve_host(const char *host, int port, int64_t deadline_ns, int cancel_fd,
		 struct address addresses[RESOLVE_ADDRESSES_MAX])
{
	struct answer answers[RESOLVE_ADDRESSES_MAX];
	int ends[2], count, i, err;
	ssize_t n;
	pid_t pid;

	count = look_up(host, port, AI_NUMERICHOST, addresses);
	if (count > 0)
		return count;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		answer_and_exit(host, port, ends[1]);
	err = errno;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -err;
	}

	err = wait_until_ready(ends[0], POLLIN, deadline_ns, cancel_fd);
	n = err ? 0 : read(ends[0], answers, sizeof(answers));
	close(ends[0]);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (err)
		return err;
	if (n < (ssize_t)sizeof(answers[0]))
		return -EAGAIN;
	if (answers[0].err)
		return answers[0].err;
	count = (int)((size_t)n / sizeof(answers[0]));
	for (i = 0; i < count; i++)
		addresses[i] = answers[i].address;
	return count;
}
