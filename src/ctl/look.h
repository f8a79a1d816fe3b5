/*
 * What the lock service tells of a lock, for cflockctl's verbs that show it.
 */
#ifndef CFLOCK_CTL_LOOK_H
#define CFLOCK_CTL_LOOK_H

#include <json-c/json.h>

#include "ctl/ctl.h"

/*
 * Asks for `name`, and at most `waiters` of those who wait for it.  0 with *lock, an object with the fields of `cflockctl status
 * --json`, to be freed with json_object_put(); or a negative errno as in
 * store.h.
 */
#define LOOK_WAITERS_MAX 1000
int look_at(struct ctl *ctl, const char *name, int waiters, json_object **lock);

/* A field; "" or -1 when it is missing. */
const char *look_text(json_object *object, const char *field);
int64_t look_number(json_object *object, const char *field);

/* An array; NULL, which look_count() and look_item() take, when it is missing. */
json_object *look_list(json_object *object, const char *field);
size_t look_count(json_object *list);

/* The item at `index`; NULL when there is none. */
json_object *look_item(json_object *list, size_t index);

/* A holder or waiter as holder_format() shows it.  Returns `buffer`. */
char *look_format_person(json_object *person, char *buffer, size_t size);

/* "exclusive", "shared", "slots 2 of 3", "free", ...  Returns `buffer`. */
char *look_format_state(json_object *lock, char *buffer, size_t size);

/* Writes the object or array to stdout, as --json does. */
void look_print_json(json_object *object);

/* The same in one line. */
void look_print_json_line(json_object *object);

#endif
