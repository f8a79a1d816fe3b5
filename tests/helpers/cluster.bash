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
