# redis+sentinel://: three real sentinels, a master and a replica, and sentinels
# that say what a test wants.  What is held or waited for follows a fail-over.

# shellcheck disable=SC2154,SC2030,SC2031 # what `run` and the helpers set; each test has its own
bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	local i

	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR
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
	export CFLOCK_SERVER=redis+sentinel://127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}/jobs
	# shellcheck disable=SC2034 # of the helpers
	WAIT_LIMIT_S=90
	# shellcheck disable=SC2016 # in the command
	# Alone, or it is written down; until $work/go is there.
	export hold='
		mkdir "$work/in" || echo "$0" >>"$work/overlaps"
		echo "$0" >>"$work/began"
		until [ -e "$work/go" ]; do sleep 0.05; done
		rmdir "$work/in"'
}

teardown() {
	test_teardown
}

# start_node N [OPTION]...: a server on ports[N].
start_node() {
	local port=${ports[$1]} file=$REDIS_DIR/$1

	shift
	redis-server --port "$port" --bind 127.0.0.1 --dir "$REDIS_DIR" --dbfilename "$port.rdb" \
		--save '' --repl-diskless-sync-delay 0 --daemonize yes --pidfile "$file.pid" \
		--logfile "$file.log" "$@" >/dev/null </dev/null 3>&-
	wait_until redis-cli -p "$port" ping
}

start_sentinel() {
	local file=$REDIS_DIR/$1

	printf '%s\n' "port ${ports[$1]}" "bind 127.0.0.1" "dir $REDIS_DIR" "daemonize yes" \
		"pidfile $file.pid" "logfile $file.log" \
		"sentinel monitor jobs 127.0.0.1 ${ports[3]} 2" \
		"sentinel down-after-milliseconds jobs 4000" \
		"sentinel failover-timeout jobs 6000" >"$file.conf"
	redis-server "$file.conf" --sentinel >/dev/null </dev/null 3>&-
	wait_until redis-cli -p "${ports[$1]}" ping
}

# fake N [PASSWORD]: a sentinel that says what stands in $work/says-N; its port
# in $port.
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
	redis-cli -p "${ports[$1]}" sentinel get-master-addr-by-name jobs | tail -n 1
}

# All three know each other, the master and a replica that follows it.
is_settled() {
	local i known

	for i in 0 1 2; do
		[ "$(named_by "$i")" = "$(named_by 0)" ] || return 1
		known=$(redis-cli -p "${ports[i]}" sentinel master jobs | paste -d ' ' - -)
		grep -qx 'flags master' <<<"$known" || return 1
		grep -qx 'num-slaves 1' <<<"$known" || return 1
		grep -qx 'num-other-sentinels 2' <<<"$known" || return 1
		known=$(redis-cli -p "${ports[i]}" sentinel replicas jobs | paste -d ' ' - -)
		grep -qx 'flags slave' <<<"$known" || return 1
		grep -qx 'master-link-status ok' <<<"$known" || return 1
	done
	redis-cli -p "$(named_by 0)" info replication | grep -q 'state=online'
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
	redis-cli -p "$(named_by 0)" role | grep -qx master
}

fail_over() {
	wait_until fail_over_once
	wait_until has_moved
}

fail_over_once() {
	[ "$(redis-cli -p "${ports[0]}" sentinel failover jobs)" = OK ]
}

# start TAG [OPTION]...: cflock around $hold; its pid in pid_of[TAG].
declare -A pid_of
start() {
	local tag=$1

	shift
	in_background "$CFLOCK" "$@" "$name" bash -c "$hold" "$tag" 2>"$work/stderr-$tag"
	pids+=("$background")
	pid_of[$tag]=$background
}

has_begun() {
	grep -qx "$1" "$work/began"
}

is_in_line() {
	[ "$(redis-cli -p "$(named_by 0)" zcard "$key:line")" = "$1" ]
}

is_renewed() {
	[ "$(redis-cli -p "$(named_by 0)" pttl "$key")" -gt "$1" ]
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

nothing_is_left() {
	local keys

	keys=$(redis-cli -p "$master" --raw keys "$key*" | grep -v -e ':token$' -e ':gone:' || true)
	[ -z "$keys" ] || fail "left in Redis: $keys"
}

@test "got, renewed and released at the master" {
	settle
	start a --ttl 5s
	wait_until has_begun a
	[ "$(redis-cli -p "$master" exists "$key")" = 1 ]
	expect 1 "$CFLOCK" -n "$name" true
	sleep 7
	[ "$(redis-cli -p "$master" exists "$key")" = 1 ]
	touch "$work/go"
	ended_well a
	nothing_is_left
	expect 0 "$CFLOCK" "$name" true
	is_silent
}

@test "cflockctl, and another database" {
	settle
	export CFLOCK_SERVER="$CFLOCK_SERVER?db=3"
	start a
	wait_until has_begun a
	[ "$(redis-cli -n 3 -p "$master" exists "$key")" = 1 ]
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

@test "a sentinel that is dead, or that hangs: the others are asked" {
	local tail=127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}/jobs

	settle
	expect 0 "$CFLOCK" -S "redis+sentinel://127.0.0.1:1,$tail" "$name" true
	is_silent
	fake hung
	expect 0 "$CFLOCK" -S "redis+sentinel://127.0.0.1:$port,$tail" "$name" true
	is_silent
	# A name that there is not.
	expect 0 "$CFLOCK" -S "redis+sentinel://nowhere.invalid,$tail" "$name" true
	is_silent
}

@test "the majority counts" {
	local odd

	settle
	start_redis "$work/other" --port 0 --bind 127.0.0.1
	odd=$(free_port)
	redis-cli -s "$work/other/redis.sock" config set port "$odd"
	fake odd
	echo "127.0.0.1 $odd" >"$work/says-odd"
	start a -S "redis+sentinel://127.0.0.1:$port,127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}/jobs"
	wait_until has_begun a
	[ "$(redis-cli -p "$master" exists "$key")" = 1 ]
	[ "$(redis-cli -p "$odd" exists "$key")" = 0 ]
	touch "$work/go"
	ended_well a

	# One against one: neither.
	expect 69 "$CFLOCK" -n -S "redis+sentinel://127.0.0.1:$port,127.0.0.1:${ports[1]},127.0.0.1:1/jobs" \
		"$name" touch "$work/ran"
	says "do not agree" "127.0.0.1:$odd"
	[ ! -e "$work/ran" ]
	stop_redis "$work/other"
}

@test "what is named as the master but is a replica is not asked" {
	local replica

	settle
	replica=${ports[3]}
	[ "$replica" != "$master" ] || replica=${ports[4]}
	fake stale
	echo "127.0.0.1 $replica" >"$work/says-stale"
	# Even where it would take the lock.
	redis-cli -p "$replica" config set replica-read-only no
	expect 69 "$CFLOCK" -n -S "redis+sentinel://127.0.0.1:$port/jobs" "$name" touch "$work/ran"
	says "is none"
	[ ! -e "$work/ran" ]
	[ "$(redis-cli -p "$replica" exists "$key")" = 0 ]
	redis-cli -p "$replica" config set replica-read-only yes

	# Until the sentinel has heard of it.
	in_background "$CFLOCK" -S "redis+sentinel://127.0.0.1:$port/jobs" "$name" touch "$work/ran"
	pids+=("$background")
	sleep 0.5
	[ ! -e "$work/ran" ]
	echo "127.0.0.1 $master" >"$work/says-stale"
	wait_until test -e "$work/ran"
}

@test "no sentinel: 69; no such master: 69; no sentinel at all" {
	expect 69 "$CFLOCK" -n -S redis+sentinel://127.0.0.1:1,127.0.0.1:2/jobs "$name" touch "$work/ran"
	says "no sentinel of redis+sentinel://127.0.0.1:1,127.0.0.1:2/jobs answers" \
		"cannot connect to the sentinel 127.0.0.1:1: Connection refused"
	expect 69 "$CFLOCK" -S "${CFLOCK_SERVER%jobs}other" "$name" touch "$work/ran"
	says 'the sentinels know no master of the name "other"'
	expect 69 "$CFLOCK" -S "redis+sentinel://127.0.0.1:${ports[3]}/jobs" "$name" touch "$work/ran"
	says "is no sentinel"
	expect 69 "$CFLOCK" -S "redis+sentinel://nowhere.invalid/jobs" "$name" touch "$work/ran"
	says "there is no such name"
	expect 69 "$CFLOCK" -n -S "redis://127.0.0.1:${ports[0]}" "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
}

@test "the sentinels' password, and the servers'" {
	local url

	mkdir "$work/other"
	start_redis "$work/other" --requirepass hunter2 --port 0 --bind 127.0.0.1
	redis-cli -a hunter2 -s "$work/other/redis.sock" config set port "$(free_port)"
	fake one s3cret
	redis-cli -a hunter2 -s "$work/other/redis.sock" config get port |
		sed -n 's/^\([0-9]*\)$/127.0.0.1 \1/p' >"$work/says-one"
	url=redis+sentinel://:hunter2@127.0.0.1:$port/jobs
	# shellcheck disable=SC2016 # in the command
	expect 0 "$CFLOCK" -S "$url?sentinel-password=s3cret&sentinel-user=ann" "$name" \
		bash -c 'tr "\0" "\n" </proc/$PPID/cmdline; cat /proc/$PPID/environ; env'
	[[ $output == *CFLOCK_NAME* ]]
	[[ $output != *hunter2* ]]
	[[ $output != *s3cret* ]]
	expect 77 "$CFLOCK" -S "$url" "$name" true
	says "the sentinel 127.0.0.1:$port" "password"
	expect 77 "$CFLOCK" -S "$url?sentinel-password=wrong" "$name" true
	says "refused the user or the password"
	expect 77 "$CFLOCK" -S "redis+sentinel://127.0.0.1:$port/jobs?sentinel-password=s3cret" "$name" true
	says "the server wants a password"
	stop_redis "$work/other"
}

@test "a fail-over by hand while the lock is held" {
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

@test "a fail-over by hand while the lock is waited for" {
	settle
	start a --ttl 20s
	wait_until has_begun a
	start b --ttl 20s
	start c --ttl 20s
	wait_until is_in_line 2
	fail_over
	touch "$work/go"
	ended a
	[ "$code" = 0 ] || [ "$code" = 79 ] || fail "$code: $(cat "$work/stderr-a")"
	ended_well b
	ended_well c
	[ "$(sort -u "$work/began" | wc -l)" = 3 ] || fail "began: $(cat "$work/began")"
}

@test "the master dies while the lock is held and waited for" {
	local old

	settle
	start a --ttl 60s
	wait_until has_begun a
	start b --ttl 60s
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
