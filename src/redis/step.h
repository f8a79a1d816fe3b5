/*
 * How a call goes on.  Each step goes as far as it can without waiting, and says
 * what comes then: the same stage, where it waits, another one, or LINK_IDLE: the
 * call has ended.  Of link.c alone.
 */
#ifndef CFLOCK_REDIS_STEP_H
#define CFLOCK_REDIS_STEP_H

#include <stdbool.h>

#include "redis/link.h"

/* Connects to link->address, or one behind it. */
enum link_stage step_try_address(struct link *link);

/* Sends the call on the open connection, behind what else is on its way. */
enum link_stage step_start_sending(struct link *link);

/* Goes on until it has to wait, or has ended.  is_late: its share is over. */
void step(struct link *link, bool is_late);

/* Ends the call with `err`, or its answer. */
enum link_stage step_end(struct link *link, int err);

/* The time is over, or nobody wants the answer any more. */
void step_give_up(struct link *link, int err);

/* Takes the oldest of those that are awaited off the queue. */
enum awaited step_next_awaited(struct link *link);

#endif
