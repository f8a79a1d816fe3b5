/*
 * cflock-resolve HOST: prints the addresses of HOST, for redis/resolve.c, which
 * says how.  Apart from cflock, so that the shared libraries of the name
 * service, and a look-up that hangs, are too.
 */
#include "config.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#include "redis/resolve.h"

int main(int argc, char **argv)
{
	struct addrinfo hints = {
		.ai_flags = AI_ADDRCONFIG,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *list, *item;
	char text[RESOLVE_LINE_MAX - 1];
	int left = RESOLVE_ADDRESSES_MAX, err;

	if (argc != 2) {
		fputs("usage: cflock-resolve HOST\n", stderr);
		return RESOLVE_EXIT_FAILED;
	}
	err = getaddrinfo(argv[1], NULL, &hints, &list);
	if (err == EAI_NONAME
#ifdef EAI_NODATA
	    || err == EAI_NODATA
#endif
	)
		return RESOLVE_EXIT_NO_NAME;
	if (err)
		return RESOLVE_EXIT_FAILED;
	for (item = list; item && left > 0; item = item->ai_next, left--)
		if (getnameinfo(item->ai_addr, item->ai_addrlen, text,
				sizeof(text), NULL, 0, NI_NUMERICHOST) == 0)
			puts(text);
	freeaddrinfo(list);
	return fflush(stdout) == 0 ? 0 : RESOLVE_EXIT_FAILED;
}
