# A lease that was not renewed in time is taken over by the first who waits: at
# renew-by the old holder loses it for good, and the new one starts when it would
# have ended, by when what the old one started is dead.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts
load helpers/line
load helpers/tree

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	line_setup
	marker=7$RANDOM.$RANDOM$BATS_TEST_NUMBER
	renew_tree_watch
}

teardown() {
	tree_teardown
	line_teardown
}

# start_old OPTION...: a holder in the background, which does not end by SIGTERM;
# its id and token in $old_id and $old_token.
start_old() {
	start 'trap "" TERM
		exec 8>>"$0/witness"
		flock -n 8 || echo old >>"$0/overlaps"
		echo "$CFLOCK_ID $CFLOCK_TOKEN" >"$0/old"
		'"$forever" "$@"
	pids+=("$cflock")
	wait_until test -s "$work/old"
	read -r old_id old_token <"$work/old"
}

is_of() {
	[[ $(rcli --raw get "$key") == "$1/"* ]]
}

# old_stops PID OPTION...: start_old with these, and `new` behind it in the line;
# then PID (the holder's own: "") is stopped.  $end_us is that of its lease, of
# $ttl_ms; with a longer one again, when the machine was so slow that the lease was
# lost before.
old_stops() {
	local pid=$1

	shift
	comes_or_came() { remember new || turns_taken 1; }
	for ttl_ms in 1000 1000 1000 2000 4000 8000; do
		start_old -t "${ttl_ms}ms" "$@"
		start_waiter new
		wait_until comes_or_came
		kill -STOP "${pid:-$cflock}" 2>/dev/null || true
		end_us=$(lease_end_us)
		! is_of "$old_id" || return 0
		kill -CONT "${pid:-$cflock}" 2>/dev/null || true
		kill_waiter new
		kill -KILL "$cflock" 2>/dev/null || true
		wait_until test -s "$work/dead"
		rm "$work/old"
		: >"$work/turns"
		rcli del "$key" "$key:line" "$key:beats" "$key:waiters"
		renew_tree_watch
	done
	fail "the machine is too slow to keep a lease"
}

# The way to the server that the old holder of a test takes; $proxy, $url.
start_proxy() {
	python3 "$BATS_TEST_DIRNAME/helpers/proxy.py" "$REDIS_SOCKET" "$work/port" \
		"$work/none" "$work/turns-of-proxy" </dev/null 3>&- &
	proxy=$!
	pids+=("$proxy")
	wait_until test -s "$work/port"
	url=redis://127.0.0.1:$(cat "$work/port")
}

# How often it has passed on a request.
turns_of_proxy() {
	wc -l <"$work/turns-of-proxy"
}

# A holder without processes, until the test lets its lease lapse; $old_token.
hold_by_hand() {
	old_token=$(acquire_as old 60000 10000 | tail -n 1)
}

# lapse MS [TAG]: as if the holder had not been heard for long: its lease ends
# in MS, and is overdue.  TAG, the head of the line, is told to look.  $end_us.
lapse() {
	local calls=("pexpire $key $1" "pexpire $key:holders $1" time) answer

	[ -z "${2-}" ] || calls+=("xadd $key:wake:${id_of[$2]} * come 1")
	# Behind an OK, and a line for each call.
	mapfile -t answer < <(at_once "${calls[@]}" | tail -n +$((2 + ${#calls[@]})))
	[ "${answer[0]}" = 1 ]
	# In ms, as the expiry.
	end_us=$(((answer[2] * 1000 + answer[3] / 1000 + $1) * 1000))
}

# taken_over_by TAG: waits for it.  Who has taken over starts later.
taken_over_by() {
	wait_until is_of "${id_of[$1]}"
	value=$(rcli --raw get "$key")
}

# began_after_end TAG US: not before, and at most US after it.
began_after_end() {
	within 0 $(($(begun_us "$1") - end_us)) "$2" "us from the end of the lease to the start of $1"
}

# What the other side of a hole gets too late, as the holder's own renewal would.
late_renewal_is_refused() {
	[ "$(renew_as "$old_id" "$old_token" "$1")" = $'0\n'"$value"$'\n1' ]
	refused_us=$(now_us)
	[ "$(rcli --raw get "$key")" = "$value" ]
}

# A dead one is passed by after 2.7 s.
SILENCE_US=3000000

@test "cut off for good: refused, dead, followed, in that order" {
	start_proxy
	: >"$work/stay-new"
	old_stops "$proxy" -S "$url"
	taken_over_by new
	taken_us=${value#*/}
	# What the old one has sent meanwhile comes now, and is of no use.
	sent=$(turns_of_proxy)
	kill -CONT "$proxy"
	late_renewal_is_refused 1000
	late_ones_come() { [ "$(turns_of_proxy)" -gt "$sent" ]; }
	wait_until late_ones_come
	ran new
	wait_dead
	exits_with 79
	grep -q "the lease is lost" "$work/err"
	echo "granted $old_token, taken $taken_us, refused $refused_us, dead ${dead_ms}000," \
		"end $end_us, begun $(begun_us new)"
	[ "$old_token" -lt "$taken_us" ]
	# renew-by: 60 %.
	[ "$taken_us" -ge $((end_us - ttl_ms * 400)) ]
	[ "$refused_us" -gt "$taken_us" ]
	[ "$dead_ms" -gt $((taken_us / 1000)) ]
	was_dead_before $((end_us / 1000))
	began_after_end new "$LATE_US"
	[ "$(granted_us new)" = "$taken_us" ]
	rm "$work/stay-new"
	ends_with new 0
	nothing_left "$name"
}

@test "the timeline of 10 s: 6 s, 8.75 s, 10 s, 20 s" {
	start_proxy
	: >"$work/stay-new"
	old_stops "$proxy" -t 10s -S "$url"
	# Expiries are in ms, by the clock of when the script was begun.
	within 9990000 $((end_us - old_token)) 10002000 "us of the lease, not renewed"
	taken_over_by new
	taken_us=${value#*/}
	late_renewal_is_refused 10000
	within 6000000 $((taken_us - old_token)) $((6000000 + LATE_US)) "us to the take-over"
	within 20000000 $(($(lease_end_us) - old_token)) 20010000 "us to the end of the lease taken over"
	wait_dead
	did_not_run new
	ran new
	began_after_end new "$LATE_US"
	exits_with 79
	# Or renewed already, on a busy machine.
	within 20000000 $(($(lease_end_us) - old_token)) 30000000 "us to the end of the new lease"
	# In that order.
	[ "$old_token" -lt "$taken_us" ]
	[ "$taken_us" -lt "$refused_us" ]
	[ "$refused_us" -lt "${dead_ms}000" ]
	# The kill comes at 8.745 s, and is over soon.
	was_dead_before $((old_token / 1000 + 9000))
	[ "$(granted_us new)" = "$taken_us" ]
	rm "$work/stay-new"
	ends_with new 0
	nothing_left "$name"
}

@test "a stopped cflock loses its lease; continued, it does not disturb the next" {
	: >"$work/stay-new"
	old_stops ''
	taken_over_by new
	late_renewal_is_refused 1000
	wait_dead
	was_dead_before $((end_us / 1000))
	ran new
	began_after_end new "$LATE_US"
	kill -CONT "$cflock"
	exits_with 79
	is_of "${id_of[new]}"
	rm "$work/stay-new"
	ends_with new 0
	nothing_left "$name"
}

@test "without a waiter, a late renewal within the lease is still good" {
	hold_by_hand
	lapse 10000
	# Who does not stand in the line takes nothing over.
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	says "held by"
	[ "$(renew_as old "$old_token" 60000)" = 1 ]
	within 50000 "$(rcli pttl "$key")" 60001 "pttl"
	[ ! -e "$work/ran" ]
	release_as old
	nothing_left "$name"
}

# call_to_wait ID TTL_MS: for at_once.
call_to_wait() {
	call_of acquire "$1" "$2" $(($2 * 2 / 5)) exclusive wait 0 '' '' host 1 user command ''
}

@test "renewed just before it could be taken over: it is not; just after: refused" {
	hold_by_hand
	renewal=$(call_of renew old "$old_token" 60000)
	ask_new=$(call_to_wait new 60000)
	ask_another=$(call_to_wait another 60000)
	overdue="pexpire $key 9000"
	mapfile -t answer < <(at_once "$overdue" "$renewal" "$ask_new")
	echo "${answer[*]}"
	[[ ${answer[*]} == *"QUEUED 1 1   0 held "* ]]
	[ "$(rcli zcard "$key:line")" = 1 ]

	mapfile -t answer < <(at_once "$overdue" "$ask_new" "$renewal" "$ask_another")
	echo "${answer[*]}"
	value=$(rcli --raw get "$key")
	[[ ${answer[*]} == *"QUEUED 1 0 taken "*" 0 $value 1 0 held "* ]]
	[[ $value == new/* ]]
	[ "${value#*/}" -gt "$old_token" ]
	[ "$(rcli hlen "$key:holders")" = 1 ]
	# Once more is no other take-over.
	mapfile -t answer < <(at_once "$ask_another" "$ask_new" "$renewal")
	[[ ${answer[*]} == *"QUEUED 0 held "*" 0 taken "*" 0 $value 1" ]]
	[ "$(rcli --raw get "$key")" = "$value" ]
}

@test "of two waiters exactly one takes over" {
	for round in 1 2 3; do
		: >"$work/turns"
		hold_by_hand
		join a
		join b
		lapse 500 a
		# Who asks first is the first all the same.
		rcli xadd "$key:wake:${id_of[b]}" '*' come 1
		ran a b
		[ "$(granted_us a)" -gt "$old_token" ]
		[ "$(granted_us a)" -lt "$end_us" ]
		began_after_end a "$LATE_US"
		# The second came in by the release of the first.
		[ "$(granted_us b)" -gt "$(begun_us a)" ]
		ends_with a 0
		ends_with b 0
		nothing_left "$name"
	done
}

@test "taken over and killed: the next starts within 3 s of the end, not before it" {
	declare -A ends_us
	# The silence of the dead one is noticed before the old lease ends, or after.
	for which in 4000 2000; do
		use_lock "$which"
		hold_by_hand
		join "dead-$which" -t 60s
		join "next-$which"
		lapse "$which" "dead-$which"
		ends_us[$which]=$end_us
		taken_over_by "dead-$which"
		kill_waiter "dead-$which"
	done
	for which in 2000 4000; do
		use_lock "$which"
		end_us=${ends_us[$which]}
		ran "next-$which"
		began_after_end "next-$which" "$SILENCE_US"
		ends_with "next-$which" 0
		wait_until nothing_left "$name"
	done
}

@test "taken over and withdrawn: the next starts at the end" {
	declare -A ends_us
	for signal in TERM INT; do
		use_lock "$signal"
		hold_by_hand
		join "leaver-$signal" -t 60s
		join "next-$signal"
		lapse 2000 "leaver-$signal"
		ends_us[$signal]=$end_us
		taken_over_by "leaver-$signal"
		kill -"$signal" "${waiter[leaver-$signal]}"
	done
	for signal in TERM INT; do
		use_lock "$signal"
		end_us=${ends_us[$signal]}
		wait_gone "${waiter[leaver-$signal]}"
		is_forgotten "leaver-$signal"
		ran "next-$signal"
		began_after_end "next-$signal" "$LATE_US"
		# Taken over at once, not when it was free.
		[ "$(granted_us "next-$signal")" -lt "$end_us" ]
		nothing_left "$name"
	done
}

@test "taken over, but -w ends before it begins: a conflict, free at the end" {
	hold_by_hand
	join leaver -t 60s -w 2
	lapse 3000 leaver
	taken_over_by leaver
	ends_with leaver 1
	grep -q "taken over, as it was not renewed; begins at" "$work/stderr-leaver"
	start_waiter newcomer
	ran newcomer
	began_after_end newcomer "$LATE_US"
	[ "$(granted_us newcomer)" -gt "${value#*/}" ]
	nothing_left "$name"
}

@test "taken over and stopped: replaced, and continued as the last of the line" {
	hold_by_hand
	join stopped -t 60s
	join next
	: >"$work/stay-next"
	lapse 2000 stopped
	taken_over_by stopped
	kill -STOP "${waiter[stopped]}"
	ran next
	began_after_end next "$SILENCE_US"
	join last
	kill -CONT "${waiter[stopped]}"
	wait_until line_is last stopped
	rm "$work/stay-next"
	ran next last stopped
	nothing_left "$name"
}

@test "the release of the old holder does not let the new one start early" {
	hold_by_hand
	join new
	lapse 1500 new
	taken_over_by new
	[ "$(release_as old)" = 0 ]
	[ "$(rcli --raw get "$key")" = "$value" ]
	ran new
	began_after_end new "$LATE_US"
	nothing_left "$name"
}

@test "other clients and -n are kept out from the take-over to the end of the new lease" {
	hold_by_hand
	ask_new=$(call_to_wait new 2000)
	lapse 1000
	mapfile -t answer < <(at_once "$ask_new" "set $key another nx px 60000")
	[[ ${answer[*]} == *"QUEUED 0 taken "* ]]
	is_of new
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	says "held by" "host host"
	# It does not come: when its lease is over, others may have the lock.
	set_by_another() { [ "$(rcli set "$key" another NX PX 60000)" = OK ]; }
	wait_until set_by_another
	within 2000000 $(($(now_us) - end_us)) $((2000000 + 2 * LATE_US)) \
		"us that the lock was shut after the end of the old lease"
	[ ! -e "$work/ran" ]
}
