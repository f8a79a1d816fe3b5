# redis+cluster://: a real cluster of three masters and a replica of each.  What
# is held or waited for follows its slot, wherever that goes.

# shellcheck disable=SC2154,SC2030,SC2031 # what `run` and the helpers set; each test has its own
bats_require_minimum_version 1.5.0
load helpers
load helpers/nodes
load helpers/cluster

setup_file() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR
	start_all
}

teardown_file() {
	kill_nodes
	rm -rf "$REDIS_DIR"
}

setup() {
	test_setup
	read -ra ports <<<"$PORTS"
	export CFLOCK name work
	export CFLOCK_SERVER=redis+cluster://127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}
	# shellcheck disable=SC2034 # of the helpers
	WAIT_LIMIT_S=90
	slot=$(cli -p "${ports[0]}" cluster keyslot "$key")
}

teardown() {
	test_teardown
}

@test "a lock at each node, from each node" {
	local i port

	settle
	for i in {1..12}; do
		slot=$(cli -p "${ports[0]}" cluster keyslot "cflock:{$name-$i}")
		owner_by "${ports[0]}" >>"$work/owners"
	done
	[ "$(sort -u "$work/owners" | wc -l)" = 3 ]
	for port in "${ports[@]}"; do
		for i in {1..12}; do
			expect 0 "$CFLOCK" -S "redis+cluster://127.0.0.1:$port" "$name-$i" true
			is_silent
		done
	done
}

@test "got, renewed and released at the owner of the slot" {
	settle
	start a --ttl 5s
	wait_until has_begun a
	[ "$(cli -p "$owner" exists "$key")" = 1 ]
	expect 1 "$CFLOCK" -n "$name" true
	sleep 7
	[ "$(cli -p "$owner" exists "$key")" = 1 ]
	touch "$work/go"
	ended_well a
	nothing_is_left
}

@test "a node without the cluster's URL: it is said what to write" {
	local port

	settle
	port=$(other_than "$owner")
	expect 69 "$CFLOCK" -S "redis://127.0.0.1:$port" "$name" touch "$work/ran"
	says "part of a cluster" "write redis+cluster:// for redis://"
	[ ! -e "$work/ran" ]
}

@test "cflockctl: status, list of all masters, doctor, break" {
	local n
	local -a holders

	settle
	for n in {1..6}; do
		# shellcheck disable=SC2016 # in the command
		in_background "$CFLOCK" --no-grace "$name-$n" bash -c 'touch "$0"; exec sleep 100' "$work/held-$n"
		pids+=("$background")
		holders[n]=$background
	done
	for n in {1..6}; do
		wait_until test -e "$work/held-$n"
	done
	expect 0 "$CTL" list
	for n in {1..6}; do
		[[ $output == *"$name-$n"* ]] || fail "$name-$n is not in: $output"
	done
	for n in {1..6}; do
		expect 0 "$CTL" status --json "$name-$n"
		[[ $output == *"$work/held-$n"* ]] || fail "not the holder: $output"
		expect 0 "$CTL" break --wait 30 "$name-$n"
		code=0
		wait "${holders[$n]}" || code=$?
		[ "$code" = 143 ]
	done
	run "$CTL" doctor
	[[ $output == *"ok       mode         cluster"* ]] || fail "$output"
	[[ $output == *"ok       role         master"* ]] || fail "$output"
	[[ $output == *"ok       writes"* ]] || fail "$output"
}

@test "no node: 69; a seed that is dead" {
	expect 69 "$CFLOCK" -n -S redis+cluster://127.0.0.1:1,127.0.0.1:2 "$name" touch "$work/ran"
	says "cannot connect to 127.0.0.1:2 of redis+cluster://127.0.0.1:1,127.0.0.1:2" "refused"
	expect 69 "$CFLOCK" -n -S redis+cluster://nowhere.invalid "$name" touch "$work/ran"
	says "nowhere.invalid" "no such name"
	[ ! -e "$work/ran" ]
	expect 0 "$CFLOCK" -S "redis+cluster://127.0.0.1:1,nowhere.invalid,127.0.0.1:${ports[0]}" "$name" true
	is_silent
}

@test "the slot moves while the lock is held and waited for" {
	local to

	settle
	to=$(other_than "$owner")
	start a --ttl 60s
	wait_until has_begun a
	start b --ttl 60s
	wait_until is_in_line 1
	begin_to_move "$owner" "$to"
	move_keys "$owner" "$to"
	end_move "$owner" "$to"
	owner=$to
	wait_until is_renewed 46000
	start c --ttl 60s
	wait_until is_in_line 2
	touch "$work/go"
	ended_well a
	ended_well b
	ended_well c
	wait_until nothing_is_left
	[ "$(paste -sd ' ' "$work/began")" = "a b c" ]
}

@test "a lock in a slot that is moving: after the move" {
	local to

	settle
	to=$(other_than "$owner")
	begin_to_move "$owner" "$to"
	# No key is there, so it is sent on by ASK, and told to try again.
	in_background "$CFLOCK" --no-grace --ttl 60s "$name" touch "$work/ran"
	pids+=("$background")
	expect 69 "$CFLOCK" -n "$name" true
	says "TRYAGAIN"
	[ ! -e "$work/ran" ]
	end_move "$owner" "$to"
	wait_until test -e "$work/ran"
	owner=$to
	wait_until nothing_is_left
}

@test "a fail-over by hand while the lock is held and waited for" {
	settle
	start a --ttl 30s
	wait_until has_begun a
	start b --ttl 30s
	wait_until is_in_line 1
	fail_over
	wait_until is_renewed 22500
	is_alive "${pid_of[a]}"
	touch "$work/go"
	ended_well a
	ended_well b
	wait_until nothing_is_left
}

@test "the owner dies, the only node that was named" {
	local old

	settle
	export CFLOCK_SERVER=redis+cluster://127.0.0.1:$owner
	start a --ttl 60s
	wait_until has_begun a
	start b --ttl 60s
	wait_until is_in_line 1
	# What is renewed has heard of the others.
	wait_until was_asked_for_nodes
	for old in 0 1 2 3 4 5; do
		[ "${ports[old]}" != "$owner" ] || break
	done
	owner=$(replica_of "$owner")
	kill -KILL "$(cat "$REDIS_DIR/$old.pid")"
	wait_until is_owned_by "$owner"
	wait_until is_renewed 46000
	is_alive "${pid_of[a]}"
	touch "$work/go"
	ended_well a
	ended_well b
	start_node "$old"
	wait_until is_settled
	wait_until nothing_is_left
}
