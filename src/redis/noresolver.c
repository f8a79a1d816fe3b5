/*
 * cflock without the C library's resolver: these stand in front of it when
 * cflock is linked.  hiredis calls them where it connects by itself, which
 * cflock never has it do; names are looked up by cflock-resolve.  Linked
 * statically, the real ones would ask for shared libraries all the same.
 */
#include "config.h"

#include <netdb.h>

int getaddrinfo(const char *node, const char *service,
		const struct addrinfo *hints, struct addrinfo **list)
{
	(void)node;
	(void)service;
	(void)hints;
	(void)list;
	return EAI_FAIL;
}

void freeaddrinfo(struct addrinfo *list)
{
	(void)list;
}

const char *gai_strerror(int err)
{
	(void)err;
	return "cflock has no resolver";
}
