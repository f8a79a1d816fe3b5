#include "config.h"

#include "tell.h"

#include <stdio.h>
#include <string.h>

#include "event.h"
#include "waitshow.h"

int tell_not_started(const char *reason, int code, const char *text)
{
	struct event event;

	event_begin(&event, LOG_FATAL, "not_started");
	event_string(&event, "reason", reason);
	event_number(&event, "exit_code", code);
	event_send(&event, "%s", text);
	return code;
}

int tell_refusal(struct instant begun, int code, enum log_level level,
		 const struct refusal *refusal)
{
	const char *before = "", *behind = "";
	char text[REFUSAL_TEXT_MAX];
	struct event event;

	if (refusal->reason == REFUSAL_ANCESTOR) {
		before =
			"this lock is held already by a cflock that is waiting for "
			"this very command to end (";
		behind = "): asking again would never return";
	} else if (refusal->reason == REFUSAL_KIND) {
		behind = ": all users of a lock must agree on that";
	}
	event_begin(&event, level, "not_started");
	refusal_describe(refusal, &event);
	event_ms(&event, "waited_ms", clock_elapsed_ns(begun, clock_now()));
	event_number(&event, "exit_code", code);
	event_send(&event, "%s%s%s", before,
		   refusal_format(refusal, text, sizeof(text)), behind);
	return code;
}

int tell_trouble(struct instant begun, int code, const char *reason,
		 const char *cause, const char *behind)
{
	struct event event;

	event_begin(&event, LOG_FATAL, "not_started");
	event_string(&event, "reason", reason);
	event_string(&event, "cause", cause);
	event_ms(&event, "waited_ms", clock_elapsed_ns(begun, clock_now()));
	event_number(&event, "exit_code", code);
	event_send(&event, "%s%s", cause, behind);
	return code;
}

void tell_signal(int number, int code)
{
	struct event event;

	event_begin(&event, LOG_VERBOSE, "not_started");
	event_string(&event, "reason", "signal");
	event_number(&event, "signal", number);
	event_number(&event, "exit_code", code);
	event_send(&event, "ended by signal %d", number);
}

void tell_granted(int64_t waited_ns, const struct claim *claim,
		  const struct grant *grant)
{
	struct event event;

	event_begin(&event, LOG_VERBOSE, "granted");
	event_ms(&event, "waited_ms", waited_ns);
	event_number(&event, "ttl_ms", claim->ttl_ms);
	event_send(&event, "granted after %.1f ms, token %s, ttl %lld ms",
		   (double)waited_ns / (double)NS_PER_MS, grant->token,
		   (long long)claim->ttl_ms);
}

void tell_minority(const char *cause)
{
	struct event event;

	event_begin(&event, LOG_VERBOSE, "minority");
	event_string(&event, "cause", cause);
	event_send(&event, "a server is not needed, and failed: %s", cause);
}

void tell_start_without(struct instant begun, const char *cause)
{
	struct event event;

	event_begin(&event, LOG_WARNING, "without_lock");
	event_string(&event, "reason", "unreachable");
	event_string(&event, "cause", cause);
	event_ms(&event, "waited_ms", clock_elapsed_ns(begun, clock_now()));
	event_send(&event, "%s; the command is started without the lock",
		   cause);
}

void tell_without(const char *cause)
{
	struct event event;

	event_begin(&event, LOG_WARNING, "without_lock");
	event_string(&event, "reason", "not_renewed");
	event_string(&event, "cause", cause);
	event_send(&event,
		   "the lease could not be renewed in time, and the command "
		   "runs on without the lock: %s",
		   cause);
}

void tell_overlap(const struct refusal *refusal)
{
	char text[REFUSAL_TEXT_MAX];
	struct event event;

	event_begin(&event, LOG_WARNING, "overlap");
	refusal_describe(refusal, &event);
	event_send(&event,
		   "overlap: the command runs without the lock, which others "
		   "have: %s",
		   refusal_format(refusal, text, sizeof(text)));
}

/* For as long as the process lives.  Without memory, that of before is shown. */
static void keep_token(const char *text)
{
	static char *token;
	char *copy = strdup(text);

	if (!copy)
		return;
	/* The other thread may be writing the one before: it is not freed. */
	token = copy;
	event_set_token(token);
}

void tell_regained(const struct renewer_news *news)
{
	char without[DURATION_TEXT_MAX];
	struct event event;

	duration_format(news->without_ns, without, sizeof(without));
	if (news->is_new)
		keep_token(news->token);
	event_begin(&event, LOG_NOTICE, "regained");
	event_ms(&event, "without_ms", news->without_ns);
	event_string(&event, "lease", news->is_new ? "new" : "renewed");
	if (news->is_new)
		event_send(&event,
			   "the lock is held again, after %s without: by a new "
			   "lease, token %s, of which the command's "
			   "environment knows nothing",
			   without, news->token);
	else
		event_send(&event,
			   "the lock is held again, after %s in doubt: the "
			   "lease is still the same",
			   without);
}

int tell_unguarded(int code)
{
	struct event event;

	event_begin(&event, LOG_FATAL, "unguarded");
	event_number(&event, "exit_code", code);
	event_send(&event,
		   "the guardian process was killed; the command was stopped");
	return code;
}

void tell_summary(const struct summary *summary)
{
	const struct renewer_statistics *renewals = &summary->renewals;
	const struct lease_policy *policy = summary->policy;
	int64_t lost_at_ns = policy->ttl_ns - policy->renew_by_ns;
	char ran[DURATION_TEXT_MAX], waited[DURATION_TEXT_MAX];
	char least[DURATION_TEXT_MAX], lost[DURATION_TEXT_MAX];
	char detail[160] = "", without[64] = "";
	struct event event;

	event_begin(&event, LOG_VERBOSE, "summary");
	event_ms(&event, "duration_ms", summary->ran_ns);
	event_ms(&event, "waited_ms", summary->waited_ns);
	event_number(&event, "renewals", renewals->renewed);
	event_number(&event, "renewals_failed", renewals->failed);
	if (renewals->renewed) {
		event_ms(&event, "slowest_renewal_ms", renewals->slowest_ns);
		event_ms(&event, "smallest_left_ms", renewals->least_left_ns);
		duration_format(renewals->least_left_ns, least, sizeof(least));
		duration_format(lost_at_ns, lost, sizeof(lost));
		snprintf(
			detail, sizeof(detail),
			", the slowest in %.1f ms; at least %s of the lease were left "
			"(lost at %s)",
			(double)renewals->slowest_ns / (double)NS_PER_MS, least,
			lost);
	}
	if (renewals->without_ns) {
		event_ms(&event, "without_lock_ms", renewals->without_ns);
		duration_format(renewals->without_ns, least, sizeof(least));
		snprintf(without, sizeof(without), ", %s of it without lock,",
			 least);
	}
	event_ms(&event, "lost_at_left_ms", lost_at_ns);
	event_number(&event, "left_out", log_left_out());
	event_number(&event, "exit_code", summary->exit_code);
	event_send(
		&event,
		"%s for %s%s after a wait of %s; renewals: %u, and %u failed%s; "
		"exit code %d",
		*without ? "ran" : "held",
		duration_format(summary->ran_ns, ran, sizeof(ran)), without,
		duration_format(summary->waited_ns, waited, sizeof(waited)),
		renewals->renewed, renewals->failed, detail,
		summary->exit_code);
}
