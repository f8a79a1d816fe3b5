# The command's own exit code comes through, whatever it is; what cflock says
# itself is told apart from it.

load helpers

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	name=$(lock_name)
	work=$BATS_TEST_TMPDIR
	ulimit -c 0
}

# code COMMAND...: its exit code in $code, its stderr in $err.
code() {
	code=0
	"$@" 2>"$work/stderr" </dev/null 3>&- || code=$?
	err=$(cat "$work/stderr")
}

@test "each of the 256 exit codes comes through, silently" {
	local n

	for ((n = 0; n < 256; n++)); do
		code "$CFLOCK" "$name" sh -c "exit $n"
		[ "$code" = "$n" ] || fail "$n came through as $code"
		[ -z "$err" ] || fail "$n: $err"
	done
	nothing_left "$name"
}

@test "each fatal signal n comes through as 128+n, silently" {
	local n

	for n in {1..16} {24..27} {29..31} {34..64}; do
		code "$CFLOCK" "$name" sh -c "kill -$n \$\$; sleep 60"
		[ "$code" = $((128 + n)) ] || fail "signal $n came through as $code"
		[ -z "$err" ] || fail "signal $n: $err"
	done
	nothing_left "$name"
}

@test "a signal of the command does not become cflock's own end" {
	code python3 -c 'import subprocess, sys
print(subprocess.call(sys.argv[1:]))' \
		"$CFLOCK" "$name" sh -c 'kill -TERM $$' >"$work/out"
	[ "$(cat "$work/out")" = 143 ] || fail "$(cat "$work/out")"
}

@test "127: the command is not found, by name" {
	code "$CFLOCK" "$name" cflock-no-such-command
	[ "$code" = 127 ]
	[ "$err" = "cflock: $name: cannot run cflock-no-such-command: No such file or directory" ]
	nothing_left "$name"
}

@test "127: the command is not found, by path" {
	code "$CFLOCK" "$name" "$work/missing/command"
	[ "$code" = 127 ]
	[ "$err" = "cflock: $name: cannot run $work/missing/command: No such file or directory" ]
}

@test "127: the interpreter of a script is not found" {
	printf '#!%s/no-such-interpreter\n' "$work" >"$work/script"
	chmod +x "$work/script"
	code "$CFLOCK" "$name" "$work/script"
	[ "$code" = 127 ]
	[ -n "$err" ]
}

@test "126: the command is not executable" {
	echo 'exit 0' >"$work/plain"
	code "$CFLOCK" "$name" "$work/plain"
	[ "$code" = 126 ]
	[ "$err" = "cflock: $name: cannot run $work/plain: Permission denied" ]
	nothing_left "$name"
}

@test "126: the command is a folder" {
	code "$CFLOCK" "$name" "$work"
	[ "$code" = 126 ]
	[ "$err" = "cflock: $name: cannot run $work: Permission denied" ]
}

@test "126 and 127 are said with -q, too" {
	code "$CFLOCK" -q "$name" cflock-no-such-command
	[ "$code" = 127 ]
	[ -n "$err" ]
	code "$CFLOCK" -q "$name" "$work"
	[ "$code" = 126 ]
	[ -n "$err" ]
}

@test "a script without #! runs, as under a shell" {
	echo 'exit 21' >"$work/script"
	chmod +x "$work/script"
	code "$CFLOCK" "$name" "$work/script"
	[ "$code" = 21 ]
}

@test "never 0 for a command that was stopped, though it ends with 0" {
	for act in 'del' 'set'; do
		code "$CFLOCK" --ttl 1s "$name" bash -c '
			trap "exit 0" TERM
			redis-cli -s "$0/redis.sock" $1 "cflock:{$CFLOCK_NAME}" $2 >/dev/null
			sleep 60 & wait' "$REDIS_DIR" $act ${act/del/}
		[ "$code" = 79 ] || fail "$act: $code"
		[[ "$err" == *"lease is lost"* ]] || fail "$act: $err"
		rcli del "cflock:{$name}"
	done
}

@test "79, though the command does not mind its lease's loss" {
	code "$CFLOCK" --ttl 1s "$name" bash -c '
		trap "" TERM
		redis-cli -s "$0/redis.sock" del "cflock:{$CFLOCK_NAME}" >/dev/null
		while :; do sleep 0.05; done' "$REDIS_DIR"
	[ "$code" = 79 ]
}

@test "the codes of a held lock: 1, -E, and 0 where -E 0 asks for it" {
	in_background "$CFLOCK" "$name" sleep 60
	wait_until is_locked "$name"
	code "$CFLOCK" -n "$name" true
	[ "$code" = 1 ]
	[[ "$err" == "cflock: $name: held by host "* ]] || fail "$err"
	code "$CFLOCK" -n -E 255 "$name" true
	[ "$code" = 255 ]
	code "$CFLOCK" -n -E 0 "$name" false
	[ "$code" = 0 ]
	kill -TERM "$background"
	wait "$background" || code=$?
	[ "$code" = 143 ]
	nothing_left "$name"
}
