# cflock --attach: a script holds a lock until it ends, however it does; and is
# stopped with all that it has started when the lease cannot be proven.

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
	export CFLOCK CTL
	err=$work/err
	marker=7$RANDOM.$RANDOM$BATS_TEST_NUMBER
	export marker
	# A child of the script that ignores TERM and writes the time, in us, every
	# 10 ms, or every $2 seconds.
	cat >"$work/stamper" <<-'END'
		#!/bin/bash
		trap '' TERM
		while :; do
			echo "${EPOCHREALTIME/[.,]/}" >>"$work/stamps"
			sleep "${2:-0.01}"
		done
	END
	chmod +x "$work/stamper"
}

teardown() {
	thaw_redis
	pkill -KILL -f "$marker" || true
	test_teardown
}

# write_script OPTION...: $work/script, from stdin, behind the lines that attach.
write_script() {
	{
		echo "eval \"\$(\"\$CFLOCK\" --attach \$\$ $* \"\$name\")\" || exit"
		cat
	} >"$work/script"
}

# One that ignores TERM, and so does its child.
write_stubborn_script() {
	write_script -t 2s <<-'END'
		trap '' TERM
		"$work/stamper" "$marker" &
		touch "$work/ready"
		while :; do sleep 0.02; done
	END
}

# start SHELL...: the script, in the background; once it has made "ready".
# Leaves $script, $holder and $guardian, their process numbers.
start() {
	rm -f "$work/ready"
	in_background "$@" "$work/script" "$marker" 2>>"$err"
	script=$background
	pids+=("$script")
	wait_until test -e "$work/ready"
	find_holder
}

# The process in the background, by what it was called with, and its guardian.
find_holder() {
	holder=$(pgrep -fx "$CFLOCK --attach $script .*") || fail "no holder"
	guardian=$(pgrep -P "$holder")
	pids+=("$holder" "$guardian")
}

is_gone() {
	! is_alive "$1"
}

# All is over: nothing left of cflock, nor in Redis.
all_gone() {
	wait_until is_gone "$holder"
	wait_until is_gone "$guardian"
	wait_until eval "! pgrep -f $marker"
	nothing_left "$name"
}

# ends_with CODE: the script.
ends_with() {
	local code=0

	wait "$script" || code=$?
	[ "$code" = "$1" ] || fail "exit code $code, not $1: $(cat "$err")"
}

# lease_end_ms [del]: when the lease ends, in ms of the server's clock, which is
# ours; with del, the lock is gone.  In one step: in between, it may be renewed.
lease_end_ms() {
	rcli eval "local clock, left = redis.call('TIME'), redis.call('PTTL', KEYS[1])
		if ARGV[1] == 'del' then redis.call('DEL', KEYS[1]) end
		return clock[1] * 1000 + math.floor(clock[2] / 1000) + left" 1 "$key" "${1-}"
}

last_stamp_ms() {
	echo $(($(tail -n 1 "$work/stamps") / 1000))
}

has_line_of() {
	[ "$(rcli zcard "$key:line")" = "$1" ]
}

@test "sh, dash, bash, zsh: the lock is held to the end of the script" {
	write_script -n <<-'END'
		[ "$CFLOCK_NAME" = "$name" ] && [ -n "$CFLOCK_ID" ] && [ "$CFLOCK_TTL_MS" = 10000 ] || exit 9
		[ "$(redis-cli -s "$REDIS_SOCKET" get "cflock:{$name}")" = "$CFLOCK_ID/$CFLOCK_TOKEN" ] || exit 8
		"$CTL" check || exit 7
		"$CFLOCK" -n "other-$name" "$CTL" check || exit 6
		"$CFLOCK" -n "$name" true
		[ $? = 64 ] || exit 5
		exit 3
	END
	for shell in sh dash bash zsh; do
		expect 3 "$shell" "$work/script"
		[[ $stderr == *"held already"* ]]
		wait_until nothing_left "$name"
	done
}

@test "what others see is the script" {
	write_script --message "'a script'" <<-'END'
		touch "$work/ready"
		exec sleep 60
	END
	start sh
	expect 0 "$CTL" status "$name"
	[[ $output == *", pid $script, "*": sh $work/script $marker (a script)"* ]]
	kill -TERM "$script"
	ends_with 143
	all_gone
}

@test "renewed while it runs, free as soon as it has ended" {
	write_script -t 2s <<-'END'
		touch "$work/ready"
		sleep 4
	END
	start sh
	while is_alive "$script"; do
		is_locked "$name" || ! is_alive "$script" || fail "the lock is free, and the script runs"
		sleep 0.05
	done
	ends_with 0
	all_gone
	[ ! -s "$err" ] || fail "$(cat "$err")"
}

@test "the script is killed: the lock is free at once" {
	write_script -t 60s <<-'END'
		touch "$work/ready"
		sleep 60
	END
	start sh
	killed=$(now_ms)
	kill -KILL "$script"
	wait_until eval '! is_locked "$name"'
	within 0 $(($(now_ms) - killed)) 10000 "ms until it is free"
	wait_until is_gone "$holder"
	wait_until is_gone "$guardian"
}

@test "--release ends it before the script does, and only once" {
	write_script <<-'END'
		"$CFLOCK" --release "other-$name" && exit 9
		"$CFLOCK" --release "$name" || exit 8
		[ "$(redis-cli -s "$REDIS_SOCKET" exists "cflock:{$name}")" = 0 ] || exit 7
		"$CFLOCK" -n "$name" true || exit 6
		"$CFLOCK" --release "$name" && exit 5
		touch "$work/ready"
		exit 0
	END
	expect 0 sh "$work/script"
	[ -e "$work/ready" ]
	[ "$(grep -c "not attached to this script" <<<"$stderr")" = 2 ]
	nothing_left "$name"
	wait_until eval '! pgrep -fx "$CFLOCK --attach .*"'
}

@test "--release by a script that has become another user: 77; the lock stays" {
	[ "$(id -u)" = 0 ] || skip "takes root"
	chmod 755 "$REDIS_DIR" "$work"
	cp "$CFLOCK" "$REDIS_DIR/releaser"
	write_script <<-'END'
		setpriv --reuid=65534 --regid=65534 --clear-groups "$REDIS_DIR/releaser" --release "$name"
		echo "$?" >"$work/code"
		redis-cli -s "$REDIS_SOCKET" exists "cflock:{$name}" >"$work/held"
	END
	bash "$work/script" 2>"$err"
	[ "$(cat "$work/code")" = 77 ] || fail "$(cat "$work/code"): $(cat "$err")"
	grep -q "another user has attached it" "$err"
	[ "$(cat "$work/held")" = 1 ]
	wait_until nothing_left "$name"
}

@test "what a shell could take for something else comes through as it is" {
	local shell

	write_script <<-'END'
		[ "$CFLOCK_ANCESTORS" != "$before" ] || exit 9
		case $CFLOCK_ANCESTORS in *"$before"*) ;; *) exit 8 ;; esac
	END
	before="it's'; touch $work/ran; \`touch $work/ran\` \$(touch $work/ran)"
	export before
	for shell in sh bash dash zsh; do
		expect 0 env CFLOCK_ANCESTORS="$before" "$shell" "$work/script"
		is_silent
	done
	[ ! -e "$work/ran" ]
}

@test "what is sent to the holder does not reach the script" {
	write_script <<-'END'
		for signal in HUP TERM USR1; do
			trap "echo $signal >>'$work/seen'" "$signal"
		done
		touch "$work/ready"
		until [ -e "$work/go" ]; do sleep 0.02; done
		"$CFLOCK" --release "$name" || exit 9
		[ ! -e "$work/seen" ] || exit 8
	END
	start bash
	for signal in HUP TERM USR1; do
		kill "-$signal" "$holder"
	done
	# They are with the guardian before it is asked to let go.
	is_through() {
		! grep -q '^\(SigPnd\|ShdPnd\):.*[1-9a-f]' "/proc/$holder/status"
	}
	wait_until is_through
	touch "$work/go"
	ends_with 0
	all_gone
}

@test "who knocks at the holder's door and says nothing, or nonsense, ends nothing" {
	write_script -t 2s <<-'END'
		id=${CFLOCK_ID} python3 - <<-'PYTHON'
			import os, socket, time
			def knock():
			    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
			    door.connect("\0cflock/" + os.environ["id"])
			    return door
			knock().close()
			silent = knock()
			for _ in range(3):
			    other = knock()
			    other.send(b"other")
			    assert other.recv(9) == b"o", "not told that it is another lock"
			assert silent.recv(9) == b"o"
		PYTHON
		[ $? = 0 ] || exit 9
		sleep 2.5 # longer than the lease
		[ "$(redis-cli -s "$REDIS_SOCKET" exists "cflock:{$name}")" = 1 ] || exit 8
		"$CFLOCK" --release "$name" || exit 7
	END
	bash "$work/script" 2>"$err" || fail "$?: $(cat "$err")"
	nothing_left "$name"
}

@test "two that release at once, with a service that is away: both are told" {
	write_script -t 3s <<-'END'
		touch "$work/ready"
		until [ -e "$work/go" ]; do sleep 0.05; done
		"$CFLOCK" --release "$name" &
		"$CFLOCK" --release "$name"
		echo "$?" >"$work/first"
		wait $!
		echo "$?" >"$work/second"
	END
	start bash
	freeze_redis
	touch "$work/go"
	wait_until test -s "$work/second"
	[ "$(cat "$work/first" "$work/second" | xargs)" = "69 69" ] ||
		fail "$(cat "$work/first" "$work/second" "$err")"
	ends_with 0
	thaw_redis
	wait_until nothing_left "$name"
}

@test "--release outside of a script, and with a service that is away" {
	expect 1 "$CFLOCK" --release "$name"
	says "not attached to this script"
	expect 64 "$CFLOCK" --release "$name" true
	expect 64 "$CFLOCK" --release
	write_script -t 2s <<-'END'
		touch "$work/ready"
		until [ -e "$work/go" ]; do sleep 0.05; done
		"$CFLOCK" --release "$name"
		echo "$?" >"$work/code"
	END
	start sh
	freeze_redis
	touch "$work/go"
	wait_until test -s "$work/code"
	[ "$(cat "$work/code")" = 69 ]
	grep -q "could not be told" "$err"
	ends_with 0
	thaw_redis
	wait_until nothing_left "$name"
}

@test "two locks of one script" {
	write_script <<-'END'
		eval "$("$CFLOCK" --attach $$ "$name.2")" || exit 9
		[ "$CFLOCK_NAME" = "$name.2" ] || exit 8
		"$CFLOCK" -n "$name" true
		[ $? = 64 ] || exit 7
		"$CFLOCK" --release "$name" || exit 6
		"$CFLOCK" -n "$name" true || exit 5
		redis-cli -s "$REDIS_SOCKET" exists "cflock:{$name.2}" >"$work/second"
	END
	expect 0 bash "$work/script"
	[ "$(cat "$work/second")" = 1 ]
	wait_until nothing_left "$name"
	wait_until nothing_left "$name.2"
}

@test "in a pipeline, and in a subshell" {
	write_script <<-'END'
		cat | tr a-z A-Z
	END
	[ "$(echo words | sh "$work/script" | cat)" = WORDS ]
	wait_until nothing_left "$name"
	# $$ is the script, also in a subshell.
	cat >"$work/script" <<-'END'
		(eval "$("$CFLOCK" --attach $$ "$name")" || exit 9; echo "$CFLOCK_NAME")
		redis-cli -s "$REDIS_SOCKET" exists "cflock:{$name}"
	END
	expect 0 bash "$work/script"
	[ "$output" = "$name"$'\n1' ]
	wait_until nothing_left "$name"
}

@test "not had: the script ends, with the code; nothing is run" {
	in_background "$CFLOCK" "$name" sleep 60
	pids+=("$background")
	wait_until is_locked "$name"
	for opt in -n "-w 0.2" "-n -E 9" "-n -E 0" "--nonsense" "-t 1y" "--retry-failed --cooldown 1m" "-n -S unix:///none" "-n -S nonsense"; do
		code=1
		case $opt in
		*"-E 9") code=9 ;;
		*"-E 0") code=0 ;;
		*none) code=69 ;;
		*"-S nonsense") code=78 ;;
		--* | *1y) code=64 ;;
		esac
		write_script "$opt" <<-'END'
			touch "$work/ran"
		END
		for shell in dash bash zsh; do
			expect "$code" "$shell" "$work/script"
		done
	done
	[ ! -e "$work/ran" ]
}

@test "a process that is not there, or another's, or a command: 64" {
	for pid in 0 -1 x 99999999999 4194999; do
		expect 64 "$CFLOCK" --attach "$pid" "$name"
		[ "$output" = "(exit 64)" ]
	done
	expect 64 "$CFLOCK" --attach $$ "$name" true
	says "takes no command"
	if [ "$(id -u)" = 0 ]; then
		chmod 755 "$REDIS_DIR"
		chmod 777 "$REDIS_DIR/redis.sock"
		cp "$CFLOCK" "$REDIS_DIR/attacher"
		expect 64 setpriv --reuid=65534 --regid=65534 --clear-groups "$REDIS_DIR/attacher" --attach $$ "$name"
		says "another user's"
	fi
	nothing_left "$name"
}

@test "lease lost: script and children are asked, then dead before its end" {
	write_script -t 5s <<-'END'
		trap 'echo asked >>"$work/asked"' TERM
		"$work/stamper" "$marker" &
		touch "$work/ready"
		while :; do sleep 0.02; done
	END
	for cause in frozen deleted; do
		rm -f "$work/stamps" "$work/asked"
		start bash
		wait_until test -s "$work/stamps"
		sleep 0.5 # a renewal or two
		if [ "$cause" = frozen ]; then
			freeze_redis
			end_ms=$(($(now_ms) + 5000))
		else
			end_ms=$(lease_end_ms del)
		fi
		ends_with 137
		wait_until eval "! pgrep -f $marker"
		[ "$(last_stamp_ms)" -lt "$end_ms" ] || fail "$cause: $(last_stamp_ms) is not before $end_ms"
		[ "$(cat "$work/asked")" = asked ]
		grep -q "the lease is lost" "$err"
		thaw_redis
		all_gone
	done
}

@test "the holder is killed: the script is stopped in time" {
	write_stubborn_script
	start bash
	kill -KILL "$holder"
	end_ms=$(lease_end_ms)
	ends_with 137
	wait_until eval "! pgrep -f $marker"
	[ "$(last_stamp_ms)" -lt $((end_ms + 1)) ]
	wait_until is_gone "$guardian"
	wait_until nothing_left "$name"
}

@test "the holder is stopped: the script is dead before the lease ends" {
	write_stubborn_script
	start bash
	kill -STOP "$holder"
	end_ms=$(lease_end_ms)
	ends_with 137
	wait_until eval "! pgrep -f $marker"
	[ "$(last_stamp_ms)" -lt $((end_ms + 1)) ]
	kill -CONT "$holder"
	all_gone
}

@test "the guardian is killed: the holder stops the script" {
	write_stubborn_script
	start bash
	kill -KILL "$guardian"
	ends_with 137
	all_gone
	grep -q "guardian process was killed" "$err"
}

@test "the guardian is stopped: it goes on, and so does the script" {
	write_script -t 2s <<-'END'
		touch "$work/ready"
		sleep 2.5
	END
	start sh
	kill -STOP "$guardian"
	ends_with 0
	all_gone
}

@test "a script that is stopped loses its lease; in time continued, it does not" {
	write_script -t 2s <<-'END'
		touch "$work/ready"
		while [ ! -e "$work/go" ]; do sleep 0.02; done
	END
	start bash
	kill -STOP "$script"
	ends_with 143
	all_gone
	start bash
	for _ in 1 2 3; do
		kill -STOP "$script"
		sleep 0.3
		kill -CONT "$script"
		sleep 0.5
	done
	is_locked "$name"
	touch "$work/go"
	ends_with 0
	all_gone
}

@test "cflockctl break stops the script, and says who asked" {
	write_script -t 2s <<-'END'
		trap 'exit 5' TERM
		touch "$work/ready"
		while :; do sleep 0.02; done
	END
	start bash
	expect 0 "$CTL" break --message "needed" "$name"
	ends_with 5
	grep -q "asked to end by .*(needed)" "$err"
	all_gone
}

@test "the script ends while it waits: its place in the line is free" {
	in_background "$CFLOCK" "$name" sleep 60
	pids+=("$background")
	wait_until is_locked "$name"
	write_script <<-'END'
		touch "$work/ran"
	END
	in_background sh "$work/script" "$marker" 2>>"$err"
	script=$background
	wait_until has_line_of 1
	kill -KILL "$script"
	wait_until has_line_of 0
	[ ! -e "$work/ran" ]
	wait_until eval '! pgrep -fx "$CFLOCK --attach .*"'
}

@test "a signal while it waits ends the script" {
	in_background "$CFLOCK" "$name" sleep 60
	pids+=("$background")
	wait_until is_locked "$name"
	write_script <<-'END'
		touch "$work/ran"
	END
	in_background sh "$work/script" "$marker" 2>>"$err"
	script=$background
	is_waiting() { waiter=$(pgrep -fx "$CFLOCK --attach $script .*"); }
	wait_until is_waiting
	wait_until has_line_of 1
	kill -TERM "$waiter"
	ends_with 143
	[ ! -e "$work/ran" ]
	has_line_of 0
}

@test "nothing of the holder keeps pipes, the terminal or the folder" {
	mkdir "$work/folder"
	cat >"$work/script" <<-'END'
		cd "$work/folder"
		eval "$("$CFLOCK" --attach $$ "$name" </dev/null)" || exit
		touch "$work/ready"
		sleep 60
	END
	start bash
	[ "$(readlink "/proc/$holder/cwd")" = / ]
	[ "$(readlink "/proc/$holder/fd/0")" = /dev/null ]
	[ "$(readlink "/proc/$holder/fd/1")" = /dev/null ]
	[ "$(ps -o sid= -p "$holder" | tr -d ' ')" = "$holder" ]
	wait_until eval '[ "$(ls "/proc/$guardian/fd" | wc -l)" = 4 ]'
	kill -TERM "$script"
	ends_with 143
	all_gone
}

@test "the holder is held up until the lease is over: the script is stopped, or goes without" {
	cat >"$work/script" <<-'END'
		eval "$(strace -qq -f -o /dev/null -e trace=setsid -e inject=setsid:delay_enter=2000000 \
			"$CFLOCK" --attach $$ -t 1s "$name")" || exit
		touch "$work/ran"
		sleep 60
	END
	code=0
	sh "$work/script" 2>>"$err" || code=$?
	[ "$code" = 79 ] || [ "$code" = 143 ] || fail "$code: $(cat "$err")"
	[ ! -e "$work/ran" ]
	wait_until nothing_left "$name"
}

@test "no descriptors to be had: nothing is run" {
	write_script <<-'END'
		redis-cli -s "$REDIS_SOCKET" exists "cflock:{$name}" >>"$work/ran"
	END
	for limit in $(seq 6 20); do
		bash -c "ulimit -n $limit; exec sh '$work/script'" 2>>"$err" || true
	done
	[ ! -e "$work/ran" ] || [ "$(sort -u "$work/ran")" = 1 ]
	wait_until nothing_left "$name"
}

@test "children that are forked while it is stopped are dead in time, too" {
	write_script -t 2s <<-'END'
		touch "$work/ready"
		while :; do "$work/stamper" "$marker" 0.1 & sleep 0.01; done
	END
	start dash
	wait_until test -s "$work/stamps"
	end_ms=$(lease_end_ms del)
	# On a busy machine, it may not come to act on the stop signal.
	code=0
	wait "$script" || code=$?
	[ "$code" = 143 ] || [ "$code" = 137 ]
	wait_until eval "! pgrep -f 'stamper $marker'"
	[ "$(last_stamp_ms)" -lt "$end_ms" ] || fail "late by $(($(last_stamp_ms) - end_ms)) ms"
}

# The last of them are the ones that no descriptor was left for.
@test "more children than descriptors: all are dead in time" {
	write_script -t 2s <<-'END'
		trap '' TERM
		for _ in $(seq 60); do (exec -a "$marker" sleep 60) & done
		"$work/stamper" "$marker" &
		touch "$work/ready"
		while :; do sleep 0.02; done
	END
	for limit in 16 40; do
		for cause in deleted guardian holder; do
			rm -f "$work/stamps"
			# shellcheck disable=SC2016 # for that shell
			start bash -c 'ulimit -n "$0"; exec bash "$@"' "$limit"
			wait_until test -s "$work/stamps"
			[ "$(pgrep -fc "^$marker")" = 60 ]
			case $cause in
			deleted) end_ms=$(lease_end_ms del) ;;
			guardian)
				kill -KILL "$guardian"
				end_ms=$(lease_end_ms)
				;;
			holder)
				kill -KILL "$holder"
				end_ms=$(lease_end_ms)
				;;
			esac
			ends_with 137
			wait_until eval "! pgrep -f $marker"
			[ "$(last_stamp_ms)" -lt "$end_ms" ] || fail "$limit, $cause: $(last_stamp_ms) is not before $end_ms"
			wait_until nothing_left "$name"
		done
	done
}

@test "daemons, whose parents have ended, are found by their environment" {
	write_script -t 10s <<-'END'
		for _ in 1 2 3; do ("$work/stamper" "$marker" &); done
		(setsid sh -c 'trap "echo asked >>\"$work/asked\"" TERM
			while :; do sleep 0.05; done' "$marker" &)
		# What is not started under this very lease.
		(CFLOCK_ANCESTORS="${CFLOCK_ID}0 0$CFLOCK_ID" CFLOCK_TOKEN=$CFLOCK_ID \
			bash -c 'exec -a "other $marker" sleep 60' &)
		(env -u CFLOCK_ANCESTORS bash -c 'exec -a "other $marker" sleep 60' &)
		touch "$work/ready"
		while :; do sleep 0.02; done
	END
	start bash
	wait_until test -s "$work/stamps"
	wait_until eval '[ "$(pgrep -fc "^other $marker")" = 2 ]'
	# One that only has the word in its arguments.
	in_background bash -c 'exec -a "other $marker CFLOCK_ANCESTORS=$0" sleep 60' \
		"$(rcli get "$key" | cut -d / -f 1)"
	pids+=("$background")
	end_ms=$(lease_end_ms del)
	ends_with 143
	wait_until eval '! pgrep -f stamper.$marker'
	[ "$(last_stamp_ms)" -lt "$end_ms" ]
	wait_until eval '[ "$(pgrep -fc "$marker")" = 3 ]'
	[ "$(pgrep -fc "^other $marker")" = 3 ]
	[ "$(cat "$work/asked")" = asked ]
	wait_until is_gone "$holder"
	wait_until is_gone "$guardian"
	nothing_left "$name"
}

@test "a daemon is found by what stands behind much else in its environment" {
	write_script -t 10s <<-'END'
		big=$(printf '%0100000d' 0)
		(env -u CFLOCK_ANCESTORS big=$big big2=$big CFLOCK_ANCESTORS="$CFLOCK_ANCESTORS" \
			"$work/stamper" "$marker" &)
		touch "$work/ready"
		while :; do sleep 0.02; done
	END
	start bash
	wait_until test -s "$work/stamps"
	end_ms=$(lease_end_ms del)
	ends_with 143
	wait_until is_gone "$holder"
	[ -z "$(pgrep -f "stamper $marker")" ]
	[ "$(last_stamp_ms)" -lt "$end_ms" ]
}

@test "a daemon that is started by what is being stopped is found, too" {
	write_script -t 10s <<-'END'
		trap '("$work/stamper" "$marker" &); exit 5' TERM
		touch "$work/ready"
		while :; do sleep 0.02; done
	END
	start bash
	end_ms=$(lease_end_ms del)
	ends_with 5
	wait_until is_gone "$holder"
	[ -z "$(pgrep -f "stamper $marker")" ]
	[ ! -e "$work/stamps" ] || [ "$(last_stamp_ms)" -lt "$end_ms" ]
}

# What holds the other lock carries the id of the first.
@test "of two locks one is lost: the other is released as the script ends" {
	write_script -t 2s <<-'END'
		eval "$("$CFLOCK" --attach $$ -t 60s "$name.2")" || exit
		touch "$work/ready"
		trap '' TERM
		while :; do sleep 0.02; done
	END
	in_background bash "$work/script" "$marker" 2>>"$err"
	script=$background
	wait_until test -e "$work/ready"
	rcli del "$key"
	ends_with 137
	wait_until nothing_left "$name.2"
	wait_until nothing_left "$name"
	wait_until eval '! pgrep -fx "$CFLOCK --attach .*"'
}

@test "stderr in the same pipe, and descriptors that it inherits, are not kept" {
	cat >"$work/script" <<-'END'
		exec 9>"$work/file"
		flock 9
		lock=$("$CFLOCK" -v --attach $$ "$name" 2>&1) || exit 9
		exec 9>&-
		flock -n "$work/file" true || exit 8
		redis-cli -s "$REDIS_SOCKET" exists "cflock:{$name}"
	END
	expect 0 sh "$work/script"
	[ "$output" = 1 ]
	wait_until nothing_left "$name"
}

@test "abbreviated and wrong, it fails the script; elsewhere it prints nothing" {
	expect 64 "$CFLOCK" --a $$ --nonsense "$name"
	[ "$output" = "(exit 64)" ]
	expect 0 "$CFLOCK" --a $$ "$name"
	exports=$output
	[[ $exports == *CFLOCK_TOKEN* ]]
	expect 1 "$CFLOCK" -n "$name" echo --attach
	[ -z "$output" ]
	eval "$exports"
	"$CFLOCK" --release "$name"
}

@test "the script's own CFLOCK_SERVER, and its password, are left alone" {
	rcli acl setuser guard reset on '>s3cret' '~*' +@all
	write_script <<-'END'
		[ "$CFLOCK_SERVER" = "unix://guard:s3cret@$REDIS_SOCKET" ] || exit 9
		eval "$("$CFLOCK" --attach $$ "$name.2")" || exit 8
		"$CFLOCK" --release "$name.2" || exit 7
	END
	CFLOCK_SERVER=unix://guard:s3cret@$REDIS_SOCKET expect 0 sh "$work/script"
	wait_until nothing_left "$name"
}

@test "the first process of a container: refused" {
	if [ "$(id -u)" = 0 ]; then
		write_script <<-'END'
			touch "$work/ran"
		END
		expect 64 unshare -pf --mount-proc sh "$work/script"
		says "first process of a container"
		[ ! -e "$work/ran" ]
	fi
}
