# The guardian, and what becomes of the tree when cflock or it is killed or
# stopped.

bats_require_minimum_version 1.5.0
load helpers
load helpers/tree

setup_file() {
	use_redis
	use_helper forker
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

is_stopped() {
	[ "$(state_of "$1")" = T ]
}

is_going() {
	[ "$(state_of "$1")" != T ]
}

# When the lease ends, in ms of the server's clock.
lease_end_ms() {
	rcli --raw eval 'local now = redis.call("TIME")
		return now[1] * 1000 + math.floor(now[2] / 1000) + redis.call("PTTL", KEYS[1])' \
		1 "cflock:{$name}"
}

@test "the guardian: its name, its group, four descriptors of its own" {
	exec 5>"$work/five" 6</dev/null 77>"$work/seventy-seven"
	start 'touch "$0/ready"; '"$forever"
	exec 5>&- 6>&- 77>&-
	wait_ready
	[ "$(cat "/proc/$guardian/comm")" = lease-guardian ]
	wait_until has_four_descriptors
	[ "$(find "/proc/$guardian/fd" -lname 'socket:*' | wc -l)" = 1 ]
	[ "$(find "/proc/$guardian/fd" -lname '*signalfd*' | wc -l)" = 1 ]
	[ "$(find "/proc/$guardian/fd" -lname '*timerfd*' | wc -l)" = 1 ]
	[ "$(find "/proc/$guardian/fd" -lname '*/children' | wc -l)" = 1 ]
	[ "$(ps -o pgid= -p "$guardian" | tr -d ' ')" = "$guardian" ]
	kill -TERM "$cflock"
	exits_with 143
}

has_four_descriptors() {
	[ "$(find "/proc/$guardian/fd" -mindepth 1 | wc -l)" = 4 ]
}

# How often all threads of cflock and guardian gave up the processor.
switches() {
	cat /proc/{"$cflock","$guardian"}/task/*/status |
		awk '$1 == "voluntary_ctxt_switches:" { n += $2 } END { print n }'
}

@test "between renewals nothing is woken" {
	local before=-1 now

	start 'touch "$0/ready"; exec sleep 60' --ttl 60s
	wait_ready
	now=$(switches)
	while [ "$now" != "$before" ]; do
		before=$now
		sleep 0.2
		now=$(switches)
	done
	sleep 1.5
	[ "$(switches)" = "$now" ]
	kill -TERM "$cflock"
	exits_with 143
}

@test "a renewal wakes each of guardian and cflock a few times" {
	local before

	start 'touch "$0/ready"; exec sleep 60' --ttl 2s
	wait_ready
	before=$(switches)
	# Five renewals, one each 400 ms.
	sleep 2
	[ $(($(switches) - before)) -le 24 ] || fail "$(($(switches) - before))"
	[ $(($(switches) - before)) -ge 5 ]
	kill -TERM "$cflock"
	exits_with 143
}

@test "cflock killed: the tree ends at once, a daemon, too" {
	start "$daemon"' wait; exec sleep 60' --ttl 60s
	wait_ready
	killed_ms=$(now_ms)
	kill -KILL "$cflock"
	wait_dead
	wait_gone "$guardian"
	was_dead_before $((killed_ms + 10000))
	[ -z "$(pgrep -f "daemon-$marker")" ]
	exits_with 137
}

@test "cflock killed: the tree gets time to clean up, and no more" {
	start 'trap "echo TERM >>\"\$0/seen\"" TERM; touch "$0/ready"; '"$forever" --ttl 2s
	wait_ready
	kill -KILL "$cflock"
	end_ms=$(lease_end_ms)
	wait_dead
	was_dead_before "$end_ms"
	[ "$(cat "$work/seen")" = TERM ]
	wait_gone "$guardian"
}

@test "cflock's whole process group killed: the tree ends" {
	start "$daemon"' wait; '"$forever" --ttl 60s
	wait_ready
	killed_ms=$(now_ms)
	kill -KILL -- "-$cflock"
	wait_dead
	was_dead_before $((killed_ms + 10000))
	wait_gone "$guardian"
}

@test "cflock stopped: the tree is dead before the lease is over; 79 after CONT" {
	local script

	for script in "$forever" "trap '' TERM; $forever" "$daemon wait; $forever"; do
		renew_tree_watch
		start 'touch "$0/ready"; '"$script" --ttl 1s
		wait_ready
		kill -STOP "$cflock"
		wait_until is_stopped "$cflock"
		end_ms=$(lease_end_ms)
		wait_dead
		was_dead_before "$end_ms"
		wait_until not_locked "$name"
		kill -CONT "$cflock"
		exits_with 79
		nothing_left "$name"
	done
	[ "$(grep -c 'the lease is lost' "$work/err")" = 3 ]
}

not_locked() {
	! is_locked "$1"
}

@test "cflock stopped for a moment keeps its lease" {
	start 'touch "$0/ready"; exec sleep 60' --ttl 2s
	wait_ready
	kill -STOP "$cflock"
	wait_until is_stopped "$cflock"
	kill -CONT "$cflock"
	sleep 2.1
	is_locked "$name"
	kill -TERM "$cflock"
	exits_with 143
	[ ! -s "$work/err" ]
}

@test "guardian killed: the tree is killed, the lock released, 79" {
	start "trap '' TERM; $daemon"' wait; '"$forever" --ttl 60s
	wait_ready
	killed_ms=$(now_ms)
	kill -KILL "$guardian"
	exits_with 79
	wait_dead
	was_dead_before $((killed_ms + 10000))
	grep -q 'the guardian process was killed; the command was stopped' "$work/err"
	[ -z "$(pgrep -f "daemon-$marker")" ]
	nothing_left "$name"
}

@test "guardian killed in the midst of a forking tree: all of it is killed" {
	local kind

	for kind in 'churn 8' spawn; do
		renew_tree_watch
		start "exec $forker $kind \$0/ready" --ttl 60s
		wait_ready
		kill -KILL "$guardian"
		exits_with 79
		wait_dead
		no_forker_left
		nothing_left "$name"
	done
}

@test "guardian and cflock killed: the command itself is dead" {
	start 'touch "$0/ready"; exec sleep 60' --ttl 60s
	wait_ready
	kill -KILL "$cflock" "$guardian"
	wait_dead
}

@test "guardian stopped: it is continued at once" {
	start 'touch "$0/ready"; exec sleep 60' --ttl 2s
	wait_ready
	for _ in {1..20}; do
		kill -STOP "$guardian"
		wait_until is_going "$guardian"
	done
	is_locked "$name"
	kill -TERM "$cflock"
	exits_with 143
	[ ! -s "$work/err" ]
}

@test "children that the shell had before exec are not touched" {
	local kind

	for kind in end kill; do
		rm -f "$work"/{ready,end}
		mkfifo "$work/end"
		sh -c 'sleep "$2" 9>&- & echo $! >"$1/stranger"; shift 2; exec "$@"' - \
			"$work" "$marker" "$CFLOCK" "$name" \
			bash -c 'touch "$0/ready"; read -r _ <"$0/end"; exit 21' "$work" \
			</dev/null 2>>"$work/err" 3>&- &
		cflock=$!
		wait_ready
		if [ "$kind" = kill ]; then
			kill -KILL "$guardian"
			exits_with 79
		else
			echo >"$work/end"
			exits_with 21
		fi
		is_alive "$(cat "$work/stranger")"
		kill -KILL "$(cat "$work/stranger")"
	done
}

@test "the guardian leaves no zombies" {
	mkfifo "$work/end"
	start 'for i in 1 2 3 4 5 6 7 8; do (setsid sleep 0.0$i &) & done; wait
		touch "$0/ready"; read -r _ <"$0/end"; exit 3'
	wait_ready
	wait_until only_command_left
	echo >"$work/end"
	exits_with 3
}

only_command_left() {
	[ "$(pgrep -P "$guardian" | wc -l)" = 1 ]
}

@test "the lock is kept until all that the command started has ended" {
	mkfifo "$work/end"
	start '(setsid bash -c "touch \$0/ready; read -r _ <\$0/end" "$0" &) & exit 5' --ttl 1s
	wait_ready
	wait_until has_no_command
	sleep 1.5
	is_alive "$cflock"
	is_locked "$name"
	echo >"$work/end"
	exits_with 5
	wait_dead
	nothing_left "$name"
}

# The bash that cflock started, with the script in its arguments, has ended.
has_no_command() {
	[ -z "$(pgrep -P "$guardian" -f 'exec 9>')" ]
}

@test "with -o until the command itself has ended" {
	mkfifo "$work/end"
	start '(setsid bash -c "touch \$0/ready; read -r _ <\$0/end" "$0" &) & exit 6' -o
	exits_with 6
	nothing_left "$name"
	wait_until [ -e "$work/ready" ]
	[ ! -e "$work/dead" ]
	echo >"$work/end"
	wait_dead
}

# Of an ordinary user, who may not kill what has become root, in $open, where
# the command has "root", which makes it so, and is to leave "ready".  Leaves
# $cflock, and its words in $open/err.
start_as_nobody() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	open=$(mktemp -d "$REDIS_DIR/open.XXXXXX")
	chmod 755 "$REDIS_DIR"
	chmod 777 "$REDIS_DIR/redis.sock" "$open"
	cp "$CFLOCK" "$open/cflock"
	cp "$(command -v setpriv)" "$open/root"
	chmod 4755 "$open/root"
	as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	[ "$("${as_nobody[@]}" "$open/root" --reuid=0 id -ru)" = 0 ] ||
		skip "no set-user-id programs here"
	in_background "${as_nobody[@]}" "$open/cflock" -t 3s "$name" sh -c "$1" "$open" \
		2>"$open/err"
	cflock=$background
	pids+=("$cflock")
	wait_until test -e "$open/ready"
}

# A process of root's that lives for 4.5 s, beside one that does not.
unkillable='"$0/root" --reuid=0 sh -c "echo \$\$ >\"\$0/pid\"; touch \"\$0/ready\"; exec sleep 4.5" "$0" &
	sleep 60'

@test "what may not be killed: told, and waited for" {
	start_as_nobody "$unkillable"
	rcli del "cflock:{$name}"
	exits_with 79
	grep -q "1 processes of the command may not be killed" "$open/err"
	run ! is_alive "$(cat "$open/pid")"
}

@test "guardian killed before the first renewal: the lock is kept until the last has ended" {
	start_as_nobody "$unkillable"
	kill -KILL "$(guardian_of "$cflock")"
	root=$(cat "$open/pid")
	while is_alive "$root"; do
		is_locked "$name" || ! is_alive "$root" || fail "the lock is free, and $root runs"
		sleep 0.05
	done
	exits_with 79
	grep -q "the guardian process was killed" "$open/err"
	nothing_left "$name"
}
