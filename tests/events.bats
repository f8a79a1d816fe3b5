# --log-json: an object a line for whatever happens; --syslog: the same messages
# there, too; the summary at the end of a run.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/devlog

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	mkfifo "$work/go"
	log=$work/log
	helpers=$BATS_TEST_DIRNAME/helpers
	top=${top_srcdir:-$BATS_TEST_DIRNAME/..}
	export CFLOCK log
}

teardown() {
	thaw_redis
	test_teardown
	wait "${pids[@]}" 2>/dev/null || true
}

# run_json CODE ARG...: cflock so called must exit with CODE; stderr in $log.
run_json() {
	local code=$1 got=0

	shift
	"$CFLOCK" --log-json "$@" </dev/null >"$work/stdout" 2>"$log" 3>&- || got=$?
	[ "$got" = "$code" ] || fail "exit code $got, not $code: $(cat "$log")"
}

# start_json ARG...: as run_json, in the background; its pid in $cflock.
start_json() {
	in_background "$CFLOCK" --log-json "$@" >"$work/stdout" 2>"$log"
	cflock=$background
	pids+=("$cflock")
}

ends_with() {
	local got=0

	wait "$cflock" || got=$?
	[ "$got" = "$1" ] || fail "exit code $got, not $1: $(cat "$log")"
}

# parse: $log into $log.fields, with lines EVENT FIELD VALUE, and its events into
# $events; each line of it must be as the manual says.
parse() {
	python3 "$helpers/events.py" "$log" >"$log.fields" || fail "in: $(cat "$log")"
	events=$(sed -n 's/ event .*//p' "$log.fields" | paste -sd ' ' -)
}

# events_are EVENT...: those in $log.
events_are() {
	parse
	[ "$events" = "$*" ] || fail "events: $events"$'\n'"expected: $*"
}

# events_match PATTERN: a pattern of the shell for their names.
events_match() {
	parse
	# shellcheck disable=SC2053 # a pattern
	[[ $events == $1 ]] || fail "events: $events"$'\n'"expected: $1"
}

# fields EVENT FIELD: of all such events; EVENT is a regular expression.
fields() {
	[ "$log.fields" -nt "$log" ] || parse
	sed -nE "s/^($1) $2 //p" "$log.fields"
}

# field EVENT FIELD: of the last such event; "-" where it is missing.
field() {
	local value

	value=$(fields "$1" "$2" | tail -n 1)
	echo "${value:--}"
}

# field_is EVENT FIELD VALUE
field_is() {
	[ "$(field "$1" "$2")" = "$3" ] || fail "$1: $2 is $(field "$1" "$2"), not $3: $(cat "$log")"
}

# came EVENT [N]: so often, at least.
came() {
	[ "$(grep -c "\"event\":\"$1\"" "$log")" -ge "${2:-1}" ]
}

# hold [OPTION]...: another holder, until let_go; its pid in $holder.
hold() {
	in_background "$CFLOCK" "$@" "$name" sh -c 'read -r _ <"$work/go"'
	holder=$background
	pids+=("$holder")
	wait_until is_locked "$name"
}

let_go() {
	echo >"$work/go"
}

# ms_since MS: have so many passed since $since?
ms_since() {
	[ "$(now_ms)" -ge $((since + $1)) ]
}

# run_syslog CODE ARG...: as run_json, with --syslog instead.
run_syslog() {
	local code=$1 got=0

	shift
	in_dev "$CFLOCK" --syslog "$@" </dev/null 2>"$log" 3>&- || got=$?
	[ "$got" = "$code" ] || fail "exit code $got, not $code: $(cat "$log")"
}

in_syslog() {
	grep -q -- "$1" "$work/syslog"
}

# Without "<PRI>Mmm dd hh:mm:ss cflock[pid]: ".
syslog_texts() {
	sed -E 's/^<[0-9]+>.{15} cflock\[[0-9]+\]: //' "$work/syslog"
}

# === JSON ===================================================================

@test "a run: granted, renewed, released, and the summary" {
	# The scripts are known to the server afterwards: each request is one EVALSHA.
	"$CFLOCK" -t 1s "$name" sleep 0.5
	before=$(calls_of evalsha)
	begun=$(now_ms)
	run_json 3 -t 1s "$name" sh -c 'sleep 0.9; echo "$CFLOCK_ID $CFLOCK_TOKEN"; exit 3'
	whole=$(($(now_ms) - begun))
	asked=$(($(calls_of evalsha) - before))

	events_match "granted renewed*renewed* released summary"
	read -r id token <"$work/stdout"
	for event in granted renewed released summary; do
		field_is "$event" name "$name"
		field_is "$event" id "$id"
		field_is "$event" token "$token"
	done
	field_is granted ttl_ms 1000
	field_is granted level info
	field_is summary exit_code 3
	field_is summary left_out 0
	field_is summary lost_at_left_ms 400
	field_is summary renewals_failed 0
	# One to acquire, one to release.
	field_is summary renewals $((asked - 2))
	within 2 "$(field summary renewals)" 5 renewals
	[ "$(grep -c '"event":"renewed' "$log")" = "$(field summary renewals)" ]
	within 890 "$(field summary duration_ms)" "$whole" duration_ms
	within 0 "$(field summary waited_ms)" "$whole" waited_ms
	within 0 "$(field summary slowest_renewal_ms)" 600 slowest_renewal_ms
	# 800 are left when a renewal is due, and 400 when the lease is lost.
	within 400 "$(field summary smallest_left_ms)" 800 smallest_left_ms
}

@test "the summary: of all renewals the slowest, and the smallest that was left" {
	start_json -t 12s "$name" sh -c 'read -r _ <"$work/go"'
	wait_until came renewed
	# Due 2.4 s after it: the second takes 1 s, and what a busy machine is late.
	came_renewed() { came 'renewed[a-z_]*' "$1"; }
	since=$(now_ms)
	freeze_redis
	wait_until ms_since 3400
	thaw_redis
	wait_until came_renewed 3
	let_go
	ends_with 0
	parse
	fields 'renewed|renewed_late' left_ms >"$work/left"
	[ "$(sort -n "$work/left" | head -n 1)" = "$(field summary smallest_left_ms)" ]
	fields 'renewed|renewed_late' took_ms >"$work/took"
	[ "$(sort -n "$work/took" | tail -n 1)" = "$(field summary slowest_renewal_ms)" ]
	within 7000 "$(field summary smallest_left_ms)" 8700 smallest_left_ms
	within 800 "$(field summary slowest_renewal_ms)" 2600 slowest_renewal_ms
	[ "$(sed -n 1p "$work/left")" -gt 8700 ]
}

@test "no renewal: none of its numbers" {
	run_json 0 "$name" true
	events_are granted released summary
	field_is summary renewals 0
	field_is summary slowest_renewal_ms -
	field_is summary smallest_left_ms -
	field_is summary exit_code 0
}

@test "a command that dies by a signal, and one that cannot be run" {
	run_json 137 "$name" sh -c 'kill -KILL $$'
	field_is summary exit_code 137
	run_json 127 "$name" "$work/no such \"command\""
	events_are granted cannot_run released summary
	field_is cannot_run command "$work/no such \"command\""
	field_is cannot_run cause "No such file or directory"
	field_is cannot_run exit_code 127
	field_is cannot_run level error
	field_is cannot_run token "$(field granted token)"
	field_is summary exit_code 127
	run_json 126 "$name" "$work"
	field_is cannot_run exit_code 126
}

@test "a wait: each change of place or holder, with who holds the lock" {
	hold --message 'of "the" test'
	in_background "$CFLOCK" "$name" true
	first=$background
	pids+=("$first")
	in_line() { [ "$(rcli zcard "$key:line")" = 1 ]; }
	wait_until in_line
	start_json -t 5s "$name" true
	wait_until came waiting
	field_is waiting place 2
	field_is waiting waiting 2
	kill -TERM "$first"
	wait_until came waiting 2
	field_is waiting place 1
	field_is waiting waiting 1
	let_go
	ends_with 0
	events_match "waiting waiting granted* released summary"
	field_is waiting level info
	field_is waiting reason held
	field_is waiting token -
	field_is waiting holder.host "$(uname -n)"
	field_is waiting holder.pid "$holder"
	field_is waiting holder.user "${LOGNAME:-$(id -u)}"
	field_is waiting holder.command 'sh -c read -r _ <"$work/go"'
	field_is waiting holder.message 'of "the" test'
	[[ $(field waiting text) == "waiting, place 1 of 1 in line: held by host $(uname -n), "* ]]
	within 0 "$(field waiting left_ms)" 10000 left_ms
	[ "$(field granted waited_ms)" -ge "$(field waiting waited_ms)" ]
	field_is summary waited_ms "$(field granted waited_ms)"
}

@test "not started: held by others" {
	hold
	run_json 7 -n -E 7 "$name" touch "$work/ran"
	events_are not_started
	field_is not_started reason held
	field_is not_started level warning
	field_is not_started exit_code 7
	field_is not_started holder.pid "$holder"
	[[ $(field not_started text) == "held by host "* ]]
	run_json 69 -w 0.3 -E 69 "$name" touch "$work/ran"
	events_are waiting not_started
	field_is not_started reason held
	within 290 "$(field not_started waited_ms)" 5000 waited_ms
	[ ! -e "$work/ran" ]
	let_go
}

@test "not started: held by what is not cflock, cooling, of another kind, by an ancestor" {
	rcli set "$key" 'some "other"'
	run_json 1 -n "$name" true
	field_is not_started reason held
	field_is not_started holder.value 'some "other"'
	field_is not_started left_ms -
	rcli del "$key"

	"$CFLOCK" --cooldown 60s "$name" true
	run_json 1 "$name" true
	events_are not_started
	field_is not_started reason cooling
	within 50000 "$(field not_started left_ms)" 60000 left_ms
	rcli del "$key:cooldown"

	run_json 64 "$name" "$CFLOCK" --log-json "$name" true
	events_are granted not_started released summary
	field_is not_started reason ancestor
	field_is not_started level error
	field_is summary exit_code 64

	hold -s
	run_json 64 -n -m 3 "$name" true
	events_are not_started
	field_is not_started reason kind
	field_is not_started kind shared
	let_go
}

@test "not started: unreachable, denied" {
	run_json 69 -S unix:///nowhere -w 0.3 "$name" true
	events_are unreachable not_started
	field_is unreachable level notice
	[[ $(field unreachable cause) == "cannot connect to unix:///nowhere: "* ]]
	field_is not_started reason unreachable
	field_is not_started cause "$(field unreachable cause)"
	field_is not_started exit_code 69
	field_is not_started level error
	within 250 "$(field not_started waited_ms)" 5000 waited_ms

	rcli acl setuser nobody on '>s3cret' '~*' -@all >/dev/null
	CFLOCK_PASSWORD=s3cret run_json 77 -S "unix://nobody@$REDIS_SOCKET" "$name" true
	events_are not_started
	field_is not_started reason denied
	field_is not_started exit_code 77
}

@test "not started: usage and configuration, once it is known that it is to be JSON" {
	run_json 64 -t 1s --renew-by 80 "$name" true
	events_are not_started
	field_is not_started reason usage
	field_is not_started exit_code 64
	run_json 64 --no-such-option "$name" true
	field_is not_started reason usage
	[[ $(field not_started text) == "--no-such-option: there is no such option"* ]]
	CFLOCK_TTL=1x run_json 78 "$name" true
	field_is not_started reason config
	field_is not_started exit_code 78
}

@test "not started: a signal while waiting" {
	hold
	start_json "$name" true
	wait_until came waiting
	kill -TERM "$cflock"
	ends_with 143
	events_are waiting not_started
	field_is not_started reason signal
	field_is not_started signal 15
	field_is not_started exit_code 143
	let_go
}

@test "lost: the server is frozen" {
	start_json -t 1s "$name" sleep 60
	wait_until came renewed
	freeze_redis
	ends_with 79
	thaw_redis
	events_match "granted renewed* renewal_failed*lost stopping *summary"
	field_is lost reason not_renewed
	field_is lost level error
	[[ $(field lost cause) == *"no answer in time" ]]
	within -600 "$(field lost left_ms)" 400 left_ms
	field_is stopping signal 15
	within 0 "$(field stopping kill_in_ms)" 195 kill_in_ms
	field_is renewal_failed level notice
	[[ $(field renewal_failed cause) == *"no answer in time" ]]
	field_is summary renewals_failed "$(grep -c renewal_failed\", "$log")"
	field_is summary exit_code 79
}

@test "lost: the lock is somebody else's" {
	start_json -t 1s --stop-signal INT "$name" sleep 60
	wait_until came granted
	rcli set "$key" somebody px 60000
	ends_with 79
	events_match "granted *lost *summary"
	field_is lost reason refused
	field_is lost cause 'another holds the lock now (value "somebody")'
	field_is stopping signal 2
	field_is summary renewals_failed 1
	field_is summary exit_code 79
}

@test "renewed late: after a try that failed" {
	start_json -t 5s "$name" sh -c 'read -r _ <"$work/go"'
	wait_until came granted
	freeze_redis
	wait_until came renewal_failed
	thaw_redis
	wait_until came renewed_late
	# What has failed is over and done with then.
	wait_until came renewed
	let_go
	ends_with 0
	events_match "granted renewal_failed*renewed_late renewed *summary"
	failures=$(grep -c renewal_failed\", "$log")
	field_is renewed_late level notice
	field_is renewed_late failures "$failures"
	field_is renewal_failed failures "$failures"
	field_is summary renewals_failed "$failures"
	# Due at 1 s; a try has 1 s.
	within 1000 "$(field renewed_late late_ms)" 2000 late_ms
	field_is renewed_late left_ms "$((4000 - $(field renewed_late late_ms) - 1))" ||
		field_is renewed_late left_ms "$((4000 - $(field renewed_late late_ms)))"
	field_is summary smallest_left_ms "$(field renewed_late left_ms)"
	within 2000 "$(field summary smallest_left_ms)" 3000 smallest_left_ms
}

@test "renewed late: an answer that took long" {
	start_json -t 20s "$name" sh -c 'read -r _ <"$work/go"'
	wait_until came granted
	since=$(now_ms)
	freeze_redis
	# Due at 4 s, and late 2 s after that; a try has 4 s.
	wait_until ms_since 6500
	thaw_redis
	wait_until came renewed_late
	let_go
	ends_with 0
	field_is renewed_late failures -
	within 2000 "$(field renewed_late late_ms)" 4000 late_ms
	within 2000 "$(field renewed_late took_ms)" 4000 took_ms
	field_is summary renewals_failed 0
	field_is summary slowest_renewal_ms "$(field renewed_late took_ms)"
}

@test "taken over: by who waits, from who was stopped" {
	start_json -t 2s "$name" sh -c 'trap "" TERM; while :; do sleep 0.05; done'
	old=$cflock
	wait_until came granted
	log=$work/new
	start_json -t 2s "$name" true
	wait_until came waiting
	kill -STOP "$old"
	wait_until came taken_over
	ends_with 0
	events_match "waiting*taken_over granted* released summary"
	field_is taken_over reason taken_over
	field_is taken_over holder -
	within 1 "$(field taken_over left_ms)" 800 left_ms
	kill -CONT "$old"
	log=$work/log
	cflock=$old
	ends_with 79
	events_match "granted*lost*summary"
	field_is summary exit_code 79
}

@test "paused and resumed: a command that is stopped is not renewed for" {
	start_json -t 5s "$name" sh -c 'echo $$ >"$work/pid"; read -r _ <"$work/go"'
	wait_until test -s "$work/pid"
	kill -STOP "$(cat "$work/pid")"
	wait_until came paused
	kill -CONT "$(cat "$work/pid")"
	wait_until came resumed
	let_go
	ends_with 0
	events_match "granted *paused resumed *released summary"
	field_is paused signal 19
}

@test "unguarded: the guardian is killed" {
	start_json "$name" sleep 60
	wait_until guardian_of "$cflock"
	wait_until came granted
	kill -KILL "$(guardian_of "$cflock")"
	ends_with 79
	events_match "granted released unguarded summary"
	field_is unguarded exit_code 79
}

@test "a release that fails" {
	run_json 0 -t 1s "$name" sh -c "kill -STOP $(redis_pid)"
	thaw_redis
	events_are granted release_failed summary
	field_is release_failed level warning
	within 0 "$(field release_failed left_ms)" 1000 left_ms
	[[ $(field release_failed cause) == *"no answer in time" ]]
	field_is summary exit_code 0
}

@test "-q: only what is fatal" {
	run_json 0 -q "$name" true
	[ ! -s "$log" ]
	hold
	run_json 1 -q -n "$name" true
	[ ! -s "$log" ]
	let_go
	run_json 69 -q -w 0.2 -S unix:///nowhere "$name" true
	events_are not_started
}

@test "bytes of any kind, in command and message, leave one line of JSON" {
	strange=$(printf '"\\ /\001\033[2J\177 \xff\xc3 \xc3\xa4\xe2\x82\xac \xed\xa0\x80 \xc2\x9b</script>\t\n.')
	hold --message "$strange" -t 5s
	for message in "$strange" "$(printf '%01024d' 0 | tr 0 '"')" \
		"$(printf '\xe2\x82\xac%.0s' {1..300})" "$(printf '\xff%.0s' {1..1024})"; do
		let_go
		wait "$holder"
			# As long as they can be: host and user, as well.
		LOGNAME=$(printf '\\%.0s' {1..255}) hold --message "$message"
		run_json 1 -n "$name" true "$message"
		events_are not_started
		field_is not_started holder.pid "$holder"
		[ -n "$(field not_started holder.message)" ]
		[[ $(field not_started text) == "held by host "* ]]
	done
	let_go
	wait "$holder"
	hold --message "$strange"
	run_json 1 -n "$name" true
	field_is not_started holder.message '"\ /??[2J? ?? ä€ ??? ??</script>??.'
	let_go
	run_json 127 "$name" "./$strange"
	field_is cannot_run command './"\ /??[2J? ?? ä€ ??? ??</script>??.'
}

@test "a pipe that nobody reads, full: not the lease is lost, but lines" {
	mkfifo "$work/full"
	exec 7<>"$work/full"
	dd if=/dev/zero of="$work/full" bs=4096 count=64 oflag=nonblock 2>/dev/null || true
	timeout -s KILL 20 "$CFLOCK" --log-json --ttl 1s "$name" sh -c 'sleep 2; exit 4' \
		</dev/null 2>&7 3>&- && code=0 || code=$?
	exec 7>&-
	[ "$code" = 4 ]
}

@test "a terminal that nobody reads, with less room than a line: not the lease is lost" {
	for how in -v --log-json; do
		code=0
		timeout -s KILL 20 python3 "$helpers/unread_terminal.py" "$CFLOCK" "$how" -t 1s \
			"$name" sh -c 'sleep 2; exit 4' </dev/null 3>&- || code=$?
		[ "$code" = 4 ] || fail "$how: exit code $code"
	done
}

@test "-v: the same summary in words" {
	expect 3 "$CFLOCK" -v -t 1s "$name" sh -c 'sleep 0.5; exit 3'
	line=${stderr_lines[${#stderr_lines[@]} - 1]}
	[[ $line =~ ^"cflock: $name: held for "[0-9]+" ms after a wait of "[0-9]+" ms; renewals: "[12]", and 0 failed, the slowest in "[0-9.]+" ms; at least "[0-9]+" ms of the lease were left (lost at 400 ms); exit code 3"$ ]] ||
		fail "$line"
	run ! grep -q '{' <<<"$stderr"
	expect 0 "$CFLOCK" "$name" true
	is_silent
}

@test "--log-json, CFLOCK_LOG_JSON, CFLOCK_LOG and the file ask for it" {
	printf 'log-json = yes\n' >"$work/conf"
	for way in CFLOCK_LOG_JSON=1 CFLOCK_LOG=json CFLOCK_CONFIG="$work/conf"; do
		env "$way" "$CFLOCK" "$name" true 2>"$log"
		events_are granted released summary
	done
	CFLOCK_LOG=text expect 0 "$CFLOCK" "$name" true
	is_silent
	CFLOCK_LOG=xml expect 78 "$CFLOCK" "$name" true
	says "CFLOCK_LOG: 'xml' is neither json nor text"
}

@test "on a terminal, a wait is told as JSON, and not by a line that updates itself" {
	hold
	in_background script -qfec "$CFLOCK --log-json -w 2.5 $name true" "$work/typescript"
	pids+=("$background")
	wait "$background" || true
	sed -e '/^Script started/d' -e '/^Script done/d' -e 's/\r$//' "$work/typescript" |
		grep . >"$log"
	events_are waiting not_started
	let_go
}

# === syslog =================================================================

@test "--syslog: as syslog(3) writes it, in addition to stderr" {
	with_devlog read
	run_syslog 3 -v "$name" sh -c 'exit 3'
	wait_until in_syslog "held for"
	# Priority: "user" and "info".
	[ "$(wc -l <"$work/syslog")" = "$(wc -l <"$log")" ]
	run ! grep -vE '^<14>(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9] cflock\[[0-9]+\]: '"$name: " "$work/syslog"
	diff <(syslog_texts) <(sed 's/^cflock: //' "$log")
	grep -q "$name: granted" "$log"
	# By the clock of this host, in its time zone.
	stamp=$(sed -nE '1s/^<14>(.{15}) .*/\1/p' "$work/syslog")
	within -60 $(($(date +%s) - $(date -d "$stamp" +%s))) 60 age

	CFLOCK_SYSLOG=1 TZ=XYZ-5:30 in_dev "$CFLOCK" -w 0.2 -S unix:///nowhere "$name" true \
		2>"$log" </dev/null && fail "not refused"
	wait_until in_syslog "not started"
	last=$(tail -n 1 "$work/syslog")
	[[ $last == "<11>"*"]: $name: cannot connect to unix:///nowhere: "* ]]
	stamp=$(sed -nE '$s/^<11>(.{15}) .*/\1/p' "$work/syslog")
	within -60 $(($(date +%s) - $(TZ=XYZ-5:30 date -d "$stamp" +%s))) 60 age
}

@test "--syslog: silent as stderr is, when all goes well, and with -q" {
	with_devlog read
	run_syslog 0 "$name" true
	rcli set "$key" other
	run_syslog 1 -q -n "$name" true
	run_syslog 1 -n "$name" true
	wait_until in_syslog "held by"
	[[ $(cat "$work/syslog") == "<12>"*"]: $name: held by a client"* ]]
	[ "$(wc -l <"$work/syslog")" = 1 ]
}

@test "--syslog with --log-json: the same JSON" {
	with_devlog read
	run_syslog 0 --log-json -t 1s "$name" sleep 0.5
	events_match "granted renewed* released summary"
	wait_until in_syslog summary
	diff <(syslog_texts) "$log"
	grep -q '^<15>.*"event":"renewed"' "$work/syslog"
	grep -q '^<14>.*"event":"granted"' "$work/syslog"
	field_is summary left_out 0
}

@test "--syslog: strange bytes do not make two messages" {
	with_devlog read
	run_syslog 127 "$name" $'./a\n<8>b\001\xff'
	wait_until in_syslog 'cannot run'
	[[ $(cat "$work/syslog") == *"]: $name: cannot run ./a?<8>b??: No such file"* ]]
}

@test "--syslog: a daemon that does not read costs messages, not the lease" {
	with_devlog full
	begun=$(now_ms)
	run_syslog 4 --log-json --ttl 1s "$name" sh -c 'sleep 2; exit 4'
	[ "$(($(now_ms) - begun))" -lt 10000 ]
	events_match "granted renew* released summary"
	# All but the summary itself, which cannot know yet.
	field_is summary left_out $(($(wc -l <"$log") - 1))
}

@test "--syslog: a daemon that was restarted, and none at all" {
	with_devlog read
	in_background in_dev "$CFLOCK" --syslog --log-json -t 1s "$name" sh -c 'read -r _ <"$work/go"' \
		2>"$log"
	cflock=$background
	pids+=("$cflock")
	wait_until in_syslog '"granted"'
	kill -KILL "$devlog"
	wait "$devlog" || true
	rm "$work/dev/log" "$work/syslog"
	renewals=$(grep -c '"renewed' "$log" || true)
	wait_until came renewed $((renewals + 2))
	with_devlog read
	wait_until in_syslog '"renewed'
	let_go
	ends_with 0
	wait_until in_syslog '"summary"'
	within 1 "$(field summary left_out)" 100 left_out

	rm "$work/dev/log"
	run_syslog 5 -v "$name" sh -c 'exit 5'
	grep -q "0 failed; exit code 5" "$log"
}

@test "--syslog: no descriptor of it in the command" {
	with_devlog read
	in_dev "$CFLOCK" "$name" ls /proc/self/fd >"$work/without" 2>"$log"
	in_dev "$CFLOCK" --log-json --syslog "$name" ls /proc/self/fd >"$work/with" 2>"$log"
	grep -qx 2 "$work/with"
	diff "$work/without" "$work/with"
}

# === the manual =============================================================

@test "the manual names all events and fields" {
	sed -n '/^\.Sh EVENTS/,/^\.Sh EXIT/p' "$top/man/cflock.1" >"$work/manual"
	cat "$top"/src/*.c | tr '\n\t' '  ' >"$work/source"
	grep -oE 'event_begin\([^;]*;' "$work/source" | grep -oE '"[a-z_]+"' | tr -d '"' |
		sort -u >"$work/events"
	[ "$(wc -l <"$work/events")" -ge 18 ]
	sed -n 's/^\.It Li //p' "$work/manual" | tr -d ',' | tr ' ' '\n' | grep . |
		sort -u >"$work/named"
	diff "$work/events" "$work/named"
	grep -oE 'event_(ms|number|string|holder)\([^;]*;' "$work/source" |
		grep -oE '^[a-z_]+\( *&?event, *"[a-z_]+"' | grep -oE '"[a-z_]+"' | tr -d '"' |
		sort -u >"$work/fields"
	[ "$(wc -l <"$work/fields")" -ge 25 ]
	while read -r field; do
		grep -qE "(^|[^a-z_])$field([^a-z_]|\$)" "$work/manual" || fail "no $field"
	done <"$work/fields"
}
