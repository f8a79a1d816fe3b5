# Shared by the tests of the line and of taking over, beside helpers/scripts:
# waiters that leave a stamp when it is their turn.

# What a waiter runs, with its tag as $0: one line in $work/turns, "tag time-in-us
# token id"; then it goes on for as long as there is $work/stay-TAG.  What the kernel
# locks ends with the last process of the command, so no two runs escape it.
turn='exec 9>>"$work/witness"
	flock -n 9 || echo "$0" >>"$work/overlaps"
	echo "$0 ${EPOCHREALTIME/[.,]/} $CFLOCK_TOKEN $CFLOCK_ID" >>"$work/turns"
	while [ -e "$work/stay-$0" ]; do sleep 0.01; done'

# How long a busy machine may take for what is due at once.  A waiter that was
# forgotten would look by itself after 1.2 s only.
LATE_US=600000

# As test_setup; the pids and ids of the waiters, by tag, in $waiter and $id_of.
line_setup() {
	test_setup
	: >"$work/turns"
	declare -gA waiter=() id_of=()
}

line_teardown() {
	thaw_redis
	test_teardown
	# So that the shell does not tell of each that was killed.
	wait "${pids[@]}" 2>/dev/null || true
}

# use_lock WHICH: $name, $key and $work are those of another lock of this test,
# so that several can wait at the same time.
use_lock() {
	name=$(lock_name)-$1
	key="cflock:{$name}"
	work=$REDIS_DIR/work-$name
	mkdir -p "$work"
	touch "$work/turns"
}

# start_waiter TAG [OPTION]...: in the background.
start_waiter() {
	local tag=$1

	shift
	# What a shell starts in the background ignores INT.
	in_background env --default-signal=INT "$CFLOCK" "$@" "$name" \
		bash -c "$turn" "$tag" 2>>"$work/stderr-$tag"
	pids+=("$background")
	waiter[$tag]=$background
}

# remember TAG: its id, when it stands in the line.
remember() {
	id_of[$1]=$(rcli --raw hgetall "$key:waiters" |
		grep -B 1 "\"pid\":\"${waiter[$1]}\"" | head -n 1)
	[ "${id_of[$1]}" ]
}

# join TAG [OPTION]...: as start_waiter; returns when it stands in the line.
join() {
	start_waiter "$@"
	wait_until remember "$1"
}

kill_waiter() {
	kill -KILL "${waiter[$1]}" 2>/dev/null || true
	wait "${waiter[$1]}" 2>/dev/null || true
}

# line_is TAG...: these are waiting, in that order.
line_is() {
	local tag ids=()

	for tag; do
		ids+=("${id_of[$tag]}")
	done
	[ "$(rcli --raw zrange "$key:line" 0 -1 | tr '\n' ' ')" = "${ids[*]}${ids:+ }" ]
}

turns_taken() {
	[ "$(wc -l <"$work/turns")" -ge "$1" ]
}

# ran TAG...: waits until these have had their turns: in that order, no two at
# once, each with a larger token than the one before.
ran() {
	local tags tokens

	wait_until turns_taken $#
	no_overlap
	tags=$(cut -d ' ' -f 1 "$work/turns" | tr '\n' ' ')
	[ "$tags" = "$* " ] || fail "ran in the order $tags"
	tokens=$(cut -d ' ' -f 3 "$work/turns")
	[ "$tokens" = "$(sort -nu <<<"$tokens")" ] || fail "the tokens do not grow: $tokens"
}

no_overlap() {
	[ ! -e "$work/overlaps" ] || fail "two at once: $(cat "$work/overlaps")"
}

did_not_run() {
	run ! grep "^$1 " "$work/turns"
}

# Of the turn of TAG, in us: when its command began, and when it was granted or
# taken over by the server's clock, which the token tells.
begun_us() {
	sed -n "s/^$1 \([0-9]*\) .*/\1/p" "$work/turns"
}

granted_us() {
	sed -n "s/^$1 [0-9]* \([0-9]*\) .*/\1/p" "$work/turns"
}

now_us() {
	echo "${EPOCHREALTIME/[.,]/}"
}

# median NUMBER...: of an odd count.
median() {
	printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"
}

# ends_with TAG CODE
ends_with() {
	local code=0

	wait_gone "${waiter[$1]}"
	wait "${waiter[$1]}" || code=$?
	[ "$code" = "$2" ] || fail "exit code $code of $1, not $2: $(cat "$work/stderr-$1")"
}

# No key tells of the waiter TAG any more.
is_forgotten() {
	local id=${id_of[$1]}

	[ -z "$(rcli --raw zscore "$key:line" "$id")" ] || fail "$1 is in the line"
	[ -z "$(rcli --raw zscore "$key:beats" "$id")" ] || fail "$1 has a sign of life"
	[ "$(rcli hexists "$key:waiters" "$id")" = 0 ] || fail "$1 is described as waiting"
	[ "$(rcli hexists "$key:holders" "$id")" = 0 ] || fail "$1 is a holder"
	[ -z "$(rcli --raw keys "*$id*")" ] || fail "$1 has a key of its own"
}

# When the lease ends under which the lock is held, by the server's clock.
lease_end_us() {
	rcli --raw eval 'local now = redis.call("TIME")
		local end_ms = now[1] * 1000 + math.floor(now[2] / 1000) + redis.call("PTTL", KEYS[1])
		return string.format("%.0f", end_ms * 1000)' 1 "$key"
}

# at_once CALL...: one after the other, and nothing between them.  A CALL is a
# command of Redis, or a script as `call_of` writes it.
at_once() {
	printf '%s\n' multi "$@" exec | rcli --raw
}

# call_of NAME ARG...: for at_once.  The arguments are those of the script.
call_of() {
	local sha

	sha=$(script_text "$1" | rcli -x script load)
	shift
	printf 'evalsha %s 8' "$sha"
	printf ' "%s"' "$key" "$key:token" "$key:holders" "$key:line" "$key:beats" \
		"$key:waiters" "$key:cooldown" cflock:epoch "$@"
}
