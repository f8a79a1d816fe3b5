/*
 * Whatever a server may answer: the bytes come in through a socket, as they
 * would from the network, and every reply in them is handed to each of the
 * functions that make results of replies.
 */
#include "config.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "redis/conn.h"
#include "redis/reply.h"
#include "redis/rights.h"
#include "redis/scripts.h"
#include "waitshow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(const redisReply *reply)
{
	char token[STORE_TOKEN_MAX] = "", error[STORE_ERROR_MAX] = "";
	char text[REFUSAL_TEXT_MAX];
	struct asked asked;
	struct refusal refusal;
	int64_t ms;
	char *copy = NULL;
	int result;

	memset(&refusal, 0, sizeof(refusal));
	reply_is_noscript(reply);
	reply_is_grant(reply);
	reply_handshake(reply, error, sizeof(error));
	reply_renew(reply, &asked, error, sizeof(error));
	reply_break(reply, &ms, error, sizeof(error));
	reply_text(reply, &copy, error, sizeof(error));
	free(copy);
	reply_release(reply, error, sizeof(error));
	reply_wait(reply, error, sizeof(error));
	reply_replicas(reply, 1, error, sizeof(error));
	result = reply_acquire(reply, token, &refusal, error, sizeof(error));
	if (result == STORE_DONE &&
	    (!*token || strspn(token, "0123456789") != strlen(token)))
		abort();
	if (result < 0 && !*error)
		abort();
	if (result == STORE_REFUSED)
		refusal_format(&refusal, text, sizeof(text));
	rights_judge(reply);
	if (result == -EACCES)
		rights_name_denied(reply, script_acquire.text, error,
				   sizeof(error));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conn conn = { .fd = -1 };
	redisReply *reply;
	int ends[2];

	if (size > 60000 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
		return 0;
	if (write(ends[1], data, size) == (ssize_t)size &&
	    conn_adopt(&conn, ends[0]) == 0) {
		close(ends[1]);
		while (conn_receive(&conn, &reply) == 0) {
			judge(reply);
			freeReplyObject(reply);
		}
		conn_close(&conn);
		return 0;
	}
	close(ends[0]);
	close(ends[1]);
	return 0;
}
