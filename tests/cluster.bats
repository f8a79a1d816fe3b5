# redis+cluster://: a real cluster of three masters and a replica of each.  What
# is held or waited for follows its slot, wherever that goes.

# shellcheck disable=SC2154,SC2030,SC2031 # what `run` and the helpers set; each test has its own
bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	local i

	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR
	for i in 0 1 2 3 4 5; do
		ports[i]=$(free_port "${ports[@]}")
	done
	export PORTS="${ports[*]}"
	for i in 0 1 2 3 4 5; do
		start_node "$i"
	done
	redis-cli --cluster create "${ports[@]/#/127.0.0.1:}" --cluster-replicas 1 \
		--cluster-yes >"$REDIS_DIR/create" 3>&-
	wait_until is_settled
}

teardown_file() {
	local pidfile

	for pidfile in "$REDIS_DIR"/*.pid; do
		kill -KILL "$(cat "$pidfile")" 2>/dev/null || true
	done
	rm -rf "$REDIS_DIR"
}

setup() {
	test_setup
	read -ra ports <<<"$PORTS"
	export CFLOCK name work
	export CFLOCK_SERVER=redis+cluster://127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}
	# shellcheck disable=SC2034 # of the helpers
	WAIT_LIMIT_S=90
	# shellcheck disable=SC2016 # in the command
	# Alone, or it is written down; until $work/go is there.
	export hold='
		mkdir "$work/in" || echo "$0" >>"$work/overlaps"
		echo "$0" >>"$work/began"
		until [ -e "$work/go" ]; do sleep 0.05; done
		rmdir "$work/in"'
	slot=$(redis-cli -p "${ports[0]}" cluster keyslot "$key")
}

teardown() {
	test_teardown
}

# start_node N: on ports[N].
start_node() {
	local port=${ports[$1]} file=$REDIS_DIR/$1

	redis-server --port "$port" --bind 127.0.0.1 --dir "$REDIS_DIR" --dbfilename "$1.rdb" \
		--save '' --repl-diskless-sync-delay 0 --daemonize yes --pidfile "$file.pid" \
		--logfile "$file.log" --cluster-enabled yes --cluster-config-file "$file.nodes" \
		--cluster-port $((port + 10000)) --cluster-node-timeout 4000 >/dev/null </dev/null 3>&-
	wait_until redis-cli -p "$port" ping
}

# All nodes see all slots, three masters, and three replicas that follow them.
is_settled() {
	local port nodes

	for port in "${ports[@]}"; do
		redis-cli -p "$port" cluster info | grep -q '^cluster_state:ok' || return 1
		nodes=$(redis-cli -p "$port" cluster nodes)
		[ "$(grep -c ' connected' <<<"$nodes")" = 6 ] || return 1
		[ "$(grep -cE ' (myself,)?master ' <<<"$nodes")" = 3 ] || return 1
		[ "$(grep -cE ' (myself,)?slave ' <<<"$nodes")" = 3 ] || return 1
		[ "$(cut -d ' ' -f 1,3,9- <<<"$nodes" | sed 's/myself,//' | sort)" = \
			"$(redis-cli -p "${ports[0]}" cluster nodes | cut -d ' ' -f 1,3,9- |
				sed 's/myself,//' | sort)" ] || return 1
		redis-cli -p "$port" info replication |
			grep -qE 'state=online|^master_link_status:up' || return 1
	done
}

# The port of the node that has $slot, as the node on port $1 sees it.
owner_by() {
	redis-cli -p "$1" cluster nodes | awk -v slot="$slot" '
		$3 ~ /master/ && $3 !~ /fail/ {
			for (i = 9; i <= NF; i++) {
				n = split($i, ends, "-")
				if ($i !~ /^\[/ && slot >= ends[1] + 0 && slot <= ends[n] + 0) {
					split($2, at, /[:@]/)
					print at[2]
				}
			}
		}'
}

# Whether all nodes that answer see $slot at port $1.
is_owned_by() {
	local port owner

	for port in "${ports[@]}"; do
		owner=$(owner_by "$port" 2>/dev/null)
		[ -z "$owner" ] || [ "$owner" = "$1" ] || return 1
	done
	[ "$(owner_by "$1")" = "$1" ]
}

# The port of the owner of $slot, when all is at rest, in $owner.
settle() {
	wait_until is_settled
	owner=$(owner_by "${ports[0]}")
	[ "$owner" ]
}

id_at() {
	redis-cli -p "$1" cluster myid
}

# A replica of the node on port $1.
replica_of() {
	redis-cli -p "$1" cluster replicas "$(id_at "$1")" | sed -nE 's/^[^ ]+ [^ ]*:([0-9]+)@.*/\1/p'
}

# Another master than the one on port $1.
other_than() {
	redis-cli -p "$1" cluster nodes |
		sed -nE 's/^[^ ]+ [^ ]*:([0-9]+)@[^ ]* master .*/\1/p' | head -n 1
}

# The first half of what `redis-cli --cluster reshard` does with a slot.
begin_to_move() {
	redis-cli -p "$2" cluster setslot "$slot" importing "$(id_at "$1")"
	redis-cli -p "$1" cluster setslot "$slot" migrating "$(id_at "$2")"
}

# Key by key, as a slot's keys go; then the slot.
move_keys() {
	local moved

	while moved=$(redis-cli -p "$1" cluster getkeysinslot "$slot" 1); [ "$moved" ]; do
		redis-cli -p "$1" migrate 127.0.0.1 "$2" "$moved" 0 5000
	done
}

end_move() {
	local id port

	id=$(id_at "$2")
	redis-cli -p "$2" cluster setslot "$slot" node "$id"
	redis-cli -p "$1" cluster setslot "$slot" node "$id"
	for port in "${ports[@]}"; do
		redis-cli -p "$port" cluster setslot "$slot" node "$id" || true
	done
	wait_until is_owned_by "$2"
}

fail_over() {
	local replica

	replica=$(replica_of "$owner")
	wait_until takes_over "$replica"
	owner=$replica
}

takes_over() {
	redis-cli -p "$1" role | grep -qx master || redis-cli -p "$1" cluster failover
	is_owned_by "$1"
}

# start TAG [OPTION]...: cflock around $hold; its pid in pid_of[TAG].
declare -A pid_of
start() {
	local tag=$1

	shift
	in_background "$CFLOCK" --no-grace "$@" "$name" bash -c "$hold" "$tag" 2>"$work/stderr-$tag"
	pids+=("$background")
	pid_of[$tag]=$background
}

has_begun() {
	grep -qx "$1" "$work/began"
}

is_in_line() {
	[ "$(redis-cli -p "$owner" zcard "$key:line")" = "$1" ]
}

# ended TAG: its exit code in $code.
ended() {
	code=0
	wait "${pid_of[$1]}" || code=$?
	[ ! -e "$work/overlaps" ] || fail "two at once: $(cat "$work/overlaps")"
}

ended_well() {
	ended "$1"
	[ "$code" = 0 ] || fail "$1 ended with $code: $(cat "$work/stderr-$1")"
}

is_renewed() {
	[ "$(redis-cli -p "$owner" pttl "$key")" -gt "$1" ]
}

nothing_is_left() {
	local keys

	keys=$(redis-cli -p "$owner" --raw keys "$key*" | grep -v -e ':token$' -e ':epoch$' -e ':gone:' || true)
	[ -z "$keys" ] || fail "left in Redis: $keys"
}

@test "a lock at each node, from each node" {
	local i port

	settle
	for i in {1..12}; do
		slot=$(redis-cli -p "${ports[0]}" cluster keyslot "cflock:{$name-$i}")
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
	[ "$(redis-cli -p "$owner" exists "$key")" = 1 ]
	expect 1 "$CFLOCK" -n "$name" true
	sleep 7
	[ "$(redis-cli -p "$owner" exists "$key")" = 1 ]
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

# By two: the holder and the one who waits.
was_asked_for_nodes() {
	[ "$(redis-cli -p "$owner" client list | grep -c 'cmd=\(evalsha\|eval\|xread\)')" -ge 2 ] &&
		is_renewed 59000 && is_renewed_twice
}

is_renewed_twice() {
	[ "$(redis-cli -p "$owner" info commandstats | sed -n 's/^cmdstat_cluster|nodes:calls=\([0-9]*\),.*/\1/p')" -ge 2 ]
}
