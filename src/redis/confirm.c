#include "config.h"

#include "redis/confirm.h"

#include <errno.h>
#include <stdio.h>

#include "redis/sentinel.h"

bool confirm_begin(struct link *link, bool was_closed,
		   const struct link_wait *wait)
{
	if (was_closed || !link->sentinels)
		return false;
	sentinels_begin(link->sentinels, wait);
	return true;
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
	int count = sentinels_links(link->sentinels, links + 1);
	int err = link_go_on(links, 1 + count, wait, has_ended, link);

	link_give_up(links, 1, err ? err : -ETIMEDOUT);
}

int confirm_end(struct link *link, const struct link_wait *wait)
{
	struct address named[RESOLVE_ADDRESSES_MAX];
	char error[STORE_ERROR_MAX];
	int i, count;

	count = sentinels_end(link->sentinels, wait, named, error,
			      sizeof(error));
	if (count < 0 && count != -ECANCELED &&
	    sentinels_were_connected(link->sentinels))
		count = sentinels_ask(link->sentinels, wait, named, error,
				      sizeof(error));
	if (count < 0)
		return count == -ECANCELED ? count : 0;
	for (i = 0; i < count; i++)
		if (link->address < link->address_count &&
		    resolve_is_same(&named[i], &link->addresses[link->address]))
			return 0;
	link_close(link);
	snprintf(link->error, sizeof(link->error),
		 "the sentinels of %.600s name another master meanwhile",
		 link->address_text);
	return -EAGAIN;
}

void confirm_drop(struct link *link)
{
	if (link->sentinels)
		sentinels_close(link->sentinels);
}
