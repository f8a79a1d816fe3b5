# When the answers of a real Redis come late, damaged or not at all: the right
# code, a message that names the cause, and no lock left behind.

bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts
load helpers/stamps

setup_file() {
	use_redis
	start_proxy
}

teardown_file() {
	kill -KILL "$(cat "$REDIS_DIR/proxy.pid")"
	drop_redis
}

setup() {
	stamp_setup
}

teardown() {
	test_teardown
}

# In front of the server, for all tests of the file.
start_proxy() {
	python3 "$BATS_TEST_DIRNAME/helpers/proxy.py" "$REDIS_DIR/redis.sock" "$REDIS_DIR/port" \
		"$REDIS_DIR/damage" /dev/null </dev/null >"$REDIS_DIR/proxy.log" 2>&1 3>&- &
	echo "$!" >"$REDIS_DIR/proxy.pid"
	wait_until test -s "$REDIS_DIR/port"
}

# proxy [--from N] [--only] MODE=ARG: damages the replies from now on.
proxy() {
	local from=1 only=on

	while [ "${1#--}" != "$1" ]; do
		case $1 in
		--from) from=$2 && shift 2 ;;
		--only) only=only && shift ;;
		esac
	done
	damages=$((${damages:-0} + 1))
	printf '%s\n' "$name-$damages" "$from" "$only" "$1" >"$REDIS_DIR/damage.new"
	mv "$REDIS_DIR/damage.new" "$REDIS_DIR/damage"
	export CFLOCK_SERVER
	CFLOCK_SERVER=redis://127.0.0.1:$(cat "$REDIS_DIR/port")
}

@test "a grant that comes late: held by us or by nobody" {
	proxy delay=0.7
	expect 69 "$CFLOCK" -t 1s -w 1.5 "$name" touch "$work/ran"
	took 1400 3500
	says "no answer in time"
	not_run
}

@test "held, and answers that take their time: a conflict, not unreachable" {
	rcli set "$key" somebody-else
	for delay in 0.03 0.1; do
		proxy "delay=$delay"
		expect 1 "$CFLOCK" -w 0.5 "$name" touch "$work/ran"
		says "held by" "somebody-else"
		took 450 2500
	done
	[ ! -e "$work/ran" ]
	[ "$(rcli get "$key")" = somebody-else ]
}

@test "a request without a reply, then a conflict: the first is made void" {
	rcli set "$key" somebody px 60000
	proxy --only stall=0
	expect 1 "$CFLOCK" -t 600ms -n "$name" touch "$work/ran"
	[[ $(rcli keys "$key:gone:*") == "$key:gone:"* ]]
	rcli del "$key"
	not_run
}

@test "a reply of the wrong kind: 69, no lock is left" {
	while IFS='|' read -r reply cause; do
		proxy --only replace="$reply"
		expect 69 "$CFLOCK" -w 0.4 "$name" touch "$work/ran"
		says "$cause"
		took 0 2500
		not_run
	done <<-'CASES'
		:1\r\n|not one that cflock's script gives: it is a number
		+OK\r\n|it is a status
		$-1\r\n|it is nothing (nil)
		$3\r\nabc\r\n|it is a string
		*-1\r\n|it is nothing (nil)
		*0\r\n|it is an array of other contents
		*1\r\n:1\r\n|it is an array of other contents
		*2\r\n:1\r\n:1\r\n|it is an array of other contents
		*2\r\n:1\r\n$3\r\nabc\r\n|it is an array of other contents
		*2\r\n:1\r\n$0\r\n\r\n|it is an array of other contents
		*2\r\n:1\r\n$26\r\n12345678901234567890123456\r\n|it is an array of other contents
		*2\r\n:7\r\n$1\r\n1\r\n|it is an array of other contents
		*2\r\n:0\r\n:1000\r\n|it is an array of other contents
		*3\r\n:0\r\n$1\r\n1\r\n$1\r\n1\r\n|it is an array of other contents
	CASES
}

@test "a reply that is not Redis' protocol: 69, no lock is left" {
	for reply in 'hello\r\n' '\0\0\0\0\r\n' 'HTTP/1.1 400 Bad Request\r\n\r\n' \
		'$abc\r\n' '*2\r\n:1\r\nxyz\r\n' '$-7\r\n' '*99999999999999999999\r\n' \
		'*1000000\r\n:1\r\n' '*4294967297\r\n' '$99999999999999999999999\r\n'; do
		proxy --only replace="$reply"
		expect 69 "$CFLOCK" -w 0.4 "$name" touch "$work/ran"
		says "not a Redis server"
		took 0 2500
		not_run
	done
}

@test "a reply without end: 69 in time, no lock is left" {
	for reply in '$999999999\r\nabc' '*2\r\n:1\r\n$20\r\n' '-ERR'; do
		proxy replace="$reply"
		expect 69 "$CFLOCK" -w 0.4 "$name" touch "$work/ran"
		says "no answer in time"
		took 350 2500
		not_run
	done
}

@test "a reply that never stops coming: 69, not kept in memory" {
	proxy --only replace="\$999999999\\r\\n$(printf '%099999d' 0)"
	expect 69 "$CFLOCK" -w 2 "$name" touch "$work/ran"
	says "not a Redis server"
	not_run
}

@test "an error reply that nobody knows: 69, and it is shown" {
	proxy replace='-ERR no such thing\r\n'
	expect 69 "$CFLOCK" "$name" touch "$work/ran"
	says "ERR no such thing"
	proxy replace='-STRANGE \x1b[2J things\r\n'
	expect 69 "$CFLOCK" -w 0.3 "$name" touch "$work/ran"
	says "STRANGE ?[2J things"
	not_run
}

@test "a reply that is cut off: 69, no lock is left" {
	for bytes in 0 1 5 9; do
		proxy truncate="$bytes"
		expect 69 "$CFLOCK" -w 0.4 "$name" touch "$work/ran"
		says "closed the connection"
		took 350 2500
		not_run
	done
}

@test "a reply that is cut off once: asked again, it succeeds" {
	for bytes in 0 5; do
		proxy --only truncate="$bytes"
		expect 0 "$CFLOCK" "$name" true
		is_silent
		nothing_left "$name"
	done
}

@test "in a run: replies that stay away, 79 in time" {
	proxy --from 2 stall=0
	stamping
	lost_in_time "$(expiry_ms)" "no answer in time"
}

@test "in a run: half a reply, 79 in time" {
	proxy --from 2 stall=3
	stamping
	# The server goes on to extend it, so it ends no earlier than this.
	lost_in_time "$(expiry_ms)" "no answer in time"
}

@test "in a run: damaged replies, 79 in time" {
	for reply in '*1\r\n:2\r\n' 'garbage\r\n' '$999999999\r\n' '*1000000\r\n'; do
		rm -f "$work/stamps"
		proxy --from 2 replace="$reply"
		stamping
		lost_in_time "$(expiry_ms)"
		wait_until eval '! is_locked "$name"'
	done
}

@test "in a run: closed connections, 79 in time" {
	proxy --from 2 truncate=0
	stamping
	lost_in_time "$(expiry_ms)" "closed the connection"
}

@test "in a run: a renewal refused, 79 at once, with the cause" {
	proxy --from 2 replace='*3\r\n:0\r\n$5\r\nthief\r\n:0\r\n'
	stamping
	lost_in_time "$(expiry_ms)" 'another holds the lock now (value "thief")'
}

@test "in a run: one reply lost is not noticed" {
	for damage in truncate=2 "replace=garbage\r\n" stall=0; do
		proxy --from 2 --only "$damage"
		expect 0 "$CFLOCK" -t 1500ms "$name" sleep 1.7
		is_silent
		nothing_left "$name"
	done
}

@test "a release without a reply: code kept, a line, no endless wait" {
	proxy --from 2 stall=0
	expect 3 "$CFLOCK" "$name" sh -c 'exit 3'
	says "cannot release the lock" "no answer in time"
	took 1500 6000
	nothing_left "$name"
}

@test "a release with a damaged reply: code kept, a line" {
	proxy --from 2 replace='*1\r\n:1\r\n'
	expect 3 "$CFLOCK" "$name" sh -c 'exit 3'
	says "cannot release the lock"
	took 0 3000
	nothing_left "$name"
}
