# Hundreds of hand-overs among contenders that are killed at random: no two run at
# once, nobody waits for a free lock, and each token is larger than the last.
#
# HANDOVERS=N: how many; SEED=N: of what is killed, and when.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts
load helpers/line

CONTENDERS=20

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	line_setup
	export CFLOCK seed=${SEED:-$RANDOM}
	handovers=${HANDOVERS:-150}
}

teardown() {
	: >"$work/stop"
	line_teardown
}

# What is run under the lock; $0, from 0 to 99, says who dies of it: cflock, the
# guardian, the command, or all of them.  It leaves its token.  What the kernel
# locks ends with the last of its processes, so two at once do not escape it.
# shellcheck disable=SC2089 # quotes are for the shell that runs it
run_of_one='
	exec 9>>"$work/witness"
	flock -n 9 || echo "$CFLOCK_TOKEN" >>"$work/overlaps"
	echo "$CFLOCK_TOKEN" >>"$work/tokens"
	while read -r name value; do
		[ "$name" = PPid: ] && break
	done <"/proc/$PPID/status"
	case $0 in
	0 | 1) kill -KILL "$value"; sleep 60 ;;
	2 | 3) kill -KILL "$PPID"; sleep 60 ;;
	4 | 5) kill -KILL $$ ;;
	# Without children: nobody would be left to end them.
	6 | 7) kill -KILL "$value" "$PPID" $$ ;;
	esac
	sleep 0.005'

# A contender, $0, asks for the lock again and again.  Sometimes it kills its
# cflock after a while: it waits by then, is being granted the lock, or runs.
contender='
	RANDOM=$((seed + $0))
	until [ -e "$work/stop" ]; do
		"$CFLOCK" -t 500ms "$name" sh -c "$run_of_one" $((RANDOM % 100)) &
		if [ $((RANDOM % 100)) -lt 2 ]; then
			sleep "0.$((RANDOM % 500 + 100))"
			kill -KILL $!
		fi
		wait $!
		echo $? >>"$work/codes"
	done'

# How it stands, as "ms is-locked length-of-the-line pid-of-the-first".
sample='
	local now = redis.call("TIME")
	local first = redis.call("ZRANGE", KEYS[2], 0, 0)[1]
	local who = first and redis.call("HGET", KEYS[3], first)
	return string.format("%d %d %d %s", now[1] * 1000 + math.floor(now[2] / 1000),
		redis.call("EXISTS", KEYS[1]), redis.call("ZCARD", KEYS[2]),
		who and cjson.decode(who).pid or "-")'

runs_so_far() {
	wc -l <"$work/tokens"
}

# A live head of the line takes a free lock at once; a dead one is passed by when
# it has been silent for 2.7 s.  It may have died a little after its turn came.
LIVE_MS=1000
DEAD_MS=4000

# watch_until RUNS: reads samples, until so many runs were begun.
watch_until() {
	local now locked length pid count=0 first='' since end=$((SECONDS + 60 + $1))

	longest_ms=0
	while read -r now locked length pid; do
		count=$((count + 1))
		if [ $((count % 20)) = 0 ]; then
			[ "$(runs_so_far)" -lt "$1" ] || return 0
			[ "$SECONDS" -lt "$end" ] || fail "only $(runs_so_far) runs"
		fi
		if [ "$locked" = 1 ] || [ "$length" = 0 ]; then
			first=
			continue
		fi
		if [ "$pid" != "$first" ]; then
			first=$pid
			since=$now
		fi
		[ $((now - since)) -le "$longest_ms" ] || longest_ms=$((now - since))
		[ $((now - since)) -le "$DEAD_MS" ] ||
			fail "free for $((now - since)) ms, behind the dead $pid"
		[ $((now - since)) -le "$LIVE_MS" ] || ! is_alive "$pid" ||
			fail "free for $((now - since)) ms, though $pid waits"
	done
	fail "no more samples"
}

@test "hand-overs with random kills: no overlap, no lost wake-up, growing tokens" {
	echo "# $handovers hand-overs among $CONTENDERS, seed $seed" >&3
	# shellcheck disable=SC2090
	export run_of_one
	: >"$work/tokens"
	for i in $(seq "$CONTENDERS"); do
		in_background bash -c "$contender" "$i" 2>>"$work/stderr"
		pids+=("$background")
	done
	contenders=("${pids[@]}")
	exec 7< <(exec redis-cli -s "$REDIS_SOCKET" --raw -r -1 -i 0.02 eval "$sample" 3 \
		"$key" "$key:line" "$key:waiters" 3>&-)
	pids+=("$!")
	watch_until "$handovers" <&7
	: >"$work/stop"
	wait "${contenders[@]}"

	echo "# longest time for which it was free while others waited: $longest_ms ms;" \
		"exit codes: $(sort "$work/codes" | uniq -c | tr -s ' \n' ' ')" >&3
	no_overlap
	[ "$(cat "$work/tokens")" = "$(sort -nu "$work/tokens")" ]
	# Ended; killed; not guarded any more, or the lease was lost on a busy machine; or
	# the server did not answer there within the 500 ms of a ttl, which is to be rare.
	run ! grep -vE '^(0|137|79|69)$' "$work/codes"
	within 0 "$(grep -c '^69$' "$work/codes" || true)" $((handovers / 50)) "times unreachable"

	# Whatever the dead have left: it can be had, and nothing stays.
	"$CFLOCK" -w 20 "$name" true
	wait_until nothing_left "$name"
}
