# A server that forgets leases that still stand: restarted, emptied, replaced by a
# replica.  Nobody gets a new one for a ttl; who holds one gets it back.

bats_require_minimum_version 1.5.0
load helpers
load helpers/line
load helpers/hold
load helpers/scripts

# Long enough for a busy machine to restart a server in.
TTL=4s
TTL_MS=4000

setup() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR CFLOCK_SERVER=unix://$REDIS_DIR/redis.sock CFLOCK_TTL=$TTL
	replicas=()
	line_setup
}

teardown() {
	line_teardown
	for replica in "${replicas[@]}"; do
		stop_redis "$replica"
	done
	drop_redis
}

# young_redis [OPTION]...: the server, just started.
young_redis() {
	YOUNG_REDIS=1 start_redis "$REDIS_DIR" "$@"
}

# old_redis [OPTION]...: the server, as one that has long been up.
old_redis() {
	start_redis "$REDIS_DIR" "$@"
}

killed_and_back() {
	stop_redis "$REDIS_DIR"
	young_redis "$@"
}

# The lock is the holder's again, by its id.
is_held_by() {
	[[ $(rcli get "$key") == "$(sed -n "s/^$1 [0-9]* [0-9]* //p" "$work/turns")/"* ]]
}

ended_well() {
	local code=0

	wait "${waiter[$1]}" || code=$?
	[ "$code" = 0 ] || fail "$1: exit code $code; $(cat "$work/stderr-$1")"
}

# What all forgetful servers must do to a holder and to one who comes then: the
# first goes on, the second runs after it, under a higher token.
goes_on_alone() {
	wait_until is_held_by holder
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	start_waiter next
	# Longer than the lease and the grace period, so that it was renewed as well.
	sleep 5
	[ "$(wc -l <"$work/turns")" = 1 ] || fail "ran: $(cat "$work/turns")"
	let_go holder
	ended_well holder
	ran holder next
	ended_well next
}

us_of_last_turn() {
	tail -n 1 "$work/turns" | cut -d ' ' -f 2
}

@test "a server that has just been started: no grant for a ttl, and it says why" {
	young_redis
	started_us=${EPOCHREALTIME/[.,]/}
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	says "the lock service restarted" "may have forgotten leases; new grants at"
	[ ! -e "$work/ran" ]
	start_waiter first -v
	wait_until turns_taken 1
	grep -q "may have forgotten leases" "$work/stderr-first"
	# A second less, as the server knows the second only in which it was started.
	waited_ms=$((($(us_of_last_turn) - started_us) / 1000))
	[ "$waited_ms" -ge $((TTL_MS - 1500)) ] || fail "granted after $waited_ms ms"
	# Over for all locks.
	expect 0 "$CFLOCK" -n "$name-other" true
	is_silent
}

@test "--no-grace: at once, on the command line, in the environment, in a file" {
	young_redis
	expect 0 "$CFLOCK" --no-grace -n "$name" true
	CFLOCK_NO_GRACE=yes expect 0 "$CFLOCK" -n "$name" true
	echo 'no-grace = yes' >"$work/conf"
	CFLOCK_CONFIG=$work/conf expect 0 "$CFLOCK" -n "$name" true
	expect 1 "$CFLOCK" -n "$name" true
}

@test "a server that has been up for longer: the first use of all starts at once, any name" {
	young_redis
	up_long_enough() {
		[ "$(rcli info server | sed -n 's/^uptime_in_seconds:\([0-9]*\).*/\1/p')" -ge 3 ]
	}
	wait_until up_long_enough
	for n in 1 2 3; do
		expect 0 "$CFLOCK" -t 1s -n "$name-$n" true
	done
}

@test "killed without persistence: the holder goes on, the next comes after it" {
	old_redis
	hold holder
	killed_and_back
	goes_on_alone
}

@test "killed with a snapshot from before the lease: the holder goes on" {
	old_redis --dbfilename dump.rdb
	expect 0 "$CFLOCK" "$name" true
	rcli save
	hold holder
	killed_and_back --dbfilename dump.rdb
	goes_on_alone
}

@test "killed with a snapshot that knows another holder: the present one goes on" {
	old_redis --dbfilename dump.rdb
	hold before
	rcli save
	let_go before
	ended_well before
	: >"$work/turns"
	hold holder
	killed_and_back --dbfilename dump.rdb
	goes_on_alone
}

@test "killed with an append-only file: the holder goes on" {
	old_redis --appendonly yes --appendfsync always
	hold holder
	killed_and_back --appendonly yes --appendfsync always
	goes_on_alone
}

@test "shut down and started: the holder goes on" {
	old_redis --dbfilename dump.rdb
	hold holder
	pid=$(redis_pid)
	rcli shutdown save || true
	wait_gone "$pid"
	young_redis --dbfilename dump.rdb
	goes_on_alone
}

@test "FLUSHALL: the holder goes on" {
	old_redis
	hold holder
	rcli flushall
	goes_on_alone
}

@test "shared locks and slots: all holders go on" {
	old_redis
	for kind in --shared --slots=2; do
		use_lock "${kind:2:5}"
		hold a "$kind"
		hold b "$kind"
	done
	killed_and_back
	for kind in --shared --slots=2; do
		use_lock "${kind:2:5}"
		both_hold() {
			[ "$(rcli hlen "$key:holders")" = 2 ]
		}
		wait_until both_hold
		expect 1 "$CFLOCK" -n "$name" true
		[ "$kind" = --shared ] || expect 1 "$CFLOCK" -n "$kind" "$name" true
		let_go a
		let_go b
	done
	wait "${pids[@]}"
}

@test "the holder dies with the server: the next runs a ttl later, under a higher token" {
	old_redis
	hold holder
	stop_redis "$REDIS_DIR"
	kill -KILL "${waiter[holder]}"
	died_us=${EPOCHREALTIME/[.,]/}
	young_redis
	start_waiter next
	ran holder next
	waited_ms=$((($(us_of_last_turn) - died_us) / 1000))
	[ "$waited_ms" -ge $((TTL_MS - 1000)) ] || fail "granted after $waited_ms ms"
}

@test "another was given the lock, by --no-grace: the old holder does not get it back" {
	old_redis
	hold holder
	# It must not come between.
	kill -STOP "${waiter[holder]}"
	killed_and_back
	touch "$work/stay-other"
	start_waiter other --no-grace
	taken() { rcli exists "$key" | grep -q 1; }
	wait_until taken
	kill -CONT "${waiter[holder]}"
	code=0
	wait "${waiter[holder]}" || code=$?
	[ "$code" = 79 ] || fail "exit code $code"
	is_held_by other
	let_go other
	ended_well other
}

@test "a lock that somebody deletes is not taken back" {
	old_redis
	hold holder
	rcli del "$key"
	code=0
	wait "${waiter[holder]}" || code=$?
	[ "$code" = 79 ]
	grep -q "the lock's key is gone" "$work/stderr-holder"
}

@test "two restarts in a row: the grace period begins anew, tokens grow" {
	old_redis
	hold first
	let_go first
	ended_well first
	for n in 2 3; do
		killed_and_back
		: >"$work/turns.$n"
		start_waiter "$n"
		wait_until turns_taken "$n"
	done
	ran first 2 3
}

@test "restarts soon one after the other, the last without the data: tokens grow" {
	old_redis
	# As 10 s after a restart with the data.
	rcli set cflock:epoch "$(printf '%040d %040d' 0 0) 0 $((($(now_ms) + 3590000) * 1000)) restart"
	expect 0 "$CFLOCK" --no-grace "$name" sh -c 'echo "$CFLOCK_TOKEN"'
	token=$output
	[ "$token" -gt $((($(now_ms) + 3590000) * 1000)) ]
	killed_and_back
	expect 0 "$CFLOCK" --no-grace "$name" sh -c 'echo "$CFLOCK_TOKEN"'
	[ "$output" -gt "$token" ] || fail "$output after $token"
}

@test "the same as plain SET NX PX: two run at once" {
	old_redis
	naive='redis-cli -s "$REDIS_SOCKET" set naive "$0" nx px 4000 | grep -q OK && eval "$turn"'
	export turn
	touch "$work/stay-a" "$work/stay-b"
	in_background bash -c "$naive" a
	pids+=("$background")
	wait_until turns_taken 1
	killed_and_back
	in_background bash -c "$naive" b
	pids+=("$background")
	wait_until turns_taken 2
	[ -e "$work/overlaps" ]
}

# replica_of DIR [PORT]: a replica of the server, by TCP.
start_replica() {
	replicas+=("$1")
	YOUNG_REDIS=1 start_redis "$1" --replicaof "127.0.0.1 $port" --repl-diskless-sync-delay 0
	synced() {
		redis-cli -s "${replicas[-1]}/redis.sock" info replication | grep -q 'master_link_status:up'
	}
	wait_until synced
}

# The server, listening on a free $port as well.
with_port() {
	port=$(free_port)
	old_redis --port "$port" --repl-diskless-sync-delay 0
}

@test "fail-over to a replica that has not heard of the lease: the holder goes on" {
	with_port
	start_replica "$REDIS_DIR/r"
	# The link is cut, from the replica's side, before the grant.
	redis-cli -s "$REDIS_DIR/r/redis.sock" replicaof 127.0.0.1 1
	hold holder
	stop_redis "$REDIS_DIR"
	redis-cli -s "$REDIS_DIR/r/redis.sock" replicaof no one
	mv "$REDIS_DIR/r/redis.sock" "$REDIS_DIR/redis.sock"
	expect 1 "$CFLOCK" -n "$name-other" true
	says "may have forgotten leases"
	goes_on_alone
}

@test "fail-over, and the holder dies: the next runs a ttl later, under a higher token" {
	with_port
	start_replica "$REDIS_DIR/r"
	redis-cli -s "$REDIS_DIR/r/redis.sock" replicaof 127.0.0.1 1
	hold holder
	kill -KILL "${waiter[holder]}"
	died_us=${EPOCHREALTIME/[.,]/}
	stop_redis "$REDIS_DIR"
	redis-cli -s "$REDIS_DIR/r/redis.sock" replicaof no one
	mv "$REDIS_DIR/r/redis.sock" "$REDIS_DIR/redis.sock"
	start_waiter next
	ran holder next
	waited_ms=$((($(us_of_last_turn) - died_us) / 1000))
	[ "$waited_ms" -ge $((TTL_MS - 200)) ] || fail "granted after $waited_ms ms"
}

@test "demoted and promoted again: a grace period; the holder goes on" {
	with_port
	start_replica "$REDIS_DIR/r"
	redis-cli -s "$REDIS_DIR/r/redis.sock" replicaof no one
	hold holder
	rport=$(free_port)
	redis-cli -s "$REDIS_DIR/r/redis.sock" config set port "$rport"
	rcli replicaof 127.0.0.1 "$rport"
	demoted() { rcli info replication | grep -q 'master_link_status:up'; }
	wait_until demoted
	rcli replicaof no one
	expect 1 "$CFLOCK" -n "$name-other" true
	says "may have forgotten leases"
	goes_on_alone
}

# By the scripts alone: what a snapshot may hold that is older than what runs.

forgets_nothing_else() {
	rcli set cflock:epoch "0 0 0 0 restart"
}

@test "what was taken over by stale data does not begin within grace" {
	old_redis
	script acquire old 900 890 exclusive '' 0 '' '' h 1 u c m
	script acquire new 60000 50000 exclusive wait 0 '' '' h 1 u c m
	wait_until eval '[ "$(script acquire new 60000 50000 exclusive wait 0 "" "" h 1 u c m | sed -n 2p)" = taken ]'
	forgets_nothing_else
	over() { [ "$(script acquire new 60000 50000 exclusive wait 0 '' '' h 1 u c m | sed -n 2p)" = grace ]; }
	wait_until over
}

@test "readers with a lower token have their leases back, slots theirs from the dead" {
	old_redis
	a=$(script acquire a 60000 20000 shared '' 0 '' '' h 1 u c m | tail -n 1)
	b=$(script acquire b 60000 20000 shared '' 0 '' '' h 1 u c m | tail -n 1)
	rcli del "$key" "$key:holders" "$key:lease:a" "$key:lease:b"
	forgets_nothing_else
	for id in a b; do
		[ "$(script acquire $id 60000 20000 shared '' 0 '' '' h 1 u c m '' "${!id}" | head -n 1)" = 1 ]
	done

	use_lock slots
	script acquire p 60000 20000 slots:2 '' 0 '' '' h 1 u c m no-grace
	script acquire q 60000 20000 slots:2 '' 0 '' '' h 1 u c m no-grace
	later=$(($(rcli get "$key:token") + 1))
	for id in a b; do
		[ "$(script acquire $id 61000 20000 slots:2 '' 0 '' '' h 1 u c m '' $later | head -n 1)" = 1 ]
	done
	[ "$(rcli hkeys "$key:holders" | sort | tr '\n' ' ')" = "a b " ]
}

@test "a clock that was set back delays by one ttl, not by the difference" {
	old_redis
	rcli set cflock:epoch "$(rcli get cflock:epoch |
		sed -E "s/^(\S+ \S+) \S+ \S+/\1 $(($(now_ms) + 3600000)) 1/")"
	expect 1 "$CFLOCK" -t 1s -n "$name" true
	expect 0 "$CFLOCK" -t 1s -w 20 "$name" true
	[ "$(rcli get cflock:epoch | cut -d ' ' -f 3)" -le "$(now_ms)" ]
}

@test "having a lease back begins no cooldown" {
	old_redis
	token=$(script acquire a 60000 20000 exclusive '' 60000 '' '' h 1 u c m | tail -n 1)
	rcli del "$key" "$key:holders" "$key:cooldown"
	forgets_nothing_else
	[ "$(script acquire a 60000 20000 exclusive '' 60000 '' '' h 1 u c m '' "$token" | head -n 1)" = 1 ]
	[ "$(rcli exists "$key:cooldown")" = 0 ]
}

# told ID CONFIG_EPOCH [TOKEN [NO_GRACE]]: asks as a client of sentinels does, also to
# have the lease of that token back.
told() {
	script acquire "$1" 60000 20000 exclusive '' 0 '' '' h 1 u c m "${4-}" "${3-}" '' '' "$2"
}

is_told() {
	[ "$(sed -n "$1p" <<<"$said")" = "$2" ] || fail "line $1 is not $2: $said"
}

@test "sentinels that have gone back to the server: a grace period, once" {
	old_redis
	told a 0
	release_as a
	said=$(told a 2)
	is_told 2 grace
	is_told 9 failback
	epoch=$(rcli get cflock:epoch)
	[[ $epoch == *" failback 2" ]] || fail "$epoch"
	# By who has not heard of it, or asks no sentinels.
	for config_epoch in 1 2 ''; do
		said=$(told a "$config_epoch")
		is_told 2 grace
	done
	[ "$(rcli get cflock:epoch)" = "$epoch" ]
	# Noticed while somebody is in the way, too.
	told b 2 '' no-grace
	told c 3
	[[ $(rcli get cflock:epoch) == *" failback 3" ]]
}

@test "... who has a lease has it back from what was granted to nobody meanwhile" {
	old_redis
	token=$(told holder 0 | sed -n 2p)
	rcli del "$key" "$key:holders"
	said=$(told nobody 0)
	is_told 1 1
	said=$(told holder 2 "$token")
	is_told 1 1
	is_told 2 "$token"
	[ "$(rcli hkeys "$key:holders")" = holder ]
	# But not from what was granted since.
	rcli del "$key" "$key:holders"
	said=$(told other 2 '' no-grace)
	is_told 1 1
	[ "$(sed -n 2p <<<"$said")" -gt $((token + 3600000000)) ]
	said=$(told holder 2 "$token")
	is_told 2 held
	rcli del "$key" "$key:holders"
	said=$(told holder 2 "$token")
	is_told 2 held
}

@test "what was taken over before begins under a token of after" {
	old_redis
	acquire_as old 900 890
	takes_over() {
		said=$(acquire_as new 60000 50000 exclusive wait)
		[ "$(sed -n 2p <<<"$said")" = taken ]
	}
	wait_until takes_over
	token=$(rcli get "$key:token")
	begins() {
		said=$(told new 1 '' no-grace)
		[ "$(head -n 1 <<<"$said")" = 1 ]
	}
	wait_until begins
	[ "$(sed -n 2p <<<"$said")" -gt $((token + 3000000000)) ] || fail "$said, after $token"
}
