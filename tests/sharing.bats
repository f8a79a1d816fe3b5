# More than one at once: readers beside readers (-s), N beside one another
# (--slots N), and nobody beside a writer.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts
load helpers/line
load helpers/share

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

# most_at_once: of all that have begun so far.
most_at_once() {
	awk '{ n += $1; if (n > most) most = n } END { print most + 0 }' "$work/running"
}

# tokens_grow TAG...: the tokens of these grow in this order.
tokens_grow() {
	local tag last=0 token

	for tag; do
		token=$(granted_us "$tag")
		[ "$token" -gt "$last" ] || fail "the token of $tag is $token, the one before $last"
		last=$token
	done
}

# What stands in the lock's key during a run.
lock_during() {
	"$CFLOCK" "$@" "$name" redis-cli -s "$REDIS_SOCKET" get "$key"
}

# set_nx: as another client takes the lock.
set_nx() {
	[ "$(rcli set "$key" other NX PX "${1:-60000}")" = OK ]
}

# === shared =================================================================

@test "readers run together, a writer alone" {
	hold r1 -s
	hold r2 -s
	[ "$(rcli get "$key")" = shared ]
	not_run_now -n
	join w
	let_go r1
	waiting_are 1
	let_go r2
	ends_with w 0
	hold w2
	not_run_now -n -s
	join r3 -s
	waiting_are 1
	let_go w2
	ends_with r3 0
	granted r1 r2 w w2 r3
	no_overlap
	nothing_left "$name"
}

@test "a writer gets its turn though there are always readers" {
	hold r0 -s
	count=0
	# Each beside the one before, and the one after.
	another() {
		count=$((count + 1))
		: >"$work/stay-r$count"
		start_waiter "r$count" -s
		rm -f "$work/stay-r$((count - 1))"
	}
	for _ in 1 2 3; do
		another
		wait_until has_begun "r$count"
	done
	join w
	before=$count
	until has_begun w; do
		[ "$count" -lt 300 ] || fail "no turn for the writer beside $count readers"
		another
		sleep 0.03
	done
	rm -f "$work/stay-r$count"
	for tag in "${!waiter[@]}"; do
		ends_with "$tag" 0
	done
	[ "$count" -gt "$before" ]
	for ((i = before + 1; i <= count; i++)); do
		tokens_grow w "r$i"
	done
	no_overlap
	nothing_left "$name"
}

@test "-n -s does not pass by a writer that waits" {
	hold r1 -s
	stand w
	not_run_now -n -s
	says "others wait for it" "pid ${waiter[w]}"
	let_go r1
	wait_until has_begun w
	let_go w
	expect 0 "$CFLOCK" -n -s "$name" true
	nothing_left "$name"
}

@test "readers and writers in the line: in order, neighbouring readers together" {
	hold w1
	stand r1 -s
	stand r2 -s
	stand w2
	stand r3 -s
	let_go w1
	wait_until has_begun r2
	waiting_are 2
	let_go r1
	waiting_are 2
	let_go r2
	wait_until has_begun w2
	waiting_are 1
	let_go w2 r3
	granted w1 r1 r2 w2 r3
	no_overlap
	nothing_left "$name"
}

@test "ten readers behind a writer start together when it has ended" {
	hold w
	readers=()
	for i in 0 1 2 3 4 5 6 7 8 9; do
		stand "r$i" -s
		readers+=("r$i")
	done
	let_go w
	wait_until turns_taken 11
	# One after the other, as each wakes the next; not when they next look.
	tokens_grow w "${readers[@]}"
	within 0 $(($(granted_us r9) - $(granted_us r0))) 1000000 \
		"us from the first reader's grant to the last one's"
	let_go "${readers[@]}"
	[ "$(most_at_once)" = 10 ]
	no_overlap
	nothing_left "$name"
}

@test "twenty readers and writers at once: none beside a writer" {
	tags=()
	for i in 1 2 3 4 5; do
		tags+=("w$i" "r$i" "r1$i" "r2$i")
	done
	for tag in "${tags[@]}"; do
		case $tag in
		w*) start_waiter "$tag" ;;
		*) start_waiter "$tag" -s ;;
		esac
	done
	for tag in "${tags[@]}"; do
		ends_with "$tag" 0
	done
	[ "$(cut -d ' ' -f 3 "$work/turns" | sort -u | wc -l)" = 20 ]
	no_overlap
	nothing_left "$name"
}

@test "the message of a conflict names one reader, and counts the others" {
	hold r1 -s --message one
	not_run_now -n
	[[ $stderr != *more* ]]
	hold r2 -s --message two
	hold r3 -s --message three
	not_run_now -n
	[ "${#stderr_lines[@]}" = 1 ]
	[[ $stderr =~ "held by host "[^\;]*", pid "("${waiter[r1]}"|"${waiter[r2]}"|"${waiter[r3]}")", ".*" ("(one|two|three)"); and 2 more"$ ]]
	let_go r1 r2 r3
}

# === slots ==================================================================

@test "--slots 1 is one at a time" {
	hold s1 -m 1
	not_run_now -n -m 1
	says "pid ${waiter[s1]}"
	join s2 -m 1
	join s3 -m 1
	let_go s1
	ends_with s2 0
	ends_with s3 0
	granted s1 s2 s3
	tokens_grow s1 s2 s3
	[ "$(most_at_once)" = 1 ]
	nothing_left "$name"
}

@test "--slots 3 and ten contenders: three at once, in order, a token each" {
	for i in 1 2 3; do
		hold "s$i" --slots 3
	done
	[ "$(rcli get "$key")" = slots:3 ]
	not_run_now -n -m 3
	says "; and 2 more"
	for i in 4 5 6 7 8 9 10; do
		stand "s$i" -m 3
	done
	let_go s2
	wait_until has_begun s4
	waiting_are 6
	let_go s1 s3
	wait_until turns_taken 6
	waiting_are 4
	rm "$work"/stay-s*
	for i in 4 5 6 7 8 9 10; do
		ends_with "s$i" 0
	done
	[ "$(most_at_once)" = 3 ]
	granted s1 s2 s3 s4 s5 s6 s7 s8 s9 s10
	tokens_grow s1 s2 s3 s4 s5 s6 s7 s8 s9 s10
	nothing_left "$name"
}

@test "a free slot is not for who comes later than those who wait" {
	hold s1 -m 2
	hold s2 -m 2
	stand s3 -m 2
	kill -STOP "${waiter[s3]}"
	let_go s1
	not_run_now -n -m 2
	says "others wait for it" "pid ${waiter[s3]}"
	kill -CONT "${waiter[s3]}"
	wait_until has_begun s3
	let_go s2 s3
	nothing_left "$name"
}

@test "slots and a writer: it waits for all of them, and they for it" {
	hold s1 -m 2
	hold s2 -m 2
	stand w
	join s3 -m 2
	let_go s1
	[ ! -e "$work/overlaps" ]
	waiting_are 2
	let_go s2
	wait_until has_begun w
	waiting_are 1
	let_go w
	ends_with s3 0
	granted s1 s2 w s3
	no_overlap
	nothing_left "$name"
}

# === dead holders ===========================================================

@test "who vanished is followed at the end of its lease; the others keep theirs" {
	follow() {
		local ends_us token

		hold r1 -t 1200ms "$@"
		hold r2 -t 1500ms "$@"
		hold r3 -t 1500ms "$@"
		vanish r1
		ends_us=$(lease_end_us "${id_of[r1]}")
		# Who wants it alone has to wait for those that live, too.
		case $1 in
		-s) start_waiter next ;;
		*) start_waiter next "$@" ;;
		esac
		wait_until is_no_holder "${id_of[r1]}"
		[ "$1" = -s ] || ends_with next 0
		for tag in r2 r3; do
			is_holder "${id_of[$tag]}" || fail "$tag: $(cat "$work/stderr-$tag")"
			is_alive "${waiter[$tag]}"
		done
		let_go r2 r3
		ends_with next 0
		within "$ends_us" "$(begun_us next)" $((ends_us + 3000000)) "start of the next"
		nothing_left "$name"
	}
	both_kinds follow
}

@test "all have vanished: free at the end of the last lease" {
	for kind in slots:2 shared; do
		: >"$work/turns"
		acquire_as short 300 100 "$kind"
		acquire_as long 600 400 "$kind"
		ends_us=$(lease_end_us long)
		start_waiter w
		ends_with w 0
		within "$ends_us" "$(begun_us w)" $((ends_us + 3000000)) "start of the writer"
		nothing_left "$name"
	done
}

@test "a slot that is not renewed in time is free at its end, and not before" {
	# An exclusive lease could be taken over from 500 ms on.
	acquire_as gone 2000 1500 slots:2
	ends_us=$(lease_end_us gone)
	stays=$(acquire_as stays 60000 24000 slots:2)
	stand s1 -m 2
	join s2 -m 2
	wait_until has_less_than 1400 gone
	is_holder gone
	wait_until has_begun s1
	within "$ends_us" "$(begun_us s1)" $((ends_us + 3000000)) "start of the next"
	within "$ends_us" "$(granted_us s1)" $((ends_us + 3000000)) "token of the next"
	is_no_holder gone
	is_holder stays
	waiting_are 1
	[ "$(release_as gone)" = 0 ]
	[ "$(release_as stays)" = 1 ]
	ends_with s2 0
	let_go s1
	tokens_grow s1 s2
	nothing_left "$name"
}

# Whichever of them comes first by its name.
@test "of slots, the one that ends first is waited for" {
	for soon in 1 2 3 4 5 6; do
		rcli del "$key" "$key:holders" "$key:line" "$key:beats"
		acquire_as "gone-$soon" 60000 59990 slots:2
		acquire_as "gone-$((7 - soon))" 90000 89990 slots:2
		mapfile -t answer < <(acquire_as next 60000 24000 slots:2 wait)
		[ "${answer[1]}" = held ]
		within 1 "${answer[6]}" 60001 "ms until it is free"
	done
}

@test "a slot that is not renewed does not keep another from being used" {
	acquire_as gone 60000 59990 slots:2
	acquire_as leaves 90000 36000 slots:2
	wait_until has_less_than 59980 gone
	join s1 -m 2
	[ "$(release_as leaves)" = 1 ]
	wait_until has_begun s1
	ends_with s1 0
	is_holder gone
}

@test "a writer takes readers over only when all of them are overdue" {
	gone=$(acquire_as gone 60000 59990 shared)
	acquire_as stays 60000 24000 shared
	wait_until has_less_than 59980 gone
	[ "$(acquire_as w 60000 24000 exclusive wait | sed -n 2p)" = held ]
	# So this one may be renewed yet.
	[ "$(renew_as gone "${gone#1?}" 60000)" = 1 ]
	wait_until has_less_than 59980 gone
	[ "$(release_as stays)" = 1 ]
	mapfile -t answer < <(acquire_as w 60000 24000 exclusive wait)
	[ "${answer[1]}" = taken ]
	within 50000 "${answer[6]}" 60001 "ms until it begins"
	[ "$(renew_as gone "${gone#1?}" 60000 | head -n 1)" = 0 ]
	is_no_holder gone
	is_locked "$name"
}

@test "a reader that takes over from a writer lets in those behind it" {
	acquire_as gone 1200 1000
	ends_us=$(($(now_us) + $(rcli pttl "$key") * 1000 - 1000))
	for tag in r1 r2 r3; do
		: >"$work/stay-$tag"
		start_waiter "$tag" -s
	done
	wait_until turns_taken 3
	for tag in r1 r2 r3; do
		within "$ends_us" "$(begun_us "$tag")" $((ends_us + 3000000)) "start of $tag"
	done
	let_go r1 r2 r3
	nothing_left "$name"
}

@test "one cflock is killed: its command dies, the others go on" {
	killed() {
		local guardian command

		for tag in r1 r2 r3; do
			hold "$tag" -t 1s "$@"
		done
		guardian=$(guardian_of "${waiter[r1]}")
		command=$(pgrep -P "$guardian")
		kill -KILL "${waiter[r1]}"
		wait_gone "$command"
		wait_gone "$guardian"
		# That long the others cannot have lived without a renewal.
		wait_until is_over "${id_of[r1]}"
		sleep 0.5
		for tag in r2 r3; do
			is_alive "${waiter[$tag]}" || fail "$tag: $(cat "$work/stderr-$tag")"
			! is_over "${id_of[$tag]}"
		done
		let_go r2 r3
		nothing_left "$name"
	}
	both_kinds killed
}

# === the lock is lost =======================================================

# hold_three OPTION...
hold_three() {
	for tag in r1 r2 r3; do
		hold "$tag" -t 1s "$@"
	done
}

# all_lost TEXT...: 79, and each TEXT in the message.
all_lost() {
	for tag in r1 r2 r3; do
		ends_with "$tag" 79
		stderr=$(cat "$work/stderr-$tag")
		says "the lease is lost" "$@"
	done
}

@test "the key is deleted: all holders are stopped, 79" {
	delete() {
		hold_three "$@"
		rcli del "$key"
		all_lost "the lock's key is gone"
		run ! is_locked "$name"
		# What is left goes by itself.
		wait_until nothing_left "$name"
	}
	both_kinds delete
}

@test "another overwrites the key: all holders are stopped, 79, and leave it alone" {
	overwrite() {
		hold_three "$@"
		rcli set "$key" thief PX 60000
		all_lost 'another holds the lock now (value "thief")'
		[ "$(rcli get "$key")" = thief ]
	}
	both_kinds overwrite
}

@test "the key is deleted, and another takes the lock: it keeps it" {
	retake() {
		hold_three "$@"
		rcli del "$key"
		hold r4 -t 1s "$@"
		all_lost
		is_alive "${waiter[r4]}"
		is_holder "${id_of[r4]}"
		let_go r4
		wait_until nothing_left "$name"
	}
	both_kinds retake
}

# === leases of different length =============================================

@test "the lock lives as long as the longest lease, each lease on its own" {
	long=$(acquire_as long 60000 24000 shared)
	short=$(acquire_as short 2000 800 shared)
	within 59000 "$(rcli pttl "$key")" 60001 "ms that the lock lives"
	within 1 "$(lease_left_ms short)" 2001 "ms of the short lease"
	[ "$(renew_as short "${short#1?}" 500)" = 1 ]
	within 50000 "$(rcli pttl "$key")" 60001 "ms that the lock lives"
	within 1 "$(lease_left_ms short)" 501 "ms of the short lease"
	wait_until is_over short
	# It is over, though the lock is there.
	[ "$(renew_as short "${short#1?}" 500 | head -n 1)" = 0 ]
	[ "$(renew_as long "${long#1?}" 60000)" = 1 ]
	mapfile -t answer < <(acquire_as other)
	[ "${answer[1]} ${answer[7]} ${answer[9]}" = "held 1 long" ]

	acquire_as short 20000 800 shared
	[ "$(release_as long)" = 1 ]
	within 1 "$(rcli pttl "$key")" 20001 "ms that the lock lives"
	[ "$(release_as short)" = 1 ]
	nothing_left "$name"
}

@test "renewals of holders with a different ttl" {
	hold r1 -s -t 800ms
	hold r2 -s -t 6s
	end=$(($(now_ms) + 1400))
	while [ "$(now_ms)" -lt "$end" ]; do
		within 3000 "$(rcli pttl "$key")" 6002 "ms that the lock lives"
		within 1 "$(lease_left_ms "${id_of[r1]}")" 801 "ms of the short lease"
		sleep 0.02
	done
	let_go r2
	within 1 "$(rcli pttl "$key")" 802 "ms that the lock lives without the longer lease"
	let_go r1
	nothing_left "$name"
}

# === clients that are not cflock ============================================

@test "what another client took by SET NX keeps out every kind of cflock" {
	for kind in -x -s -m2; do
		set_nx
		not_run_now -n "$kind"
		says "not cflock" '"other"'
		join "s$kind" "$kind"
		[ "$(rcli get "$key")" = other ]
		run ! has_begun "s$kind"
		rcli del "$key"
		ends_with "s$kind" 0
		nothing_left "$name"
	done
	set_nx 400
	expiry_us=$(($(now_us) + $(rcli pttl "$key") * 1000 - 1000))
	for kind in -x -s -m2; do
		start_waiter "t$kind" "$kind"
		ends_with "t$kind" 0
		[ "$(begun_us "t$kind")" -ge "$expiry_us" ]
	done
	nothing_left "$name"
}

@test "another client's SET NX fails until the last holder has released" {
	for kind in -s -m2; do
		: >"$work/turns"
		hold r1 "$kind"
		run ! set_nx
		hold r2 "$kind"
		run ! set_nx
		let_go r1
		run ! set_nx
		let_go r2
		nothing_left "$name"
		set_nx
		rcli del "$key"
	done
}

# === who disagrees ==========================================================

@test "another N beside slots, or -s: 64, and which N the others use" {
	hold s1 -m 3
	refuses "--slots 3" "must agree" -- -m 4
	refuses "--slots 3" -- -m 1 -n
	refuses "--slots 3" -- -s
	refuses "--slots 3" -- -s -w 5
	# Who is alone need not agree with anybody.
	not_run_now -n
	stand w
	refuses "--slots 3" -- -m 2
	let_go s1
	wait_until has_begun w
	let_go w
	# Nobody uses it any more.
	expect 0 "$CFLOCK" -m 4 "$name" true
	expect 0 "$CFLOCK" -s "$name" true
	nothing_left "$name"
}

@test "--slots beside -s: 64" {
	hold r1 -s
	refuses "share it with -s" "must agree" -- -m 4
	refuses "share it with -s" -- -n -m 1
	expect 0 "$CFLOCK" -n -s "$name" true
	not_run_now -n
	let_go r1
	expect 0 "$CFLOCK" -m 4 "$name" true
	nothing_left "$name"
}

@test "who disagrees with those who only wait: 64, too" {
	hold w
	stand s1 -m 3
	refuses "--slots 3" -- -m 4
	refuses "--slots 3" -- -n -m 4
	refuses "--slots 3" -- -s
	not_run_now -n
	not_run_now -w 0.2
	not_run_now -w 0.2 -m 3
	let_go w
	wait_until has_begun s1
	let_go s1
	nothing_left "$name"
	hold w2
	stand r1 -s
	refuses "share it with -s" -- -m 4
	let_go w2
	wait_until has_begun r1
	let_go r1
	nothing_left "$name"
}

@test "N may change when those who used another have left the line" {
	hold w1
	stand w2
	join s1 -m 3
	kill -TERM "${waiter[s1]}"
	ends_with s1 143
	# Only writers are left.
	not_run_now -n -m 4
	let_go w1 w2
	nothing_left "$name"
}

@test "N may change when those who used another are dead" {
	hold w1
	stand w2
	acquire_as dead 60000 24000 slots:3 wait
	refuses "--slots 3" -- -n -m 4
	# It has been silent for long.
	rcli zadd "$key:beats" 1 dead
	not_run_now -n -m 4
	let_go w1 w2
	nothing_left "$name"
}

# === a lock of an ancestor ==================================================

@test "asking for a lock that an ancestor holds: 64, in whatever way" {
	while read -r outer inner; do
		# shellcheck disable=SC2086 # words are wanted
		expect 64 "$CFLOCK" $outer "$name" "$CFLOCK" $inner "$name" touch "$work/ran"
		says "$name" "already"
		took 0 3000
		[ ! -e "$work/ran" ]
		nothing_left "$name"
	done <<-END
		-x -s
		-s -x
		-s -s
		-x -m2
		-m2 -m2
		-m2 -m3
		-m2 -s
		-m2 -x
	END
}

# === options ================================================================

@test "of -s, -x and -m the last one counts" {
	[ "$(lock_during -s)" = shared ]
	[ "$(lock_during --shared)" = shared ]
	[ "$(lock_during -x -s)" = shared ]
	[ "$(lock_during -m 3 -s)" = shared ]
	[ "$(lock_during -m 3)" = slots:3 ]
	[ "$(lock_during --slots=1000000)" = slots:1000000 ]
	[ "$(lock_during -s -m 3)" = slots:3 ]
	[ "$(lock_during -x -m 3)" = slots:3 ]
	[ "$(lock_during -m 3 -m 4)" = slots:4 ]
	[[ $(lock_during -s -x) == */* ]]
	[[ $(lock_during -s -e) == */* ]]
	[[ $(lock_during -m 3 -x) == */* ]]
	[[ $(lock_during -m 3 -s --exclusive) == */* ]]
}

@test "--slots takes a number, 1 to 1000000" {
	for bad in 0 x 1000001 -1 3.5 3x ' 3' '' 99999999999999999999; do
		refuses "--slots" "1 to 1000000" -- --slots "$bad"
	done
}

@test "shared and slots in the environment and in the file" {
	[ "$(CFLOCK_SHARED=yes lock_during)" = shared ]
	[ "$(CFLOCK_SLOTS=3 lock_during)" = slots:3 ]
	[[ $(CFLOCK_SHARED=no lock_during) == */* ]]
	[[ $(CFLOCK_SHARED=1 lock_during -x) == */* ]]
	[[ $(CFLOCK_SLOTS=3 lock_during -x) == */* ]]
	[ "$(CFLOCK_SLOTS=3 lock_during -s)" = shared ]
	export CFLOCK_CONFIG=$work/conf
	echo 'shared = yes' >"$work/conf"
	[ "$(lock_during)" = shared ]
	[ "$(CFLOCK_SLOTS=3 lock_during)" = slots:3 ]
	echo 'slots = 5' >"$work/conf"
	[ "$(lock_during)" = slots:5 ]
	[ "$(CFLOCK_SLOTS=3 lock_during)" = slots:3 ]
	[ "$(CFLOCK_SHARED=1 lock_during)" = shared ]
	[[ $(lock_during -x) == */* ]]
}
