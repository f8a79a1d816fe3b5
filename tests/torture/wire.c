/*
 * wire RULES PID...
 *
 * The network of the torture chamber: a switch in user space, with a port in the
 * network namespace of each of the processes, there called eth0.  Host number i,
 * from 0, has an Ethernet address that ends with i + 1.
 *
 * The file RULES says what becomes of the frames from host i to host j: a struct
 * rule at [i * hosts + j], all zeros for a good link.  It is mapped, and may be
 * changed at any time.  This does what netem and nftables do, also where the
 * kernel has none, for each link and direction by itself, and without a process
 * for each change.
 *
 * Says "ready" when all ports are there; ends with its standard input.
 */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE /* NOLINT: setns() */
#endif

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define HOSTS_MAX 32
#define FRAME_MAX 2048
#define QUEUE_MAX 8192
#define ADDRESS_LENGTH 6

struct rule {
	uint32_t loss_permille; /* 1000: cut */
	uint32_t delay_us;
	uint32_t jitter_us; /* at most so much more; the order is kept */
	uint32_t unused;
};

struct frame {
	int64_t due_ns;
	uint64_t number; /* frames that are due at once keep their order */
	int to;
	size_t length;
	unsigned char bytes[FRAME_MAX];
};

/* A heap: the first is due first. */
static struct frame *queue[QUEUE_MAX];
static size_t queued;

static int ports[HOSTS_MAX], hosts;
static int64_t last_due_ns[HOSTS_MAX][HOSTS_MAX];
static volatile struct rule *rules;

static void die(const char *what)
{
	perror(what);
	exit(71);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int is_before(const struct frame *a, const struct frame *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns
				      : a->number < b->number;
}

static void swap(size_t i, size_t j)
{
	struct frame *frame = queue[i];

	queue[i] = queue[j];
	queue[j] = frame;
}

static void push(struct frame *frame)
{
	size_t i = queued++;

	queue[i] = frame;
	for (; i > 0 && is_before(queue[i], queue[(i - 1) / 2]);
	     i = (i - 1) / 2)
		swap(i, (i - 1) / 2);
}

static struct frame *pop(void)
{
	struct frame *first = queue[0];
	size_t i = 0;

	queue[0] = queue[--queued];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < queued &&
		    is_before(queue[child + 1], queue[child]))
			child++;
		if (child >= queued || !is_before(queue[child], queue[i]))
			return first;
		swap(i, child);
		i = child;
	}
}

static int open_port(const char *pid)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	char path[64];
	int namespace, fd;

	snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
	namespace = open(path, O_RDONLY | O_CLOEXEC);
	if (namespace < 0 || setns(namespace, CLONE_NEWNET))
		die(path);
	close(namespace);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die("/dev/net/tun");
	memcpy(request.ifr_name, "eth0", sizeof("eth0"));
	if (ioctl(fd, TUNSETIFF, &request))
		die("TUNSETIFF");
	return fd;
}

static void send_to(int from, int to, const unsigned char *bytes, size_t length)
{
	const volatile struct rule *rule = &rules[from * hosts + to];
	uint32_t loss = rule->loss_permille, delay_us = rule->delay_us,
		 jitter_us = rule->jitter_us;
	static uint64_t number;
	struct frame *frame;
	int64_t due_ns;

	if (loss && (uint32_t)(random() % 1000) < loss)
		return;
	if (jitter_us)
		delay_us += (uint32_t)random() % jitter_us;
	due_ns = now_ns() + (int64_t)delay_us * 1000;
	if (!delay_us && last_due_ns[from][to] < due_ns) {
		/* What does not fit is lost, as on any network. */
		if (write(ports[to], bytes, length) < 0)
			return;
		return;
	}
	if (queued == QUEUE_MAX || !(frame = malloc(sizeof(*frame))))
		return;
	if (due_ns < last_due_ns[from][to])
		due_ns = last_due_ns[from][to];
	last_due_ns[from][to] = due_ns;
	frame->due_ns = due_ns;
	frame->number = number++;
	frame->to = to;
	frame->length = length;
	memcpy(frame->bytes, bytes, length);
	push(frame);
}

static void receive(int from)
{
	unsigned char bytes[FRAME_MAX];
	ssize_t length;
	int to;

	while ((length = read(ports[from], bytes, sizeof(bytes))) > 0) {
		if (length < 2 * ADDRESS_LENGTH)
			continue;
		if (bytes[0] & 1) { /* to all */
			for (to = 0; to < hosts; to++)
				if (to != from)
					send_to(from, to, bytes,
						(size_t)length);
			continue;
		}
		to = bytes[ADDRESS_LENGTH - 1] - 1;
		if (to >= 0 && to < hosts && to != from)
			send_to(from, to, bytes, (size_t)length);
	}
}

static void deliver(void)
{
	while (queued && queue[0]->due_ns <= now_ns()) {
		struct frame *frame = pop();

		if (write(ports[frame->to], frame->bytes, frame->length) < 0) {
			/* lost */
		}
		free(frame);
	}
}

int main(int argc, char **argv)
{
	struct pollfd polled[HOSTS_MAX + 1];
	int i, fd;

	hosts = argc - 2;
	if (hosts < 1 || hosts > HOSTS_MAX)
		return 64;
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(argv[1]);
	rules = mmap(NULL, sizeof(*rules) * (size_t)(hosts * hosts),
		     PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (rules == MAP_FAILED)
		die(argv[1]);
	for (i = 0; i < hosts; i++) {
		ports[i] = open_port(argv[i + 2]);
		polled[i] = (struct pollfd){ .fd = ports[i], .events = POLLIN };
	}
	polled[hosts] = (struct pollfd){ .fd = 0, .events = POLLIN };
	puts("ready");
	fflush(stdout);

	for (;;) {
		struct timespec pause = { 0 };
		int64_t left_ns = queued ? queue[0]->due_ns - now_ns() : 0;

		if (left_ns > 0) {
			pause.tv_sec = left_ns / 1000000000;
			pause.tv_nsec = left_ns % 1000000000;
		}
		ppoll(polled, (nfds_t)hosts + 1, queued ? &pause : NULL, NULL);
		if (polled[hosts].revents)
			return 0;
		for (i = 0; i < hosts; i++)
			if (polled[i].revents)
				receive(i);
		deliver();
	}
}
