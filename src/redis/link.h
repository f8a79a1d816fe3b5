/*
 * A Redis server, by the URL that names it, and calls to it.  A link connects
 * when it is first used, and again after an error; AUTH and SELECT go out in the
 * same packet as the first call.  A script goes by its SHA-1, and as text when
 * the server does not know it (any more).
 *
 * The server of redis+sentinel:// is the master that the sentinels name, asked
 * for at each connecting; it gets no call before it has said that it is one, and
 * none after it has said that it is none any more.
 *
 * The server of redis+cluster:// is the node that has the slot of the call's keys:
 * what another answers with MOVED or ASK is asked again there, in the same call.
 *
 * A call that replicas are to acknowledge has WAIT behind it.  A refusal is not
 * kept up by that: its WAIT may still block the connection when the call has
 * ended, and then a call that is in a hurry connects anew.
 *
 * Calls on several links are made at once, by one thread.
 */
#ifndef CFLOCK_REDIS_LINK_H
#define CFLOCK_REDIS_LINK_H

#include <hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "redis/conn.h"
#include "redis/resolve.h"
#include "store.h"
#include "url.h"

#define CALL_KEYS_MAX 8
#define CALL_ARGUMENTS_MAX 18
#define CALL_BEFORE_MAX 3
#define CALL_KEY_MAX_BYTES 320

#define LINK_NUMBER_MAX 24

struct script;

struct call {
	const struct script *script; /* NULL: the arguments are a command */
	int key_count;
	char keys[CALL_KEYS_MAX][CALL_KEY_MAX_BYTES];
	int argument_count;
	const char *arguments[CALL_ARGUMENTS_MAX];
	/* A command in front of it, in the same packet; NULL: none, or no more words. */
	const char *before[CALL_BEFORE_MAX];
	/* In ms; 0: until the connection is given up by the kernel's default. */
	unsigned int user_timeout_ms;
	/* Not by its SHA-1: nobody may be there any more to send it again. */
	bool by_text;
	/* Behind what is still to be answered on the same connection. */
	bool behind;
	/* Not in a hurry: a cluster may be asked for its nodes on the way. */
	bool may_learn;
	/* What the script grants counts when so many replicas have acknowledged
	 * it: by WAIT, in the same packet. */
	int replicas;
};

void call_add(struct call *call, const char *argument);

enum link_stage {
	LINK_IDLE, /* no call, or it has ended */
	LINK_CONNECTING,
	LINK_SENDING,
	LINK_RECEIVING,
};

/* What a reply that is still to come answers. */
enum awaited {
	AWAITED_OK,    /* a part of the handshake: the status OK */
	AWAITED_ROLE,  /* whether it is a master */
	AWAITED_NODES, /* those of the cluster */
	AWAITED_BEFORE,
	AWAITED_CALL,
	AWAITED_REPLICAS, /* how many have acknowledged the call */
};

#define LINK_AWAITED_MAX 16
#define LINK_ADDRESSES_MAX 24 /* RESOLVE_ADDRESSES_MAX at least */

struct sentinels;
struct cluster;

/* Not to be moved while it is connected. */
struct link {
	struct url url;
	char address_text[URL_TEXT_MAX]; /* for people, without the password */
	struct address addresses[LINK_ADDRESSES_MAX];
	int address_count;           /* 0: not looked up yet */
	struct sentinels *sentinels; /* NULL: none, or not asked yet */
	struct cluster *cluster;     /* the same */
	bool asking;      /* connected only for what ASK sent us here */
	bool has_learned; /* has asked this node for the others */
	/* As text, the one in which the sentinels named this server; "": there are none. */
	char config_epoch[LINK_NUMBER_MAX];
	struct conn conn;
	int unanswered; /* replies that are still to come */
	enum awaited awaited[LINK_AWAITED_MAX]; /* one for each */
	int stale;    /* the first so many of them belong to former calls */
	bool blocked; /* the last of them is that to a blocking read */
	/* The server did not accept us, or not the database: what comes behind that
	 * would be answered by another than was meant. */
	bool is_refused;

	/* The call. */
	enum link_stage stage;
	const struct call *call;
	bool by_text;
	int address;         /* the one that is tried */
	int passing_err;     /* of one before it that may come back */
	int64_t share_ns;    /* until when it is */
	int64_t deadline_ns; /* of the call */
	int cancel_fd;
	int redirections; /* so far */
	bool was_sent;    /* a part of it at least: it may be carried out */
	int err;          /* of the call: 0, or a negative errno */
	/* Of a call that has ended well, and of the command before it: the caller's to
	 * free. */
	redisReply *answer, *before;

	char error[STORE_ERROR_MAX]; /* why the last call failed */
};

/* How long to wait for answers, and what to do meanwhile. */
struct link_wait {
	int64_t deadline_ns;
	int cancel_fd; /* -1: none; readable: ends it with -ECANCELED */
	/* Called when a call waits for its answer; NULL: nothing. */
	void (*meanwhile)(void *);
	void *context;
};

void link_init(struct link *link, const struct url *url);

/* Makes `to` a link to where `from` was last connected, without look-ups. */
void link_copy(struct link *to, const struct link *from);

void link_close(struct link *link);

/* Closes, and frees all that belongs to it. */
void link_destroy(struct link *link);

/* Looks the host's name up, if that has not been done.  0 or a negative errno. */
int link_look_up(struct link *link, const struct link_wait *wait);

/* Closes so that nothing that is on its way from here arrives later. */
void link_abort(struct link *link);

/* Frees the answer, and that of the command before the call, if there are any. */
void link_drop_answer(struct link *link);

/* Of the sentinels that name this server. */
void link_set_config_epoch(struct link *link, int64_t config_epoch);

/* Takes in, without waiting, what replicas have acknowledged of former calls. */
void link_settle(struct link *link);

/* True while a call, not only the WAIT behind it, is unanswered. */
bool link_owes_answer(const struct link *link);

/* True while the server does nothing that is sent behind, as it may block. */
bool link_is_blocked(const struct link *link);

/* Fails with `err`, while doing that to the server: its text, and its result. */
int link_fail(struct link *link, int err, const char *doing);

/*
 * Begins a call, which must last until it has ended: what a former call is still
 * to be answered would answer another question, so the connection is closed if
 * it is not to go `behind` that.  Looks names up, in the time that `wait` gives.
 */
void link_begin(struct link *link, const struct call *call,
		const struct link_wait *wait);

/*
 * Goes on with the calls that were begun until all of them have ended, or until
 * `enough`, which is asked after each that has (NULL: never), says so: 0; else
 * -ETIMEDOUT, -ECANCELED or another negative errno.  Each that has ended has
 * either an answer, or its `err`.
 */
int link_go_on(struct link *const links[], int count,
	       const struct link_wait *wait, bool (*enough)(void *),
	       void *context);

/*
 * Ends the calls that have not ended, with that `err`.  One that waits for its
 * answer keeps the connection.
 */
void link_give_up(struct link *const links[], int count, int err);

/* Goes on so, and then gives up those that have not ended. */
void link_finish(struct link *const links[], int count,
		 const struct link_wait *wait, bool (*enough)(void *),
		 void *context);

/*
 * Makes one call.  0 with *answer to be freed, or a negative errno: -ENOLCK when
 * it was granted, but too few replicas have acknowledged that.
 */
int link_call(struct link *link, const struct call *call,
	      const struct link_wait *wait, redisReply **answer);

#endif
