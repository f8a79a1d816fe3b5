# Several servers in a network that is cut: by TCP, so nobody is told.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load net

setup_file() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR
}

teardown_file() {
	rm -rf "$REDIS_DIR"
}

setup() {
	local i

	test_setup
	net_up sa sb sc one two
	for i in sa sb sc; do
		net_redis "$i" "$work/$i"
		wait_until looks_old "$work/$i"
	done
	CFLOCK_SERVER="redis://${address[sa]} redis://${address[sb]} redis://${address[sc]}"
	export CFLOCK_SERVER
}

teardown() {
	local i

	net_down
	test_teardown
	for i in sa sb sc; do
		stop_redis "$work/$i"
	done
}

# The command of most tests: stamps $work/stamps until $work/end-TAG is there.
# shellcheck disable=SC2016
stamping='trap "" TERM
	while [ ! -e "$work/end-$0" ]; do
		echo "${EPOCHREALTIME/[.,]/} $0" >>"$work/stamps"; sleep 0.02
	done'

# start TAG HOST [OPTION]...: in the background; $background.
start() {
	on_host_background "$2" "$CFLOCK" -t 3s "${@:3}" "$name" bash -c "$stamping" "$1" \
		2>"$work/stderr-$1"
	pids+=("$background")
}

has_stamped() {
	grep -q " $1\$" "$work/stamps"
}

# Each tag's stamps lie between two of no other's.
no_overlap() {
	[ "$(sort -n "$work/stamps" | awk '{ print $2 }' | uniq | sort | uniq -d)" = '' ] ||
		fail "overlap: $(sort -n "$work/stamps" | awk '{ print $2 }' | uniq -c)"
}

@test "a server that cannot be reached is not noticed: start, wait, hold, release" {
	net_cut one sc
	net_cut two sc
	expect 0 on_host one "$CFLOCK" "$name" true
	is_silent
	start first one
	wait_until has_stamped first
	expect 1 on_host two "$CFLOCK" -n -t 3s "$name" true
	start second two
	sleep 4 # longer than the lease
	touch "$work/end-first"
	wait_until has_stamped second
	touch "$work/end-second"
	wait "$background"
	no_overlap
	[ ! -s "$work/stderr-first" ]
	[ ! -s "$work/stderr-second" ]
}

@test "who is cut off from the majority is dead before another starts" {
	local first code=0

	start first one
	first=$background
	wait_until has_stamped first
	start second two
	sleep 0.5
	net_cut one sb sc
	wait "$first" || code=$?
	[ "$code" = 79 ]
	wait_until has_stamped second
	no_overlap
	# It can neither have it meanwhile, nor is it in the way of who can.
	expect 69 on_host one "$CFLOCK" -n -t 3s "$name" true
	touch "$work/end-second"
	wait "$background"
	expect 0 on_host two "$CFLOCK" -n -t 3s "$name" true
	net_heal
	expect 0 on_host one "$CFLOCK" -w 10 -t 3s "$name" true
}

@test "a different server out of reach for each: one of them has it" {
	local first

	net_cut one sa
	net_cut two sc
	start first one
	first=$background
	wait_until has_stamped first
	expect 1 on_host two "$CFLOCK" -n -t 3s "$name" true
	start second two
	sleep 4
	has_stamped first
	run ! has_stamped second
	touch "$work/end-first"
	wait "$first"
	wait_until has_stamped second
	touch "$work/end-second"
	wait "$background"
	no_overlap
}

@test "one way only: what a server answers is lost, and so are its votes" {
	start first one
	wait_until has_stamped first
	net_deaf one sb
	sleep 4
	expect 1 on_host two "$CFLOCK" -n -t 3s "$name" true
	net_deaf one sc
	wait "$background" || [ $? = 79 ]
	expect 0 on_host two "$CFLOCK" -w 10 -t 3s "$name" true
	no_overlap
}

@test "a connection to one server goes dead in the run: renewed, handed over, released" {
	local ended_ms

	start first one
	wait_until has_stamped first
	first=$background
	start second two
	wait_until eval '[ "$(redis-cli -s "$work/sa/redis.sock" zcard "$key:line")" = 1 ]'
	net_cut one sc
	net_cut two sc
	sleep 4 # longer than the lease
	run ! has_stamped second
	ended_ms=$(now_ms)
	touch "$work/end-first"
	wait "$first"
	wait_until has_stamped second
	within 0 "$(($(now_ms) - ended_ms))" 2500 "ms that release and hand-over took"
	touch "$work/end-second"
	wait "$background"
	no_overlap
	[ ! -s "$work/stderr-first" ] || fail "$(cat "$work/stderr-first")"
	[ ! -s "$work/stderr-second" ] || fail "$(cat "$work/stderr-second")"
	# What could not be given back ends by itself.
	net_heal
	expect 0 on_host one "$CFLOCK" -w 10 -t 3s "$name" true
}
