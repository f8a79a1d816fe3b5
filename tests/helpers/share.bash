# Shared by the tests of -s, --slots and --cooldown, beside helpers/line: what
# runs by a tag, beside others, and is there until it is let go of.

# As in helpers/line; but only who is tagged w... must be alone, and beginnings
# and ends are in $work/running, as 1 and -1.
turn='exec 9>>"$work/witness"
	case $0 in w*) mode=-x ;; *) mode=-s ;; esac
	flock -n "$mode" 9 || echo "$0" >>"$work/overlaps"
	echo 1 >>"$work/running"
	echo "$0 ${EPOCHREALTIME/[.,]/} $CFLOCK_TOKEN $CFLOCK_ID" >>"$work/turns"
	while [ -e "$work/stay-$0" ]; do sleep 0.01; done
	echo -1 >>"$work/running"'

has_begun() {
	grep -q "^$1 " "$work/turns"
}

# stand TAG [OPTION]...: joins the line; once it has begun, it stays.
stand() {
	: >"$work/stay-$1"
	join "$@"
}

# hold TAG [OPTION]...: has begun, and stays until it is let go of.
hold() {
	: >"$work/stay-$1"
	start_waiter "$@"
	wait_until has_begun "$1"
	id_of[$1]=$(rcli --raw hgetall "$key:holders" |
		grep -B 1 "\"pid\":\"${waiter[$1]}\"" | head -n 1)
}

# let_go TAG...
let_go() {
	local tag

	for tag; do
		rm "$work/stay-$tag"
	done
	for tag; do
		ends_with "$tag" 0
	done
}

# granted TAG...: so far, that is the order in which they got it.  What starts
# together may begin in another.
granted() {
	local tags

	tags=$(sort -n -k 3 "$work/turns" | cut -d ' ' -f 1 | tr '\n' ' ')
	[ "$tags" = "$* " ] || fail "granted in this order: $tags"
}

waiting_are() {
	[ "$(rcli zcard "$key:line")" = "$1" ]
}

# Of the lease of one of several holders, by its id.
lease_left_ms() {
	rcli pttl "$key:lease:$1"
}

# has_less_than MS ID
has_less_than() {
	[ "$(lease_left_ms "$2")" -lt "$1" ]
}

is_over() {
	[ "$(lease_left_ms "$1")" = -2 ]
}

# When that lease ends, or a little before.
lease_end_us() {
	local now

	now=$(now_us)
	echo $((now + $(lease_left_ms "$1") * 1000 - 1000))
}

is_holder() {
	[ "$(rcli hexists "$key:holders" "$1")" = 1 ]
}

is_no_holder() {
	! is_holder "$1"
}

# vanish TAG: as if its host were gone.  cflock first, or it would release.
vanish() {
	local cflock=${waiter[$1]} guardian command

	guardian=$(guardian_of "$cflock")
	command=$(pgrep -P "$guardian")
	kill -KILL "$cflock" "$guardian"
	kill -KILL "$command" 2>/dev/null || true # the kernel may have done it
	wait_gone "$cflock"
	wait_gone "$command"
}

# not_run_now OPTION...: ends at once with -E's code, 1, and was not run.
not_run_now() {
	expect 1 "$CFLOCK" "$@" "$name" touch "$work/ran"
	took 0 2000
	[ ! -e "$work/ran" ]
}

# refuses TEXT... -- OPTION...: bad usage, that says so.
refuses() {
	local texts=()

	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	shift
	expect 64 "$CFLOCK" "$@" "$name" touch "$work/ran"
	says "${texts[@]}"
	took 0 2000
	[ ! -e "$work/ran" ]
}

# both_kinds FUNCTION: calls it with "-m 3" and with "-s" at the same time, on
# locks of their own.
both_kinds() {
	local kind cases=() pid

	for kind in "-m 3" -s; do
		(
			trap test_teardown EXIT
			name+=-${kind#-}
			name=${name// /}
			key="cflock:{$name}"
			work+=/${kind#-}
			mkdir "$work"
			: >"$work/turns"
			# shellcheck disable=SC2086 # words are wanted
			"$1" $kind
		) 3>&- &
		cases+=("$!")
	done
	for pid in "${cases[@]}"; do
		wait "$pid"
	done
}
