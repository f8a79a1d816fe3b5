# Shared by the tests of a cluster, beside helpers/nodes: three masters and a
# replica of each, on ports[].  $slot is that of the lock.

# They have just been started, and there is nothing that they could forget.
always=(--no-grace)

start_all() {
	local i

	for i in 0 1 2 3 4 5; do
		ports[i]=$(free_port "${ports[@]}")
	done
	export PORTS="${ports[*]}"
	for i in 0 1 2 3 4 5; do
		start_node "$i"
	done
	cli --cluster create "${ports[@]/#/127.0.0.1:}" --cluster-replicas 1 \
		--cluster-yes >"$REDIS_DIR/create" 3>&-
	wait_until is_settled
}

# start_node N: on ports[N].
start_node() {
	local port=${ports[$1]} file=$REDIS_DIR/$1

	# shellcheck disable=SC2046 # several words
	redis-server $(listening_on "$port") ${certs:+--tls-cluster yes} --bind 127.0.0.1 --dir "$REDIS_DIR" --dbfilename "$1.rdb" \
		--save '' --repl-diskless-sync-delay 0 --daemonize yes --pidfile "$file.pid" \
		--logfile "$file.log" --cluster-enabled yes --cluster-config-file "$file.nodes" \
		--cluster-port $((port + 10000)) --cluster-node-timeout 4000 >/dev/null </dev/null 3>&-
	wait_until cli -p "$port" ping
}

# All nodes see all slots, three masters, and three replicas that follow them.
is_settled() {
	local port nodes

	for port in "${ports[@]}"; do
		cli -p "$port" cluster info | grep -q '^cluster_state:ok' || return 1
		nodes=$(cli -p "$port" cluster nodes)
		[ "$(grep -c ' connected' <<<"$nodes")" = 6 ] || return 1
		[ "$(grep -cE ' (myself,)?master ' <<<"$nodes")" = 3 ] || return 1
		[ "$(grep -cE ' (myself,)?slave ' <<<"$nodes")" = 3 ] || return 1
		[ "$(cut -d ' ' -f 1,3,9- <<<"$nodes" | sed 's/myself,//' | sort)" = \
			"$(cli -p "${ports[0]}" cluster nodes | cut -d ' ' -f 1,3,9- |
				sed 's/myself,//' | sort)" ] || return 1
		cli -p "$port" info replication |
			grep -qE 'state=online|^master_link_status:up' || return 1
	done
}

# The port of the node that has $slot, as the node on port $1 sees it.
owner_by() {
	cli -p "$1" cluster nodes | awk -v slot="$slot" '
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
	cli -p "$1" cluster myid
}

# A replica of the node on port $1.
replica_of() {
	cli -p "$1" cluster replicas "$(id_at "$1")" | sed -nE 's/^[^ ]+ [^ ]*:([0-9]+)@.*/\1/p'
}

# Another master than the one on port $1.
other_than() {
	cli -p "$1" cluster nodes |
		sed -nE 's/^[^ ]+ [^ ]*:([0-9]+)@[^ ]* master .*/\1/p' | head -n 1
}

# The first half of what `redis-cli --cluster reshard` does with a slot.
begin_to_move() {
	cli -p "$2" cluster setslot "$slot" importing "$(id_at "$1")"
	cli -p "$1" cluster setslot "$slot" migrating "$(id_at "$2")"
}

# Key by key, as a slot's keys go; then the slot.
move_keys() {
	local moved

	while moved=$(cli -p "$1" cluster getkeysinslot "$slot" 1); [ "$moved" ]; do
		cli -p "$1" migrate 127.0.0.1 "$2" "$moved" 0 5000
	done
}

end_move() {
	local id port

	id=$(id_at "$2")
	cli -p "$2" cluster setslot "$slot" node "$id"
	cli -p "$1" cluster setslot "$slot" node "$id"
	for port in "${ports[@]}"; do
		cli -p "$port" cluster setslot "$slot" node "$id" || true
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
	cli -p "$1" role | grep -qx master || cli -p "$1" cluster failover
	is_owned_by "$1"
}

is_in_line() {
	[ "$(cli -p "$owner" zcard "$key:line")" = "$1" ]
}

is_renewed() {
	[ "$(cli -p "$owner" pttl "$key")" -gt "$1" ]
}

nothing_is_left() {
	local keys

	keys=$(cli -p "$owner" --raw keys "$key*" | grep -v -e ':token$' -e ':epoch$' -e ':gone:' || true)
	[ -z "$keys" ] || fail "left in Redis: $keys"
}

# Whether the owner was, by two: the holder and the one who waits.
was_asked_for_nodes() {
	[ "$(cli -p "$owner" client list | grep -c 'cmd=\(evalsha\|eval\|xread\)')" -ge 2 ] &&
		is_renewed 59000 && is_renewed_twice
}

is_renewed_twice() {
	[ "$(cli -p "$owner" info commandstats | sed -n 's/^cmdstat_cluster|nodes:calls=\([0-9]*\),.*/\1/p')" -ge 2 ]
}

# === what is to happen with TLS as without ================================

is_got_at_each_node() {
	local i port

	settle
	for i in {1..12}; do
		slot=$(cli -p "${ports[0]}" cluster keyslot "cflock:{$name-$i}")
		owner_by "${ports[0]}" >>"$work/owners"
	done
	[ "$(sort -u "$work/owners" | wc -l)" = 3 ]
	for port in "${ports[@]}"; do
		for i in {1..12}; do
			expect 0 "$CFLOCK" -S "redis${certs:+s}+cluster://127.0.0.1:$port" "$name-$i" true
			is_silent
		done
	done
}

is_seen_at_all_masters() {
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

follows_the_slot() {
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

follows_a_fail_over() {
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

outlives_the_owner() {
	local old

	settle
	export CFLOCK_SERVER=redis${certs:+s}+cluster://127.0.0.1:$owner
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
