/*
 * cflockctl doctor: what the lock service can promise, and what to change.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/look.h"
#include "ctl/table.h"
#include "lease.h"
#include "log.h"

struct report {
	struct table table;
	json_object *list;
	enum finding_level worst;
	int err;
};

static const char *const levels[] = {
	[FINDING_OK] = "ok",
	[FINDING_WARNING] = "warning",
	[FINDING_DANGER] = "danger",
};

/* A copy of `text` without what may steer a terminal; NULL without memory. */
static json_object *safe_text(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = malloc(size);
	json_object *safe = NULL;

	if (copy)
		safe = json_object_new_string(log_printable(text, copy, size));
	free(copy);
	return safe;
}

static void add_to_list(struct report *report, const struct finding *finding)
{
	json_object *entry = json_object_new_object();

	json_object_object_add(entry, "name",
			       json_object_new_string(finding->name));
	json_object_object_add(entry, "server", safe_text(finding->server));
	json_object_object_add(entry, "level",
			       json_object_new_string(levels[finding->level]));
	json_object_object_add(entry, "text", safe_text(finding->text));
	json_object_object_add(entry, "advice", safe_text(finding->advice));
	json_object_array_add(report->list, entry);
}

static void add_to_table(struct report *report, const struct finding *finding)
{
	char advice[STORE_ERROR_MAX];
	const char *const first[] = { levels[finding->level], finding->name,
				      finding->text };
	const char *const second[] = { "", "", advice };

	snprintf(advice, sizeof(advice), "-> %s", finding->advice);
	report->err |= table_add(&report->table, first);
	if (*finding->advice)
		report->err |= table_add(&report->table, second);
}

static void add_finding(void *context, const struct finding *finding)
{
	struct report *report = context;

	if (finding->level > report->worst)
		report->worst = finding->level;
	add_to_list(report, finding);
	add_to_table(report, finding);
}

static int exit_code(const struct report *report)
{
	switch (report->worst) {
	case FINDING_DANGER:
		return EXIT_DANGER;
	case FINDING_WARNING:
		return EXIT_WARNING;
	default:
		return EXIT_SUCCESS;
	}
}

int ctl_doctor(struct ctl *ctl)
{
	struct report report = { .table = { .columns = 3, .wraps = true } };
	struct lease_policy policy;
	const char *why;
	int err, code;

	if (lease_policy_init(&policy, ctl->options->ttl_ns,
			      ctl->options->renew_by_percent, &why)) {
		log_line(LOG_FATAL, "the ttl and renew-by do not fit: %s", why);
		return EXIT_BAD_USAGE;
	}
	report.list = json_object_new_array();
	err = store_examine(ctl->store, &policy, CTL_REQUEST_NS, add_finding,
			    &report);
	if (ctl->json)
		look_print_json(report.list);
	else if (!err)
		table_print(&report.table, table_terminal_width());
	code = ctl_flush();
	if (err)
		code = ctl_fail_store(ctl, err);
	else if (report.err)
		code = ctl_fail_memory();
	else if (!code)
		code = exit_code(&report);
	table_free(&report.table);
	json_object_put(report.list);
	return code;
}
