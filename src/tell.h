/*
 * What main.c and supervise.c have to tell, as events.  Nothing is decided here: exit codes are
 * passed in, and, where a function returns one, passed on.
 */
#ifndef CFLOCK_TELL_H
#define CFLOCK_TELL_H

#include <stdint.h>

#include "lease.h"
#include "log.h"
#include "renewer.h"
#include "store.h"

/* The command is not started: for a reason of our own; as the service refused
 * ... */
int tell_not_started(const char *reason, int code, const char *text);
int tell_refusal(struct instant begun, int code, enum log_level level,
		 const struct refusal *refusal);

/* ... as it could not be asked: `behind` stands behind the cause in the text; and
 * by a signal. */
int tell_trouble(struct instant begun, int code, const char *reason,
		 const char *cause, const char *behind);
void tell_signal(int number, int code);

void tell_granted(int64_t waited_ns, const struct claim *claim,
		  const struct grant *grant);

/* Of several servers, what is wrong with those that are not needed: `cause`. */
void tell_minority(const char *cause);

/*
 * With --prefer availability: the command is started without the lock, or goes on
 * without it, by `cause`; others hold it meanwhile; it is held again.
 */
void tell_start_without(struct instant begun, const char *cause);
void tell_without(const char *cause);
void tell_overlap(const struct refusal *refusal);
void tell_regained(const struct renewer_news *news);

/* The guardian process is gone. */
int tell_unguarded(int code);

struct summary {
	const struct lease_policy *policy;
	int64_t waited_ns; /* for the grant */
	int64_t ran_ns;    /* from the grant to the end of all that ran */
	struct renewer_statistics renewals;
	int exit_code;
};

void tell_summary(const struct summary *summary);

#endif
