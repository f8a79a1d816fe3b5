# --min-replicas: what too few replicas have acknowledged is no grant, and no
# renewal; and a master that was cut off from its replicas keeps no holder.

# shellcheck disable=SC2030,SC2031,SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/line
load helpers/hold
load net
declare -gA waiter

# Of one server with one replica, unless a test says more.
setup() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR CFLOCK_SERVER=unix://$REDIS_DIR/redis.sock
	replica=$REDIS_DIR/r
	line_setup
	servers=()
}

teardown() {
	local server

	net_down
	line_teardown
	for server in "${servers[@]}"; do
		stop_redis "$server"
	done
	drop_redis
}

# The server, without a replica.
serve() {
	port=$(free_port)
	start_redis "$REDIS_DIR" --port "$port" --repl-diskless-sync-delay 0
}

# add_replica [DIR]: and until it acknowledges; all of them do, then.
add_replica() {
	local dir=${1:-$replica}

	servers+=("$dir")
	start_redis "$dir" --replicaof "127.0.0.1 $port" --repl-diskless-sync-delay 0
	wait_until acknowledge "${#servers[@]}"
}

acknowledge() {
	rcli set witness "$RANDOM"
	[ "$(rcli wait "$1" 1000)" -ge "$1" ]
}

freeze_replica() {
	kill -STOP "$(cat "$replica/pid")"
}

thaw_replica() {
	kill -CONT "$(cat "$replica/pid")"
}

said() {
	grep -q -e "$2" "$work/stderr-$1"
}

wait_said() {
	wait_until said "$@" || fail "no \"$2\" in: $(cat "$work/stderr-$1")"
}

too_few="only 0 of 1 replicas acknowledged the lease in time (--min-replicas)"

@test "a number from 0 on, as an option, in the environment, in a file; 0 is off" {
	serve
	for value in -1 x 1001 1.5 ''; do
		expect 64 "$CFLOCK" --min-replicas "$value" "$name" touch "$work/ran"
		says "--min-replicas: '$value' is not a number, 0 to 1000"
	done
	CFLOCK_MIN_REPLICAS=no expect 78 "$CFLOCK" "$name" touch "$work/ran"
	says "CFLOCK_MIN_REPLICAS: 'no' is not a number"
	CFLOCK_MIN_REPLICAS=1 expect 69 "$CFLOCK" -w 0.3 "$name" touch "$work/ran"
	echo 'min-replicas = 1' >"$work/conf"
	CFLOCK_CONFIG=$work/conf expect 69 "$CFLOCK" -w 0.3 "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	CFLOCK_MIN_REPLICAS=1 expect 0 "$CFLOCK" --min-replicas 0 -n "$name" true
	is_silent
}

@test "a replica has the lease when the command starts" {
	serve
	add_replica
	expect 0 "$CFLOCK" --min-replicas 1 "$name" sh -c '
		echo "$CFLOCK_ID/$CFLOCK_TOKEN"; redis-cli -s "$0" get "$1"' "$replica/redis.sock" "$key"
	is_silent
	[ "${#lines[@]}" = 2 ]
	[ "${lines[0]}" = "${lines[1]}" ]
	nothing_left "$name"
	# Two are not there.
	expect 69 "$CFLOCK" --min-replicas 2 -w 0.5 "$name" true
	says "only 1 of 2 replicas"
	add_replica "$REDIS_DIR/r2"
	expect 0 "$CFLOCK" --min-replicas 2 "$name" true
}

@test "no replica: 69 in time, the reason, and nothing is left" {
	serve
	expect 69 "$CFLOCK" --min-replicas 1 --cooldown 1h -n "$name" touch "$work/ran"
	says "$too_few; the command was not started"
	took 1000 9000
	nothing_left "$name"
	expect 69 "$CFLOCK" --min-replicas 1 --cooldown 1h -w 0.5 "$name" touch "$work/ran"
	says "$too_few"
	took 500 7500
	nothing_left "$name"
	expect 69 "$CFLOCK" --min-replicas 1 -t 1s "$name" touch "$work/ran"
	says "$too_few"
	nothing_left "$name"
	[ ! -e "$work/ran" ]
	# No cooldown, either.
	expect 0 "$CFLOCK" -n --cooldown 1h "$name" true
}

@test "shared locks, slots, --attach" {
	serve
	for kind in --shared --slots=2; do
		expect 69 "$CFLOCK" "$kind" --min-replicas 1 -w 0.3 "$name" true
		says "$too_few"
		nothing_left "$name"
	done
	sleep 60 3>&- &
	pids+=($!)
	expect 69 "$CFLOCK" --min-replicas 1 -w 0.3 --attach $! "$name"
	says "$too_few"
	nothing_left "$name"
	add_replica
	for kind in --shared --slots=2; do
		expect 0 "$CFLOCK" "$kind" --min-replicas 1 "$name" true
	done
	expect 0 "$CFLOCK" --min-replicas 1 -w 5 --attach "${pids[0]}" "$name"
	[ "$(redis-cli -s "$replica/redis.sock" exists "$key")" = 1 ]
}

@test "a replica that comes is waited for; others have the lock meanwhile" {
	serve
	start_waiter a --min-replicas 1 -v
	wait_said a "only 0 of 1 replicas"
	expect 0 "$CFLOCK" -w 20 "$name" true
	add_replica
	ends_with a 0
	ran a
}

@test "one packet for both; without the option, no WAIT" {
	serve
	add_replica
	expect 0 "$CFLOCK" "$name" true
	before=$(calls_of wait)
	expect 0 "$CFLOCK" "$name" true
	[ "$(calls_of wait)" = "$before" ]
	expect 0 strace -f -e trace=sendto,sendmsg -s 9999 -o "$work/sent" \
		"$CFLOCK" --min-replicas 1 "$name" true
	[ "$(calls_of wait)" = $((before + 1)) ]
	grep EVALSHA "$work/sent" | head -n 1 | grep -q 'nWAIT'
	[ "$(grep -c EVALSHA "$work/sent")" = 2 ]
	[ "$(grep -c nWAIT "$work/sent")" = 1 ]
}

@test "a refusal is as quick as ever, with a replica, a hung one, and none" {
	serve
	add_replica
	hold a
	for state in healthy frozen gone; do
		[ "$state" != frozen ] || freeze_replica
		[ "$state" != gone ] || stop_redis "$replica"
		expect 1 "$CFLOCK" --min-replicas 1 -n "$name" true
		took 0 700
		says "held by"
		# This one had a place in the line, and gives it up.
		expect 1 "$CFLOCK" --min-replicas 1 -w 0.2 "$name" true
		says "held by"
		took 200 950
		[ "$(rcli exists "$key:line")" = 0 ]
	done
	let_go a
	ends_with a 0
}

@test "who waits is woken at once, first come, first served" {
	export CFLOCK_MIN_REPLICAS=1
	serve
	add_replica
	for try in 1 2 3; do
		use_lock "$try"
		hold a
		join b
		join c
		let_go a
		ended=$(now_us)
		ran a b c
		late+=($(($(begun_us b) - ended)))
	done
	[ "$(median "${late[@]}")" -le "$LATE_US" ] || fail "woken ${late[*]} us late"
	wait "${pids[@]}"
}

@test "who waits while the replica hangs has the lock when it is there again" {
	export CFLOCK_MIN_REPLICAS=1
	serve
	add_replica
	# Not to be stopped itself.
	hold a --min-replicas 0
	join b -v
	freeze_replica
	sleep 3
	line_is b
	thaw_replica
	let_go a
	ran a b
	ends_with b 0
}

@test "SCRIPT FLUSH before a grant and before renewals: asked as text, WAIT behind" {
	serve
	add_replica
	rcli script flush
	hold a --min-replicas 1 -t 2s -v
	for n in 1 2 3; do
		before=$(calls_of wait)
		rcli script flush
		renewed_again() { [ "$(calls_of wait)" -ge $((before + 3)) ]; }
		wait_until renewed_again
	done
	let_go a
	ends_with a 0
	run ! said a "renewal failed"
	# Where nobody acknowledges, it ends as in any other case.
	stop_redis "$replica"
	rcli script flush
	expect 69 "$CFLOCK" --min-replicas 1 -w 0.5 "$name" true
	says "$too_few"
	took 500 7500
	nothing_left "$name"
}

@test "the replica hangs: the holder is dead within the ttl, 79" {
	serve
	add_replica
	hold a --min-replicas 1 -t 3s -v
	wait_said a "renewed"
	freeze_replica
	frozen=$(now_ms)
	ends_with a 79
	within 0 $(($(now_ms) - frozen)) 3000 "ms until it was dead"
	said a "the lease is lost, the command is being stopped: only 0 of 1 replicas"
	nothing_left "$name"
}

@test "the replica hangs for a moment: the holder goes on" {
	serve
	add_replica
	hold a --min-replicas 1 -t 20s --renew-by 30% -v
	freeze_replica
	wait_said a "renewal failed: only 0 of 1 replicas"
	thaw_replica
	wait_said a "renewed late"
	is_alive "${waiter[a]}"
	let_go a
	ends_with a 0
}

@test "a signal while the replicas are waited for: gone at once, nothing left" {
	serve
	add_replica
	freeze_replica
	start_waiter a --min-replicas 1 --cooldown 1h
	wait_until is_locked "$name"
	kill -TERM "${waiter[a]}"
	ends_with a 143
	wait_until nothing_left "$name"
	did_not_run a
}

@test "the server hangs, and no replica is there: the claim in doubt is withdrawn" {
	serve
	freeze_redis
	expect 69 "$CFLOCK" --min-replicas 1 --cooldown 1h -w 0.5 "$name" touch "$work/ran"
	says "no answer in time"
	thaw_redis
	is_served() { [ "$(calls_of wait)" -ge 1 ] || [ "$(calls_of eval)" -ge 1 ]; }
	wait_until is_served
	wait_until nothing_left "$name"
	[ ! -e "$work/ran" ]
	expect 0 "$CFLOCK" -w 10 --cooldown 1h "$name" true
}

@test "having a lease back after a restart counts when the replica has it, too" {
	serve
	add_replica
	hold a --min-replicas 1 -t 8s -v
	stop_redis "$REDIS_DIR"
	YOUNG_REDIS=1 start_redis "$REDIS_DIR" --port "$port" --repl-diskless-sync-delay 0
	has_it() { [ "$(redis-cli -s "$replica/redis.sock" get "$key")" ]; }
	gone() { [ "$(redis-cli -s "$replica/redis.sock" exists "$key")" = 0 ]; }
	wait_until has_it
	sleep 9
	is_alive "${waiter[a]}"
	let_go a
	ends_with a 0
	wait_until gone
}

@test "what was taken over begins when the replica has it" {
	serve
	add_replica
	hold a --min-replicas 1 -t 4s
	start_waiter b --min-replicas 1 -t 4s -v
	wait_until remember b
	# Its guardian ends the command all the same.
	kill -STOP "${waiter[a]}"
	taken() { rcli get "$key" | grep -q "^${id_of[b]}/"; }
	wait_until taken
	freeze_replica
	wait_said b "only 0 of 1 replicas"
	did_not_run b
	thaw_replica
	wait_until turns_taken 2
	kill -KILL "${waiter[a]}"
	ends_with b 0
	ran a b
}

@test "--prefer availability: runs without; holds the lock when a replica comes" {
	serve
	touch "$work/stay-a"
	start_waiter a --min-replicas 1 --prefer availability -n -v
	wait_until turns_taken 1
	said a "$too_few"
	said a "the command is started without the lock"
	add_replica
	wait_said a "the lock is held again"
	[ "$(redis-cli -s "$replica/redis.sock" exists "$key")" = 1 ]
	# And goes on when it goes.
	stop_redis "$replica"
	wait_said a "renewal failed: only 0 of 1 replicas"
	is_alive "${waiter[a]}"
	let_go a
	ends_with a 0
	nothing_left "$name"
}

@test "an ACL without +wait: 77, which names it, and nothing left" {
	rule=$(cat "${top_srcdir:-$BATS_TEST_DIRNAME/..}/contrib/redis-acl/cflock.acl")
	serve
	add_replica
	# shellcheck disable=SC2086 # words are wanted
	rcli acl setuser ${rule#user } '>pw'
	CFLOCK_SERVER=unix://jobs:pw@$REDIS_DIR/redis.sock
	expect 0 "$CFLOCK" "$name" true
	expect 77 "$CFLOCK" --min-replicas 1 --cooldown 1h "$name" touch "$work/ran"
	says "+wait"
	[ ! -e "$work/ran" ]
	nothing_left "$name"
	rcli acl setuser jobs +wait
	expect 0 "$CFLOCK" --min-replicas 1 --cooldown 1h "$name" true
}

# cluster_node DIR: in $port.
cluster_node() {
	servers+=("$1")
	port=$(free_port)
	YOUNG_REDIS=1 start_redis "$1" --port "$port" --bind 127.0.0.1 --cluster-enabled yes \
		--cluster-config-file nodes.conf --repl-diskless-sync-delay 0
	redis-cli -p "$port" cluster reset hard
	redis-cli -p "$port" cluster meet 127.0.0.1 "$first_port"
}

@test "in a cluster the WAIT follows the call to the node that has the slot" {
	first_port=$(free_port)
	servers+=("$REDIS_DIR/1")
	YOUNG_REDIS=1 start_redis "$REDIS_DIR/1" --port "$first_port" --bind 127.0.0.1 \
		--cluster-enabled yes --cluster-config-file nodes.conf
	cluster_node "$REDIS_DIR/2"
	second_port=$port
	cluster_node "$replica"
	redis-cli -p "$first_port" cluster addslotsrange 0 8191
	redis-cli -p "$second_port" cluster addslotsrange 8192 16383
	second_id=$(redis-cli -p "$second_port" cluster myid)
	follows() { redis-cli -p "$port" cluster replicate "$second_id" | grep -q OK; }
	wait_until follows
	is_up() { redis-cli -p "$1" cluster info | grep -q cluster_state:ok; }
	for p in "$first_port" "$second_port" "$port"; do
		wait_until is_up "$p"
	done
	has_replica() { redis-cli -p "$second_port" info replication | grep -q state=online; }
	wait_until has_replica

	export CFLOCK_SERVER=redis+cluster://127.0.0.1:$first_port CFLOCK_NO_GRACE=yes
	name_in() { # of a lock that the first or the second node has
		local slot n=0

		while n=$((n + 1)); do
			slot=$(redis-cli -p "$first_port" cluster keyslot "$name-$n")
			[ $((slot / 8192)) != "$1" ] || break
		done
		echo "$name-$n"
	}
	name=$(name_in 1)
	expect 0 "$CFLOCK" --min-replicas 1 -w 10 "$name" sh -c '
		redis-cli -s "$0" readonly; redis-cli -p "$1" info keyspace | grep -c keys' \
		"$replica/redis.sock" "$port"
	[[ $output == *1 ]]
	# The first has none.
	expect 69 "$CFLOCK" --min-replicas 1 -w 0.5 "$(name_in 0)" true
	says "$too_few"
	freeze_replica
	expect 69 "$CFLOCK" --min-replicas 1 -w 1 "$name" true
	says "$too_few"
	expect 0 "$CFLOCK" -w 10 "$name" true
}

# partition [OPTION]...: the master and its replica, each with a client of its own
# beside it; `a` holds the lock on the master's side when the line between the two is
# cut and the replica is promoted, and `b` wants it from that.
partition() {
	net_up old at_old new at_new
	servers+=("$REDIS_DIR/m" "$replica")
	net_redis old "$REDIS_DIR/m" --repl-diskless-sync-delay 0
	net_redis new "$replica" --repl-diskless-sync-delay 0 --replicaof "${address[old]}" 6379
	looks_old "$REDIS_DIR/m"
	ln -s "$REDIS_DIR/m/redis.sock" "$REDIS_DIR/redis.sock"
	wait_until acknowledge 1

	touch "$work/stay-a" "$work/stay-b"
	start_on at_old a -S "redis://${address[old]}" "$@"
	wait_until turns_taken 1
	for host in old at_old; do
		net_cut "$host" new at_new
	done
	redis-cli -s "$replica/redis.sock" replicaof no one
	start_on at_new b -S "redis://${address[new]}" -v
	wait_until turns_taken 2
}

# As start_waiter, on HOST.
start_on() {
	local host=$1 tag=$2

	shift 2
	on_host_background "$host" "$CFLOCK" -t 5s "$@" "$name" bash -c "$turn" "$tag" \
		2>>"$work/stderr-$tag"
	pids+=("$background")
	waiter[$tag]=$background
}

@test "a master that is cut off from its replica keeps no holder past the lease" {
	partition --min-replicas 1 -v
	ends_with a 79
	said a "only 0 of 1 replicas"
	# Nobody gets it there.
	code=0
	on_host at_old "$CFLOCK" --min-replicas 1 -w 0.5 -S "redis://${address[old]}" "$name" \
		touch "$work/ran" || code=$?
	[ "$code" = 69 ]
	[ ! -e "$work/ran" ]
	let_go b
	ends_with b 0
	ran a b
}

@test "... and without the option, it does" {
	partition
	[ -e "$work/overlaps" ]
	is_alive "${waiter[a]}"
	is_alive "${waiter[b]}"
}

@test "cut off before the grant: none" {
	net_up old new other
	servers+=("$REDIS_DIR/m" "$replica")
	net_redis old "$REDIS_DIR/m" --repl-diskless-sync-delay 0
	net_redis new "$replica" --repl-diskless-sync-delay 0 --replicaof "${address[old]}" 6379
	looks_old "$REDIS_DIR/m"
	ln -s "$REDIS_DIR/m/redis.sock" "$REDIS_DIR/redis.sock"
	wait_until acknowledge 1
	net_cut old new
	code=0
	on_host other "$CFLOCK" --min-replicas 1 -n -S "redis://${address[old]}" "$name" \
		touch "$work/ran" 2>"$work/stderr" || code=$?
	[ "$code" = 69 ] || fail "$code: $(cat "$work/stderr")"
	grep -q "only 0 of 1 replicas" "$work/stderr"
	[ ! -e "$work/ran" ]
	nothing_left "$name"
	net_heal old new
	on_host other "$CFLOCK" --min-replicas 1 -w 20 -S "redis://${address[old]}" "$name" touch "$work/ran"
	[ -e "$work/ran" ]
}
