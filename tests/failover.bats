# A fail-over by real sentinels whose last writes were not replicated, in a network
# that is cut: no two run at once, and tokens grow.  Beside it, the same with plain
# SET NX PX.

# shellcheck disable=SC2030,SC2031,SC2154 # what the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/line
load net
declare -gA waiter

# Long enough for the sentinels of a busy machine: of it, 16 s to renew in.
lease=(--ttl 20s --renew-by 80%)

setup() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR
	# shellcheck disable=SC2034 # of the helpers
	WAIT_LIMIT_S=90
	line_setup
	net_up old new s1 s2 s3 one two
	net_redis old "$REDIS_DIR/old" --repl-diskless-sync-delay 0
	looks_old "$REDIS_DIR/old"
	net_redis new "$REDIS_DIR/new" --repl-diskless-sync-delay 0 --replicaof "${address[old]}" 6379
	for host in s1 s2 s3; do
		start_sentinel "$host"
	done
	export CFLOCK_SERVER=redis+sentinel://${address[s1]},${address[s2]},${address[s3]}/jobs
	wait_until is_settled
}

teardown() {
	net_down
	test_teardown
	wait "${pids[@]}" 2>/dev/null || true
	rm -rf "$REDIS_DIR"
}

rcli_of() {
	redis-cli -s "$REDIS_DIR/$1/redis.sock" "${@:2}"
}

start_sentinel() {
	local dir=$REDIS_DIR/$1

	mkdir "$dir"
	printf '%s\n' "port 26379" "bind 0.0.0.0" "protected-mode no" "dir $dir" "daemonize yes" \
		"unixsocket $dir/redis.sock" "pidfile $dir/pid" "logfile $dir/log" \
		"sentinel monitor jobs ${address[old]} 6379 2" \
		"sentinel down-after-milliseconds jobs 2000" \
		"sentinel failover-timeout jobs 6000" >"$dir/conf"
	on_host "$1" redis-server "$dir/conf" --sentinel >/dev/null </dev/null 3>&-
	wait_until rcli_of "$1" ping
}

# All sentinels know each other and the replica, which follows the master.
is_settled() {
	local host

	for host in s1 s2 s3; do
		rcli_of "$host" sentinel master jobs | paste -d ' ' - - >"$work/master"
		grep -qx 'flags master' "$work/master" || return 1
		grep -qx 'num-slaves 1' "$work/master" || return 1
		grep -qx 'num-other-sentinels 2' "$work/master" || return 1
	done
	follows new
}

# follows SERVER: the other one, and has its data.
follows() {
	rcli_of "$1" info replication | grep -q 'master_link_status:up'
}

names() {
	[ "$(rcli_of "$1" sentinel get-master-addr-by-name jobs | head -n 1)" = "${address[$2]}" ]
}

# All sentinels name the new master, and it is one.
has_moved() {
	names s1 new && names s2 new && names s3 new && rcli_of new role | grep -qx master
}

# start_on HOST TAG [OPTION]...: as start_waiter, there.
start_on() {
	local host=$1 tag=$2

	shift 2
	on_host_background "$host" "$CFLOCK" "${lease[@]}" -v "$@" "$name" bash -c "$turn" "$tag" \
		2>>"$work/stderr-$tag"
	pids+=("$background")
	waiter[$tag]=$background
}

# What it holds now, the replica never hears of.
hold_unheard() {
	net_cut old new
	touch "$work/stay-a"
	start_on one a
	wait_until turns_taken 1
	rcli_of old exists "$key" | grep -q 1
	rcli_of new exists "$key" | grep -q 0
}

# The old master is cut off, with those HOSTs beside it, from all others.
cut_off() {
	local host others=" new s1 s2 s3 one two "

	for host; do
		others=${others/ $host / }
	done
	for host in old "$@"; do
		# shellcheck disable=SC2086 # words are wanted
		net_cut "$host" ${others/ new /$([ "$host" = old ] || echo ' new') }
	done
}

said() {
	grep -q -e "$2" "$work/stderr-$1"
}

# Of the line: b, as one who comes after the fail-over.
next_comes() {
	wait_until has_moved
	start_on two b "$@"
}

# The old master comes back, and is made a replica.
heal() {
	net_heal
	wait_until follows old
}

nothing_left_there() {
	local keys

	keys=$(rcli_of new --raw keys "$key*" | grep -v -e ':token$' -e ':gone:' || true)
	[ -z "$keys" ] || fail "left in Redis: $keys"
}

@test "the holder reaches the new master: it has its lease back, and goes on" {
	hold_unheard
	cut_off
	next_comes
	began_ms=$(now_ms)
	has_it_back() { rcli_of new get "$key" | grep -q "^$(sed -n 's/^a [0-9]* [0-9]* //p' "$work/turns")/"; }
	wait_until has_it_back
	heal
	is_alive "${waiter[a]}"
	# Longer than the lease, on what was the replica.
	has_lasted() { [ "$(now_ms)" -ge $((began_ms + 21000)) ]; }
	wait_until has_lasted
	is_alive "${waiter[a]}"
	[ "$(wc -l <"$work/turns")" = 1 ] || fail "ran: $(cat "$work/turns")"
	rm "$work/stay-a"
	ends_with a 0
	ran a b
	ends_with b 0
	nothing_left_there
}

@test "the holder reaches nobody: it is dead in time, and the next comes after it" {
	hold_unheard
	cut_off
	net_cut one old new s1 s2 s3
	next_comes
	ends_with a 79
	[ "$(wc -l <"$work/turns")" = 1 ] || fail "ran: $(cat "$work/turns")"
	heal
	ran a b
	ends_with b 0
	nothing_left_there
}

@test "the holder stays with the old master: with --min-replicas it is dead in time" {
	touch "$work/stay-a"
	start_on one a --min-replicas 1
	wait_until turns_taken 1
	net_cut old new
	cut_off one
	next_comes --min-replicas 1
	ends_with a 79
	said a "only 0 of 1 replicas"
	# The new master has no replica yet.
	[ "$(wc -l <"$work/turns")" = 1 ] || fail "ran: $(cat "$work/turns")"
	heal
	ran a b
	ends_with b 0
	nothing_left_there
}

@test "not replicated: with --min-replicas no grant; the next has it elsewhere" {
	net_cut old new
	start_on one a --min-replicas 1 -w 3
	ends_with a 69
	said a "only 0 of 1 replicas"
	cut_off
	next_comes
	ran b
	ends_with b 0
	heal
	nothing_left_there
}

@test "the same as plain SET NX PX: two run at once" {
	local tag
	# shellcheck disable=SC2016 # in the command
	naive='master=$(redis-cli -h "$1" -p 26379 sentinel get-master-addr-by-name jobs | head -n 1)
		redis-cli -h "$master" set naive "$0" nx px 60000 | grep -q OK && eval "$turn"'
	export turn
	net_cut old new
	touch "$work/stay-a" "$work/stay-b"
	on_host_background one bash -c "$naive" a "${address[s1]}"
	pids+=("$background")
	wait_until turns_taken 1
	cut_off
	wait_until has_moved
	on_host_background two bash -c "$naive" b "${address[s1]}"
	pids+=("$background")
	wait_until turns_taken 2
	[ -e "$work/overlaps" ]
}
