# A cooldown: from the start of a run on, nobody starts another, unless it failed.

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

# is_cooling OPTION...: ends at once with -E's code, and says until when.
is_cooling() {
	not_run_now "$@"
	[[ $stderr =~ ^"cflock: $name: cooling down, may run again at "[0-9:]{8}" (in "[0-9.]+" "m?"s)"$ ]] ||
		fail "it says: $stderr"
}

has_cooled_down() {
	[ "$(rcli exists "$key:cooldown")" = 0 ]
}

@test "within it, whoever tries is told when it may run again; then it runs" {
	expect 0 "$CFLOCK" --cooldown 3s "$name" true
	is_silent
	is_cooling -n
	is_cooling -w 20
	is_cooling
	is_cooling --cooldown 1h
	expect 7 "$CFLOCK" -E 7 "$name" true
	expect 0 "$CFLOCK" -q -n -E 0 "$name" true
	is_silent
	# None of these has prolonged it.
	[ "$(rcli pttl "$key:cooldown")" -le 3000 ]
	wait_until has_cooled_down
	expect 0 "$CFLOCK" -n "$name" true
	nothing_left "$name"
}

@test "it counts from the start of the run, by the server's clock" {
	hold w --cooldown 2s
	left=$(rcli pttl "$key:cooldown")
	within 1000 "$left" 2000 "ms left, when it has just begun"
	not_run_now
	wait_until has_cooled_down
	# It still runs: now that is the reason to wait.
	expect 1 "$CFLOCK" -n "$name" true
	says "held by host"
	let_go w
	expect 0 "$CFLOCK" -n "$name" true
}

@test "who stands in the line when it begins is refused as well" {
	hold w
	join w1 --cooldown 60s
	join w2
	join w3 -w 50
	let_go w
	ends_with w1 0
	ends_with w2 1
	ends_with w3 1
	grep -q "cooling down" "$work/stderr-w2"
	grep -q "cooling down" "$work/stderr-w3"
	ran w w1
	[ "$(rcli exists "$key:line" "$key:beats" "$key:waiters")" = 0 ]
}

@test "who takes over is refused as well" {
	acquire_as ghost 1000 400 >/dev/null
	rcli set "$key:cooldown" ghost px 60000
	is_cooling -w 5
}

@test "a run that fails keeps its cooldown, without --retry-failed" {
	expect 3 "$CFLOCK" --cooldown 60s "$name" sh -c 'exit 3'
	is_cooling -n
}

@test "--retry-failed: an exit code, a signal, a lost lease end it" {
	expect 3 "$CFLOCK" --cooldown 60s --retry-failed "$name" sh -c 'exit 3'
	nothing_left "$name"
	expect 143 "$CFLOCK" --cooldown 60s --retry-failed "$name" sh -c 'kill -TERM $$'
	nothing_left "$name"
	expect 126 "$CFLOCK" --cooldown 60s --retry-failed "$name" /
	nothing_left "$name"
	expect 79 "$CFLOCK" -t 500ms --cooldown 60s --retry-failed "$name" sh -c '
		redis-cli -s "$REDIS_SOCKET" del "$key" >/dev/null; sleep 60'
	nothing_left "$name"
	expect 0 "$CFLOCK" --cooldown 60s --retry-failed "$name" true
	is_cooling -n
}

# outcome CODE: a run with --retry-failed that ends so, while w2 waits for it.
outcome() {
	local runner

	in_background "$CFLOCK" --cooldown 60s --retry-failed "$name" sh -c '
		: >"$work/runs"
		until [ -e "$work/end" ]; do sleep 0.01; done
		exit '"$1" 2>/dev/null
	runner=$background
	pids+=("$runner")
	wait_until [ -e "$work/runs" ]
	expect 1 "$CFLOCK" -n "$name" true
	says "held by host"
	join w2
	: >"$work/end"
	wait "$runner" || [ $? = "$1" ]
}

@test "--retry-failed: others wait for the outcome; a failure is repeated" {
	outcome 5
	ends_with w2 0
	ran w2
}

@test "--retry-failed: others wait for the outcome; a success is not repeated" {
	outcome 0
	ends_with w2 1
	grep -q "cooling down" "$work/stderr-w2"
	did_not_run w2
}

@test "a run that vanished is not known to have failed" {
	hold w -t 500ms --cooldown 60s --retry-failed
	join w2
	vanish w
	ends_with w2 1
	grep -q "cooling down" "$work/stderr-w2"
}

@test "--retry-failed: as long as the lease lasts, a failure may be told" {
	script acquire silent 60000 59990 exclusive '' 60000 retry '' host 1 user command ''
	is_overdue() { [ "$(rcli pttl "$key")" -lt 59980 ]; }
	wait_until is_overdue
	join w
	[ "$(script release silent lift)" = 1 ]
	ends_with w 0
	ran w
}

@test "what never started leaves none" {
	# The answer is lost; the server has granted it.
	freeze_redis
	in_background "$CFLOCK" --cooldown 60s -w 0.5 "$name" touch "$work/ran" 2>/dev/null
	pids+=("$background")
	code=0
	wait "$background" || code=$?
	[ "$code" = 69 ]
	thaw_redis
	wait_until nothing_left "$name"
	[ ! -e "$work/ran" ]
}

@test "options that do not go with it: 64" {
	refuses "it goes neither with --shared" -- --cooldown 1m -s
	refuses "nor with --slots" -- --cooldown 1m --slots 2
	refuses "it needs --cooldown" -- --retry-failed
}

# As cron does it, 20 times as fast.  Five hosts whose wall clocks differ by 20 s
# fire the same job each period, within a third of it of one another.
PERIOD_MS=3000
PERIODS=3
skews=(-10 -5 0 5 10)

# cron_host N OPTION...: its clock is skews[N] ahead.
cron_host() {
	local skew=${skews[$1]} offset=$((250 * $1)) period now

	shift
	for period in $(seq "$PERIODS"); do
		now=$(now_ms)
		sleep "$(((base_ms + period * PERIOD_MS + offset - now) / 1000)).$(printf %03d \
			$(((base_ms + period * PERIOD_MS + offset - now) % 1000)))"
		# The sanitizers want to be loaded first; it does not matter here.
		FAKETIME_DONT_FAKE_MONOTONIC=1 \
			ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0 \
			faketime -f "$(printf %+d "$skew")s" "$CFLOCK" -t 1s -n -E 0 -q \
			--cooldown 2s "$@" "$name" sh -c "$job" "$period" || true
	done
}

# cron OPTION...: what ran in $work/jobs, a word and the period in a line.
cron() {
	local n hosts=()

	export job
	base_ms=$(now_ms)
	for n in "${!skews[@]}"; do
		cron_host "$n" "$@" </dev/null 3>&- 2>>"$work/stderr" &
		hosts+=("$!")
	done
	pids+=("${hosts[@]}")
	wait "${hosts[@]}"
	cat "$work/stderr"
}

@test "cron on five hosts whose clocks differ by 20 s: once a period" {
	# The hosts' clocks do differ.
	[ "$(faketime -f +20s date +%s)" -gt $(($(date +%s) + 15)) ]
	job='sleep 0.1; echo "ran $0" >>"$work/jobs"'
	cron
	[ "$(cat "$work/jobs")" = $'ran 1\nran 2\nran 3' ] || fail "$(cat "$work/jobs")"
}

@test "... and with --retry-failed, a run that failed is repeated by another" {
	job='
		sleep 0.1
		if ! grep -qx "failed $0" "$work/jobs"; then
			echo "failed $0" >>"$work/jobs"
			exit 3
		fi
		echo "ran $0" >>"$work/jobs"'
	: >"$work/jobs"
	cron --retry-failed
	[ "$(cat "$work/jobs")" = $'failed 1\nran 1\nfailed 2\nran 2\nfailed 3\nran 3' ] ||
		fail "$(cat "$work/jobs")"
}
