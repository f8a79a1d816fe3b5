# What a wait shows: on a terminal, after a second, one line that updates itself
# and goes again; elsewhere nothing, but with -v a line for each change.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	export CFLOCK
	clear=$'\r\033[K'
}

teardown() {
	test_teardown
	wait "${pids[@]}" 2>/dev/null || true
}

# hold [OPTION]...: another holder, until let_go.
hold() {
	mkfifo "$work/go"
	in_background "$CFLOCK" --message "of the test" "$@" "$name" \
		sh -c 'read -r _ <"$work/go"'
	pids+=("$background")
	holder=$background
	wait_until is_locked "$name"
}

let_go() {
	echo >"$work/go"
}

# on_terminal COLUMNS SHELL-COMMAND: in the background, on a terminal of its own;
# what that shows, byte for byte, in $work/shown; its exit code in $work/code.
on_terminal() {
	# What a shell starts in the background ignores INT.
	in_background env --default-signal=INT script -qfec "stty cols $1; $2; echo \$? >$work/code" \
		"$work/typescript"
	pids+=("$background")
}

# The bytes of script's file, without its own first and last lines.
shown() {
	sed -e '/^Script started/d' -e '/^Script done/d' "$work/typescript"
}

shows() {
	shown | grep -qF -- "$1"
}

ended_with() {
	wait_until [ -s "$work/code" ]
	[ "$(cat "$work/code")" = "$1" ] || fail "exit code $(cat "$work/code"): $(shown)"
}

# All that was written but the last of the texts that overwrote each other.
lines_shown() {
	shown | tr -d '\n' | sed 's/\r/\n/g'
}

# has_shown N: lines.
has_shown() {
	[ "$(lines_shown | grep -c 'waiting for')" -ge "$1" ]
}

one_waits() {
	[ "$(rcli zcard "$key:line")" = 1 ]
}

is_told() {
	grep -q "waiting, $1" "$work/verbose"
}

has_slept() {
	[ "$(calls_of xread)" -ge "$1" ]
}

@test "one line that updates itself, and is gone when the command starts" {
	hold
	on_terminal 250 "$CFLOCK -w 50 $name echo started"
	wait_until shows "held by host"
	shows "${clear%%$'\033'*}cflock: $name: waiting for "
	shows "s left), place 1 of 1 in line: held by host $(uname -n), pid $holder, user "
	shows "sh -c read -r _ <\"\$work/go\" (of the test)"
	# It updates itself in place: not one newline so far.
	wait_until has_shown 3
	[ "$(shown | tr -dc '\n' | wc -c)" = 0 ]
	let_go
	ended_with 0
	[[ $(shown) == *"$clear"started* ]]
}

@test "a wait of less than a second shows nothing" {
	hold
	on_terminal 200 "$CFLOCK $name echo started"
	wait_until one_waits
	let_go
	ended_with 0
	[ "$(shown | tr -d '\r\n')" = started ]
}

@test "the place in the line, and that of the next" {
	hold
	in_background "$CFLOCK" "$name" true
	pids+=("$background")
	first=$background
	wait_until one_waits
	on_terminal 200 "$CFLOCK $name true"
	wait_until shows "place 2 of 2 in line"
	kill -TERM "$first"
	wait_until shows "place 1 of 1 in line"
	let_go
	ended_with 0
}

@test "at the end of -w the conflict stands alone, in the same words" {
	hold
	on_terminal 300 "$CFLOCK -w 2 $name true"
	ended_with 1
	lines_shown | grep 'waiting for' | tail -n 1 >"$work/last"
	let_go
	conflict=$(shown | tr '\r' '\n' | grep -F "$name: held by host")
	[[ $conflict == $'\033[K'"cflock: $name: held by host "* ]]
	# But for the time that has passed.
	what=$(sed 's/([^)]* ago)/(AGO)/; s/.*: held by/held by/' <<<"$conflict")
	[[ $(sed 's/([^)]* ago)/(AGO)/' "$work/last") == *"$what"* ]]
}

@test "Ctrl-C while waiting: the line is gone" {
	hold
	on_terminal 200 "$CFLOCK $name true"
	wait_until shows "waiting for"
	waiting() { pgrep -P "$(pgrep -P "$background")" -x cflock; }
	kill -INT "$(waiting)"
	ended_with 130
	[[ $(shown) == *"$clear"* ]]
	[ "$(rcli exists "$key:line")" = 0 ]
	let_go
}

@test "never wider than the terminal, whatever others wrote" {
	hold --message "$(printf 'wide \xe2\x82\xac\xe2\x82\xac\xe2\x82\xac \033]0;gotcha\007 %080d' 1)"
	on_terminal 40 "$CFLOCK -w 4 $name true"
	wait_until has_shown 2
	lines_shown | grep 'waiting for' | sed 's/\x1b\[K//g' >"$work/lines"
	while IFS= read -r line; do
		[ "${#line}" -lt 40 ] || fail "too long: $line"
	done <"$work/lines"
	let_go
	ended_with 0
	run ! grep -q $'\007' "$work/typescript"
}

@test "what steers a terminal is shown as a question mark" {
	hold --message $'a\033]0;gotcha\007b'
	on_terminal 300 "$CFLOCK $name true"
	wait_until shows "(a?]0;gotcha?b)"
	let_go
	ended_with 0
}

@test "not on a terminal: silent; with -v a line a change" {
	hold
	in_background "$CFLOCK" "$name" true 2>"$work/silent"
	pids+=("$background")
	silent=$background
	wait_until one_waits
	in_background "$CFLOCK" -v "$name" true 2>"$work/verbose"
	pids+=("$background")
	verbose=$background
	wait_until is_told "place 2 of 2 in line: held by host"
	kill -TERM "$silent"
	wait_until is_told "place 1 of 1 in line: held by host"
	# Some signs of life later, nothing has changed.
	sleeps=$(calls_of xread)
	wait_until has_slept $((sleeps + 2))
	[ "$(grep -c waiting "$work/verbose")" = 2 ]
	let_go
	wait "$verbose"
	[ ! -s "$work/silent" ]
}

@test "nothing with -q, nor in the background of a terminal" {
	hold
	on_terminal 200 "$CFLOCK -q -w 2.5 $name true"
	ended_with 1
	[ -z "$(shown | tr -d '\r\n')" ]
	rm "$work/code"
	on_terminal 200 "bash -mc '$CFLOCK -w 2.5 $name true & wait \$!'"
	ended_with 1
	run ! grep -q "waiting for" "$work/typescript"
	let_go
	wait "$holder"
}

@test "moved to the background: the line is the shell's again" {
	hold
	on_terminal 200 "bash -mc '$CFLOCK -w 60 $name true; printf prompt; bg >/dev/null; wait'"
	wait_until shows "waiting for"
	pkill -TSTP -f "^$CFLOCK -w 60 $name true"
	wait_until shows prompt
	let_go
	ended_with 0
	[[ $(shown) != *prompt*"$clear"* ]]
}

@test "a server that comes and goes: with -v a line a change" {
	in_background "$CFLOCK" -S "unix://$work/socket" -v -w 60 "$name" true 2>"$work/verbose"
	pids+=("$background")
	verbose=$background
	is_told_twice() { [ "$(grep -c "$1" "$work/verbose")" = 2 ]; }
	wait_until grep -q "trying again" "$work/verbose"
	hold
	ln -s "$REDIS_SOCKET" "$work/socket"
	wait_until is_told "place 1 of 1 in line: held by host"
	rm "$work/socket"
	rcli client kill type normal skipme yes
	wait_until is_told_twice "trying again"
	ln -s "$REDIS_SOCKET" "$work/socket"
	wait_until is_told_twice waiting,
	let_go
	wait "$verbose"
	[ "$(grep -c "trying again" "$work/verbose")" = 2 ]
}

@test "a server that cannot be reached: the line says why" {
	on_terminal 200 "$CFLOCK -S unix:///nowhere -w 3 $name true"
	ended_with 69
	[[ $(lines_shown) == *"waiting for 1.0 s"*": cannot connect to unix:///nowhere"* ]]
}
