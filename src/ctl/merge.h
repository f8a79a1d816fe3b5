/*
 * What several servers say of a lock, as one answer.
 */
#ifndef CFLOCK_CTL_MERGE_H
#define CFLOCK_CTL_MERGE_H

#include <json-c/json.h>

/*
 * Of `answers`, one a server, as look.lua gives them: what at least `votes` of
 * them agree on; of the line, the longest.  With one vote: the only answer.
 */
json_object *merge_answers(json_object *answers, int votes);

#endif
