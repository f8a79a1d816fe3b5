# Those who wait: first come, first served; and what dead, stopped and leaving
# waiters, other clients and a failing server do to the others in the line.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts
load helpers/line

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	line_setup
}

teardown() {
	line_teardown
}

# A waiter is silent for 2.7 s before the others pass it by; and it takes them
# some time to see that.
SILENCE_US=3000000

# let_go_of HOLDER: releases a lock that was taken by hand; $released_us.
let_go_of() {
	released_us=$(now_us)
	[ "$(release_as "$1")" = 1 ]
}

# granted_within TAG US: counted from $released_us.
granted_within() {
	within 0 $(($(granted_us "$1") - released_us)) "$2" "us from the release to the turn of $1"
}

# leaves TAG CODE: it has ended with that, and is forgotten.
leaves() {
	ends_with "$1" "$2"
	is_forgotten "$1"
}

@test "ten waiters run in the order in which they came" {
	acquire_as holder
	for tag in 0 1 2 3 4 5 6 7 8 9; do
		join "$tag"
	done
	line_is 0 1 2 3 4 5 6 7 8 9
	[ ! -s "$work/turns" ]
	let_go_of holder
	ran 0 1 2 3 4 5 6 7 8 9
	for tag in 0 1 2 3 4 5 6 7 8 9; do
		ends_with "$tag" 0
	done
	nothing_left "$name"
}

@test "a newcomer at the very moment of the release does not overtake" {
	acquire_as holder
	join first
	mapfile -t answer < <(at_once "$(call_of release holder '')" \
		"$(call_of acquire eager 60000 24000 exclusive '' 0 '' '' host 1 user command '')" \
		"$(call_of acquire newcomer 60000 24000 exclusive wait 0 '' '' host 1 user command '')")
	echo "${answer[*]}"
	[[ "${answer[*]}" =~ "QUEUED 1 0 line "[0-9]+" "[01]" 0 1 ".*" 0 line "[0-9]+" "[01]" 2 2 " ]]
	ran first
	[ "$(release_as newcomer)" = 0 ]
	nothing_left "$name"
}

@test "who leaves gives its place up at once: SIGTERM, SIGINT, the end of -w" {
	acquire_as holder
	join head
	join a
	join b
	join c -w 1
	join last
	kill -TERM "${waiter[a]}"
	leaves a 143
	kill -INT "${waiter[b]}"
	leaves b 130
	leaves c 1
	line_is head last
	kill -TERM "${waiter[head]}"
	leaves head 143
	line_is last
	kill -INT "${waiter[last]}"
	leaves last 130
	[ ! -s "$work/turns" ]
	[ "$(rcli --raw keys "$key:*" | sort | tr '\n' ' ')" = "$key:holders $key:token " ]
	let_go_of holder
	nothing_left "$name"
}

# The head watches a client that never says when it is done; the others do not.
@test "when the head leaves, the next takes over its watch at once" {
	for way in TERM INT wait; do
		rcli set "$key" somebody PX 60000
		: >"$work/turns"
		case $way in
		wait) join head -w 0.5 ;;
		*) join head ;;
		esac
		join next
		case $way in
		wait) leaves head 1 ;;
		TERM) kill -TERM "${waiter[head]}"; leaves head 143 ;;
		INT) kill -INT "${waiter[head]}"; leaves head 130 ;;
		esac
		line_is next
		released_us=$(now_us)
		rcli del "$key"
		ran next
		granted_within next "$LATE_US"
		ends_with next 0
		nothing_left "$name"
	done
}

@test "who was woken, and leaves instead, wakes the next" {
	for signal in TERM INT; do
		acquire_as holder
		: >"$work/turns"
		join head
		join next
		join after
		kill -STOP "${waiter[head]}"
		let_go_of holder
		kill -"$signal" "${waiter[head]}"
		# What counts now is the time from here.
		released_us=$(now_us)
		kill -CONT "${waiter[head]}"
		ran next after
		granted_within next "$LATE_US"
		granted_within after "$LATE_US"
		wait_gone "${waiter[head]}"
		is_forgotten head
		nothing_left "$name"
	done
}

# Each on a lock of its own, at the same time.  The last of them is killed
# between its being woken and its answer.
@test "dead and stopped ones at the head delay the others by at most 3 s in all" {
	declare -A released
	for which in killed stopped woken five; do
		use_lock "$which"
		acquire_as holder
		join "$which"
		[ "$which" != five ] || for tag in 2 3 4 5; do join "$tag"; done
		join "next-$which"
		join "after-$which"
		: >"$work/stay-after-$which"
		case $which in
		killed) kill_waiter killed ;;
		stopped | woken) kill -STOP "${waiter[$which]}" ;;
		five)
			for tag in five 3 4; do kill_waiter "$tag"; done
			kill -STOP "${waiter[2]}" "${waiter[5]}"
			;;
		esac
		let_go_of holder
		released[$which]=$released_us
		[ "$which" != woken ] || kill_waiter woken
	done
	for which in killed stopped woken five; do
		use_lock "$which"
		released_us=${released[$which]}
		ran "next-$which" "after-$which"
		echo "$which: $(($(granted_us "next-$which") - released_us)) us"
		granted_within "next-$which" "$SILENCE_US"
		granted_within "after-$which" "$SILENCE_US"
		wait_until is_forgotten "$which"
	done

	# The stopped ones come back behind all others, one after the other.
	use_lock stopped
	join last
	kill -CONT "${waiter[stopped]}"
	wait_until remember stopped
	line_is last stopped
	rm "$work/stay-after-stopped"
	ran next-stopped after-stopped last stopped
	use_lock five
	kill -CONT "${waiter[5]}"
	wait_until remember 5
	kill -CONT "${waiter[2]}"
	wait_until remember 2
	line_is 5 2
	rm "$work/stay-after-five"
	ran next-five after-five 5 2
	for which in killed stopped woken five; do
		use_lock "$which"
		rm -f "$work/stay-after-$which"
		wait_until nothing_left "$name"
	done
}

@test "a dead one that was the only one delays a newcomer, or -n, by at most 3 s" {
	use_lock newcomer
	acquire_as holder
	join dead
	kill_waiter dead
	let_go_of holder
	start_waiter newcomer

	# At the same time, one whose last sign of life is long past.
	use_lock none
	acquire_as holder
	acquire_as dead 60000 24000 exclusive wait
	rcli zadd "$key:beats" 1 dead
	begun_us=$(now_us)
	[ "$(release_as holder)" = 1 ]
	wait_until "$CFLOCK" -n "$name" true
	within 0 $(($(now_us) - begun_us)) 3500000 "us until -n succeeds"
	nothing_left "$name"

	use_lock newcomer
	ran newcomer
	granted_within newcomer "$SILENCE_US"
	wait_until nothing_left "$name"
}

# The next had looked when the dead one was not the first yet.
@test "who finds a dead one at the head wakes the next" {
	calls=("$(call_of release holder '')" "$(call_of release front '')" "zadd $key:beats 1 dead"
		"$(call_of acquire newcomer 60000 24000 exclusive wait 0 '' '' host 1 user command '')")
	acquire_as holder
	acquire_as front 60000 24000 exclusive wait
	acquire_as dead 60000 24000 exclusive wait
	# Not silent before their time.
	rcli zadd "$key:beats" 9000000000000 front 9000000000000 dead
	join next
	released_us=$(now_us)
	mapfile -t answer < <(at_once "${calls[@]}")
	[[ ${answer[*]} == *"QUEUED 1 0 0 0 line "* ]]
	ran next
	granted_within next "$LATE_US"
}

@test "a stopped waiter that is continued in time keeps its place" {
	acquire_as holder
	join stopped
	join next
	kill -STOP "${waiter[stopped]}"
	let_go_of holder
	sleep 0.5
	kill -CONT "${waiter[stopped]}"
	ran stopped next
	nothing_left "$name"
}

# waits_for SECONDS: as a line in $work/late-SECONDS, how late it gives up, in us,
# and how much of that the start alone takes just now.
waits_for() {
	local begun code=0 waited start

	begun=$(now_us)
	"$CFLOCK" -n "$name" touch "$work/ran" || true
	start=$(($(now_us) - begun))
	begun=$(now_us)
	"$CFLOCK" -w "$1" "$name" touch "$work/ran" || code=$?
	waited=$(($(now_us) - begun))
	[ "$code" = 1 ] || echo "exit code $code with -w $1" >>"$work/wrong"
	awk "BEGIN { printf \"%d %d\n\", $waited - $1 * 1000000, $start }" >>"$work/late-$1"
}

# late_by LIMIT_US SECONDS...: true when the best of each was not later than that.
late_by() {
	local limit=$1 seconds late start best

	shift
	for seconds; do
		best=$limit
		while read -r late start; do
			[ "$late" -ge -5000 ] || fail "-w $seconds ended $((-late)) us too early"
			[ $((late - start)) -ge "$best" ] || best=$((late - start))
			echo "-w $seconds: $late us late, $start us of them for the start"
		done <"$work/late-$seconds"
		[ "$best" -lt "$limit" ] || return 1
	done
}

# Several of each, and once more if none was in time: one that a busy machine kept
# waiting proves nothing.
@test "-w is one deadline, whoever renews, leaves and is woken meanwhile" {
	# Renewed each 200 ms.
	: >"$work/stay-holder"
	start_waiter holder -t 1s
	wait_until turns_taken 1
	for _ in 1 2 3 4; do
		rivals=()
		rm -f "$work"/late-*
		for seconds in 0.5 1 1.7 0.5 1 1.7 0.5 1 1.7; do
			in_background waits_for "$seconds" 2>/dev/null
			rivals+=("$background")
		done
		wait "${rivals[@]}"
		[ ! -e "$work/wrong" ] || fail "$(cat "$work/wrong")"
		! late_by 50000 0.5 1 1.7 || break
	done
	late_by 50000 0.5 1 1.7
	[ ! -e "$work/ran" ]
	rm "$work/stay-holder"
	ends_with holder 0
	nothing_left "$name"
}

# conflicts TEXT...: -n is refused, says that, and is not seen in the line.
conflicts() {
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	says "$@"
	[ "${#stderr_lines[@]}" = 1 ]
	[ ! -e "$work/ran" ]
}

@test "-n does not overtake a live waiter, though the lock is free" {
	acquire_as holder
	join stopped --message "nightly backup"
	# Within its silence, it stands for one who is about to come.
	kill -STOP "${waiter[stopped]}"
	conflicts "held by" "host host"
	line_is stopped
	let_go_of holder
	[ "$(rcli exists "$key")" = 0 ]
	conflicts "free, but others wait for it: " "pid ${waiter[stopped]}" "nightly backup"
	line_is stopped
	kill -CONT "${waiter[stopped]}"
	ran stopped
	nothing_left "$name"
}

@test "-n does not overtake, either, when the lock's key was deleted" {
	acquire_as holder
	join waiting
	mapfile -t answer < <(at_once "del $key" \
		"$(call_of acquire eager 60000 24000 exclusive '' 0 '' '' host 1 user command '')")
	[[ "${answer[*]}" == *"QUEUED 1 0 line "* ]]
	# It looks by itself from time to time.
	ran waiting
	nothing_left "$name"
}

# Leases of 1 s that nobody renews or releases: their holders are gone, with all
# that they had started.  $late gets how late each was followed, in ms, and $starts
# how long it then takes to start what was granted.
follow_five() {
	local which started_us late_us

	late=()
	starts=()
	declare -A ends_us
	for which in {1..5}"$1"; do
		use_lock "$which"
		acquire_as gone 1000 400
		ends_us[$which]=$(lease_end_us)
		start_waiter "$which"
	done
	for which in {1..5}"$1"; do
		use_lock "$which"
		ran "$which"
		ends_with "$which" 0
		nothing_left "$name"
		# On a busy machine it may have come when the lease was over.
		[ "$(granted_us "$which")" -lt "${ends_us[$which]}" ] || continue
		late_us=$(($(begun_us "$which") - ${ends_us[$which]}))
		within 0 "$late_us" "$LATE_US" "us from the end of the lease to the start"
		late+=($((late_us / 1000)))

		use_lock "plain-$which"
		start_waiter plain
		ran plain
		started_us=$(($(begun_us plain) - $(granted_us plain)))
		starts+=($((started_us / 1000)))
	done
	echo "# starts after the end of the old lease, in ms: ${late[*]}; any start: ${starts[*]}" >&3
}

# Once more if it was too late: what a busy machine kept waiting proves nothing.
@test "a holder that vanished is followed at the end of its lease, not before" {
	for round in a b c d e; do
		follow_five "$round"
		[ "${#late[@]}" = 5 ] || continue
		limit=$((20 + $(median "${starts[@]}")))
		[ "$(median "${late[@]}")" -gt "$limit" ] || break
	done
	[ "${#late[@]}" = 5 ] || fail "the machine is too slow to be waiting within 1 s"
	within 0 "$(median "${late[@]}")" "$limit" "ms from the end of the lease to the start, the median"
}

@test "a lock of another client is watched closely: deleted, or run out" {
	looks=()
	for pause in 0.2 0.55 0.3; do
		: >"$work/turns"
		rcli set "$key" somebody NX PX 60000
		join first
		join second
		# It is deleted at some time between two looks.
		sleep "$pause"
		released_us=$(now_us)
		rcli del "$key"
		ran first second
		looks+=("$(($(granted_us first) - released_us))")
		echo "deleted: after ${looks[-1]} us"
		granted_within first "$LATE_US"
	done
	within 0 "$(median "${looks[@]}")" 250000 "us from the deletion to the grant, the median"
	: >"$work/turns"
	rcli set "$key" somebody NX PX 700
	released_us=$(($(now_us) + $(rcli pttl "$key") * 1000))
	start_waiter first
	ran first
	# Not exactly: what is left was rounded.
	within -2000 $(($(granted_us first) - released_us)) "$LATE_US" "us after the expiry"
	nothing_left "$name"
}

@test "the order survives a server that is frozen for 4 s" {
	acquire_as holder
	for tag in 1 2 3 4 5; do
		join "$tag"
	done
	freeze_redis
	# Among what the server finds when it comes back.
	in_background release_as holder
	sleep 4
	thaw_redis
	ran 1 2 3 4 5
	for tag in 1 2 3 4 5; do
		ends_with "$tag" 0
	done
	nothing_left "$name"
}

@test "a server that lost everything: all who wait get in, one at a time" {
	rcli set "$key" somebody
	for tag in 1 2 3 4 5; do
		join "$tag"
	done
	stop_redis "$REDIS_DIR"
	start_redis "$REDIS_DIR"
	for tag in 1 2 3 4 5; do
		ends_with "$tag" 0
	done
	no_overlap
	[ "$(cut -d ' ' -f 1 "$work/turns" | sort | tr '\n' ' ')" = "1 2 3 4 5 " ]
	wait_until nothing_left "$name"
}

@test "a server that lost the line and all else of it but the lock" {
	acquire_as holder
	for tag in 1 2 3; do
		join "$tag"
	done
	rcli del "$key:line" "$key:beats" "$key:waiters"
	stand_again() { [ "$(rcli zcard "$key:line")" = 3 ]; }
	wait_until stand_again
	let_go_of holder
	for tag in 1 2 3; do
		ends_with "$tag" 0
	done
	no_overlap
	turns_taken 3
	nothing_left "$name"
}

@test "what is kept of those who wait has an expiry" {
	acquire_as holder
	join first
	join second
	for suffix in line beats waiters; do
		within 1 "$(rcli pttl "$key:$suffix")" 60000 "pttl of $suffix"
	done
	let_go_of holder
	ran first second
	ends_with second 0
	[ "$(rcli --raw keys "$key*")" = "$key:token" ]
}

@test "the key that wakes one who is dead has an expiry" {
	acquire_as holder
	join dead
	kill_waiter dead
	let_go_of holder
	[ "$(rcli --raw keys "$key:wake:*")" = "$key:wake:${id_of[dead]}" ]
	within 1 "$(rcli pttl "$key:wake:${id_of[dead]}")" 5000 "pttl of the key that wakes"
}

# Longer than silence is suffered.
@test "a waiter keeps its place, and sends nothing between its signs of life" {
	acquire_as holder
	join only
	ticket=$(rcli zscore "$key:line" "${id_of[only]}")
	rcli config resetstat
	begun_us=$(now_us)
	sleep 4
	requests=$(($(calls_of evalsha) + $(calls_of xread)))
	# Fewer than 2 a second.
	within 4 "$requests" $((($(now_us) - begun_us) * 2 / 1000000 - 1)) "requests"
	[ "$(rcli zscore "$key:line" "${id_of[only]}")" = "$ticket" ]
	let_go_of holder
	ran only
}

@test "sixty at once all get their turn, one at a time" {
	acquire_as holder
	tags=()
	for tag in {1..60}; do
		start_waiter "$tag"
		tags+=("$tag")
	done
	all_stand() { [ "$(rcli zcard "$key:line")" = 60 ]; }
	wait_until all_stand
	order=$(rcli --raw zrange "$key:line" 0 -1)
	let_go_of holder
	for tag in "${tags[@]}"; do
		ends_with "$tag" 0
	done
	no_overlap
	[ "$(cut -d ' ' -f 4 "$work/turns")" = "$order" ]
	nothing_left "$name"
}
