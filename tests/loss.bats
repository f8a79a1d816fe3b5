# When the lease cannot be renewed, the command's tree is dead before it is
# over: the stop signal first, SIGKILL in time, exit code 79.

load helpers

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	name=$(lock_name)
	work=$(mktemp -d "$REDIS_DIR/work.XXXXXX")
	mkfifo "$work/alive"
}

teardown() {
	thaw_redis
	[ -z "${background:-}" ] || kill -KILL "$background" 2>/dev/null || true
}

# run_guarded SCRIPT [OPTION]...: in the background, cflock around a shell that
# holds $work/alive open on descriptor 8 and has written its token there.
run_guarded() {
	local script=$1

	shift
	in_background "$CFLOCK" --ttl 1s "$@" "$name" bash -c '
		exec 8>"$0/alive"
		echo "$CFLOCK_TOKEN" >&8
		'"$script" "$work" 2>"$work/stderr"
	exec 9<"$work/alive"
	read -r -u 9 token
}

# The end of the FIFO: the last process that held it is dead.  $death_us.
wait_dead() {
	local rest

	while read -r rest <&9; do :; done
	death_us=${EPOCHREALTIME/[.,]/}
	exec 9<&-
}

# Ends the test unless cflock ends with the code $1.
assert_exit_code() {
	local code=0

	wait "$background" || code=$?
	[ "$code" = "$1" ] || fail "exit code $code instead of $1"
}

# Ends the test unless the tree was dead before the lease that began with the
# last renewal was over: pexpiretime_ms is the server's own word for it.
assert_dead_in_time() {
	local left_us=$(($1 * 1000 - death_us))

	[ "$left_us" -ge 0 ] || fail "dead $((-left_us)) µs after the end of the lease"
}

expiry_ms() {
	rcli --raw pexpiretime "cflock:{$name}"
}

sleep_forever='while :; do sleep 0.05; done'
on_term='trap "echo cleaned up >\"\$0/cleaned\"; exit 5" TERM;'

@test "frozen server: stop signal in time to clean up, dead before the end, 79" {
	for _ in 1 2 3; do
		rm -f "$work/cleaned"
		run_guarded "$on_term kill -STOP $(redis_pid); $sleep_forever"
		wait_dead
		thaw_redis
		# The token is the server's time of the grant in µs.
		assert_dead_in_time $((token / 1000 + 1000))
		assert_exit_code 79
		[ "$(cat "$work/cleaned")" = "cleaned up" ]
		grep -q "lease is lost.*no answer in time" "$work/stderr"
	done
}

@test "frozen server: SIGKILL before the end to what ignores the stop signal" {
	for _ in 1 2 3; do
		run_guarded "trap '' TERM; kill -STOP $(redis_pid); $sleep_forever"
		wait_dead
		thaw_redis
		assert_dead_in_time $((token / 1000 + 1000))
		assert_exit_code 79
	done
}

@test "frozen server in mid-run, after renewals" {
	run_guarded "$sleep_forever"
	first=$(expiry_ms)
	# Until at least two renewals have moved the end of the lease.
	moved() { [ "$(expiry_ms)" -ge $((first + 400)) ]; }
	wait_until moved
	freeze_redis
	frozen_ms=$(now_ms)
	wait_dead
	thaw_redis
	# The lease that it lives by was renewed before the freeze.
	assert_dead_in_time $((frozen_ms + 1000))
	assert_exit_code 79
}

@test "a short freeze is not noticed" {
	run_guarded "sleep 2; echo done >\"\$0/done\""
	for _ in 1 2 3; do
		freeze_redis
		sleep 0.15
		thaw_redis
		sleep 0.3
	done
	wait_dead
	assert_exit_code 0
	[ "$(cat "$work/done")" = "done" ]
	nothing_left "$name"
}

@test "key deleted: stopped at the next renewal, with time to clean up" {
	run_guarded "$on_term $sleep_forever"
	expiry=$(expiry_ms)
	[ "$(rcli del "cflock:{$name}")" = 1 ]
	wait_dead
	# Renewals that came before the deletion moved the end on.
	[ "$death_us" -le $(((expiry + 700) * 1000)) ]
	assert_exit_code 79
	[ "$(cat "$work/cleaned")" = "cleaned up" ]
	grep -q "lease is lost.*the lock's key is gone" "$work/stderr"
}

@test "key overwritten: stopped, the other's lock is left alone" {
	run_guarded "$on_term $sleep_forever"
	rcli set "cflock:{$name}" "somebody" px 60000
	wait_dead
	assert_exit_code 79
	[ "$(cat "$work/cleaned")" = "cleaned up" ]
	[ "$(rcli --raw get "cflock:{$name}")" = "somebody" ]
	grep -q "lease is lost.*another holds the lock now (value \"somebody\")" "$work/stderr"
}

@test "key overwritten: what ignores the stop signal is killed" {
	run_guarded "trap '' TERM; $sleep_forever"
	rcli set "cflock:{$name}" "somebody" px 60000
	began_ms=$(now_ms)
	wait_dead
	# A renewal within 200 ms, the time to clean up 195 ms, and slack.
	[ $((death_us / 1000 - began_ms)) -lt 1000 ]
	assert_exit_code 79
}

@test "server killed: dead before the end of the lease, 79" {
	run_guarded "$sleep_forever"
	kill -KILL "$(redis_pid)"
	killed_ms=$(now_ms)
	wait_dead
	assert_dead_in_time $((killed_ms + 1000))
	rm -f "$REDIS_DIR/pid"
	start_redis "$REDIS_DIR"
	assert_exit_code 79
	grep -q "lease is lost.*Connection refused" "$work/stderr"
}

@test "connection cut by the server: the next renewal makes a new one" {
	run_guarded "sleep 2; echo done >\"\$0/done\""
	for _ in 1 2 3; do
		rcli client kill type normal skipme yes
		sleep 0.3
	done
	wait_dead
	assert_exit_code 0
	[ "$(cat "$work/done")" = "done" ]
}

@test "black hole: dead before the end of the lease, 79" {
	# A network of its own, with a server in it; root, or a user namespace.
	cat >"$work/in-namespace" <<-'END'
		set -e
		ip link set lo up
		mkdir "$1/redis"
		redis-server --port 7000 --bind 127.0.0.1 --dir "$1/redis" --save '' \
			--daemonize yes --pidfile "$1/redis/pid" >/dev/null
		until redis-cli -p 7000 ping >/dev/null 2>&1; do sleep 0.01; done
		trap 'kill -KILL "$(cat "$1/redis/pid")"' EXIT
		export CFLOCK_SERVER=redis://127.0.0.1:7000 CFLOCK_NO_GRACE=yes
		set +e
		"$2" --ttl 1s hole bash -c '
			exec 8>"$1/alive"
			echo "$CFLOCK_TOKEN" >&8
			nft add table inet t
			nft add chain inet t out "{ type filter hook output priority 0; }"
			nft add rule inet t out tcp dport 7000 drop
			nft add rule inet t out tcp sport 7000 drop
			echo "${EPOCHREALTIME/[.,]/}" >"$1/cut"
			while :; do sleep 0.05; done' - "$1"
		echo "$?" >"$1/code"
	END
	netns=(unshare -n)
	[ "$(id -u)" = 0 ] || netns=(unshare -rn)
	in_background "${netns[@]}" bash "$work/in-namespace" "$work" "$(realpath "$CFLOCK")" \
		2>"$work/stderr"
	exec 9<"$work/alive"
	read -r -u 9 token
	wait_dead
	wait "$background"
	[ "$(cat "$work/code")" = 79 ]
	[ "$(cat "$work/cut")" -lt "$death_us" ]
	assert_dead_in_time $(($(cat "$work/cut") / 1000 + 1000))
	grep -q "lease is lost" "$work/stderr"
}

@test "the margin at death is never negative, idle and with 20 busy loops" {
	CFLOCK=$CFLOCK run "$BATS_TEST_DIRNAME/bench/margin.sh" 5 0
	echo "$output"
	[ "$status" = 0 ]
	CFLOCK=$CFLOCK run "$BATS_TEST_DIRNAME/bench/margin.sh" 5 20
	echo "$output"
	[ "$status" = 0 ]
}

@test "a lost run leaves nothing in the server, and the lock can be had again" {
	run_guarded "$sleep_forever"
	freeze_redis
	wait_dead
	thaw_redis
	assert_exit_code 79
	"$CFLOCK" --wait 10 "$name" true
	nothing_left "$name"
}
