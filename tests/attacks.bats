# What attacks on cflock's safety once found; each was a defect.

load helpers
load helpers/tree

setup_file() {
	use_redis
	use_helper forker
	# Where other users find them.
	chmod 755 "$REDIS_DIR"
	cp "$CFLOCK" "$REDIS_DIR/cflock"
}

teardown_file() {
	drop_redis
}

setup() {
	tree_setup
}

teardown() {
	tree_teardown
}

is_dead() {
	[ -s "$work/dead" ]
}

@test "guardian killed, no descriptor to be had: no release before the tree is dead" {
	start 'setsid sleep 60 & touch "$0/ready"; '"$forever"
	wait_ready
	prlimit --pid "$cflock" --nofile=3:3
	kill -KILL "$guardian"
	# Whenever the lock is free, the tree is dead.
	until [ "$(rcli exists "cflock:{$name}")" = 0 ]; do sleep 0.005; done
	wait_until is_dead
	freed_ms=$(now_ms)
	[ "$(cat "$work/dead")" -le "$freed_ms" ]
	[ -z "$(pgrep -f "sleep 60 $marker")" ]
	exits_with 79
}

@test "1000 processes in sessions of their own that ignore SIGTERM: dead in time" {
	start "\"$forker\" crowd 1000 \"\$0/ready\"" --ttl 2s
	wait_ready
	freeze_redis
	frozen_ms=$(now_ms)
	wait_dead
	thaw_redis
	was_dead_before $((frozen_ms + 2000))
	exits_with 79
}

@test "pkill -f of the command's words spares the guardian, which kills the rest" {
	start 'setsid sleep 60 & touch "$0/ready"; '"$forever"
	wait_ready
	[ "$(tr '\0' ' ' <"/proc/$guardian/cmdline" | sed 's/ *$//')" = lease-guardian ]
	pkill -KILL -f "$marker"
	wait_dead
}

@test "a command that outlived its lease is never reported as having ended" {
	start 'touch "$0/ready"; kill -STOP '"$(redis_pid)"'; sleep 1.8; exit 0' --ttl 1s
	wait_ready
	# The guardian is kept from acting between looking for deaths and the clock.
	strace -qq -p "$guardian" -o /dev/null -e inject=wait4:delay_enter=2500000 \
		2>/dev/null 3>&- &
	tracer=$!
	wait_dead
	thaw_redis
	exits_with 79
	wait "$tracer" || true
}

@test "a guardian that ends with an order unread has ended well" {
	for _ in 1 2 3; do
		renew_tree_watch
		start 'touch "$0/ready"; sleep 0.4; exit 7' --ttl 500ms
		wait_ready
		strace -qq -p "$guardian" -o /dev/null -e inject=wait4:delay_exit=110000 \
			2>/dev/null 3>&- &
		tracer=$!
		strace -qq -f -p "$cflock" -o /dev/null -e inject=poll:delay_exit=20000 \
			2>/dev/null 3>&- &
		tracers="$tracer $!"
		exits_with 7
		# shellcheck disable=SC2086 # a list
		wait $tracers || true
	done
}

@test "SIGTERM after the command's end reaches what it left behind" {
	start 'sleep 60 & touch "$0/ready"; exit 3'
	wait_ready
	wait_until [ -z "$(pgrep -P "$guardian" -x bash)" ]
	kill -TERM "$cflock"
	wait_dead
	exits_with 3
	nothing_left "$name"
}

@test "-v into a pipe that nobody reads does not cost the lease" {
	mkfifo "$work/log"
	exec 7<>"$work/log"
	# As full as it gets.
	dd if=/dev/zero of="$work/log" bs=4096 count=64 oflag=nonblock 2>/dev/null || true
	"$CFLOCK" -v --ttl 300ms "$name" bash -c 'sleep 2; exit 4' \
		</dev/null 2>&7 3>&- && code=0 || code=$?
	exec 7>&-
	[ "$code" = 4 ]
}

@test "a password that the server repeats is not shown" {
	start_redis "$work/r" --rename-command AUTH ''
	CFLOCK_PASSWORD=sEcReT run "$CFLOCK" -v -w 1 -S "unix://$work/r/redis.sock" "$name" true
	stop_redis "$work/r"
	echo "$output"
	[ "$status" = 69 ] || [ "$status" = 77 ]
	[[ $output != *sEcReT* ]]
	[[ $output == *"refused AUTH"* ]]
}

@test "a password cannot be read out of the guardian by the command" {
	redis-server --port 0 --unixsocket "$REDIS_DIR/r.sock" --unixsocketperm 777 \
		--save '' --requirepass sEcReT --dir "$REDIS_DIR" --daemonize yes \
		--pidfile "$REDIS_DIR/r.pid" >/dev/null </dev/null 3>&-
	wait_until [ -S "$REDIS_DIR/r.sock" ]
	CFLOCK_NO_GRACE=yes CFLOCK_PASSWORD=sEcReT setpriv --reuid=65534 --regid=65534 --clear-groups \
		"$REDIS_DIR/cflock" -S "unix://$REDIS_DIR/r.sock" "$name" \
		bash -c 'cat "/proc/$PPID/maps"; ls "/proc/$PPID/fd"' \
		>"$work/read" 2>"$work/err" </dev/null 3>&- && code=0 || code=$?
	kill -KILL "$(cat "$REDIS_DIR/r.pid")"
	cat "$work/err"
	[ "$code" = 2 ] # of ls
	[ ! -s "$work/read" ]
	[ "$(grep -c 'Permission denied' "$work/err")" = 2 ]
}

@test "what others write into Redis cannot steer the terminal" {
	escape=$(printf '\033]0;gotcha\007')
	rcli set "cflock:{$name}" "abc/1" px 60000
	# As an escape stands in JSON.
	text='\u001b]0;gotcha\u0007'
	rcli hset "cflock:{$name}:holders" abc "{\"host\":\"h$text\",
		\"pid\":\"1$text\",\"user\":\"u$text\",\"command\":\"c$text\",
		\"message\":\"m$text\",\"since\":1,\"token\":\"1\",\"started\":true,
		\"kind\":\"exclusive\",\"from\":1,\"ends\":9e15,\"spare\":1}"
	run "$CFLOCK" -n "$name" true
	[ "$status" = 1 ]
	[[ $output == *"host h?]0;gotcha?"* ]]
	[[ $output != *$'\033'* ]]
	[[ $output != *$'\007'* ]]
}

@test "a lock with an absurd expiry is asked for no oftener than others" {
	rcli set "cflock:{$name}" somebody px 9300000000000
	rcli config resetstat
	run "$CFLOCK" -w 1 "$name" true
	[ "$status" = 1 ]
	[ "$(calls_of evalsha)" -lt 40 ]
}

@test "nothing can be started: no process; no lock is left" {
	# As a user who may have no more processes than he has.
	chmod 777 "$REDIS_DIR/redis.sock"
	for limit in 1 2 3; do
		run setpriv --reuid=54321 --regid=54321 --clear-groups \
			prlimit --nproc="$limit" "$REDIS_DIR/cflock" --ttl 60s "$name" true
		echo "limit $limit: $status $output"
		# 1: no guardian. 2: no command.
		[ "$status" = 71 ] || [ "$status" = 0 ]
		nothing_left "$name"
	done
}

@test "no thread can be had that would renew: the command is dead in time, with the cause" {
	chmod 777 "$REDIS_DIR/redis.sock"
	# cflock, guardian, command.
	local nobody=$((300000 + $$)) # has no other processes

	run setpriv --reuid="$nobody" --regid="$nobody" --clear-groups \
		prlimit --nproc=3 "$REDIS_DIR/cflock" --ttl 1s "$name" \
		sh -c 'trap "echo asked; exit 1" TERM; while :; do :; done'
	echo "$output"
	[ "$status" = 79 ]
	[[ $output == *asked* ]]
	[[ $output == *"the lease is lost, the command is being stopped: cannot start the renewing thread: Resource temporarily unavailable"* ]]
	nothing_left "$name"
}

# asks_a_frozen_redis: $asker is a cflock that waits for the answer to its first
# request, and $waiting the guardian that was forked meanwhile.
asks_a_frozen_redis() {
	freeze_redis
	in_background "$CFLOCK" --ttl 20s "$name" touch "$work/ran"
	asker=$background
	pids+=("$asker")
	has_forked() { waiting=$(pgrep -P "$asker"); }
	wait_until has_forked
}

@test "guardian stopped before there is a lease: it goes on" {
	asks_a_frozen_redis
	kill -STOP "$waiting"
	thaw_redis
	wait "$asker"
	[ -e "$work/ran" ]
	nothing_left "$name"
}

@test "guardian killed before there is a lease: there is another" {
	asks_a_frozen_redis
	kill -KILL "$waiting"
	is_another() { has_forked && [ "$waiting" != "$killed" ]; }
	killed=$waiting
	wait_until is_another
	thaw_redis
	wait "$asker"
	[ -e "$work/ran" ]
	nothing_left "$name"
}

@test "cflock killed before there is a lease: so is its guardian, and nothing runs" {
	asks_a_frozen_redis
	kill -STOP "$waiting"
	kill -KILL "$asker"
	wait_gone "$waiting"
	thaw_redis
	rcli ping
	[ ! -e "$work/ran" ]
}

@test "a guardian that was held up until the lease was over kills at once" {
	in_background strace -qq -f -o /dev/null -e trace=close_range \
		-e inject=close_range:delay_enter=2000000 "$CFLOCK" --ttl 1s "$name" \
		bash -c 'trap "" TERM; touch "$0/ready"; while :; do sleep 0.02; done; exit 0' "$work" "marker-$name"
	pids+=("$background")
	wait_until test -e "$work/ready"
	freeze_redis
	code=0
	wait "$background" || code=$?
	[ "$code" = 79 ]
	[ -z "$(pgrep -f "marker-$name")" ]
	thaw_redis
	wait_until nothing_left "$name"
}
