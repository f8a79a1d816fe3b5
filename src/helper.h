/*
 * The programs that cflock has beside it for what it is not linked with: they
 * lie in the directory of cflock itself, where it was built, or in that of the
 * installation.
 */
#ifndef CFLOCK_HELPER_H
#define CFLOCK_HELPER_H

/*
 * Becomes the program `name`.  Async-signal-safe.  Returns only on failure: a
 * negative errno.
 */
int helper_exec(const char *name, char *const argv[], char *const envp[]);

#endif
