/*
 * cflockctl list [GLOB]: a line for each lock.
 */
#include "config.h"

#include <stdint.h>

#include "ctl/locks.h"

int ctl_list(struct ctl *ctl)
{
	struct locks locks;
	int err = locks_look(ctl, SIZE_MAX, true, &locks);

	if (err)
		return ctl_fail_store(ctl, err);
	if (ctl->json)
		look_print_json(locks.list);
	else if (locks.table.rows > 1)
		table_print(&locks.table, table_terminal_width());
	locks_free(&locks);
	return ctl_flush();
}
