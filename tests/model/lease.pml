/*
 * How a holder, two waiters and the lock service deal with one another: the
 * protocol of src/redis/acquire.lua, renew.lua, release.lua and src/lease.h.
 * run.sh has spin search every order of events, without a bound on time.
 *
 * What is checked
 *
 *   - Never two commands at once; see begin().
 *   - Tokens strictly increase: each command starts under a higher one than all
 *     that started before it; see begin().
 *   - A free lock with a live waiter is granted in the end; see `granted`.
 *   - Nothing comes to a standstill (spin's invalid end states).
 *
 * What can happen
 *
 *   - A request, or its answer, takes any time, or never arrives.  Requests are
 *     sent again, and overtake one another: an acquire may come in after the
 *     release, a renewal after the takeover.
 *   - A client dies at any instant: in the line, after it took over, before it
 *     hears of its lease, under it.  Its command dies with it, or later, but not
 *     after KILL_AT: that is the guardian's doing.
 *   - A client is as slow as it likes, but for the guardian.  It may be found
 *     silent, and lose its place in the line, though it is alive.
 *   - A holder's clock may lag: in the life of a lease it may lose one tick.
 *   - A command may end at any instant, or never.
 *
 * Of these, some cases have a name, at the end of this file: one takes over and
 * dies before it starts; takes over and is slow; two try to take over at once; the
 * old holder comes back in that very moment, and is too late, or just in time.
 * run.sh shows that each can happen, so is part of what was searched.
 *
 * What is left out, and why nothing is lost by it
 *
 *   - Loss has no step: a request that is lost might as well not have been sent,
 *     an answer that is lost is one that is never read.
 *   - An answer that bids a client wait is not sent: clients ask whenever they
 *     like.  So there is nothing to wake them, either.
 *   - prune() is a step of its own, which may come at any time, and not a part of
 *     the next acquire or release.  Who is silent long enough: anybody.
 *   - One who will not wait (-n) is no other: granted, it is as one who waits,
 *     refused, as one who never asked.
 *   - A client runs once.  Its next run would have another id.
 *   - A renewal is not due at any time, nor needed: it may always be sent.
 *   - Answers count as long as the lease could not be lost meanwhile; cflock
 *     itself awaits them for a third of that.
 *
 * What is not covered: shared locks, slots, the cooldown, locks of other clients,
 * `break`, a lock service that forgets, a whole machine that is paused.
 *
 * Each MUTANT_... breaks one rule; run.sh sees to it that spin finds it out.
 */

#define CLIENTS 3 /* 0 is the holder, 1 and 2 wait */
#define NOBODY CLIENTS

/*
 * In ticks.  Between KILL_AT and TTL lies a tick for the clock that lags, and one
 * for the time it takes to kill.  Fewer for LIVENESS, which costs more to search.
 */
#ifdef LIVENESS
#define RENEW_BY 2
#else
#define RENEW_BY 3
#endif
#ifdef MUTANT_NO_MARGIN
#define KILL_AT (RENEW_BY + 2)
#else
#define KILL_AT (RENEW_BY + 1)
#endif
#define TTL (RENEW_BY + 3)
#define SPARE (TTL - RENEW_BY)

/* === the network ========================================================== */

/*
 * A message has the number of ticks that have elapsed since it was sent, or, for
 * an answer, since the request was.  LATE: the answer is of no use any more.
 */
#define LATE RENEW_BY

chan acquires[CLIENTS] = [1] of { byte }; /* elapsed */
chan renewals[CLIENTS] = [1] of { byte }; /* elapsed */
chan releases[CLIENTS] = [1] of { bit };
chan answers[CLIENTS] = [1] of { mtype, byte, byte }; /* what, token, elapsed */

mtype = { GRANTED, RENEWED, LOST };

/* === the clients ========================================================== */

mtype = { ASKING, RUNNING, STOPPING, GONE };

mtype phase[CLIENTS];
byte token[CLIENTS];  /* under which its command runs */
byte age[CLIENTS];    /* ticks since its lease was asked for, by its own clock */
bool lagged[CLIENTS]; /* which has lost a tick since */

byte commands = 0; /* that are alive */
byte last_run = 0; /* the token under which the last one started */

/* From here on, nothing goes wrong until a command starts; see `granted`. */
bool calm = false;
bool asked[CLIENTS]; /* in this tick, when calm */

#define is_alive(id) (phase[id] == RUNNING || phase[id] == STOPPING)
#define must_die(id) (is_alive(id) && age[id] >= KILL_AT)

/* === common.lua =========================================================== */

/*
 * The holder, as there can be but one of an exclusive lock: NOBODY when the key
 * is not there.  Other than in Lua, ends and from say how long it is until then,
 * so `now` is 0; `started` is "from <= now" at the time when the lease was given.
 */
typedef holder {
	byte who = NOBODY;
	byte token;
	byte ends;
	byte from;
	bool started;
};
holder held;

byte highest; /* KEYS[2]: the highest token that was ever given */
chan line = [CLIENTS] of { byte };

#define is_in_line(id) (line??[eval(id)])

/* Of one step; they mean nothing between two. */
hidden byte c, first, overdue, free_at, number, elapsed, gap, is_used;
hidden mtype what;

/* An answer reaches who still listens for it, and replaces one before it. */
inline answer(id, listening, the_answer, the_token) {
	if
	:: phase[id] == listening && elapsed < LATE ->
		forget_answer(id);
		answers[id]!the_answer, the_token, elapsed
	:: else
	fi
}

inline forget_answer(id) {
	if
	:: len(answers[id]) > 0 -> answers[id]?_, _, _
	:: else
	fi
}

inline first_in_line() {
	if
	:: len(line) > 0 -> line?<first>
	:: else -> first = NOBODY
	fi
}

inline leave_line(id) {
	if
	:: is_in_line(id) -> line??eval(id)
	:: !is_in_line(id)
	fi
}

/* Takes `id` out of the line, and with it the sign of life. */
inline prune(id) {
	line??eval(id)
}

/* The lock's key is gone: expired, or deleted. */
inline free_lock() {
	held.who = NOBODY;
	held.token = 0;
	held.ends = 0;
	held.from = 0;
	held.started = false
}

/* === tokens, few of them ================================================== */

/*
 * All that counts is which of two tokens is higher.  So those that nobody has any
 * more are left out, and the higher ones move down: few numbers do for any number
 * of grants, and the search comes to an end.
 */
inline close_gaps() {
	gap = 1;
	do
	:: gap >= highest -> break
	:: else ->
		is_used = (last_run == gap || held.token == gap);
		for (c : 0 .. CLIENTS - 1) {
			is_used = is_used || token[c] == gap ||
				answers[c]?[GRANTED, eval(gap), _]
		};
		if
		:: is_used -> gap++
		:: else -> move_down()
		fi
	od;
	gap = 0
}

#define lower(t) t = (t > gap -> t - 1 : t)

inline move_down() {
	lower(highest);
	lower(last_run);
	lower(held.token);
	for (c : 0 .. CLIENTS - 1) {
		lower(token[c]);
		if
		:: len(answers[c]) > 0 ->
			answers[c]?what, number, elapsed;
			lower(number);
			answers[c]!what, number, elapsed
		:: else
		fi
	}
}

/* === acquire.lua ========================================================== */

/* Makes the lease begin, now or at `start`. */
inline hold(id, start, the_token) {
	held.who = id;
	held.token = the_token;
	held.from = start;
	held.started = (start == 0);
	held.ends = start + TTL;
	if
	:: held.started ->
		leave_line(id);
		answer(id, ASKING, GRANTED, the_token)
	:: else
	fi
}

inline next_token() {
	highest++
}

/* ticks until the lease may be taken over, and until nothing runs under it. */
inline until_overdue() {
	if
	:: held.who == NOBODY ->
		overdue = 0;
		free_at = 0
	:: held.who != NOBODY && held.started ->
		overdue = (held.ends > SPARE -> held.ends - SPARE : 0);
		free_at = held.ends
	:: held.who != NOBODY && !held.started ->
		/* Taken over, not begun: as long as it shows signs of life. */
		overdue = (is_in_line(held.who) -> 1 : 0);
		free_at = held.from
	fi
}

inline to_the_line(id) {
	if
	:: !is_in_line(id) ->
		line!id;
		if
		:: first == NOBODY -> first = id
		:: else
		fi
	:: is_in_line(id)
	fi
}

/* The new lease starts at the end of the old one. */
inline take_over(id) {
#ifndef MUTANT_SAME_TOKEN
	next_token();
#endif
#ifdef MUTANT_START_AT_GRANT
	free_at = 0;
#endif
	printf("client %d takes over from client %d, to start in %d\n",
		id, held.who, free_at);
	hold(id, free_at, highest)
}

inline acquire(id) {
	first_in_line();
	if
	:: held.who == id ->
		/* Ours already: a lease that was taken over begins, or not yet. */
		if
		:: !held.started && held.from > 0
		:: else -> hold(id, 0, held.token)
		fi
	:: held.who == NOBODY && (first == NOBODY || first == id) ->
		next_token();
		hold(id, 0, highest)
	:: else ->
		until_overdue();
		to_the_line(id);
		if
		:: overdue == 0 && first == id -> take_over(id)
		:: else
		fi
	fi;
	close_gaps()
}

/* === renew.lua ============================================================ */

inline renew(id) {
	if
#ifdef MUTANT_LATE_RENEWAL
	:: true ->
#else
	:: held.who == id && held.token == token[id] && held.started ->
#endif
		held.ends = TTL;
		answer(id, RUNNING, RENEWED, 0)
	:: else -> answer(id, RUNNING, LOST, 0)
	fi
}

/* === release.lua ========================================================== */

inline release(id) {
	if
	:: held.who == id && (held.started || held.from == 0) -> free_lock()
	:: held.who == id && !held.started && held.from > 0 ->
		/* What it took over may still run. */
#ifdef MUTANT_RELEASE_AT_ONCE
		free_lock()
#else
		held.ends = held.from
#endif
	:: else
	fi;
	leave_line(id);
	close_gaps()
}

/* The lock service, as one client sees it.  A script is one step: d_step. */
proctype service(byte id)
{
end:	do
	:: d_step { acquires[id]?elapsed ->
		printf("client %d: acquire comes in\n", id);
		acquire(id) }
	:: d_step { renewals[id]?elapsed ->
		printf("client %d: renew comes in\n", id);
		renew(id) }
	:: d_step { releases[id]?_ ->
		printf("client %d: release comes in\n", id);
		release(id) }
#ifndef MUTANT_NO_PRUNING
	:: d_step { is_in_line(id) && (!calm || phase[id] != ASKING) ->
		printf("client %d is silent\n", id);
		prune(id) }
#endif
	od
}

/* === acquire.c, lease.c, guardian.c ======================================= */

/* All instants are counted from when the request was sent. */
inline restart_timeline(id) {
#ifdef MUTANT_COUNT_FROM_REPLY
	age[id] = 0;
#else
	age[id] = elapsed;
#endif
	lagged[id] = false
}

inline begin(id) {
	printf("client %d starts its command\n", id);
	assert(commands == 0);
	assert(number > last_run);
	commands++;
	last_run = number;
	token[id] = number;
	phase[id] = RUNNING;
	restart_timeline(id);
	close_gaps();
	calm = false
}

/* The lease is lost, or nobody is left to renew it. */
inline begin_to_stop(id) {
	phase[id] = STOPPING;
	forget_answer(id)
}

/* The command, if there is one, is dead, and the client as well. */
inline leave(id) {
	if
	:: is_alive(id) -> commands--
	:: else
	fi;
	phase[id] = GONE;
	forget_answer(id);
	token[id] = 0;
	age[id] = 0;
	lagged[id] = false;
	close_gaps()
}

proctype client(byte id)
{
end:	do
	/* It asks, once or again. */
	:: d_step { phase[id] == ASKING && empty(acquires[id]) && !asked[id] ->
		printf("client %d asks\n", id);
		acquires[id]!0;
		asked[id] = calm }
	:: d_step { answers[id]?GRANTED, number, elapsed -> begin(id) }

	/* It renews; a confirmation that was overtaken proves nothing new. */
	:: d_step { phase[id] == RUNNING && empty(renewals[id]) ->
		printf("client %d renews\n", id);
		renewals[id]!0 }
	:: d_step { answers[id]?RENEWED, _, elapsed ->
		if
		:: elapsed <= age[id] ->
			printf("client %d is renewed\n", id);
			restart_timeline(id)
		:: else
		fi }
	:: d_step { answers[id]?LOST, _, _ ->
		printf("client %d has lost its lease\n", id);
		begin_to_stop(id) }

	/* Its wait is over, or its command: only then it releases. */
	:: d_step { phase[id] != GONE && !calm ->
		printf("client %d ends, and releases\n", id);
		leave(id);
		releases[id]!0 }

	/* It dies; its command, if there is one, at the same time or later. */
	:: d_step { phase[id] != GONE && !calm ->
		printf("client %d dies, with all that it started\n", id);
		leave(id) }
	:: d_step { phase[id] == RUNNING && !calm ->
		printf("client %d dies, its command does not\n", id);
		begin_to_stop(id) }
	od
}

/* === time ================================================================= */

/* Ages the requests of a channel: of use only to who waits for the answer. */
inline age_request(channel, listens) {
	if
	:: len(channel) > 0 ->
		channel?elapsed;
		channel!(listens && elapsed < LATE -> elapsed + 1 : LATE)
	:: else
	fi
}

inline age_answer(id) {
	if
	:: len(answers[id]) > 0 ->
		answers[id]?what, number, elapsed;
		if
		:: elapsed + 1 < LATE -> answers[id]!what, number, elapsed + 1
		:: else
		fi
	:: else
	fi
}

/* Without a renewal until RENEW_BY, the lease counts as lost. */
inline age_lease(id, lags) {
	if
	:: is_alive(id) && lags -> lagged[id] = true
	:: is_alive(id) && !lags ->
		age[id]++;
		if
		:: phase[id] == RUNNING && age[id] == RENEW_BY ->
			begin_to_stop(id)
		:: else
		fi
	:: else
	fi
}

inline age_lock() {
	if
	:: held.from > 0 -> held.from--
	:: else
	fi;
	if
	:: held.ends > 1 -> held.ends--
	:: held.ends == 1 -> free_lock()
	:: else
	fi
}

inline tick(holder_lags) {
	if
	:: holder_lags -> printf("tick, that the holder's clock misses\n")
	:: else -> printf("tick\n")
	fi;
	for (c : 0 .. CLIENTS - 1) {
		age_request(acquires[c], phase[c] == ASKING);
		age_request(renewals[c], phase[c] == RUNNING);
		age_answer(c);
		age_lease(c, holder_lags);
		asked[c] = false
	};
	age_lock();
	close_gaps()
}

#define may_lag(id) (is_alive(id) && !lagged[id])

/* When calm, a tick is enough for messages to arrive and for silence to show. */
#define is_quiet(id) (empty(acquires[id]) && empty(renewals[id]) && \
	empty(releases[id]) && empty(answers[id]) && \
	(phase[id] == ASKING -> asked[id] : is_forgotten(id)))
#ifdef MUTANT_NO_PRUNING
#define is_forgotten(id) true
#else
#define is_forgotten(id) (!is_in_line(id))
#endif

#define can_pass (!must_die(0) && !must_die(1) && !must_die(2) && \
	(!calm || is_quiet(0) && is_quiet(1) && is_quiet(2)))

proctype time()
{
end:	do
	:: d_step { can_pass -> tick(false) }
	:: d_step { can_pass && (may_lag(0) || may_lag(1) || may_lag(2)) ->
		tick(true) }
#ifdef LIVENESS
	:: d_step { !calm && commands == 0 &&
		(phase[1] == ASKING || phase[2] == ASKING) ->
		printf("calm\n");
		calm = true }
#endif
	od
}

#ifdef LIVENESS
/*
 * Whenever no command runs and a waiter is alive, one starts, if from then on no
 * more messages are lost or late and nobody else dies or gives up.  (Nothing can
 * be promised while they are.)
 */
ltl granted { [] (calm -> <> !calm) }
#endif

/* The command of client 0 has just started; its first request may come again. */
init {
	d_step {
		held.who = 0;
		held.token = 1;
		held.ends = TTL;
		held.started = true;
		highest = 1;
		phase[0] = RUNNING;
		token[0] = 1;
		commands = 1;
		last_run = 1;
		acquires[0]!LATE;
		phase[1] = ASKING;
		phase[2] = ASKING
	};
	atomic {
		run client(0);
		run client(1);
		run client(2);
		run service(0);
		run service(1);
		run service(2);
		run time()
	}
}

#ifdef CASES
/* "Never ..." of what can happen: spin is to find how. */
#define has_taken(id) (held.who == id && !held.started && held.from > 0)
#define is_overdue (held.who == 0 && held.started && held.ends <= SPARE)
#define under_way(channel) (len(channel) > 0)
#define is_refused(id) (answers[id]?[LOST, _, _])
#define is_renewed(id) (answers[id]?[RENEWED, _, _])

ltl dies_before_start { !(<> (has_taken(1) && phase[1] == GONE &&
	(<> has_taken(2)))) }
ltl slow_to_start { !(<> (has_taken(1) &&
	(<> (has_taken(2) && phase[1] == ASKING && is_in_line(1))))) }
ltl two_at_once { !(<> (is_overdue && under_way(acquires[1]) &&
	under_way(acquires[2]) && (<> (has_taken(1) && is_in_line(2))))) }
ltl back_too_late { !(<> (has_taken(1) && phase[0] == RUNNING &&
	under_way(renewals[0]) && (<> is_refused(0)))) }
ltl back_in_time { !(<> (is_overdue && under_way(acquires[1]) &&
	under_way(renewals[0]) && (<> (is_renewed(0) && is_in_line(1))))) }
#endif
