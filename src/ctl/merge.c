#include "config.h"

#include "ctl/merge.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/look.h"
#include "int64.h"
#include "url.h"

/* One that is a holder on some servers, as each of them sees it. */
struct seen {
	json_object *holder;
	json_object *answer; /* where it was seen last */
	int count;
	int64_t left_ms[URL_LIST_MAX], starts_ms[URL_LIST_MAX];
};

/* Adds what one more server says of `holder`. */
static void see(struct seen *seen, json_object *answer, json_object *holder)
{
	int64_t left_ms = look_number(holder, "left_ms");
	int64_t starts_ms = look_number(holder, "starts_in_ms");

	if (seen->count == URL_LIST_MAX)
		return;
	seen->holder = holder;
	seen->answer = answer;
	seen->left_ms[seen->count] = left_ms < 0 ? INT64_MAX : left_ms;
	seen->starts_ms[seen->count] = starts_ms < 0 ? 0 : starts_ms;
	seen->count++;
}

/* Finds those who are `who` under the same token in all answers. */
static void find_all(json_object *answers, json_object *who, struct seen *seen)
{
	size_t i, j;

	memset(seen, 0, sizeof(*seen));
	for (i = 0; i < look_count(answers); i++) {
		json_object *answer = look_item(answers, i);
		json_object *holders = look_list(answer, "holders");

		for (j = 0; j < look_count(holders); j++) {
			json_object *holder = look_item(holders, j);

			if (!*look_text(holder, "id") ||
			    strcmp(look_text(holder, "id"),
				   look_text(who, "id")) != 0 ||
			    strcmp(look_text(holder, "token"),
				   look_text(who, "token")) != 0)
				continue;
			/* Each server counts once, whatever it says. */
			see(seen, answer, holder);
			break;
		}
	}
}

static void set_number(json_object *object, const char *field, int64_t number)
{
	json_object_object_add(object, field, json_object_new_int64(number));
}

static void share(json_object *to, json_object *from, const char *field)
{
	json_object *value;

	if (json_object_object_get_ex(from, field, &value))
		json_object_object_add(to, field, json_object_get(value));
}

/* True when it is among those of `list` already. */
static bool is_known(json_object *list, json_object *holder)
{
	size_t i;

	for (i = 0; i < look_count(list); i++)
		if (!strcmp(look_text(look_item(list, i), "id"),
			    look_text(holder, "id")))
			return true;
	return false;
}

/* The lease lasts, and begins, as long and when a majority says so. */
static json_object *agreed(struct seen *seen, int votes)
{
	json_object *holder = json_object_new_object();
	size_t count = (size_t)seen->count;
	int64_t left_ms, starts_ms;

	qsort(seen->left_ms, count, sizeof(int64_t), int64_compare);
	qsort(seen->starts_ms, count, sizeof(int64_t), int64_compare);
	left_ms = seen->left_ms[seen->count - votes];
	starts_ms = seen->starts_ms[votes - 1];
	json_object_object_foreach(seen->holder, key, value)
		json_object_object_add(holder, key, json_object_get(value));
	set_number(holder, "left_ms", left_ms == INT64_MAX ? -1 : left_ms);
	if (starts_ms > 0)
		set_number(holder, "starts_in_ms", starts_ms);
	else
		json_object_object_del(holder, "starts_in_ms");
	return holder;
}

/* Those who hold the lock by a majority, and what the lock is by them. */
static void merge_holders(json_object *merged, json_object *answers, int votes)
{
	json_object *list = json_object_new_array();
	int64_t left_ms = 0;
	size_t i, j;

	for (i = 0; i < look_count(answers); i++) {
		json_object *holders =
			look_list(look_item(answers, i), "holders");

		for (j = 0; j < look_count(holders); j++) {
			json_object *holder = look_item(holders, j);
			struct seen seen;

			find_all(answers, holder, &seen);
			if (seen.count < votes || is_known(list, holder))
				continue;
			holder = agreed(&seen, votes);
			json_object_array_add(list, holder);
			share(merged, seen.answer, "kind");
			share(merged, seen.answer, "value");
			if (look_number(holder, "left_ms") > left_ms)
				left_ms = look_number(holder, "left_ms");
		}
	}
	if (!look_count(list)) {
		json_object_put(list);
		return;
	}
	json_object_object_add(merged, "state", json_object_new_string("held"));
	set_number(merged, "left_ms", left_ms);
	json_object_object_add(merged, "holders", list);
}

/* Held by a client that is not cflock, or broken, as far as a majority says. */
static void merge_foreign(json_object *merged, json_object *answers, int votes)
{
	int64_t left_ms[URL_LIST_MAX];
	int count = 0;
	size_t i;

	for (i = 0; i < look_count(answers) && count < URL_LIST_MAX; i++) {
		json_object *answer = look_item(answers, i);

		if (strcmp(look_text(answer, "state"), "foreign") != 0)
			continue;
		left_ms[count] = look_number(answer, "left_ms");
		if (left_ms[count] < 0)
			left_ms[count] = INT64_MAX;
		count++;
		share(merged, answer, "value");
	}
	if (count < votes) {
		json_object_object_del(merged, "value");
		return;
	}
	qsort(left_ms, (size_t)count, sizeof(left_ms[0]), int64_compare);
	json_object_object_add(merged, "state",
			       json_object_new_string("foreign"));
	set_number(merged, "left_ms",
		   left_ms[count - votes] == INT64_MAX
			   ? -1
			   : left_ms[count - votes]);
}

static void merge_line(json_object *merged, json_object *answers)
{
	json_object *longest = NULL;
	size_t i;

	for (i = 0; i < look_count(answers); i++) {
		json_object *answer = look_item(answers, i);

		if (!longest || look_number(answer, "waiting") >
					look_number(longest, "waiting"))
			longest = answer;
	}
	share(merged, longest, "waiting");
	share(merged, longest, "waiters");
}

static void merge_token(json_object *merged, json_object *answers)
{
	int64_t highest = 0;
	size_t i;

	for (i = 0; i < look_count(answers); i++) {
		json_object *answer = look_item(answers, i);
		int64_t token = strtoll(look_text(answer, "token"), NULL, 10);

		if (token > highest) {
			highest = token;
			share(merged, answer, "token");
		}
	}
}

/* That of the same run, as long as a majority has it. */
static void merge_cooldown(json_object *merged, json_object *answers, int votes)
{
	size_t i, j;

	for (i = 0; i < look_count(answers); i++) {
		json_object *cooldown, *other;
		int count = 0;

		if (!json_object_object_get_ex(look_item(answers, i),
					       "cooldown", &cooldown))
			continue;
		for (j = 0; j < look_count(answers); j++)
			count +=
				json_object_object_get_ex(look_item(answers, j),
							  "cooldown", &other) &&
				!strcmp(look_text(other, "id"),
					look_text(cooldown, "id"));
		if (count >= votes) {
			json_object_object_add(merged, "cooldown",
					       json_object_get(cooldown));
			return;
		}
	}
}

json_object *merge_answers(json_object *answers, int votes)
{
	json_object *merged;

	if (votes == 1)
		return json_object_get(look_item(answers, 0));
	merged = json_object_new_object();
	json_object_object_add(merged, "state", json_object_new_string("free"));
	merge_holders(merged, answers, votes);
	if (!look_list(merged, "holders"))
		merge_foreign(merged, answers, votes);
	merge_token(merged, answers);
	merge_line(merged, answers);
	merge_cooldown(merged, answers, votes);
	return merged;
}
