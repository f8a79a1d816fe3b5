/*
 * The clocks that leases are counted by.  Wall clocks jump and are for showing
 * to people only.  CLOCK_BOOTTIME counts while the machine is suspended but is
 * slewed by NTP; CLOCK_MONOTONIC_RAW is never slewed but stands still in a
 * suspend.  A lease goes by whichever of the two says that more time has gone.
 */
#ifndef CFLOCK_CLOCK_H
#define CFLOCK_CLOCK_H

#include <stdint.h>
#include <time.h>

#include "duration.h"

struct instant {
	int64_t boot_ns; /* CLOCK_BOOTTIME */
	int64_t raw_ns;  /* CLOCK_MONOTONIC_RAW */
};

struct instant clock_now(void);

/* The time from `since` to `now` by the clock that went further, in ns. */
int64_t clock_elapsed_ns(struct instant since, struct instant now);

/*
 * CLOCK_BOOTTIME alone, in ns: what deadlines of input and output are counted
 * by ("deadline_ns" everywhere).  They bound a wait; no lease depends on them.
 */
int64_t clock_boot_ns(void);

/* `ns` as the kernel takes it; nought when it is negative. */
struct timespec clock_timespec(int64_t ns);

/* Unix time in ms, for showing to people only. */
int64_t clock_wall_ms(void);
int64_t clock_wall_us(void);

#endif
