#include "config.h"

#include "release.h"

#include <poll.h>

#include "event.h"

/* A release that is not answered is not waited for longer than this. */
#define LIMIT_NS (2 * NS_PER_S)
#define LIMIT_LEAST_NS (100 * NS_PER_MS)
#define RETRY_MS 50

static void tell_released(int64_t took_ns)
{
	struct event event;

	event_begin(&event, LOG_VERBOSE, "released");
	event_ms(&event, "took_ms", took_ns);
	event_send(&event, "released, in %.1f ms",
		   (double)took_ns / (double)NS_PER_MS);
}

static void tell_failure(const struct release_request *request, const char *why)
{
	int64_t left_ns = lease_left_ns(request->lease, clock_now());
	char left[DURATION_TEXT_MAX];
	struct event event;

	event_begin(&event, request->was_lost ? LOG_VERBOSE : LOG_WARNING,
		    "release_failed");
	event_ms(&event, "left_ms", left_ns > 0 ? left_ns : 0);
	event_string(&event, "cause", why);
	event_send(&event,
		   "cannot release the lock, it ends by itself in %s: %s",
		   duration_format(left_ns, left, sizeof(left)), why);
}

bool release(struct store *store, const struct release_request *request)
{
	int64_t begun_ns = clock_boot_ns();
	int64_t limit_ns = lease_left_ns(request->lease, clock_now());
	int64_t deadline_ns;
	int result;

	/*
	 * What has run out needs no release; but a renewal that is still on its
	 * way may bring it back to life, so one is always sent behind it.
	 */
	if (limit_ns > LIMIT_NS)
		limit_ns = LIMIT_NS;
	if (limit_ns < LIMIT_LEAST_NS)
		limit_ns = LIMIT_LEAST_NS;
	deadline_ns = begun_ns + limit_ns;
	do {
		result = store_release(store, request->claim, request->lift,
				       deadline_ns);
		if (result == STORE_DONE) {
			/* Else there may have been nothing to release. */
			if (!request->was_lost)
				tell_released(clock_boot_ns() - begun_ns);
			return true;
		}
		if (store_error_is_final(result))
			break;
		poll(NULL, 0, RETRY_MS);
	} while (clock_boot_ns() < deadline_ns);
	tell_failure(request, store_error(store));
	return false;
}
