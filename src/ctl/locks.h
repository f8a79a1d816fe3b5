/*
 * All locks in use, for the verbs that show a table of them.
 */
#ifndef CFLOCK_CTL_LOCKS_H
#define CFLOCK_CTL_LOCKS_H

#include "ctl/look.h"
#include "ctl/table.h"

struct locks {
	size_t found;       /* how many there are */
	struct table table; /* a row for each, behind the headings */
	json_object *list;  /* with --json, an array in place of the rows */
};

/*
 * Looks at the locks that match the operand, by name, at most `most` of them.
 * `progress`: on a terminal, stderr has a count meanwhile.  0 with *locks, to
 * be freed; or a negative errno as in store.h.
 */
int locks_look(struct ctl *ctl, size_t most, bool progress,
	       struct locks *locks);

/* What the operand was: a pattern. */
const char *locks_glob(const struct ctl *ctl);

void locks_free(struct locks *locks);

#endif
