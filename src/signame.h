/* Signals as people write them. */
#ifndef CFLOCK_SIGNAME_H
#define CFLOCK_SIGNAME_H

/*
 * "TERM", "sigterm", "15", "RTMIN+3", "RTMAX-1".  Returns the signal's number,
 * 1 to 64, or -EINVAL.
 */
int signame_parse(const char *text);

#endif
