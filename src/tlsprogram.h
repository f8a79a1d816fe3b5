/*
 * cflock is linked without OpenSSL, as to load that takes as long as all the
 * rest of a start.  When the options turn out to name a server that is reached
 * by TLS, it becomes another program of the same code that is linked with it,
 * which reads the same options again.  For the user, it stays cflock.
 */
#ifndef CFLOCK_TLSPROGRAM_H
#define CFLOCK_TLSPROGRAM_H

#include <stdbool.h>

#include "url.h"

/* As a build without OpenSSL has no such program. */
#ifdef HAVE_OPENSSL
# define TLSPROGRAM_IS_BUILT true
#else
# define TLSPROGRAM_IS_BUILT false
#endif

/*
 * To be called first: keeps arguments and environment as they are now, with the
 * passwords that reading the options will overwrite.  In the other program:
 * takes the name over by which the process was known.  0 or -ENOMEM.
 */
int tlsprogram_remember(char **argv);

/* Whether the other program is needed for one of `servers`. */
bool tlsprogram_is_needed(const struct url_list *servers);

/*
 * With the options read: becomes the program `name` if `servers` need that.
 * What was kept is forgotten.  0 when this program can do without, or a
 * negative errno.
 */
int tlsprogram_become(const char *name, const struct url_list *servers);

/* What to say then. */
#define TLSPROGRAM_DOING(name) \
 "run the program " name ", which speaks TLS in its place"

#endif
