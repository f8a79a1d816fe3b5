/*
 * INI files: `key = value`, at top level or in the section [cflock].  (Not
 * named config.h, which is what configure writes.)
 */
#ifndef CFLOCK_CONFFILE_H
#define CFLOCK_CONFFILE_H

#include "options.h"

#include <stdbool.h>
#include <stdio.h>

/*
 * Called for each key, in order.  `where` is "FILE:LINE"; all texts last only
 * for the call.  Returns 0, or a negative errno with one line in `error`,
 * which ends the reading.
 */
typedef int conffile_set_fn(void *user, const char *where, const char *key,
			    const char *value, char error[OPTIONS_ERROR_MAX]);

/*
 * Reads the file `path`.  That it is absent is an error only when it is
 * `required`.  Returns 0, -EBADF with one line in `error`, or what `set`
 * returned.
 */
int conffile_read(const char *path, bool required, conffile_set_fn *set,
		  void *user, char error[OPTIONS_ERROR_MAX]);

/* The same for an open stream; `path` is for messages. */
int conffile_parse(FILE *stream, const char *path, conffile_set_fn *set,
		   void *user, char error[OPTIONS_ERROR_MAX]);

#endif
