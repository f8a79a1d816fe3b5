# --prefer availability: what runs, and is said, while the lock service cannot be
# reached, and what becomes of it when it can again.  Consistency, too, where the
# two part.

# shellcheck disable=SC2030,SC2031,SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load net

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	export CFLOCK_PREFER=availability
	down=unix://$work/none.sock
}

teardown() {
	net_down
	test_teardown
	stop_redis "$work/r"
	stop_redis "$work/other"
}

# A server of the test's own, that may die.
serve() {
	start_redis "$work/r"
	export CFLOCK_SERVER=unix://$work/r/redis.sock
}

# serve_rival [KEY]: at the address of serve(), a server where that key is there
# before anybody can ask.
serve_rival() {
	start_redis "$work/other"
	redis-cli -s "$work/other/redis.sock" set "${1:-$key}" rival px 600000
	mkdir -p "$work/r"
	ln -sf "$work/other/redis.sock" "$work/r/redis.sock"
}

rcli_r() {
	redis-cli -s "$work/r/redis.sock" "$@"
}

# The command of most tests: stamps $work/stamps-TAG until $work/end-TAG is there.
# Its first line has the token.
# shellcheck disable=SC2016
stamping='echo "token=${CFLOCK_TOKEN-none}" >>"$work/token-$0"
	while [ ! -e "$work/end-$0" ]; do
		echo "${EPOCHREALTIME/[.,]/} $0" >>"$work/stamps-$0"; sleep 0.02
	done; exit 3'

# start TAG [OPTION]...: in the background, and until it has begun; its messages
# in $work/stderr-TAG.
start() {
	launch "$@"
	wait_until test -s "$work/stamps-$1"
}

launch() {
	local tag=$1

	shift
	in_background "$CFLOCK" -v "$@" "$name" bash -c "$stamping" "$tag" \
		2>"$work/stderr-$tag"
	pids+=("$background")
	declare -g "pid_$tag=$background"
}

# The same on a host.
launch_on() {
	local host=$1 tag=$2

	shift 2
	on_host_background "$host" "$CFLOCK" -v "$@" "$name" bash -c "$stamping" "$tag" \
		2>"$work/stderr-$tag"
	pids+=("$background")
	declare -g "pid_$tag=$background"
}

said() {
	grep -q -e "$2" "$work/stderr-$1"
}

wait_said() {
	wait_until said "$@" || fail "no \"$2\" in: $(cat "$work/stderr-$1")"
}

said_times() {
	[ "$(grep -c -e "$2" "$work/stderr-$1")" = "$3" ] ||
		fail "\"$2\" not $3 times in: $(cat "$work/stderr-$1")"
}

# Stamps go on being written.
runs() {
	local before

	before=$(wc -l <"$work/stamps-$1")
	wait_until more_than "$1" "$((before + 2))"
}

more_than() {
	[ "$(wc -l <"$work/stamps-$1")" -gt "$2" ]
}

# ends TAG CODE: by itself, when it is let go of: 3; or with another code, by itself.
ends() {
	local code=0 pid=pid_$1

	: >"$work/end-$1"
	wait "${!pid}" || code=$?
	[ "$code" = "$2" ] || fail "$1: exit code $code, not $2: $(cat "$work/stderr-$1")"
}

ends_by_itself() {
	local code=0 pid=pid_$1

	wait "${!pid}" || code=$?
	[ "$code" = "$2" ] || fail "$1: exit code $code, not $2: $(cat "$work/stderr-$1")"
}

is_held_in() {
	[ "$(redis-cli -s "$1" exists "$key")" = 1 ]
}

last_stamp_us() {
	tail -n 1 "$work/stamps-$1" | cut -d ' ' -f 1
}

# nothing_left_in SOCKET: as nothing_left().
nothing_left_in() {
	local keys

	keys=$(redis-cli -s "$1" --raw keys "cflock:{$name}*" | grep -v -e ':token$' -e ':gone:' || true)
	[ -z "$keys" ] || fail "left in Redis: $keys"
}

@test "a setting: command line over environment; other words are refused" {
	expect 64 "$CFLOCK" --prefer speed "$name" true
	says "--prefer: 'speed' is not consistency or availability"
	expect 69 "$CFLOCK" --prefer consistency -S "$down" -w 0.3 "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	CFLOCK_PREFER=consistency expect 69 "$CFLOCK" -S "$down" -w 0.3 "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	CFLOCK_PREFER='' expect 69 "$CFLOCK" -S "$down" -w 0.3 "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	CFLOCK_PREFER=both expect 78 "$CFLOCK" "$name" true
	echo 'prefer = availability' >"$work/conf"
	CFLOCK_PREFER='' CFLOCK_CONFIG=$work/conf expect 0 "$CFLOCK" -S "$down" -w 0.3 "$name" \
		touch "$work/ran"
	[ -e "$work/ran" ]
}

@test "with a service, all is as ever: silent, token, code, nothing left" {
	expect 5 "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TOKEN"; exit 5'
	is_silent
	[ "$output" -gt 0 ]
	nothing_left "$name"
}

@test "held by others: refused and waited for as ever" {
	start first
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	expect 1 "$CFLOCK" -w 0.3 "$name" touch "$work/ran"
	says "held by"
	[ ! -e "$work/ran" ]
	launch second
	wait_said second "waiting, place 1"
	ends first 3
	wait_until test -s "$work/stamps-second"
	ends second 3
	[ "$(last_stamp_us first)" -lt "$(head -n 1 "$work/stamps-second" | cut -d ' ' -f 1)" ]
}

@test "no service at the start: one warning, after two seconds; no token; its exit code" {
	CFLOCK_TOKEN=17 expect 5 "$CFLOCK" -S "$down" "$name" sh -c \
		'echo "${CFLOCK_TOKEN-none} $CFLOCK_NAME ${#CFLOCK_ID} $CFLOCK_TTL_MS"; exit 5'
	[ "$output" = "none $name 32 10000" ]
	says "cflock: $name: cannot connect to" "the command is started without the lock"
	[ "${#stderr_lines[@]}" = 1 ]
	took 2000 12000
	expect 0 "$CFLOCK" -n -S "$down" "$name" true
	took 2000 12000
	expect 0 "$CFLOCK" -w 0.3 -S "$down" "$name" true
	took 300 9000
	expect 0 "$CFLOCK" -q -w 0.3 -S "$down" "$name" true
	is_silent
}

@test "a server that says nothing, and one without room: run" {
	freeze_redis
	expect 0 "$CFLOCK" -n "$name" touch "$work/ran"
	thaw_redis
	says "no answer in time" "without the lock"
	[ -e "$work/ran" ]
	# The claim in doubt is withdrawn.
	wait_until nothing_left "$name"
	rcli config set maxmemory 1
	expect 0 "$CFLOCK" -w 0.3 "$name" true
	rcli config set maxmemory 0
	says "out of memory" "without the lock"
}

@test "denied, not a Redis, no such name, a bad URL: not run" {
	rcli acl setuser prefer-none on '>pw' +ping
	expect 77 "$CFLOCK" -S "unix://prefer-none:no@$REDIS_SOCKET" -w 1 "$name" touch "$work/ran"
	expect 77 "$CFLOCK" -S "unix://prefer-none:pw@$REDIS_SOCKET" -w 1 "$name" touch "$work/ran"
	rcli set "$key" x
	rcli lpush "cflock:{$name}:line" x
	expect 69 "$CFLOCK" -w 1 "$name" touch "$work/ran"
	rcli del "$key" "cflock:{$name}:line"
	expect 69 "$CFLOCK" -S "$CFLOCK_SERVER?db=99" -w 1 "$name" touch "$work/ran"
	expect 78 "$CFLOCK" -S "nonsense" "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
}

@test "started without: takes the lock as soon as it can be had, check tells" {
	export CFLOCK_SERVER=unix://$work/r/redis.sock
	start a -t 2s -n
	[ "$(cat "$work/token-a")" = token=none ]
	said a "the command is started without the lock"
	serve
	wait_said a "the lock is held again, after"
	said a "by a new lease, token"
	is_held_in "$work/r/redis.sock"
	expect 1 "$CFLOCK" -n "$name" true
	# It is renewed.
	wait_said a "renewed, "
	runs a
	said_times a overlap 0
	ends a 3
	said a "released"
	said a "ran for .* of it without lock"
	nothing_left_in "$work/r/redis.sock"
}

@test "check: fails without a lock and without a service, succeeds with both" {
	export CFLOCK_SERVER=unix://$work/r/redis.sock CTL
	in_background "$CFLOCK" -v -n -t 3s "$name" bash -c '
		"$CTL" check 2>"$work/check1"; echo $? >"$work/code1"
		while [ ! -e "$work/up" ]; do sleep 0.02; done
		"$CTL" check 2>"$work/check2"; echo $? >"$work/code2"
		while [ ! -e "$work/free" ]; do sleep 0.02; done
		until "$CTL" check 2>/dev/null; do sleep 0.02; done
		"$CTL" fence "$work/fence" -- true 2>"$work/fenced"; echo $? >"$work/code3"' 2>"$work/stderr-a"
	pids+=("$background")
	wait_until test -s "$work/code1"
	[ "$(cat "$work/code1")" = 69 ]
	# Held by a stranger until the check has been made.
	serve_rival
	: >"$work/up"
	wait_until test -s "$work/code2"
	[ "$(cat "$work/code2")" = 79 ]
	grep -q "runs without the lock" "$work/check2"
	redis-cli -s "$work/other/redis.sock" del "$key"
	: >"$work/free"
	wait "$background"
	# A token, there is none.
	[ "$(cat "$work/code3")" = 64 ]
}

@test "healed beside a rival: one overlap, its code, and the lock when it is free" {
	export CFLOCK_SERVER=unix://$work/r/redis.sock
	start a -n -t 2s
	serve_rival
	wait_said a "overlap: the command runs without the lock, which others have"
	said a 'held by a client that is not cflock (value "rival")'
	sleep 1.5
	said_times a overlap 1
	runs a
	redis-cli -s "$work/other/redis.sock" del "$key"
	wait_said a "the lock is held again"
	ends a 3
	nothing_left_in "$work/other/redis.sock"
}

@test "an overlap that does not end: its code, and no place left in the line" {
	export CFLOCK_SERVER=unix://$work/r/redis.sock
	start a -n
	serve_rival
	wait_said a overlap
	ends a 3
	[ "$(redis-cli -s "$work/other/redis.sock" --raw keys "cflock:{$name}*" | grep -v gone)" = "$key" ]
}

@test "the service stops answering in the wait: runs when the lease told of is over" {
	serve
	# By a stranger: nobody else would run.
	rcli_r set "$key" x px 4000
	begun=$(now_ms)
	launch a
	wait_said a "waiting, place 1"
	kill -KILL "$(cat "$work/r/pid")"
	wait_until test -s "$work/stamps-a"
	within 3500 $(($(now_ms) - begun)) 9000 "ms until it ran"
	said a "the command is started without the lock"
	ends a 3
}

@test "... and is refused when -w ends before that" {
	serve
	rcli_r set "$key" x px 60000
	launch a -w 3
	wait_said a "waiting, place 1"
	kill -KILL "$(cat "$work/r/pid")"
	ends_by_itself a 1
	said a "held by a client that is not cflock"
	[ ! -e "$work/stamps-a" ]
}

@test "renewals fail: runs on, said once; the same server again: a new lease" {
	serve
	start a -t 1s
	token=$(cat "$work/token-a")
	[ "$token" != token=none ]
	stop_redis "$work/r"
	wait_said a "the lease could not be renewed in time, and the command runs on"
	runs a
	sleep 1
	said_times a "runs on without the lock" 1
	serve
	wait_said a "by a new lease, token"
	[ "$(rcli_r get "cflock:{$name}:token")" -gt "${token#token=}" ]
	wait_said a "renewed, "
	ends a 3
	said_times a overlap 0
	nothing_left_in "$work/r/redis.sock"
}

@test "renewals fail for a while: the same lease, where it stands" {
	serve
	start a -t 30s --renew-by 2%
	kill -STOP "$(cat "$work/r/pid")"
	wait_said a "runs on without the lock"
	kill -CONT "$(cat "$work/r/pid")"
	wait_said a "the lease is still the same"
	wait_said a "renewed, "
	ends a 3
	nothing_left_in "$work/r/redis.sock"
}

@test "consistency, in the same case: stopped, 79" {
	serve
	start a -t 1s --prefer consistency
	stop_redis "$work/r"
	ends_by_itself a 79
	said a "the lease is lost"
}

@test "deleted while in touch: stopped, 79" {
	start a -t 2s
	rcli del "$key"
	ends_by_itself a 79
	said a "the lock's key is gone"
	start b -t 2s
	"$CTL" break --force "$name"
	ends_by_itself b 79
	nothing_left "$name"
}

@test "break: asked through a renewal, also of a lease that was taken later" {
	start a -t 2s
	"$CTL" break "$name" >"$work/out"
	ends_by_itself a 143
	export CFLOCK_SERVER=unix://$work/r/redis.sock
	start b -n -t 2s
	serve
	wait_said b "the lock is held again"
	"$CTL" break "$name" >"$work/out"
	ends_by_itself b 143
	said b "asked to end by"
}

@test "denied in the middle of a run: stopped, 79" {
	serve
	start a -t 1s
	rcli_r acl setuser default -@all +acl +ping
	ends_by_itself a 79
	said a "the lease is lost"
}

@test "cflock killed, and guardian killed, without a lock: the command is dead at once" {
	start a -n -S "$down"
	kill -KILL "$pid_a"
	wait_gone "$pid_a"
	after=$(now_ms)
	wait_until stamps_stand a
	[ $(($(last_stamp_us a) / 1000)) -lt $((after + 3500)) ]
	start b -n -S "$down"
	kill -KILL "$(guardian_of "$pid_b")"
	ends_by_itself b 79
	after=$(now_ms)
	wait_until stamps_stand b
	[ $(($(last_stamp_us b) / 1000)) -lt $((after + 200)) ]
}

# No stamp came for a while.
stamps_stand() {
	[ $(($(last_stamp_us "$1") / 1000 + 500)) -lt "$(now_ms)" ] || return 1
}

@test "cflock stopped, with a service: the command dead before the end of the lease" {
	start a -t 1s
	kill -STOP "$pid_a"
	now=$(now_ms)
	expiry=$((now + $(rcli pttl "$key") + 5))
	wait_until stamps_stand a
	[ $(($(last_stamp_us a) / 1000)) -lt "$expiry" ]
	kill -CONT "$pid_a"
	ends_by_itself a 79
}

@test "--slots and -s take the same path" {
	export CFLOCK_SERVER=unix://$work/r/redis.sock
	launch a -n -m 2
	launch b -n -m 2
	wait_until test -s "$work/stamps-a"
	wait_until test -s "$work/stamps-b"
	serve
	wait_said a "the lock is held again"
	wait_said b "the lock is held again"
	expect 1 "$CFLOCK" -n -m 2 "$name" true
	ends a 3
	ends b 3
	said_times a overlap 0
	said_times b overlap 0
	nothing_left_in "$work/r/redis.sock"
}

@test "--cooldown: from when the lock was had" {
	export CFLOCK_SERVER=unix://$work/r/redis.sock
	start a -n --cooldown 60s
	serve
	wait_said a "the lock is held again"
	ends a 3
	expect 1 "$CFLOCK" -n "$name" true
	says "cooling down"
	rcli_r del "cflock:{$name}:cooldown"
	# Another has run within the time.
	stop_redis "$work/r"
	start b -n --cooldown 60s
	serve_rival "$key:cooldown"
	wait_said b "overlap.*cooling down"
	ends b 3
	[ "$(redis-cli -s "$work/other/redis.sock" get "cflock:{$name}:cooldown")" = rival ]
}

@test "--attach: the script goes on without the lock" {
	export CFLOCK_SERVER=unix://$work/r/redis.sock
	in_background bash -c '
		export CFLOCK_TOKEN=17
		lock=$("$CFLOCK" -v -n -t 2s --attach $$ "$name" 2>"$work/stderr-a") || exit 9
		eval "$lock"
		echo "${CFLOCK_TOKEN-none} ${#CFLOCK_ID}" >"$work/token-a"
		while [ ! -e "$work/end-a" ]; do sleep 0.02; done
		"$CFLOCK" --release "$name"'
	pids+=("$background")
	wait_until test -s "$work/token-a"
	[ "$(cat "$work/token-a")" = "none 32" ]
	said a "the command is started without the lock"
	serve
	wait_said a "the lock is held again"
	is_held_in "$work/r/redis.sock"
	: >"$work/end-a"
	wait "$background"
	nothing_left_in "$work/r/redis.sock"
}

@test "events" {
	export CFLOCK_SERVER=unix://$work/r/redis.sock
	in_background "$CFLOCK" --log-json -n "$name" bash -c "$stamping" a 2>"$work/stderr-a"
	pids+=("$background")
	pid_a=$background
	wait_until test -s "$work/stamps-a"
	serve_rival
	wait_said a '"event":"overlap"'
	redis-cli -s "$work/other/redis.sock" del "$key"
	wait_said a '"event":"regained"'
	ends a 3
	python3 - "$work/stderr-a" <<-'END'
		import json, sys
		events = [json.loads(line) for line in open(sys.argv[1])]
		by = {event['event']: event for event in events}
		names = [event['event'] for event in events]
		assert [n for n in names if n in ('without_lock', 'overlap', 'regained', 'summary')] == \
			['without_lock', 'overlap', 'regained', 'summary'], names
		assert by['without_lock']['reason'] == 'unreachable'
		assert by['without_lock']['level'] == 'warning'
		assert 'cannot connect' in by['without_lock']['cause']
		assert 'token' not in by['without_lock'] and 'token' not in by['overlap']
		assert by['overlap']['holder'] == {'value': 'rival'}, by['overlap']
		assert by['overlap']['reason'] == 'held'
		assert by['regained']['lease'] == 'new' and int(by['regained']['token']) > 0
		assert by['summary']['token'] == by['regained']['token']
		assert 0 < by['regained']['without_ms'] <= by['summary']['without_lock_ms']
		assert by['summary']['exit_code'] == 3
	END
}

@test "three hosts, a partition that heals: what ran where and when" {
	unset CFLOCK_SERVER
	net_up one two three
	net_redis one "$work/r"
	export CFLOCK_SERVER=redis://${address[one]}
	launch_on two a -t 2s
	wait_until test -s "$work/stamps-a"
	launch_on three b -t 2s --prefer consistency
	wait_said b "waiting, place 1.*host two"
	[ ! -e "$work/stamps-b" ]

	# a is cut off: it runs on, and its rival starts at the end of its lease.
	net_cut two one
	cut_us=${EPOCHREALTIME/[.,]/}
	wait_until test -s "$work/stamps-b"
	b_begun_us=$(head -n 1 "$work/stamps-b" | cut -d ' ' -f 1)
	within 400 $(((b_begun_us - cut_us) / 1000)) 6000 "ms from the cut to the rival's start"
	wait_said a "runs on without the lock"
	runs a
	runs b
	said_times a overlap 0

	net_heal two one
	wait_said a "overlap: the command runs without the lock.*held by host three"
	runs a
	runs b
	said_times a overlap 1
	ends b 3
	wait_said a "the lock is held again, .* by a new lease"
	[ "$(sed 's/.*token=//' "$work/token-b")" -gt "$(sed 's/.*token=//' "$work/token-a")" ]
	expect 1 on_host three "$CFLOCK" -n "$name" true
	says "host two"
	ends a 3
	nothing_left_in "$work/r/redis.sock"

	# Both ran, and beside each other from b's start to its end, as it was said.
	beside=$(cat "$work"/stamps-? | sort -n | awk '$2 != last { turns++; last = $2 } END { print turns }')
	[ "$beside" -ge 5 ] || fail "only $beside turns in the stamps"
	[ "$(last_stamp_us b)" -lt "$(last_stamp_us a)" ]
}

@test "three hosts, a partition, consistency: one at a time, a rest in between" {
	unset CFLOCK_SERVER
	export CFLOCK_PREFER=consistency
	net_up one two three
	net_redis one "$work/r"
	export CFLOCK_SERVER=redis://${address[one]}
	launch_on two a -t 2s
	wait_until test -s "$work/stamps-a"
	launch_on three b -t 2s
	wait_said b "waiting, place 1.*host two"
	net_cut two one
	wait_until test -s "$work/stamps-b"
	ends_by_itself a 79
	net_heal
	runs b
	ends b 3
	[ "$(last_stamp_us a)" -lt "$(head -n 1 "$work/stamps-b" | cut -d ' ' -f 1)" ]
	turns=$(cat "$work"/stamps-? | sort -n | cut -d ' ' -f 2 | uniq | tr -d '\n')
	[ "$turns" = ab ]
	nothing_left_in "$work/r/redis.sock"
}

@test "three hosts, all cut off, availability: all run; healed, one has the lock" {
	unset CFLOCK_SERVER
	net_up one two three
	net_redis one "$work/r"
	export CFLOCK_SERVER=redis://${address[one]}
	net_cut one two three
	launch_on two a -n -t 2s
	launch_on three b -n -t 2s
	wait_until test -s "$work/stamps-a"
	wait_until test -s "$work/stamps-b"
	net_heal
	wait_until grep -q "the lock is held again" "$work/stderr-a" "$work/stderr-b"
	wait_until grep -q "overlap" "$work/stderr-a" "$work/stderr-b"
	first=a second=b
	said a "the lock is held again" || { first=b; second=a; }
	said "$second" "overlap"
	said_times "$first" overlap 0
	runs a
	runs b
	ends "$first" 3
	wait_said "$second" "the lock is held again"
	ends "$second" 3
	nothing_left_in "$work/r/redis.sock"
}
