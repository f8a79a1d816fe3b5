/*
 * How three clients take a lock that three independent masters vote on, hold it,
 * and hand it on: the protocol of several --server.  run.sh has spin search every
 * order of events, within the bounds below.
 *
 * What is checked
 *
 *   - Never two commands at once; see begin().
 *   - Tokens strictly increase: each command starts under a higher one than all
 *     that started before it; so no token is given twice.  See begin().
 *   - Nothing comes to a standstill (spin's invalid end states).
 *
 * What can happen
 *
 *   - A request, or its answer, takes any time, never arrives, or arrives again.
 *     One of an earlier round comes in when its client has given up, asks for more,
 *     runs its command, or has ended.
 *   - A client proposes any token above those that it has proposed: its clock may
 *     lag, or jump.
 *   - A client gives its votes back at any time, and asks again, or never.
 *   - A holder may find its lease unproven at any time; or its command ends, or the
 *     client dies.  All of these are one: the command ends.
 *   - A vote that no lease rests on is gone at any time: expired, or given back.
 *   - A master restarts, and has forgotten the lock and all tokens.
 *   - A master that cannot be reached is one that no request comes in to.
 *
 * The timeline of a lease, which lease.pml is about, is here but an order of events
 *
 *   - All of a client's instants count from before a round was sent, and votes last
 *     for one ttl from when it came in.  So a vote that was given or extended by the
 *     round under way, or by the last that had a majority, outlives what is counted
 *     from these rounds: it cannot expire before the client gives up that round, or
 *     before its command has ended.  See is_kept().
 *   - Grace lasts for the longest ttl of all, from the restart.  When it is over, so
 *     is what rests on votes that were given before; see is_missed().
 *   - A round of renewals begins when the one before has ended: had it been sent
 *     later, its requests would only come in later, and they may.
 *
 * What is left out, and why nothing is lost by it
 *
 *   - Refusals.  That a token was too low bids a client propose a higher one; it may
 *     always.  That the lease is lost bids it end; it may always.
 *   - Releases.  A release names the token, so takes back no vote of a later round:
 *     what it takes back may as well have expired.
 *   - The mark of a release against what comes behind it: a vote that is given late
 *     expires.  It costs time, no more.
 *   - That an acquire comes in again, where it had a vote: the answer is the same.
 *   - A client runs once.  Its next run would have another id.
 *
 * What is taken for granted
 *
 *   - After a restart a master has no new vote for any token that was accepted
 *     anywhere before: its clock, and the jump of a new epoch, are ahead of all.
 *   - Who asks to have a lease back that a master forgot (reclaim) has been told by
 *     that master that it has its vote, in its last round that had a majority, or
 *     since.  A holder that this master did not vote for has to wait until the grace
 *     is over: the master may have forgotten a vote for somebody else, in whose
 *     round that still counts.
 *
 * What is bounded: TOKENS, RESTARTS of masters in all, and that of a client's rounds
 * without a majority requests of but one come in late.
 *
 * What is not covered: the line, takeover, shared locks, slots, the cooldown, locks
 * of other clients; a master that comes back with old data; liveness, as that
 * depends on chance.
 *
 * Each MUTANT_... breaks one rule; run.sh sees to it that spin finds it out.
 */

#define CLIENTS 3
#define MASTERS 3
#define NOBODY CLIENTS

#ifndef TOKENS
#define TOKENS 3
#endif
#ifndef RESTARTS
#define RESTARTS 2
#endif

/* === clients ============================================================== */

mtype = { IDLE, ASKING, RUNNING, GONE };

mtype phase[CLIENTS];
byte token[CLIENTS]; /* that it proposed last; from RUNNING on, that of its lease */
byte late[CLIENTS];  /* that of an earlier round, of which requests may come in */

byte last_run = 0; /* the token under which the last command started */

#define is_any_running \
	(phase[0] == RUNNING || phase[1] == RUNNING || phase[2] == RUNNING)

/* === masters ============================================================== */

byte who[MASTERS];    /* has the vote: the holder of the lock there; or NOBODY */
byte given[MASTERS];  /* the token of that vote */
byte stored[MASTERS]; /* the highest of all votes */
byte least[MASTERS];  /* new votes are only for tokens above it; 0: nothing to add */
bool grace[MASTERS];
byte owed[MASTERS];   /* in grace: whose lease was forgotten; or NOBODY */

byte restarts = 0;

/* Sets of clients, as bits: whose answer has the master sent in the round under
 * way, or in the last round of that client that had a majority. */
byte acked[MASTERS];
byte proven[MASTERS];

/* Of one step; they mean nothing between two. */
hidden byte i, highest, other;

#define bit(id) (1 << (id))
#define has(set, id) (((set) >> (id)) & 1)

#ifdef MUTANT_OLD_ROUND
byte old[MASTERS]; /* answers of earlier rounds */
#define answers(m) (acked[m] | old[m])
#else
#define answers(m) acked[m]
#endif

#ifdef MUTANT_MINORITY
#define MAJORITY 1
#else
#define MAJORITY 2
#endif
#define has_majority(id) (has(answers(0), id) + has(answers(1), id) + \
	has(answers(2), id) >= MAJORITY)

/* Does what the client counts on rest on a vote of that master? */
#define relies_on(id, m) has(acked[m] | proven[m], id)
#define has_vote(id, m) (who[m] == id && given[m] == token[id])
#define is_kept(id, m) (relies_on(id, m) && has_vote(id, m))
#define is_missed(id, m) (relies_on(id, m) && !has_vote(id, m))

/* Is it free, or mine? */
#define is_free(id, m) (who[m] == NOBODY || who[m] == id)

#ifdef MUTANT_NOT_STRICT
#define is_new(m, t) (stored[m] <= (t) && least[m] <= (t))
#else
#define is_new(m, t) (stored[m] < (t) && least[m] < (t))
#endif
#define may_have(id, m, t) (is_free(id, m) && is_new(m, t) && !grace[m])

/*
 * A vote for a lease that stands.  There `least` means nothing, and neither does a
 * higher token, which was given to one who got no majority.
 */
#ifdef MUTANT_REVOTE_ANY
#define may_have_again(id, m) true
#else
#define may_have_again(id, m) \
	(is_free(id, m) && may_reclaim(id, m))
#endif
#ifdef MUTANT_RECLAIM_ANY
#define may_reclaim(id, m) true
#else
#define may_reclaim(id, m) (!grace[m] || owed[m] == id)
#endif

/* To extend it changes nothing. */
#define is_extended(id, m) \
	(has_vote(id, m) && (phase[id] == GONE || has(acked[m], id)))

/* === nothing has a name =================================================== */

/*
 * All clients are alike, and all masters.  To search the whole in reasonable time
 * they change places after each step, so as to stand in order: one state for up to
 * 36.  In what is told of it, names then mean little; so not where that matters.
 */
#define swap(a, b) \
	other = a; \
	a = b; \
	b = other
#define swap_bits(set, a, b) \
	set = set ^ ((has(set, a) ^ has(set, b)) * (bit(a) | bit(b)))
#define swap_names(name, a, b) \
	name = (name == a -> b : (name == b -> a : name))

#define client_rank(id) (phase[id] + 8 * (token[id] + 8 * late[id]))
#define master_rank(m) (who[m] + 4 * (stored[m] + 8 * (least[m] + 8 * (grace[m] + \
	2 * (owed[m] + 4 * (acked[m] + 8 * (proven[m] + 8 * given[m])))))))

inline order_clients(a, b) {
	if
	:: client_rank(a) > client_rank(b) ->
		swap(phase[a], phase[b]);
		swap(token[a], token[b]);
		swap(late[a], late[b]);
		for (i : 0 .. MASTERS - 1) {
			swap_names(who[i], a, b);
			swap_names(owed[i], a, b);
			swap_bits(acked[i], a, b);
			swap_bits(proven[i], a, b)
		}
	:: else
	fi
}

inline order_masters(a, b) {
	if
	:: master_rank(a) > master_rank(b) ->
		swap(who[a], who[b]);
		swap(stored[a], stored[b]);
		swap(given[a], given[b]);
		swap(least[a], least[b]);
		swap(grace[a], grace[b]);
		swap(owed[a], owed[b]);
		swap(acked[a], acked[b]);
		swap(proven[a], proven[b])
	:: else
	fi
}

/* Ends each step. */
inline put_in_order() {
	/* A request that is late does nothing any more where its token is not new. */
	for (i : 0 .. CLIENTS - 1) {
		if
		:: is_new(0, late[i]) || is_new(1, late[i]) || is_new(2, late[i])
		:: else -> late[i] = 0
		fi
	};
#ifdef ANONYMOUS
	order_clients(0, 1);
	order_clients(1, 2);
	order_clients(0, 1);
	order_masters(0, 1);
	order_masters(1, 2);
	order_masters(0, 1);
#endif
	i = 0
}

/* === what a master does =================================================== */

inline vote(id, m, t) {
	printf("master %d votes for client %d, token %d\n", m, id, t);
	who[m] = id;
	given[m] = t;
	if
	:: t > stored[m] -> stored[m] = t
	:: else
	fi;
	if
	:: t >= least[m] -> least[m] = 0
	:: else
	fi
}

inline acquire(id, m) {
	vote(id, m, token[id]);
	acked[m] = acked[m] | bit(id)
}

/* To have it again is also to have it extended. */
inline renew(id, m) {
	vote(id, m, token[id]);
	if
	:: phase[id] == RUNNING -> acked[m] = acked[m] | bit(id)
	:: else
	fi
}

inline find_highest() {
	highest = 0;
	for (i : 0 .. MASTERS - 1) {
		if
		:: stored[i] > highest -> highest = stored[i]
		:: else
		fi;
		if
		:: least[i] > highest -> highest = least[i]
		:: else
		fi
	}
}

inline restart(m) {
	restarts++;
	owed[m] = (relies_on(0, m) -> 0 :
		(relies_on(1, m) -> 1 : (relies_on(2, m) -> 2 : NOBODY)));
	find_highest();
#ifdef MUTANT_NO_LEAST
	highest = 0;
#endif
	who[m] = NOBODY;
	given[m] = 0;
	stored[m] = 0;
	least[m] = highest;
#ifndef MUTANT_EMPTY_VOTES
	grace[m] = true;
#endif
	highest = 0
}

#ifdef MUTANT_RELEASE_ANY
bool released[CLIENTS];
#endif

/* What comes in of one client. */
#define requests_of(id) \
	:: d_step { phase[id] == ASKING && \
		may_have(id, m, token[id]) -> \
		acquire(id, m); \
		put_in_order() } \
	:: d_step { (phase[id] == RUNNING || phase[id] == GONE) && \
		may_have_again(id, m) && !is_extended(id, m) -> \
		renew(id, m); \
		put_in_order() } \
	:: d_step { may_have(id, m, late[id]) && late[id] > 0 -> \
		printf("an acquire of client %d comes in late\n", id); \
		vote(id, m, late[id]); \
		put_in_order() }

proctype master(byte m)
{
end:	do
	requests_of(0)
	requests_of(1)
	requests_of(2)
	:: d_step { who[m] != NOBODY && !is_kept(who[m], m) ->
		printf("master %d: the vote for client %d is gone\n", m, who[m]);
		who[m] = NOBODY;
		given[m] = 0;
		put_in_order() }
#ifdef MUTANT_RELEASE_ANY
	:: d_step { who[m] != NOBODY && released[who[m]] ->
		printf("master %d: client %d releases\n", m, who[m]);
		who[m] = NOBODY }
#endif
	:: d_step { restarts < RESTARTS ->
		printf("master %d restarts\n", m);
		restart(m);
		put_in_order() }
	:: d_step { grace[m] && !is_missed(0, m) && !is_missed(1, m) &&
		!is_missed(2, m) ->
		printf("master %d: grace is over\n", m);
		grace[m] = false;
		owed[m] = NOBODY;
		put_in_order() }
	od
}

/* === what a client does =================================================== */

/* Answers to it do not count any more. */
inline end_round(id) {
	for (i : 0 .. MASTERS - 1) {
#ifdef MUTANT_OLD_ROUND
		old[i] = old[i] | (acked[i] & bit(id));
#endif
		acked[i] = acked[i] & ~bit(id)
	}
}

/* It has a majority: all that the client counts on is counted from it. */
inline count_round(id) {
	for (i : 0 .. MASTERS - 1) {
		proven[i] = (proven[i] & ~bit(id)) | (acked[i] & bit(id))
	};
	end_round(id)
}

inline begin(id) {
	printf("client %d starts its command, token %d\n", id, token[id]);
	assert(!is_any_running);
	assert(token[id] > last_run);
	last_run = token[id];
	phase[id] = RUNNING;
	count_round(id)
}

/* It gives its votes back, or asks for them again under a higher token. */
inline give_up(id) {
	printf("client %d gives up its round\n", id);
	phase[id] = IDLE;
#ifdef MUTANT_RELEASE_ANY
	released[id] = true;
#endif
	end_round(id)
}

inline end_command(id) {
	printf("client %d: the command ends\n", id);
	phase[id] = GONE;
	late[id] = 0;
	end_round(id);
	for (i : 0 .. MASTERS - 1) {
		proven[i] = proven[i] & ~bit(id)
	}
}

#define proposal(t) \
	:: d_step { phase[id] == IDLE && token[id] < t && t <= TOKENS -> \
		printf("client %d proposes %d\n", id, t); \
		token[id] = t; \
		phase[id] = ASKING; \
		put_in_order() }

proctype client(byte id)
{
end:	do
	proposal(1)
	proposal(2)
	proposal(3)
	:: d_step { phase[id] == ASKING && has_majority(id) ->
		begin(id);
		put_in_order() }
	:: d_step { phase[id] == ASKING ->
		give_up(id);
		put_in_order() }
	:: d_step { phase[id] == ASKING ->
		late[id] = token[id];
		give_up(id);
		put_in_order() }

	:: d_step { phase[id] == RUNNING && has_majority(id) ->
		printf("client %d has renewed its lease\n", id);
		count_round(id);
		put_in_order() }
	:: d_step { phase[id] == RUNNING && has(acked[0] | acked[1] | acked[2], id) ->
		printf("client %d begins another round of renewals\n", id);
		end_round(id);
		put_in_order() }
	:: d_step { phase[id] == RUNNING ->
		end_command(id);
		put_in_order() }
	od
}

init {
	d_step {
		for (i : 0 .. CLIENTS - 1) {
			phase[i] = IDLE
		};
		for (i : 0 .. MASTERS - 1) {
			who[i] = NOBODY;
			owed[i] = NOBODY
		};
		i = 0
	};
	atomic {
		run client(0);
		run client(1);
#ifndef TWO_CLIENTS
		run client(2);
#endif
		run master(0);
		run master(1);
		run master(2)
	}
}

#ifdef CASES
/* "Never ..." of what can happen: spin is to find how. */
#define runs(id) (phase[id] == RUNNING)
#define rests_on(id, a, b, not_c) (runs(id) && has(proven[a], id) && \
	has(proven[b], id) && !has(proven[not_c], id))
#define is_too_low(id, m) (phase[id] == ASKING && is_free(id, m) && \
	!has_vote(id, m) && stored[m] >= token[id])

ltl one_round { !(<> (runs(0) && token[0] == 1)) }
ltl second_round { !(<> (is_too_low(0, 0) && is_too_low(0, 1) && token[0] == 1 &&
	(<> (runs(0) && token[0] == 2)))) }
ltl split_vote { !(<> (is_kept(0, 0) && is_kept(1, 1) && is_kept(2, 2) &&
	!is_any_running && (<> runs(2)))) }
ltl moves_on { !(<> (rests_on(0, 0, 1, 2) && is_missed(0, 0) &&
	(<> (rests_on(0, 0, 1, 2) && is_kept(0, 0) && is_missed(0, 1) &&
	(<> rests_on(0, 0, 2, 1)))))) }
ltl reclaims { !(<> (runs(0) && grace[0] && is_missed(0, 0) &&
	(<> (grace[0] && is_kept(0, 0) && runs(0))))) }
ltl all_forgotten { !(<> (last_run == 1 && !is_any_running &&
	least[0] == 1 && least[1] == 1 && (<> rests_on(0, 0, 1, 2)))) }
#endif
