# Several servers: independent masters, and the majority of them wins.

# shellcheck disable=SC2089,SC2090,SC2154 # quotes for another shell; what is set by helpers
bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR
}

teardown_file() {
	rm -rf "$REDIS_DIR"
}

# A test stops and kills servers: each has three of its own.
setup() {
	local i

	test_setup
	unset CFLOCK_SERVER
	for i in 1 2 3; do
		start_redis "$work/$i"
	done
	use_servers 1 2 3
}

teardown() {
	local i

	test_teardown
	for i in "$work"/[0-9]; do
		stop_redis "$i"
	done
}

# use_servers NUMBER...: for all cflocks from here on.
use_servers() {
	local i

	CFLOCK_SERVER=
	for i; do
		CFLOCK_SERVER+=${CFLOCK_SERVER:+ }unix://$work/$i/redis.sock
	done
	export CFLOCK_SERVER
}

# on NUMBER ARGUMENT...: redis-cli at that server.
on() {
	redis-cli -s "$work/$1/redis.sock" "${@:2}"
}

signal_server() {
	kill "-$1" "$(cat "$work/$2/pid")"
}

# Whether the server $1 has the lock.
has_lock() {
	[ "$(on "$1" exists "$key")" = 1 ]
}

# Neither lock nor holder nor line on the servers of these numbers.
nothing_left_on() {
	local i keys

	for i; do
		keys=$(on "$i" --raw keys "cflock:{$name}*" | grep -v -e ':token$' -e ':gone:' || true)
		[ -z "$keys" ] || fail "left on $i: $keys"
	done
}

# hold SECONDS [OPTION]...: cflock in the background, which has the lock; its pid
# in $holder, its token in the file token.
hold() {
	local seconds=$1

	shift
	rm -f "$work/token"
	in_background "$CFLOCK" "$@" "$name" sh -c \
		'echo "$CFLOCK_TOKEN" >"$work/token.new"; mv "$work/token.new" "$work/token"; exec sleep "$0"' \
		"$seconds" 2>>"$work/stderr"
	holder=$background
	pids+=("$holder")
	wait_until test -s "$work/token"
}

# What $@ ends with, in $code.
code_of() {
	code=0
	"$@" || code=$?
}

# What is run under the lock where many want it: two at once do not escape it.
# shellcheck disable=SC2016 # for the shell that runs it
witness='
	exec 9>>"$work/witness"
	flock -n 9 || echo "$CFLOCK_TOKEN" >>"$work/overlaps"
	echo "$CFLOCK_TOKEN" >>"$work/tokens"
	sleep 0.01'

# $1 runs, no two at once, under tokens that grow.
all_ran_alone() {
	[ ! -e "$work/overlaps" ] || fail "two at once: $(cat "$work/overlaps")"
	[ "$(wc -l <"$work/tokens")" -eq "$1" ] || fail "$(wc -l <"$work/tokens") runs, not $1"
	[ "$(cat "$work/tokens")" = "$(sort -nu "$work/tokens")" ] ||
		fail "tokens: $(cat "$work/tokens")"
}

@test "a run has the votes of all three, under one token, and gives them back" {
	local i

	# Two are enough to begin: the third vote may come later.
	expect 0 "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TOKEN"; for i in 1 2 3; do
		until redis-cli -s "$work/$i/redis.sock" get "$key" | grep .; do sleep 0.1; done; done'
	is_silent
	for i in 1 2 3; do
		[ "$(on "$i" get "$key:token")" = "${lines[0]}" ]
		[[ ${lines[i]} == */"${lines[0]}" ]]
	done
	nothing_left_on 1 2 3
}

@test "only one has it: -n, -w, and the hand-over" {
	hold 2
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	says "held by host" "exec sleep"
	expect 1 "$CFLOCK" -w 0.3 "$name" touch "$work/ran"
	took 290 2000
	expect 0 "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TOKEN"'
	[ "$output" -gt "$(cat "$work/token")" ]
	[ ! -e "$work/ran" ]
	wait "$holder"
	nothing_left_on 1 2 3
}

@test "a minority that is down, or hangs, is only worth a word under -v" {
	signal_server KILL 2
	expect 0 "$CFLOCK" "$name" true
	is_silent
	expect 0 "$CFLOCK" -v "$name" true
	says "is not needed" "2/redis.sock"
	start_redis "$work/2"
	signal_server STOP 3
	expect 0 "$CFLOCK" "$name" true
	is_silent
	took 0 3000
	hold 1
	expect 1 "$CFLOCK" -n "$name" true
	expect 0 "$CFLOCK" "$name" true
	signal_server CONT 3
	wait "$holder"
	nothing_left_on 1 2
	wait_until nothing_left_on 3
}

@test "a majority that is down: 69, and the vote is given back" {
	signal_server KILL 1
	signal_server KILL 3
	expect 69 "$CFLOCK" -n "$name" touch "$work/ran"
	says "2 of 3 servers" "1/redis.sock" "3/redis.sock"
	[ ! -e "$work/ran" ]
	nothing_left_on 2
	signal_server STOP 2
	expect 69 "$CFLOCK" -w 0.5 "$name" touch "$work/ran"
	took 450 5000
}

@test "servers fail one by one, and come back: the run goes on" {
	hold 9 -t 2s
	signal_server STOP 1
	sleep 2.5 # longer than the ttl
	signal_server CONT 1
	wait_until has_lock 1
	# What has been away has the vote again, so another may go.
	signal_server KILL 2
	sleep 2.5
	start_redis "$work/2"
	wait_until has_lock 2
	[[ $(on 2 get "$key") == */"$(cat "$work/token")" ]]
	signal_server KILL 3
	expect 1 "$CFLOCK" -n "$name" true
	code_of wait "$holder"
	[ "$code" = 0 ] || fail "exit code $code: $(cat "$work/stderr")"
	nothing_left_on 1 2
}

@test "the majority is lost: the command is dead before the lease can end" {
	local begun_ms

	in_background "$CFLOCK" -t 2s "$name" sh -c 'touch "$work/began"; trap "" TERM; while :; do
		echo "${EPOCHREALTIME:-$(date +%s.%N)}" >"$work/alive.new"
		mv "$work/alive.new" "$work/alive"; sleep 0.01; done' 2>"$work/stderr"
	holder=$background
	pids+=("$holder")
	wait_until test -e "$work/alive"
	begun_ms=$(now_ms)
	signal_server STOP 1
	signal_server KILL 2
	code_of wait "$holder"
	[ "$code" = 79 ]
	within 500 "$(($(date -r "$work/alive" +%s%3N) - begun_ms))" 1900 "ms that it lived on"
	grep -q "2 of 3 servers" "$work/stderr"
	# The one that was left gave its vote to nobody else meanwhile.
	signal_server CONT 1
	expect 0 "$CFLOCK" -w 10 "$name" true
}

@test "one that comes back empty has no vote for others before its grace is over" {
	local token begun_ms

	# The holder, by 1 and 2, cannot renew, and lives on.
	signal_server KILL 3
	hold 60 -t 4s
	token=$(cat "$work/token")
	begun_ms=$(now_ms)
	kill -STOP "$holder"
	YOUNG_REDIS=1 start_redis "$work/3"
	signal_server KILL 2
	wait_gone "$(cat "$work/2/pid")"
	YOUNG_REDIS=1 start_redis "$work/2"
	# 2 and 3 would be a majority.
	expect 1 "$CFLOCK" -n -t 4s "$name" touch "$work/ran"
	expect 0 "$CFLOCK" -t 4s "$name" sh -c 'echo "$CFLOCK_TOKEN"'
	[ "$output" -gt "$token" ]
	# Four seconds since it was given, and renewed perhaps.
	within 3900 "$(($(now_ms) - begun_ms))" 20000 "ms until the next"
}

@test "one that the lease does not rest on votes for it, too, but not in its grace" {
	signal_server KILL 3
	hold 9 -t 3s
	YOUNG_REDIS=1 start_redis "$work/3"
	# It might have forgotten a vote for somebody else: for 3 s, and one of rounding.
	sleep 2
	run ! has_lock 3
	wait_until has_lock 3
	[[ $(on 3 get "$key") == */"$(cat "$work/token")" ]]
	code_of wait "$holder"
	[ "$code" = 0 ]
}

@test "two that come back empty: the holder has its votes again, and no other" {
	hold 7 -t 3s
	for i in 1 2; do
		signal_server KILL "$i"
		wait_gone "$(cat "$work/$i/pid")"
		YOUNG_REDIS=1 start_redis "$work/$i"
	done
	expect 1 "$CFLOCK" -w 3 -t 3s "$name" true
	wait_until has_lock 1
	wait_until has_lock 2
	[[ $(on 2 get "$key") == */"$(cat "$work/token")" ]]
	code_of wait "$holder"
	[ "$code" = 0 ] || fail "exit code $code: $(cat "$work/stderr")"
}

@test "a token that one server knows is not given again by the others" {
	local last

	# As by a client whose clock is ahead.
	last=$(($(date +%s%6N) + 3600000000))
	on 2 set "$key:token" "$last" >/dev/null
	signal_server KILL 3
	expect 0 "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TOKEN"'
	[ "$output" -eq $((last + 1)) ]
	# ... also where that one is away.
	start_redis "$work/3"
	signal_server KILL 2
	expect 0 "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TOKEN"'
	[ "$output" -eq $((last + 2)) ]
}

@test "a token on one server that is none, or no number's: the others decide" {
	local last=0 value

	for value in garbage '' -5 0x10 nan inf 1e300 9007199254740993; do
		on 2 set "$key:token" "$value" >/dev/null
		expect 0 "$CFLOCK" -w 10 "$name" sh -c 'echo "$CFLOCK_TOKEN"'
		is_silent
		[ "$output" -gt "$last" ] || fail "token $output after $last, with '$value' on one"
		[ "$output" -lt 9007199254740992 ]
		last=$output
	done
	on 2 del "$key:token" >/dev/null
	on 2 rpush "$key:token" 1 2 >/dev/null
	# The one that grants it is not always the same.
	for _ in 1 2 3; do
		expect 0 "$CFLOCK" -w 10 "$name" sh -c 'echo "$CFLOCK_TOKEN"'
		[ "$output" -gt "$last" ] || fail "token $output after $last, with a list on one"
		last=$output
	done
	nothing_left_on 1 2 3
}

@test "one vote is none: what others have on one server keeps nobody, and gives nothing" {
	on 1 set "$key" somebody px 60000 >/dev/null
	expect 0 "$CFLOCK" -n "$name" true
	on 2 set "$key" somebody px 60000 >/dev/null
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	says "somebody"
	[ ! -e "$work/ran" ]
	[ "$(on 3 exists "$key")" = 0 ]
}

@test "many at once: one after the other, tokens grow, nobody is left behind" {
	local i

	export witness
	for i in $(seq 16); do
		in_background "$CFLOCK" "$name" sh -c "$witness" 2>>"$work/stderr"
		pids+=("$background")
	done
	wait "${pids[@]}"
	all_ran_alone 16
	[ ! -s "$work/stderr" ]
	nothing_left_on 1 2 3
}

@test "many at once, with one server down and one that hangs now and then" {
	local i

	signal_server KILL 3
	export witness
	for i in $(seq 12); do
		in_background "$CFLOCK" -t 4s "$name" sh -c "$witness" 2>>"$work/stderr"
		pids+=("$background")
	done
	for i in 1 2 3 4 5; do
		signal_server STOP 1
		sleep 0.1
		signal_server CONT 1
		sleep 0.1
	done
	wait "${pids[@]}"
	all_ran_alone 12
	nothing_left_on 1 2
}

@test "of those who will not wait, one has it, though all come at once" {
	local round i

	for round in 1 2 3 4 5; do
		for i in 1 2 3 4; do
			in_background "$CFLOCK" -n "$name" sh -c 'echo >>"$work/had"; exec sleep 0.5' \
				2>/dev/null
			pids+=("$background")
		done
		wait "${pids[@]}" || true
		[ "$(wc -l <"$work/had")" -eq "$round" ] ||
			fail "$(wc -l <"$work/had") ran in $round rounds"
	done
}

@test "the line is the same on all servers: first come, first served" {
	local i

	hold 60
	for i in a b c d; do
		in_background "$CFLOCK" "$name" sh -c 'echo "$0" >>"$work/order"' "$i"
		pids+=("$background")
		wait_until stands_in_line "${#pids[@]}"
	done
	kill -TERM "$holder"
	wait "${pids[@]}" || true
	[ "$(tr -d '\n' <"$work/order")" = abcd ] || fail "$(cat "$work/order")"
	nothing_left_on 1 2 3
}

# So many wait or hold it, as all servers know.
stands_in_line() {
	[ "$(on 1 zcard "$key:line")$(on 2 zcard "$key:line")$(on 3 zcard "$key:line")" = \
		"$(($1 - 1))$(($1 - 1))$(($1 - 1))" ]
}

@test "a holder that hangs is taken over from, not before its lease is over" {
	local begun_ms

	hold 60 -t 3s
	kill -STOP "$holder"
	begun_ms=$(now_ms)
	expect 0 "$CFLOCK" -t 3s "$name" sh -c 'echo "$CFLOCK_TOKEN"'
	within 900 "$(($(now_ms) - begun_ms))" 5000 "ms until it was ours"
	[ "$output" -gt "$(cat "$work/token")" ]
}

@test "shared, and a cooldown, by a majority" {
	hold 3 -s
	expect 0 "$CFLOCK" -s -n "$name" true
	expect 1 "$CFLOCK" -n "$name" true
	kill -TERM "$holder"
	wait "$holder" || true
	expect 0 "$CFLOCK" --cooldown 1m "$name" true
	signal_server KILL 1
	expect 1 "$CFLOCK" --cooldown 1m "$name" true
	says "cooling down"
}

@test "a signal while waiting: no vote and no place is left" {
	hold 60
	in_background "$CFLOCK" "$name" true 2>/dev/null
	pids+=("$background")
	wait_until stands_in_line 2
	kill -TERM "$background"
	code_of wait "$background"
	[ "$code" = 143 ]
	stands_in_line 1
	kill -TERM "$holder"
	wait "$holder" || true
	nothing_left_on 1 2 3
}

@test "a vote that was given later is not given back by what comes late" {
	local token script=$BATS_TEST_DIRNAME/../src/redis suffix keys=() id

	hold 60
	token=$(cat "$work/token")
	id=$(on 1 get "$key")
	id=${id%/*}
	for suffix in '' :token :holders :line :beats :waiters :cooldown; do
		keys+=("$key$suffix")
	done
	# As one who gave up a round before sent it, and it lay in the network.
	give_back() {
		on 1 eval "$(cat "$script/common.lua" "$script/release.lua")" 8 "${keys[@]}" \
			cflock:epoch "$id" lift '' '' "$1"
	}
	[ "$(give_back $((token - 1)))" = 0 ]
	wait_until has_lock 1
	[ "$(give_back "$token")" = 1 ]
	run ! has_lock 1
}

@test "a server that refuses the database has no vote, on the same connection neither" {
	local i

	on 3 acl setuser default -select >/dev/null
	CFLOCK_SERVER="unix://$work/1/redis.sock unix://$work/2/redis.sock unix://$work/3/redis.sock?db=5"
	hold 4 -t 1s
	sleep 1.5 # several renewals
	run ! has_lock 3
	# With the right one it is in the right place.
	on 3 acl setuser default +select >/dev/null
	wait_until has_lock_in_5
	run ! has_lock 3
	code_of wait "$holder"
	[ "$code" = 0 ]
}

has_lock_in_5() {
	[ "$(on 3 -n 5 exists "$key")" = 1 ]
}

@test "a connection that breaks while one waits: the server gives its vote again" {
	local waiter

	hold 12
	in_background "$CFLOCK" -w 40 "$name" true 2>"$work/stderr"
	waiter=$background
	pids+=("$waiter")
	wait_until stands_in_line 2
	mv "$work/3/redis.sock" "$work/3/away"
	redis-cli -s "$work/3/away" client kill type normal >/dev/null
	sleep 1.5
	mv "$work/3/away" "$work/3/redis.sock"
	wait_until stands_in_line 2
	signal_server KILL 1
	code_of wait "$waiter"
	[ "$code" = 0 ] || fail "exit code $code: $(cat "$work/stderr")"
}

@test "who reaches no majority is in nobody's way" {
	local lonely

	signal_server KILL 1
	hold 3
	CFLOCK_SERVER="unix://$work/1/redis.sock unix://$work/none unix://$work/3/redis.sock" \
		in_background "$CFLOCK" -w 60 "$name" touch "$work/ran" 2>/dev/null
	lonely=$background
	pids+=("$lonely")
	sleep 0.5
	expect 0 "$CFLOCK" -w 20 "$name" true
	[ ! -e "$work/ran" ]
	kill -TERM "$lonely"
	wait "$lonely" || true
	nothing_left_on 2 3
}

@test "others that wait do not keep a server that was away from having the lease" {
	hold 8 -t 2s
	in_background "$CFLOCK" -t 2s -w 30 "$name" true 2>/dev/null
	pids+=("$background")
	wait_until stands_in_line 2
	signal_server STOP 3
	sleep 3
	signal_server CONT 3
	is_held_on_3() { [[ $(on 3 get "$key") == */"$(cat "$work/token")" ]]; }
	wait_until is_held_on_3
	signal_server KILL 1
	code_of wait "$holder"
	[ "$code" = 0 ] || fail "exit code $code: $(cat "$work/stderr")"
}

@test "one is down, two refuse us: 77, whatever the order" {
	local order

	on 1 config set requirepass secret >/dev/null
	on 2 config set requirepass secret >/dev/null
	signal_server KILL 3
	for order in "1 2 3" "3 1 2" "1 3 2"; do
		# shellcheck disable=SC2086 # three words
		use_servers $order
		expect 77 "$CFLOCK" -w 5 "$name" touch "$work/ran"
		says "password"
		expect 77 "$CFLOCK" --prefer availability "$name" touch "$work/ran"
		[ ! -e "$work/ran" ]
	done
}

@test "--attach, --prefer availability" {
	local lock

	lock=$("$CFLOCK" --attach $$ "$name")
	eval "$lock"
	wait_until has_lock 1
	wait_until has_lock 3
	"$CFLOCK" --release "$name"
	nothing_left_on 1 2 3
	signal_server KILL 1
	signal_server KILL 2
	expect 3 "$CFLOCK" --prefer availability "$name" sh -c 'exit 3'
	says "2 of 3 servers"
}

@test "cflockctl: status, list, check, break and doctor ask the majority" {
	hold 60
	# It has a majority; the third one may have to be sent the script first.
	wait_until has_lock 1
	wait_until has_lock 3
	signal_server KILL 2
	expect 0 "$CTL" status "$name"
	[[ $output == *"exclusive"*"exec sleep"* ]]
	expect 0 "$CTL" list
	[[ $output == *"$name"*"exclusive"* ]]
	expect 0 "$CTL" status --json "$name"
	[[ $output == *'"token": "'"$(cat "$work/token")"'"'* ]]
	# One of them alone says nothing of the lock.
	on 1 set "cflock:{other}" somebody px 60000 >/dev/null
	expect 0 "$CTL" status other
	[[ $output == *"free"* ]]
	start_redis "$work/2"
	expect 0 "$CTL" break "$name"
	[[ $output == *"ended after"* ]]
	expect 0 "$CFLOCK" "$name" "$CTL" check
	run "$CTL" doctor
	[ "$(grep -c reachable <<<"$output")" = 3 ]
	run "$CTL" doctor --json
	[[ $output == *'"server": "unix://'"$work"'/3/redis.sock"'* ]]
}

@test "cflockctl status: a cooldown counts where a majority has it" {
	local i id

	expect 0 "$CFLOCK" --cooldown 1m "$name" true
	# A majority has it; which, depends on who was first.
	id=$(for i in 1 2 3; do on "$i" get "$key:cooldown"; done | grep -m 1 .)
	for i in 1 2 3; do
		on "$i" set "$key:cooldown" "$id" px 60000 >/dev/null
	done
	signal_server KILL 1
	expect 0 "$CTL" status "$name"
	[[ $output == *"cooling down"*" s left, since the run "* ]] || fail "$output"
	on 2 del "$key:cooldown" >/dev/null
	expect 0 "$CTL" status "$name"
	[[ $output != *"cooling down"* ]] || fail "$output"
}

@test "cflockctl break --force: fenced off by a majority" {
	hold 60 -t 3s
	kill -STOP "$holder"
	expect 0 "$CTL" break --force "$name"
	expect 0 "$CFLOCK" -n "$name" true
}

@test "what would be no majority is refused: 64, or 78" {
	local -
	set -f
	local good=redis://a.invalid

	unset CFLOCK_SERVER
	bad 64 "even number" -S $good -S redis://b.invalid
	bad 64 "given twice" -S $good -S redis://b.invalid -S $good/3
	bad 64 "given twice" -S unix:///a -S unix:///b -S unix:///a
	bad 64 "is one server" -S $good -S redis://b.invalid -S redis+sentinel://c.invalid/m
	bad 64 "is one server" -S redis+cluster://a.invalid -S $good -S redis://c.invalid
	bad 64 "--slots" -m 2 -S $good -S redis://b.invalid -S redis://c.invalid
	bad 64 "7 servers at most" -S redis://a -S redis://b -S redis://c -S redis://d \
		-S redis://e -S redis://f -S redis://g -S redis://h
	CFLOCK_SERVER="$good redis://b.invalid" bad 78 "even number"
	CFLOCK_SERVER="$good redis://:hunter2@b.invalid:x redis://c.invalid" bad 78 "the port"
	[[ $stderr != *hunter2* ]]
}

# bad CODE TEXT [OPTION]...: that exit code, and that text.
bad() {
	expect "$1" "$CFLOCK" "${@:3}" "$name" touch "$work/ran"
	says "$2"
	[ ! -e "$work/ran" ]
}

@test "passwords of several servers: none reaches the command" {
	local i

	for i in 1 2 3; do
		on "$i" config set requirepass "secret$i" >/dev/null
	done
	expect 0 env -u CFLOCK_SERVER "$CFLOCK" -S "unix://:secret1@$work/1/redis.sock" \
		-S "unix://:secret2@$work/2/redis.sock" -S "unix://:secret3@$work/3/redis.sock" \
		"$name" sh -c 'env; cat /proc/$PPID/cmdline | tr "\0" " "'
	[[ $output == *"CFLOCK_SERVER=unix://$work/1/redis.sock unix://$work/2/redis.sock unix://$work/3/redis.sock"* ]]
	[[ $output != *secret* ]]
	# One that refuses us is a minority.
	CFLOCK_SERVER="unix://:secret1@$work/1/redis.sock unix://:wrong@$work/2/redis.sock unix://:secret3@$work/3/redis.sock" \
		expect 0 "$CFLOCK" "$name" true
	is_silent
	CFLOCK_SERVER="unix://:wrong@$work/1/redis.sock unix://:wrong@$work/2/redis.sock unix://:secret3@$work/3/redis.sock" \
		expect 77 "$CFLOCK" "$name" true
	[[ $stderr != *secret* ]]
}
