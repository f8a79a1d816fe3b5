/*
 * Where the holder of an attached lock can be asked to release it: an abstract
 * Unix socket that is named by the id of the lease, for the same user and root.
 */
#ifndef CFLOCK_DOOR_H
#define CFLOCK_DOOR_H

#include <stdbool.h>

struct door {
	const char *name; /* the lock's */
	int fd;           /* readable: somebody knocks; -1: none */
	int visitor;      /* who waits for the answer; -1: nobody */
};

/* Returns 0 or a negative errno. */
int door_open(struct door *door, const char *id, const char *name);

/* Lets in who knocks.  True when the release of the lock is asked for. */
bool door_let_in(struct door *door);

/* Tells who is in whether the lock was released. */
void door_answer(struct door *door, bool released);

/*
 * Asks the holder of the lease `id` to release the lock `name`, and waits until
 * it has.  Returns 0; -ENOENT when no such lease is held on this host, or it is
 * of another lock; -EIO when the lock could not be released, or only its end can
 * be waited for; -EACCES when it is another user's.
 */
int door_knock(const char *id, const char *name);

#endif
