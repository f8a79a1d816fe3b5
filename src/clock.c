#include "config.h"

#include "clock.h"

static int64_t read_ns(clockid_t clock)
{
	struct timespec ts;

	/* Cannot fail: the clock ids are fixed and known to every kernel. */
	clock_gettime(clock, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

struct instant clock_now(void)
{
	struct instant now = {
		.boot_ns = read_ns(CLOCK_BOOTTIME),
		.raw_ns = read_ns(CLOCK_MONOTONIC_RAW),
	};

	return now;
}

int64_t clock_elapsed_ns(struct instant since, struct instant now)
{
	int64_t boot = now.boot_ns - since.boot_ns;
	int64_t raw = now.raw_ns - since.raw_ns;

	return boot > raw ? boot : raw;
}

int64_t clock_boot_ns(void)
{
	return read_ns(CLOCK_BOOTTIME);
}

struct timespec clock_timespec(int64_t ns)
{
	struct timespec ts = { .tv_sec = 0 };

	if (ns > 0) {
		ts.tv_sec = ns / NS_PER_S;
		ts.tv_nsec = ns % NS_PER_S;
	}
	return ts;
}

int64_t clock_wall_us(void)
{
	return read_ns(CLOCK_REALTIME) / 1000;
}

int64_t clock_wall_ms(void)
{
	return read_ns(CLOCK_REALTIME) / NS_PER_MS;
}
