# Shared by the tests of sentinels, beside helpers/nodes: three of them, ports[0]
# to [2], a master and a replica, ports[3] and [4].

start_all() {
	local i

	for i in 0 1 2 3 4; do
		ports[i]=$(free_port "${ports[@]}")
	done
	export PORTS="${ports[*]}"
	start_node 3
	start_node 4 --replicaof 127.0.0.1 "${ports[3]}"
	for i in 0 1 2; do
		start_sentinel "$i"
	done
	wait_until is_settled
}

# start_node N [OPTION]...: a server on ports[N].
start_node() {
	local port=${ports[$1]} file=$REDIS_DIR/$1

	shift
	# shellcheck disable=SC2046 # several words
	redis-server $(listening_on "$port") --bind 127.0.0.1 --dir "$REDIS_DIR" --dbfilename "$port.rdb" \
		--save '' --repl-diskless-sync-delay 0 --daemonize yes --pidfile "$file.pid" \
		--logfile "$file.log" "$@" >/dev/null </dev/null 3>&-
	wait_until cli -p "$port" ping
}

start_sentinel() {
	local file=$REDIS_DIR/$1

	printf '%s\n' "bind 127.0.0.1" "dir $REDIS_DIR" "daemonize yes" \
		"pidfile $file.pid" "logfile $file.log" \
		"sentinel monitor jobs 127.0.0.1 ${ports[3]} 2" \
		"sentinel down-after-milliseconds jobs 4000" \
		"sentinel failover-timeout jobs 6000" >"$file.conf"
	# shellcheck disable=SC2046 # several words
	redis-server "$file.conf" --sentinel $(listening_on "${ports[$1]}") >/dev/null </dev/null 3>&-
	wait_until cli -p "${ports[$1]}" ping
}

# fake N [OPTION]...: a sentinel that says what stands in $work/says-N; its port
# in $port.  The options: see helpers/sentinel.py.
fake() {
	local file=$work/port-$1

	touch "$work/says-$1"
	in_background python3 "$BATS_TEST_DIRNAME/helpers/sentinel.py" "$file" "$work/says-$1" "${@:2}"
	pids+=("$background")
	disown "$background"
	wait_until test -s "$file"
	port=$(cat "$file")
}

named_by() {
	cli -p "${ports[$1]}" sentinel get-master-addr-by-name jobs | tail -n 1
}

# All three know each other, the master and a replica that follows it.
is_settled() {
	local i known

	for i in 0 1 2; do
		[ "$(named_by "$i")" = "$(named_by 0)" ] || return 1
		known=$(cli -p "${ports[i]}" sentinel master jobs | paste -d ' ' - -)
		grep -qx 'flags master' <<<"$known" || return 1
		grep -qx 'num-slaves 1' <<<"$known" || return 1
		grep -qx 'num-other-sentinels 2' <<<"$known" || return 1
		known=$(cli -p "${ports[i]}" sentinel replicas jobs | paste -d ' ' - -)
		grep -qx 'flags slave' <<<"$known" || return 1
		grep -qx 'master-link-status ok' <<<"$known" || return 1
	done
	cli -p "$(named_by 0)" info replication | grep -q 'state=online'
}

# The port of the master, when all is at rest, in $master.
settle() {
	wait_until is_settled
	master=$(named_by 0)
}

# Whether all name another than $master, and that has become one.
has_moved() {
	local i

	for i in 0 1 2; do
		[ "$(named_by "$i")" != "$master" ] || return 1
	done
	cli -p "$(named_by 0)" role | grep -qx master
}

fail_over() {
	wait_until fail_over_once
	wait_until has_moved
}

fail_over_once() {
	[ "$(cli -p "${ports[0]}" sentinel failover jobs)" = OK ]
}

is_in_line() {
	[ "$(cli -p "$(named_by 0)" zcard "$key:line")" = "$1" ]
}

is_renewed() {
	[ "$(cli -p "$(named_by 0)" pttl "$key")" -gt "$1" ]
}

nothing_is_left() {
	local keys

	keys=$(cli -p "$master" --raw keys "$key*" | grep -v -e ':token$' -e ':gone:' || true)
	[ -z "$keys" ] || fail "left in Redis: $keys"
}

# === what is to happen with TLS as without ================================

is_got_renewed_and_released() {
	settle
	start a --ttl 5s
	wait_until has_begun a
	[ "$(cli -p "$master" exists "$key")" = 1 ]
	expect 1 "$CFLOCK" -n "$name" true
	sleep 7
	[ "$(cli -p "$master" exists "$key")" = 1 ]
	touch "$work/go"
	ended_well a
	nothing_is_left
	expect 0 "$CFLOCK" "$name" true
	is_silent
}

is_seen_in_another_database() {
	settle
	export CFLOCK_SERVER="$CFLOCK_SERVER?db=3"
	start a
	wait_until has_begun a
	[ "$(cli -n 3 -p "$master" exists "$key")" = 1 ]
	expect 0 "$CTL" status "$name"
	[[ $output == *"$name"* ]]
	expect 0 "$CTL" list
	[[ $output == *"$name"* ]]
	run "$CTL" doctor
	[[ $output == *"ok       role         master"* ]]
	expect 0 "$CTL" break --wait 30 "$name"
	ended a
	[ "$code" = 143 ]
}

is_held_through_fail_over() {
	settle
	start a --ttl 20s
	wait_until has_begun a
	fail_over
	start b
	wait_until is_in_line 1
	wait_until is_renewed 14500
	is_alive "${pid_of[a]}"
	touch "$work/go"
	ended a
	[ "$code" = 0 ] || [ "$code" = 79 ] || fail "$code: $(cat "$work/stderr-a")"
	ended_well b
}

outlives_the_master() {
	local old

	settle
	start a --ttl 30s
	wait_until has_begun a
	start b --ttl 30s
	wait_until is_in_line 1
	for old in 3 4; do
		[ "${ports[old]}" != "$master" ] || break
	done
	kill -KILL "$(cat "$REDIS_DIR/$old.pid")"
	wait_until has_moved
	is_alive "${pid_of[a]}"
	touch "$work/go"
	ended_well a
	ended_well b
	master=$(named_by 0)
	start_node "$old" --replicaof 127.0.0.1 "$master"
	wait_until nothing_is_left
}
