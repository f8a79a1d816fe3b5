# Signals to cflock, in each of its phases: connecting, waiting, between grant
# and start, running, releasing.

load helpers

setup_file() {
	use_redis
	use_helper recorder
}

teardown_file() {
	drop_redis
}

setup() {
	name=$(lock_name)
	work=$BATS_TEST_TMPDIR
	# Stands in the command lines of all processes of a test.
	marker=9$RANDOM.$RANDOM$BATS_TEST_NUMBER
}

teardown() {
	thaw_redis
	pkill -KILL -f "sleep $marker" || true
	[ -z "${cflock:-}" ] || kill -KILL "$cflock" 2>/dev/null || true
}

# What a shell starts in the background ignores INT and QUIT.
as_in_foreground=(setsid env --default-signal=INT --default-signal=QUIT)

# start ARGUMENT...: cflock in the background, without a terminal; $cflock.
start() {
	"${as_in_foreground[@]}" "$CFLOCK" "$@" </dev/null >>"$work/out" 2>>"$work/err" 3>&- &
	cflock=$!
}

# As start, but $work/status will say how it ended: "exit N" or "signal N".
start_watched() {
	rm -f "$work/status" "$work/status.pid"
	env --default-signal=INT,QUIT python3 "$BATS_TEST_DIRNAME/helpers/wait_status.py" \
		"$work/status" "$CFLOCK" "$@" </dev/null >>"$work/out" 2>>"$work/err" 3>&- &
	watcher=$!
	wait_until [ -s "$work/status.pid" ]
	cflock=$(cat "$work/status.pid")
}

status_is() {
	wait "$watcher"
	[ "$(cat "$work/status")" = "$1" ] || fail "$(cat "$work/status"), not $1"
}

exits_with() {
	local code=0

	wait_gone "$cflock"
	wait "$cflock" || code=$?
	[ "$code" = "$1" ] || fail "exit code $code, not $1: $(cat "$work/err")"
}

is_sleeping() {
	[ "$(state_of "$1")" = S ]
}

is_stopped() {
	[ "$(state_of "$1")" = T ]
}

# Its request is under way, and it waits for the answer.
is_connecting() {
	[ -n "$(find "/proc/$1/fd" -lname 'socket:*')" ] && is_sleeping "$1"
}

# It has been told that another holds the lock.
is_waiting() {
	rcli client list | grep -q 'cmd=eval' && is_connecting "$1"
}

# It was locked at some time: only a grant leaves a token.
was_granted() {
	[ "$(rcli exists "cflock:{$1}:token")" = 1 ]
}

no_process_left() {
	local left

	left=$(pgrep -af "sleep $marker" || true)
	[ -z "$left" ] || fail "left behind: $left"
}

# running COMMAND-NAME: the pid of the command below $cflock in $command.
wait_running() {
	wait_until command_runs "$1"
	command=$(pgrep -P "$(guardian_of "$cflock")" -x "$1")
}

command_runs() {
	pgrep -P "$(guardian_of "$cflock")" -x "$1"
}

signals=(TERM INT HUP QUIT USR1)

@test "connecting: it dies of the signal, and the lock is not left taken" {
	local signal

	# So that the server knows the script: the first request is a grant.
	"$CFLOCK" "$name" true
	for signal in "${signals[@]}"; do
		freeze_redis
		start_watched --ttl 60s "$name-$signal" touch "$work/ran"
		wait_until is_connecting "$cflock"
		kill "-$signal" "$cflock"
		status_is "signal $(kill -l "$signal")"
		thaw_redis
		# The request is carried out late, and so is its withdrawal.
		wait_until was_granted "$name-$signal"
		wait_until nothing_left "$name-$signal"
		[ ! -e "$work/ran" ]
	done
	no_process_left
}

@test "waiting: it dies of the signal, and the holder keeps the lock" {
	local signal

	rcli set "cflock:{$name}" other
	for signal in "${signals[@]}"; do
		start_watched "$name" touch "$work/ran"
		wait_until is_waiting "$cflock"
		kill "-$signal" "$cflock"
		status_is "signal $(kill -l "$signal")"
		[ "$(rcli get "cflock:{$name}")" = other ]
	done
	rcli del "cflock:{$name}"
	nothing_left "$name"
	[ ! -e "$work/ran" ]
	[ ! -s "$work/err" ]
}

@test "waiting: WINCH, CONT, URG and CHLD mean nothing" {
	local signal

	rcli set "cflock:{$name}" other
	start "$name" sh -c 'exit 31'
	wait_until is_waiting "$cflock"
	for signal in WINCH CONT URG CHLD; do
		kill "-$signal" "$cflock"
	done
	rcli del "cflock:{$name}"
	exits_with 31
}

@test "waiting: TSTP stops it, and CONT lets it wait on" {
	rcli set "cflock:{$name}" other
	start "$name" sh -c 'exit 32'
	wait_until is_waiting "$cflock"
	kill -TSTP "$cflock"
	wait_until is_stopped "$cflock"
	rcli del "cflock:{$name}"
	is_stopped "$cflock"
	kill -CONT "$cflock"
	exits_with 32
	nothing_left "$name"
}

@test "running: a signal ends the command, then cflock, with 128+n" {
	local signal

	for signal in "${signals[@]}"; do
		start "$name" sleep "$marker"
		wait_running sleep
		kill "-$signal" "$cflock"
		exits_with $((128 + $(kill -l "$signal")))
		no_process_left
		nothing_left "$name"
	done
	[ ! -s "$work/err" ]
}

@test "running: what the command makes of a signal is its own affair" {
	start "$name" bash -c 'trap "exit 33" TERM
		touch "$0/ready"
		while :; do sleep 0.01; done' "$work"
	wait_until [ -e "$work/ready" ]
	kill -TERM "$cflock"
	exits_with 33
}

@test "running: cflock stays as long as a command that ignores the signal" {
	start "$name" "$recorder" "$work/got"
	wait_until grep -q ready "$work/got"
	for signal in "${signals[@]}"; do
		kill "-$signal" "$cflock"
		wait_until grep -qx "$(kill -l "$signal")" "$work/got"
	done
	is_alive "$cflock"
	is_locked "$name"
	kill -RTMAX "$cflock"
	exits_with 44
	nothing_left "$name"
}

@test "each signal that can be passed on reaches the command, once" {
	local number

	start "$name" "$recorder" "$work/got"
	echo ready >"$work/sent"
	wait_until cmp "$work/sent" "$work/got"
	for number in 1 2 3 10 12 14 15 16 18 {20..30} {34..64}; do
		kill "-$number" "$cflock"
		echo "$number" >>"$work/sent"
		# One by one: CONT and the stop signals take each other back.
		wait_until grep -qx "$number" "$work/got"
	done
	exits_with 44
	diff "$work/sent" "$work/got"
}

@test "all at once, they reach the command, too" {
	local number

	start "$name" "$recorder" "$work/got"
	wait_until grep -q ready "$work/got"
	for number in 1 2 3 10 12 14 15 28 {34..64}; do
		echo "$number" >>"$work/sent"
	done
	xargs -n 1 sh -c 'kill -$1 $0' "$cflock" <"$work/sent"
	exits_with 44
	diff "$work/sent" <(sed 1d "$work/got" | sort -n)
}

@test "SIGINT twice reaches the command twice" {
	start "$name" "$recorder" "$work/got"
	wait_until grep -q ready "$work/got"
	kill -INT "$cflock"
	wait_until count_is 2 1
	kill -INT "$cflock"
	wait_until count_is 2 2
	kill -RTMAX "$cflock"
	exits_with 44
	[ "$(tr '\n' ' ' <"$work/got")" = "ready 2 2 64 " ]
}

# count_is SIGNAL N
count_is() {
	[ "$(grep -cx "$1" "$work/got")" = "$2" ]
}

@test "SIGINT twice in a row ends the command, and the lock, cleanly" {
	start "$name" sleep "$marker"
	wait_running sleep
	kill -INT "$cflock"
	kill -INT "$cflock" || true
	exits_with 130
	no_process_left
	nothing_left "$name"
	[ ! -s "$work/err" ]
}

@test "TERM at any time after the start: 143, no orphan, lock free" {
	local i us

	for ((i = 0; i < 200; i++)); do
		us=$((RANDOM % 5000))
		start "$name" sleep "$marker"
		sleep "0.$(printf %06d "$us")"
		kill -TERM "$cflock"
		exits_with 143
		[ "$(rcli exists "cflock:{$name}")" = 0 ]
	done
	no_process_left
	nothing_left "$name"
	[ ! -s "$work/err" ] || fail "$(cat "$work/err")"
}

@test "releasing: a signal changes nothing, and the lock is freed" {
	local signal
	local -A pids

	for signal in "${signals[@]}"; do
		mkfifo "$work/end-$signal"
		start --ttl 60s "$name-$signal" bash -c 'echo >"$1"; read -r _ <"$0"; exit 35' \
			"$work/end-$signal" "$work/ready-$signal"
		pids[$signal]=$cflock
	done
	for signal in "${signals[@]}"; do
		wait_until [ -e "$work/ready-$signal" ]
	done
	freeze_redis
	for signal in "${signals[@]}"; do
		echo >"$work/end-$signal"
	done
	for signal in "${signals[@]}"; do
		wait_until has_no_guardian "${pids[$signal]}"
		kill "-$signal" "${pids[$signal]}"
		is_alive "${pids[$signal]}"
	done
	thaw_redis
	for signal in "${signals[@]}"; do
		cflock=${pids[$signal]}
		exits_with 35
		nothing_left "$name-$signal"
	done
}

has_no_guardian() {
	! is_alive "$(guardian_of "$1")"
}

@test "releasing: a server that does not answer is not waited for long" {
	start --ttl 60s "$name" sh -c "kill -STOP $(redis_pid); exit 36"
	local begun_ms
	begun_ms=$(now_ms)
	wait_until has_no_guardian "$cflock"
	exits_with 36
	[ $(($(now_ms) - begun_ms)) -lt 10000 ]
	grep -q 'cannot release the lock, it ends by itself in ' "$work/err"
	thaw_redis
	wait_until nothing_left "$name"
}

@test "TSTP stops the command, and the lease is not kept for it" {
	start --ttl 1s "$name" sleep "$marker"
	wait_running sleep
	kill -TSTP "$cflock"
	wait_until is_stopped "$command"
	exits_with 79
	grep -q 'stopped' "$work/err"
	no_process_left
	nothing_left "$name"
}

@test "TSTP and CONT in time: the command goes on, with its lease" {
	stop_and_go -TSTP '$cflock' -CONT '$cflock'
}

@test "a command that is stopped and continued in time keeps its lease" {
	stop_and_go -STOP '$command' -CONT '$command'
}

# stop_and_go SIGNAL PID SIGNAL PID
stop_and_go() {
	local token

	start --ttl 2s "$name" sleep "$marker"
	wait_running sleep
	token=$(rcli get "cflock:{$name}")
	kill "$1" "$(eval "echo $2")"
	wait_until is_stopped "$command"
	kill "$3" "$(eval "echo $4")"
	wait_until is_sleeping "$command"
	# Longer than the lease that it was stopped in.
	sleep 2.1
	is_alive "$command"
	[ "$(rcli get "cflock:{$name}")" = "$token" ]
	kill -TERM "$cflock"
	exits_with 143
	[ ! -s "$work/err" ] || fail "$(cat "$work/err")"
}

@test "a command that stays stopped is killed, and cflock says 79" {
	start --ttl 1s "$name" sleep "$marker"
	wait_running sleep
	kill -STOP "$command"
	exits_with 79
	no_process_left
	nothing_left "$name"
}

@test "CONT does not continue what has lost its lease" {
	start --ttl 4s "$name" "$recorder" "$work/got"
	wait_until grep -q ready "$work/got"
	command=$(pgrep -P "$(guardian_of "$cflock")")
	kill -STOP "$command"
	# With the stop signal the guardian continues it, to let it clean up.
	wait_until count_is 18 1
	count_is 15 1
	grep -q 'lease is lost' "$work/err"
	kill -STOP "$command" || true
	wait_until is_stopped_or_dead "$command"
	kill -CONT "$cflock"
	exits_with 79
	count_is 18 1
}

is_stopped_or_dead() {
	is_stopped "$1" || ! is_alive "$1"
}
