/*
 * In place of tls.c, in programs that are linked without OpenSSL.
 */
#include "config.h"

#include "redis/tls.h"

#include <errno.h>
#include <stdio.h>

bool tls_is_there(void)
{
	return false;
}

int tls_context_new(const struct url_tls *settings,
		    struct tls_context **context, char error[TLS_ERROR_MAX])
{
	(void)settings;
	(void)context;
	snprintf(error, TLS_ERROR_MAX, "this program has no TLS");
	return -EACCES;
}

struct tls_context *tls_context_share(struct tls_context *context)
{
	return context;
}

void tls_context_drop(struct tls_context *context)
{
	(void)context;
}

struct tls *tls_new(const struct tls_context *context, const char *host, int fd)
{
	(void)context;
	(void)host;
	(void)fd;
	return NULL;
}

void tls_free(struct tls *tls)
{
	(void)tls;
}

int tls_handshake(struct tls *tls, short *events)
{
	(void)tls;
	(void)events;
	return -EPROTO;
}

ssize_t tls_send(struct tls *tls, const void *data, size_t length,
		 short *events)
{
	(void)tls;
	(void)data;
	(void)length;
	(void)events;
	return -EPROTO;
}

ssize_t tls_receive(struct tls *tls, void *buffer, size_t size, short *events)
{
	(void)tls;
	(void)buffer;
	(void)size;
	(void)events;
	return -EPROTO;
}

const char *tls_error(const struct tls *tls)
{
	(void)tls;
	return "";
}
