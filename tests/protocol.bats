# cflock-protocol(7): what it says is enough for another client, and it names all
# keys and commands.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	use_redis
	# `redis-cli` as in the page, to the private server.
	mkdir "$REDIS_DIR/bin"
	cat >"$REDIS_DIR/bin/redis-cli" <<-END
		#!/bin/sh
		exec $(command -v redis-cli) -s '$REDIS_DIR/redis.sock' "\$@"
	END
	chmod +x "$REDIS_DIR/bin/redis-cli"
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	export CFLOCK
	top=${top_srcdir:-$BATS_TEST_DIRNAME/..}
	page=$top/man/cflock-protocol.7
	cd "$top/src/redis" || return
	PATH=$REDIS_DIR/bin:$PATH
}

teardown() {
	test_teardown
	wait "${pids[@]}" 2>/dev/null || true
}

# example N: of the page, as it is read.
example() {
	sed -n '/^\.Sh EXAMPLES/,/^\.Sh SEE/p' "$page" | awk -v n="$1" '
		/^\.Ed/ { on = 0 }
		on { gsub(/\\e/, "\\"); print }
		/^\.Bd/ { on = ++count == n }'
}

# use_client: the functions of a full client, on the lock $name, with a new $id.
use_client() {
	eval "$(example 2 | sed -n '1,/^id=/p' | sed "s|{n}|{$name}|g")"
	[ "${#id}" = 32 ]
}

# say WHAT: the line of the page that begins so, on this lock.
say() {
	eval "$(example 2 | grep "^$1 " | sed "s|{n}|{$name}|g")"
}

# ask [SED]: the acquire of the page, changed; its answer in $answer, a line each.
ask() {
	local line

	line=$(example 2 | grep '^script acquire' | sed "${1-}")
	mapfile -t answer < <(eval "$line")
}

# Asks and reads as the page says, until it is granted, with $token; its answers in
# $whys.
wait_for_turn() {
	whys=
	until ask && [ "${answer[0]}" = 1 ]; do
		whys+="${answer[1]} "
		[ "${#whys}" -lt 1000 ] || fail "never granted: $whys"
		say "redis-cli XREAD" >/dev/null
	done
	token=${answer[1]}
}

one_waits() {
	[ "$(rcli zcard "$key:line")" = "${1:-1}" ]
}

# stay NAME [OPTION]...: cflock holds it, until $work/go-NAME is there.
stay() {
	local lock=$1

	shift
	in_background "$CFLOCK" "$@" "$lock" \
		sh -c 'echo "$CFLOCK_TOKEN" >>"$work/tokens"; until [ -e "$0" ]; do sleep 0.01; done' \
		"$work/go-${lock//\//-}"
	pids+=("$background")
}

@test "the simple client of the page and cflock exclude each other" {
	example 1 >"$work/simple"
	head -n 1 "$work/simple" | grep -q '^#!'
	expect 0 "$CFLOCK" "$name" sh "$work/simple" "$name.other" echo ran
	[ "$output" = ran ]
	expect 1 "$CFLOCK" "$name" sh "$work/simple" "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	for kind in -s "-m 3"; do
		# shellcheck disable=SC2086 # words
		expect 1 "$CFLOCK" $kind "$name" sh "$work/simple" "$name" touch "$work/ran"
		[ ! -e "$work/ran" ]
	done

	expect 1 sh "$work/simple" "$name" "$CFLOCK" -n "$name" touch "$work/ran"
	says "held by a client that is not cflock"
	expect 1 sh "$work/simple" "$name" "$CFLOCK" -n -s "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	nothing_left "$name"
	expect 0 "$CFLOCK" "$name" true
	# It frees only its own.
	expect 3 sh "$work/simple" "$name" sh -c 'redis-cli set "$key" another >/dev/null; exit 3'
	[ "$(rcli get "$key")" = another ]
}

@test "the other commands for simple clients" {
	release=$(sed -n '/^EVAL "if/,/^\.Ed/p' "$page" | sed -n 1,2p)
	extend=$(sed -n '/^EVAL "if/,/^\.Ed/p' "$page" | sed -n 3,5p)
	[[ $release == EVAL*DEL*VALUE && $extend == EVAL*PEXPIRE*MS ]]
	rcli set "$key" mine PX 5000
	# own COMMAND VALUE: as the page has it, on this lock.
	own() {
		eval "redis-cli $(tr '\n' ' ' <<<"$1" | sed "s|{NAME}|{$name}|; s|VALUE|$2|; s|MS|60000|")"
	}
	[ "$(own "$extend" other)" = 0 ]
	[ "$(rcli pttl "$key")" -le 5000 ]
	[ "$(own "$extend" mine)" = 1 ]
	[ "$(rcli pttl "$key")" -gt 50000 ]
	[ "$(own "$release" other)" = 0 ]
	is_locked "$name"
	[ "$(own "$release" mine)" = 1 ]
	run ! is_locked "$name"
}

@test "a full client by the page: acquire, renew, release, against cflock" {
	use_client
	ask
	[ "${answer[0]}" = 1 ]
	token=${answer[1]}
	[ "$(rcli get "$key")" = "$id/$token" ]
	[ "$(say "script acquire" | tail -n 1)" = "$token" ]
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	says "held by host host, pid 1, user me" ": test"
	rcli pexpire "$key" 20000
	[ "$(say "script renew" | head -n 1)" = 1 ]
	within 29000 "$(rcli pttl "$key")" 30001 "ms are left"
	[ "$(say "script release")" = 1 ]
	nothing_left "$name"
	[ "$(say "script renew" | tr '\n' ' ')" = "0  0 " ]
	[ "$(say "script release")" = 0 ]
	expect 0 "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TOKEN"'
	[ "$output" -gt "$token" ]

	expect 0 "$CFLOCK" "$name" sh -c "$(example 2 | sed "s|{n}|{$name}|g" | grep -v -e XREAD -e 'script re') 2>&1"
	[ "${lines[0]} ${lines[1]}" = "0 held" ]
	[ ! -e "$work/ran" ]
}

@test "in one line with cflock, both ways: order, waking, growing tokens" {
	use_client
	stay "$name"
	wait_until is_locked "$name"
	first=$background
	(
		wait_for_turn
		echo "$token" >>"$work/tokens"
		echo "$whys" >"$work/whys"
		[ ! -e "$work/granted" ]
		echo >"$work/granted"
		until [ -e "$work/go-client" ]; do sleep 0.01; done
		say "script release" >/dev/null
	) 3>&- &
	pids+=($!)
	wait_until one_waits
	in_background "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TOKEN" >>"$work/tokens"; echo >"$work/third"'
	pids+=("$background")
	third=$background
	wait_until one_waits 2
	[ ! -e "$work/granted" ]
	touch "$work/go-$name"
	wait_until [ -e "$work/granted" ]
	[ ! -e "$work/third" ]
	[ "$(rcli get "$key")" = "$id/$(tail -n 1 "$work/tokens")" ]
	touch "$work/go-client"
	wait "$third"
	[ -e "$work/third" ]
	wait "$first"
	[ "$(wc -l <"$work/tokens")" = 3 ]
	sort -nuc "$work/tokens"
	[[ $(cat "$work/whys") == held* ]]
	nothing_left "$name"
}

@test "the client takes over from a cflock that is stopped, after its command is dead" {
	use_client
	in_background "$CFLOCK" --ttl 6s "$name" sh -c 'echo $$ >"$work/pid"; trap "" TERM; while :; do sleep 0.01; done'
	pids+=("$background")
	wait_until [ -s "$work/pid" ]
	value=$(rcli get "$key")
	kill -STOP "$background"
	wait_for_turn
	run ! is_alive "$(cat "$work/pid")"
	[[ $whys == held\ *taken\ * ]] || fail "$whys"
	[ "$token" -gt "${value#*/}" ]
	[ "$(rcli get "$key")" = "$id/$token" ]
	say "script release"
	nothing_left "$name"
}

@test "cflock takes over from a client that does not renew, at the end of its lease" {
	use_client
	ask 's/ 30000 12000 / 3000 1500 /'
	[ "${answer[0]}" = 1 ]
	token=${answer[1]}
	begun_ms=$(now_ms)
	in_background "$CFLOCK" "$name" sh -c 'date +%s%3N >"$work/began"; echo "$CFLOCK_TOKEN" >"$work/token"'
	pids+=("$background")
	has_lost() {
		[[ $(say "script renew" | tr '\n' ' ') == "0 "*" 1 " ]]
	}
	value_is_another() {
		[ "$(rcli get "$key")" != "$id/$token" ]
	}
	wait_until value_is_another
	has_lost
	wait "$background"
	within 2900 $(($(cat "$work/began") - begun_ms)) 30000 "ms until it began"
	[ "$(cat "$work/token")" -gt "$token" ]
}

@test "giving up, being asked to end, and what goes with what" {
	use_client
	ask
	token=${answer[1]}
	in_background "$(dirname "$CFLOCK")/cflockctl" break --message why "$name"
	pids+=("$background")
	is_asked() {
		[[ $(say "script renew" | sed -n 2p) == *"(why)" ]]
	}
	wait_until is_asked
	ask 's/exclusive/shared/; s/ \$id / another /'
	[ "${answer[1]}" = held ]
	say "script release"
	wait "$background"
	script release another '' doubt
	[[ $(ask 's/ \$id / another /'; echo "${answer[*]}") == *GONE* ]]
	[ "$(script acquire one 30000 12000 shared '' 0 '' '' h 1 u c m | head -n 1)" = 1 ]
	[ "$(script acquire two 30000 12000 slots:2 '' 0 '' '' h 1 u c m | sed -n 2p)" = kind ]
	[ "$(script acquire two 30000 12000 exclusive '' 0 '' 'x one' h 1 u c m | sed -n 2p)" = ancestor ]
	script release one '' ''
	[ "$(script acquire three 30000 12000 exclusive '' 5000 '' '' h 1 u c m | head -n 1)" = 1 ]
	[ "$(script acquire two 30000 12000 exclusive '' 0 '' '' h 1 u c m | sed -n 2p)" = cooling ]
	script release three lift ''
	nothing_left "$name"
	[ "$(script look 0 | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')" = free ]
}

# All that cflock does, on locks whose names begin with $name.
do_everything() {
	"$CFLOCK" "$name" true
	stay "$name/a" --ttl 1s
	wait_until is_locked "$name/a"
	in_background "$CFLOCK" -w 10 "$name/a" true
	pids+=("$background")
	key="cflock:{$name/a}" wait_until one_waits
	"${CFLOCK}ctl" break --message why --wait 1s "$name/a" || true
	"$CFLOCK" -n "$name/a" true || true
	wait "$background" || true
	"$CFLOCK" -s "$name/s" sh -c '"$CFLOCK" -s "$name/s" sleep 1; "$CFLOCK" -n -m 3 "$name/s" true' || true
	"$CFLOCK" -m 3 --ttl 1s "$name/m" sh -c '"$CFLOCK" -m 3 "$name/m" sleep 1' || true
	"$CFLOCK" --cooldown 20s --retry-failed "$name/c" false || true
	"$CFLOCK" --cooldown 20s "$name/c" true
	"$CFLOCK" -w 1 "$name/c" true || true
	in_background "$CFLOCK" --ttl 1s "$name/t" sleep 30
	pids+=("$background")
	wait_until is_locked "$name/t"
	kill -STOP "$background"
	"$CFLOCK" "$name/t" true
	kill -KILL "$background"
	in_background "$CFLOCK" --ttl 1s "$name/f" sleep 30
	pids+=("$background")
	wait_until is_locked "$name/f"
	"${CFLOCK}ctl" break --force "$name/f" || true
	"${CFLOCK}ctl" status "$name/a"
	"${CFLOCK}ctl" list
	# An acquire that was given up and may yet come.
	freeze_redis
	"$CFLOCK" -w 1 "$name/d" true || true
	thaw_redis
	key="cflock:{$name/d}" use_client
	script release given-up '' doubt
}

@test "the page names all keys and commands that cflock uses, and no others" {
	rcli monitor >"$work/monitor" 3>&- &
	pids+=($!)
	wait_until grep -q OK "$work/monitor"
	do_everything >/dev/null 2>&1
	echo >"$work/done"
	rcli ping the-end
	wait_until grep -q the-end "$work/monitor"

	# In: 1.2 [0 lua] "set" "cflock:{NAME}:token" "1"
	sed -n 's/^[0-9.]* \[0 lua\] "\([^"]*\)".*/\U\1/p' "$work/monitor" | sort -u >"$work/commands"
	grep -o -e '"cflock:{[^}"*]*}[^"*]*"' -e '"cflock:epoch"' "$work/monitor" | tr -d '"' |
		sed -E 's/\{[^}]*\}/{NAME}/; s/:([a-z]+):.*/:\1:ID/' | sort -u >"$work/keys"
	sed -n '/^\.Sh KEYS/,/^\.Sh SCRIPTS/p' "$page" | sed -n 's/^\.It Li //p' | sort -u >"$work/named"
	diff "$work/named" "$work/keys"
	[ "$(wc -l <"$work/keys")" -ge 11 ]

	sed -n '/^\.Ss Rights/,/^\.Sh/p' "$page" | sed -n 's/.*of the scripts, //; /TIME/,/SCAN/p' |
		grep -oE '[A-Z]{3,}' | sort -u >"$work/rights"
	diff "$work/rights" "$work/commands"
	# They are those that cflock.1 shows for an ACL, as well.
	for command in $(tr '[:upper:]' '[:lower:]' <"$work/rights"); do
		grep -qE -e "\+$command( |$|\b)" "$top/man/cflock.1" || fail "+$command is not in cflock.1"
	done
}

@test "the page names each script, and the arguments of acquire" {
	for script in acquire renew release look break list; do
		grep -q "^\.Ss $script\$" "$page" || fail "$script is missing"
	done
	for file in *.lua; do
		grep -q "${file%.lua}" "$page" || fail "$file is missing"
	done
	[ "$(sed -n '/^\.Ss acquire/,/^Returns/p' "$page" | grep -c '^\.It')" = 18 ]
}
