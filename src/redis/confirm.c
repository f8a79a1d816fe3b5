#include "config.h"

#include "redis/confirm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "redis/sentinel.h"

/* A sentinel that takes longer does not keep the renewal up. */
#define CONFIRM_NS (500 * NS_PER_MS)

void confirm_begin(struct link *link, const struct link_wait *wait)
{
	if (link->sentinels)
		sentinels_begin(link->sentinels, CONFIRM_NS, wait);
}

/* In `context` is the link. */
static bool has_ended(void *context)
{
	const struct link *link = context;

	return link->stage == LINK_IDLE;
}

void confirm_finish(struct link *link, const struct link_wait *wait)
{
	struct link *links[URL_HOSTS_MAX + 1] = { link };
	int count = 1, err;

	if (link->sentinels)
		count += sentinels_links(link->sentinels, links + 1);
	err = link_go_on(links, count, wait, has_ended, link);
	link_give_up(links, 1, err ? err : -ETIMEDOUT);
}

static bool is_named(const struct link *link,
		     const struct sentinels_answer *answer)
{
	const struct address *address = &link->addresses[link->address];

	return link->address < link->address_count &&
	       answer->port == resolve_port(address) &&
	       strcmp(answer->host, address->name) == 0;
}

static bool has_grown(const struct link *link, int64_t config_epoch)
{
	return config_epoch > strtoll(link->config_epoch, NULL, 10);
}

static int end(struct link *link, const struct link_wait *wait, bool is_grant)
{
	struct sentinels_answer answer;
	char error[STORE_ERROR_MAX];
	bool names_this;
	int err;

	err = sentinels_end(link->sentinels, wait, &answer, error,
			    sizeof(error));
	/* Those that are not heard may be behind connections that have died. */
	if (err != -ECANCELED && !answer.is_majority && !answer.is_fresh) {
		sentinels_close(link->sentinels);
		sentinels_begin(link->sentinels, CONFIRM_NS, wait);
		err = sentinels_end(link->sentinels, wait, &answer, error,
				    sizeof(error));
	}
	if (err == -ECANCELED)
		return err;
	if (!answer.answers && !answer.is_brief)
		return STORE_DONE;
	names_this = !err && is_named(link, &answer);
	if (names_this && !has_grown(link, answer.config_epoch))
		return STORE_DONE;
	if (names_this && !is_grant) {
		link_set_config_epoch(link, answer.config_epoch);
		return STORE_DONE;
	}
	link_close(link);
	if (err)
		memcpy(link->error, error, sizeof(link->error));
	else
		snprintf(
			link->error, sizeof(link->error),
			"the sentinels of %.600s have named another master meanwhile",
			link->address_text);
	return -EAGAIN;
}

int confirm_end(struct link *link, const struct link_wait *wait)
{
	return link->sentinels ? end(link, wait, false) : STORE_DONE;
}

int confirm(struct link *link, const struct link_wait *wait)
{
	int err;

	if (!link->sentinels)
		return STORE_DONE;
	confirm_begin(link, wait);
	err = end(link, wait, true);
	confirm_drop(link);
	return err;
}

void confirm_drop(struct link *link)
{
	if (link->sentinels)
		sentinels_close(link->sentinels);
}
