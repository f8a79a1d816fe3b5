# cflockctl break and check: a holder is asked to end, or fenced off, and never
# do two run; a command asks whether its lease is still its own.

bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	export CTL
}

teardown() {
	thaw_redis
	test_teardown
}

# hold OPTION... -- SHELL-COMMAND: a holder, once its command has made "ready".
# Its process number in $holder; what it says in $work/err; it ends with $work/code.
hold() {
	local options=()

	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	rm -f "$work/ready"
	in_background "$CFLOCK" "${options[@]}" "$name" sh -c "$2" "$work" 2>>"$work/err"
	pids+=("$background")
	holder=$background
	wait_until test -e "$work/ready"
}

# ends_with CODE: the holder.
ends_with() {
	local code=0

	wait "$holder" || code=$?
	[ "$code" = "$1" ] || fail "exit code $code, not $1: $(cat "$work/err")"
}

has_line_of() {
	[ "$(rcli zcard "$key:line")" = "$1" ]
}

@test "break: the holder gets the stop signal, and why; the lock is free" {
	hold -t 1s -- 'trap "echo stopped >>\"$0/log\"; exit 7" TERM; touch "$0/ready"
		while :; do sleep 0.05; done'
	expect 0 "$CTL" break "$name" --message "urgent fix"
	[[ ${lines[0]} == "held by host "*", pid $holder, "* ]]
	[ "${lines[1]}" = "asked to end" ]
	[[ ${lines[2]} == "ended after "* ]]
	nothing_left "$name"
	ends_with 7
	[ "$(cat "$work/log")" = stopped ]
	grep -q "$name: asked to end by .*@.* (urgent fix): the stop signal was sent" "$work/err"
}

@test "break: the stop signal of the holder, to its whole tree, once" {
	hold -t 1s --stop-signal USR1 -- '
		trap "echo parent >>\"$0/log\"" USR1
		sh -c "trap \"echo child >>\\\"$0/log\\\"\" USR1; touch \"$0/ready\"; while :; do sleep 0.05; done" &
		while :; do sleep 0.05; done'
	expect 1 "$CTL" break "$name" --wait 2s
	says "still held" "--force"
	[ "$(sort "$work/log" | tr '\n' ' ')" = "child parent " ]
	is_locked "$name"
	kill -KILL "$holder"
}

@test "break: told again with each break, also with the same words; once each" {
	hold -t 1s -- 'trap "echo told >>\"$0/log\"" TERM; touch "$0/ready"
		while :; do sleep 0.05; done'
	for times in 1 2 3; do
		expect 1 "$CTL" break "$name" --message why --wait 0
		told() { [ "$(wc -l <"$work/log")" -ge "$times" ]; }
		wait_until told
		sleep 0.7 # some renewals more
		[ "$(wc -l <"$work/log")" = "$times" ]
	done
	[ "$(grep -c "asked to end by [^ ]* (why): the stop signal was sent" "$work/err")" = 3 ]
	# Repeated after an error, it is the same asking still.
	id=$(rcli get "$key")
	for _ in 1 2; do
		script break ask "${id%/*}" "who it is" 60000 one 3
		told() { [ "$(wc -l <"$work/log")" -ge 4 ]; }
		wait_until told
		sleep 0.5
	done
	[ "$(wc -l <"$work/log")" = 4 ]
	grep -q "asked to end by who it is: " "$work/err"
	kill -KILL "$holder"
}

# A third of renew-by, from the last renewal on, plus 30 s.
@test "break: by default it waits long enough for a long lease" {
	script acquire me 600000 300000 exclusive '' 0 '' '' host 1 user command ''
	in_background timeout 2 "$CTL" break "$name" >"$work/out"
	pids+=("$background")
	wait_until test -s "$work/out"
	grep -q "asked to end; it is told when it renews, in 1 m [34][0-9] s at the latest" "$work/out" ||
		fail "$(cat "$work/out")"
	expect 1 "$CTL" break "$name" --wait 0.2
	says "may not have been told yet, and will be in 1 m " "unless it is out of reach"
	# In ms: never before its renewal is due; and after one that has not begun.
	for ttl in 60000 3600000; do
		empty_redis
		script acquire me "$ttl" $((ttl * 4 / 10)) shared '' 0 '' '' host 1 user command ''
		within $((ttl / 5 - 3000)) "$(script break ask me w 1 1 3 | sed -n 2p)" $((ttl / 5 + 1)) "ms until it is told"
	done
	empty_redis
	script acquire old 30000 29800 exclusive '' 0 '' '' host 1 user command ''
	script acquire new 9000 3000 exclusive wait 0 '' '' host 1 user command ''
	is_taken() { [ "$(script acquire new 9000 3000 exclusive wait 0 '' '' host 1 user command '' | sed -n 2p)" = taken ]; }
	wait_until is_taken
	left=$(($(rcli pttl "$key") - 9000))
	within $((left - 3000)) "$(script break ask new w 1 1 3 | sed -n 2p)" $((left + 2002)) "ms until it is told"
}

@test "break: who takes its time keeps its lease" {
	hold -t 1s -- 'trap "sleep 2.5; echo cleaned >\"$0/log\"; exit 0" TERM; touch "$0/ready"
		while :; do sleep 0.05; done'
	expect 0 "$CTL" break "$name"
	[ "$(cat "$work/log")" = cleaned ]
	ends_with 0
	nothing_left "$name"
}

@test "break: the first in the line is next, after the end of the old" {
	hold -t 1s -- 'trap "sleep 0.3; echo old-end >>\"$0/log\"; exit" TERM; touch "$0/ready"
		while :; do sleep 0.05; done'
	in_background "$CFLOCK" -w 30 "$name" sh -c 'echo new >>"$0/log"; sleep 1' "$work"
	pids+=("$background")
	wait_until has_line_of 1
	expect 0 "$CTL" break "$name"
	wait "$background"
	[ "$(tr '\n' ' ' <"$work/log")" = "old-end new " ]
}

@test "break: nobody holds it; a foreign client cannot be asked" {
	expect 0 "$CTL" break "$name"
	[ "$output" = "nobody holds it" ]
	rcli set "$key" somebody px 60000
	for force in '' --force; do
		# shellcheck disable=SC2086 # none, if empty
		expect 1 "$CTL" break $force "$name"
		says "not cflock" '"somebody"' "ends by itself in"
	done
	rcli persist "$key"
	expect 1 "$CTL" break --force "$name"
	says "without an end" "redis-cli DEL 'cflock:{$name}'"
	[ "$(rcli get "$key")" = somebody ]
}

@test "break: all who share it are asked, and those who hold slots" {
	for kind in -s "-m 3"; do
		rm -f "$work"/ready
		# shellcheck disable=SC2086 # words
		hold -t 1s $kind -- 'touch "$0/ready"; exec sleep 60'
		first=$holder
		# shellcheck disable=SC2086
		hold -t 1s $kind -- 'touch "$0/ready"; exec sleep 60'
		expect 0 "$CTL" break "$name"
		[ "$(grep -c "^held by host" <<<"$output")" = 2 ]
		ends_with 143
		holder=$first
		ends_with 143
		nothing_left "$name"
	done
}

# The old command writes as long as it lives; the new one when it begins.
@test "break --force: what ignores the signal is killed before the lock is free" {
	for kind in -x -s; do
		rm -f "$work/log"
		hold -t 1s $kind -- 'trap "" TERM; touch "$0/ready"
			while :; do echo old >>"$0/log"; sleep 0.01; done'
		in_background "$CFLOCK" -w 30 "$name" sh -c 'echo new >>"$0/log"; sleep 0.5; echo new >>"$0/log"' "$work"
		pids+=("$background")
		wait_until has_line_of 1
		expect 0 "$CTL" break --force "$name"
		[ "${lines[1]}" = "fenced off; waiting until its lease is over" ]
		ends_with 79
		grep -q "the lease is lost.*it was broken by" "$work/err"
		wait "$background"
		[ "$(tail -n 2 "$work/log" | tr '\n' ' ')" = "new new " ]
		[ "$(grep -c new "$work/log")" = 2 ]
		nothing_left "$name"
	done
}

@test "break --force: a holder that is out of reach; no sooner than its lease is over" {
	hold -t 2s -- 'trap "" TERM; touch "$0/ready"; while :; do echo old >>"$0/log"; sleep 0.01; done'
	kill -STOP "$holder"
	left=$(rcli pttl "$key")
	begun=$(now_ms)
	expect 0 "$CTL" break --force "$name"
	within $((left - 200)) $(($(now_ms) - begun)) $((left + 5000)) "ms until it is broken"
	written=$(wc -l <"$work/log")
	expect 0 "$CFLOCK" -n "$name" true
	[ "$(wc -l <"$work/log")" = "$written" ]
	kill -CONT "$holder"
	ends_with 79
}

@test "break --force: the lease is not extended by a renewal that comes late" {
	script acquire me 3000 1000 exclusive '' 0 '' '' host 1 user command ''
	token=$(rcli get "$key:token")
	script break force me somebody
	[[ $(rcli get "$key") == "broken by somebody" ]]
	[ "$(script renew me "$token" 60000 | head -n 1)" = 0 ]
	within 1 "$(rcli pttl "$key")" 3001 "ms are left"
	[ "$(script release me '')" = 0 ]
	[ "$(rcli exists "$key")" = 1 ]
	[ "$(script acquire you 3000 1000 exclusive '' 0 '' '' host 1 user command '' | head -n 1)" = 0 ]
}

@test "break --force: who has come meanwhile is not meant" {
	script acquire me 3000 1000 exclusive '' 0 '' '' host 1 user command ''
	[ "$(script break force other somebody | head -n 1)" = 0 ]
	[ "$(script break ask other somebody 1000 1 3 | head -n 1)" = 0 ]
	[[ $(rcli get "$key") == me/* ]]
}

# A lease of who has taken over has not begun: until then the old one's may run.
@test "break --force: a lease that was taken over ends with the one before" {
	script acquire old 9000 8900 exclusive '' 0 '' '' host 1 user command ''
	script acquire new 60000 50000 exclusive wait 0 '' '' host 1 user command ''
	taken() { [ "$(script acquire new 60000 50000 exclusive wait 0 '' '' host 1 user command '' | sed -n 2p)" = taken ]; }
	wait_until taken
	script break force new somebody
	within 0 "$(rcli pttl "$key")" 9000 "ms are left"
}

@test "break: an unreachable service, and one without rights" {
	expect 69 "$CTL" -S "unix://$work/none" break "$name"
	hold -- 'touch "$0/ready"; exec sleep 60'
	rcli acl setuser weak reset on '>pw' '~*' +@read +eval +evalsha +time
	expect 77 "$CTL" -S "unix://weak:pw@$REDIS_SOCKET" break "$name"
	is_locked "$name"
}

@test "check: its own, with so much left" {
	expect 0 "$CFLOCK" -t 10s "$name" sh -c '"$CTL" check && "$CTL" check --min-left 7s && echo yes'
	[ "$output" = yes ]
	expect 1 "$CFLOCK" -t 10s "$name" sh -c '"$CTL" check --min-left 11s'
	says "of the lease are left, not 11.0 s"
	expect 0 "$CFLOCK" -s "$name" sh -c '"$CTL" check --min-left 7s'
	expect 0 "$CFLOCK" -m 2 "$name" sh -c '"$CTL" check --min-left 7s'
}

@test "check: not its own any more: 79" {
	expect 79 "$CFLOCK" "$name" sh -c 'redis-cli -s "$REDIS_SOCKET" del "cflock:{$CFLOCK_NAME}"; "$CTL" check'
	says "the lease is not this command's any more"
	expect 79 "$CFLOCK" "$name" sh -c 'redis-cli -s "$REDIS_SOCKET" set "cflock:{$CFLOCK_NAME}" other; "$CTL" check'
	rcli del "$key"
	# Its own, under another token.
	expect 79 "$CFLOCK" "$name" sh -c 'CFLOCK_TOKEN=1 "$CTL" check'
}

@test "check: not answered: 69; not in a command: 64" {
	expect 69 "$CFLOCK" "$name" sh -c 'CFLOCK_SERVER=unix:///none "$CTL" check'
	expect 64 "$CTL" check
	says "for a command that cflock runs"
	expect 64 "$CFLOCK" "$name" sh -c '"$CTL" check name'
	expect 64 "$CFLOCK" "$name" sh -c '"$CTL" check --min-left 1y'
}

@test "check: finds the server that cflock was given on its command line" {
	server=$CFLOCK_SERVER
	rcli acl setuser guard reset on '>s3cret' '~*' +@all
	umask 077
	echo s3cret >"$work/password"
	unset CFLOCK_SERVER
	expect 0 "$CFLOCK" -S "$server" "$name" "$CTL" check
	expect 0 "$CFLOCK" -S "unix://guard@$REDIS_SOCKET" --password-file "$work/password" "$name" "$CTL" check
	expect 77 "$CFLOCK" -S "unix://:s3cret@$REDIS_SOCKET" "$name" sh -c 'env; "$CTL" check'
	[[ $output != *s3cret* ]]
}
