/*
 * The standard descriptors, and those that were inherited beside them.
 */
#ifndef CFLOCK_STDFDS_H
#define CFLOCK_STDFDS_H

/*
 * A standard descriptor that was closed when we were called must not become a
 * socket of ours, and is to be closed again in a command: it is /dev/null, to be
 * closed on exec.  Returns 0 or a negative errno.
 */
int stdfds_keep(void);

/* Closes all but them. */
void stdfds_close_others(void);

#endif
