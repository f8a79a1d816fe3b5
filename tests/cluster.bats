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
	is_got_at_each_node
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
	is_seen_at_all_masters
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
	follows_the_slot
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
	follows_a_fail_over
}

@test "the owner dies, the only node that was named" {
	outlives_the_owner
}
