# cflockctl fence: a command runs only if FILE has seen no higher token.

bats_require_minimum_version 1.5.0
load helpers

setup() {
	work=$BATS_TEST_TMPDIR
	file=$work/fence
	log=$work/log
	export file log
	pids=()
	ulimit -c 0
}

teardown() {
	test_teardown
}

# fence TOKEN COMMAND...: fenced by $file.
fence() {
	local token=$1

	shift
	"$CTL" fence "$file" --token "$token" -- "$@"
}

# holds TOKEN: $file does, in the one form that there is.
holds() {
	printf '%016d\n' "$1" | cmp - "$file" || fail "it holds: $(cat "$file")"
}

# trace STRACE-OPTION... COMMAND...: what it shows in $log.
trace() {
	ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0 strace -qq -o "$log" "$@"
}

# hold TOKEN: a fenced command, until $work/go exists.
hold() {
	export work
	in_background "$CTL" fence "$file" --token "$1" -- sh -c 'echo "begin $CFLOCK_TOKEN" >>"$log"
		until [ -e "$work/go" ]; do sleep 0.01; done
		echo "end $CFLOCK_TOKEN" >>"$log"'
	pids+=("$background")
	wait_until grep -q "begin $1" "$log"
}

# Process $1 waits for a lock by flock(2).  In a container /proc/locks does not
# show those who wait for one whose owner is dead.
waits_for_lock() {
	grep -q -- "-> FLOCK .* $1 " /proc/locks || grep -q lock_inode_wait "/proc/$1/wchan"
}

# start_waiter TOKEN COMMAND...: in the background, until it waits.
start_waiter() {
	local token=$1

	shift
	in_background "$CTL" fence "$file" --token "$token" -- "$@" 2>"$work/err"
	pids+=("$background")
	wait_until waits_for_lock "$background"
}

@test "a higher token runs, an equal one too, a lower one is refused with 80" {
	expect 0 fence 5 echo ran
	[ "$output" = ran ]
	is_silent
	holds 5
	expect 0 fence 5 echo again
	[ "$output" = again ]
	expect 80 fence 4 touch "$work/ran"
	[ "$stderr" = "cflockctl: $file: has seen token 5, 4 is fenced off: the command was not started" ]
	[ -z "$output" ]
	[ ! -e "$work/ran" ]
	holds 5
	expect 0 fence 6 true
	holds 6
	expect 0 fence 9007199254740991 true
	holds 9007199254740991
	expect 80 fence 9007199254740990 true
}

@test "the token: CFLOCK_TOKEN, --token before it; the command gets what counts" {
	expect 0 env CFLOCK_TOKEN=7 "$CTL" fence "$file" -- sh -c 'echo $CFLOCK_TOKEN'
	[ "$output" = 7 ]
	expect 0 env CFLOCK_TOKEN=3 "$CTL" fence "$file" --token 8 -- sh -c 'echo $CFLOCK_TOKEN'
	[ "$output" = 8 ]
	expect 0 env CFLOCK_TOKEN=nonsense "$CTL" fence "$file" --token "$(cat "$file")" -- sh -c 'echo $CFLOCK_TOKEN'
	[ "$output" = 8 ]
	expect 80 env CFLOCK_TOKEN=7 "$CTL" fence "$file" -- true
	holds 8
}

@test "a bad token: 64, one line, and FILE is not made" {
	for token in "" 0 -1 +1 1.0 0x10 "1 " " 1" 1e3 abc 9007199254740992 18446744073709551617 99999999999999999999999; do
		expect 64 fence "$token" true
		says "cflockctl: --token must be a whole number from 1 to 9007199254740991"
		[ "${#stderr_lines[@]}" = 1 ]
		[ -z "$token" ] || {
			expect 64 env CFLOCK_TOKEN="$token" "$CTL" fence "$file" -- true
			says "cflockctl: CFLOCK_TOKEN must be"
		}
	done
	expect 64 "$CTL" fence "$file" -- true
	says "there is no token"
	expect 64 env CFLOCK_TOKEN= "$CTL" fence "$file" -- true
	says "there is no token"
	[ ! -e "$file" ]
}

@test "bad usage: 64, with what is wrong" {
	export CFLOCK_TOKEN=5
	for arguments in "fence|--" "fence $file true|--" "fence $file --|--" "fence -- true|the FILE is missing" \
		"-- fence $file true|the FILE is missing" "fence $file b -- true|too many" \
		"fence --json $file -- true|fence: it does not take --json" \
		"fence -S redis://x $file -- true|fence: it does not take --server" \
		"fence --password-file x $file -- true|fence: it does not take --password-file" \
		"status --token 5 a|status: it does not take --token" "fence $file --token|argument is missing"; do
		# shellcheck disable=SC2086 # words
		expect 64 "$CTL" ${arguments%%|*}
		says "cflockctl: " "${arguments#*|}"
	done
	[ ! -e "$file" ]
}

@test "options may stand anywhere before --, and behind it are the command's" {
	for arguments in "--token 5 fence $file" "fence --token 5 $file" "fence --token=5 $file" "fence $file --token=5"; do
		# shellcheck disable=SC2086 # words
		expect 0 "$CTL" $arguments -- echo --token 1 --help -- x
		[ "$output" = "--token 1 --help -- x" ]
	done
	expect 0 "$CTL" status --help
	[[ $output == *"fence FILE [--token N] -- COMMAND [ARG]..."* ]]
}

@test "FILE with something else in it: 78, and it is left as it was" {
	for content in x 5 '5\n' '0000000000000005' '0000000000000005\n\n' '0000000000000005\nx' '\n' \
		'000000000000000x\n' '0000000000000000\n' '9999999999999999\n' '-000000000000005\n' '\0'; do
		# shellcheck disable=SC2059 # escapes
		printf -- "$content" >"$file"
		cp "$file" "$work/before"
		expect 78 fence 6 touch "$work/ran"
		says "cflockctl: $file: holds something else than a token"
		cmp "$file" "$work/before"
	done
	[ ! -e "$work/ran" ]
	: >"$file"
	expect 0 fence 6 true
	holds 6
}

@test "FILE that is not a regular file: 78, and it is not opened" {
	mkfifo "$work/fifo"
	mkdir "$work/directory"
	ln -s directory "$work/link"
	for other in "$work/fifo" "$work/directory" "$work/link" /dev/null; do
		expect 78 trace -e trace=openat "$CTL" fence "$other" --token 5 -- touch "$work/ran"
		says "cflockctl: $other: is not a regular file"
		[ "$(grep -c "$other" "$log")" = 0 ]
	done
	[ ! -e "$work/ran" ]
}

@test "FILE that cannot be opened, locked, read, written or synced: 71, with the cause" {
	expect 71 "$CTL" fence "$work/none/fence" --token 5 -- true
	says "cflockctl: $work/none/fence: cannot open: No such file or directory"
	expect 71 "$CTL" fence "" --token 5 -- true
	# After each, FILE is as usable as before.
	for failure in "openat:error=EACCES|cannot open: Permission denied" "flock:error=ENOLCK|cannot lock: No locks" \
		"pread64:error=EIO|cannot read: Input/output error" "fsync:error=EIO:when=1|cannot sync its directory: Input" \
		"pwrite64:error=ENOSPC|cannot write: No space" "pwrite64:retval=4|cannot write: No space" \
		"fsync:error=EIO:when=2|cannot sync: Input/output error"; do
		rm -f "$file"
		expect 71 trace -P "$file" -P "$work" -e inject="${failure%%|*}" "$CTL" fence "$file" --token 5 -- touch "$work/ran"
		says "cflockctl: $file: ${failure#*|}"
		[ ! -e "$work/ran" ]
		expect 0 fence 5 true
		holds 5
	done
}

@test "the command cannot be executed: 126, or is not found: 127" {
	run -127 --separate-stderr fence 5 "$work/none"
	says "cflockctl: cannot run $work/none: No such file"
	touch "$work/plain"
	expect 126 fence 5 "$work/plain"
	says "cflockctl: cannot run $work/plain: Permission denied"
	expect 126 fence 5 "$work"
}

@test "exit codes and deadly signals of the command come through, silently" {
	for n in 0 1 64 71 78 79 80 126 128 255; do
		expect "$n" fence 5 sh -c "exit $n"
		is_silent
	done
	run -127 --separate-stderr fence 5 sh -c "exit 127"
	is_silent
	for n in 1 2 3 6 9 10 13 15 17; do
		end=$((n == 17 ? 0 : 128 + n)) # SIGCHLD does not kill
		expect "$end" fence 5 sh -c "kill -$n \$\$; exit 0"
		is_silent
	done
}

@test "the command is the process itself: same pid, same stdin and stdout, same signals" {
	head -c 1000000 /dev/urandom >"$work/in"
	"$CTL" fence "$file" --token 5 -- cat <"$work/in" >"$work/out"
	cmp "$work/in" "$work/out"

	in_background "$CTL" fence "$file" --token 5 -- bash -c 'trap "exit 7" USR1
		trap "" TERM; : >"$log"; while :; do sleep 0.01; done'
	pids+=("$background")
	wait_until test -e "$log"
	kill -TERM "$background"
	kill -USR1 "$background"
	code=0
	wait "$background" || code=$?
	[ "$code" = 7 ]
}

@test "the command finds signals, environment and descriptors as they were, but for the lock's" {
	export CFLOCK_TOKEN=5
	state() {
		"$@" sh -c 'grep ^Sig[BIC] /proc/self/status; env | grep -v ^_= | sort; ulimit -a; umask; pwd
			cd /proc/$$/fd && for fd in *; do [ "$(readlink $fd)" = "$file" ] || echo "$fd"; done'
	}
	(
		trap '' PIPE HUP
		umask 027
		state env >"$work/plain"
		state "$CTL" fence "$file" -- >"$work/fenced"
	) 5</dev/null
	diff "$work/plain" "$work/fenced"
	[ "$(stat -c %a "$file")" = 640 ]
}

@test "closed standard streams stay closed" {
	# shellcheck disable=SC2094 # not a pipeline
	fence 5 sh -c 'for fd in 0 1 2; do [ ! -e /proc/$$/fd/$fd ] || readlink /proc/$$/fd/$fd >>"$log"; done
		: >>"$log"' <&- >&- 2>&-
	[ -e "$log" ]
	[ ! -s "$log" ]
	(
		ulimit -n 20
		fence 6 true
	)
	holds 6
}

@test "a newer token waits for an older command that runs on; the older is then refused" {
	hold 5
	start_waiter 7 sh -c 'echo "begin 7" >>"$log"'
	[ "$(cat "$log")" = "begin 5" ]
	holds 5
	touch "$work/go"
	wait "$background"
	[ "$(tr '\n' , <"$log")" = "begin 5,end 5,begin 7," ]
	expect 80 fence 5 true
}

@test "the lock lasts until what the command has started has ended, too, though it was killed" {
	export work
	in_background "$CTL" fence "$file" --token 5 -- sh -c 'sleep 60 & echo $! >"$work/child"; wait'
	pids+=("$background")
	wait_until test -s "$work/child"
	child=$(cat "$work/child")
	pids+=("$child")
	kill -KILL "$background"
	wait_gone "$background"
	start_waiter 7 touch "$work/ran"
	is_alive "$child"
	[ ! -e "$work/ran" ]
	kill -KILL "$child"
	wait "$background"
	[ -e "$work/ran" ]
}

@test "a signal ends a wait, and FILE stays as it was" {
	hold 5
	start_waiter 7 touch "$work/ran"
	kill -TERM "$background"
	code=0
	wait "$background" || code=$?
	[ "$code" = 143 ]
	holds 5
	start_waiter 7 touch "$work/ran"
	kill -STOP "$background"
	kill -CONT "$background"
	touch "$work/go"
	wait "$background"
	[ -e "$work/ran" ]
	holds 7
}

@test "FILE is replaced or removed while it is waited for: the new one counts" {
	hold 5
	start_waiter 7 touch "$work/ran"
	printf '%016d\n' 9 >"$work/new"
	mv "$work/new" "$file"
	touch "$work/go"
	code=0
	wait "$background" || code=$?
	[ "$code" = 80 ]
	holds 9
	[ ! -e "$work/ran" ]

	rm "$work/go" "$log"
	hold 11
	start_waiter 7 touch "$work/ran"
	rm "$file"
	touch "$work/go"
	wait "$background"
	[ -e "$work/ran" ]
	holds 7
}

@test "under a command that FILE fences already: refused, not waited for itself; other files may nest" {
	expect 64 fence 5 timeout "$WAIT_LIMIT_S" "$CTL" fence "$file" --token 6 -- true
	says "cflockctl: $file: is fenced already by a command that is waiting for this one"
	holds 5
	expect 64 fence 5 timeout "$WAIT_LIMIT_S" "$CTL" fence "$file.2" --token 5 -- timeout "$WAIT_LIMIT_S" "$CTL" fence "$file.2" -- true
	expect 64 fence 5 timeout "$WAIT_LIMIT_S" "$CTL" fence "$file.2" --token 5 -- timeout "$WAIT_LIMIT_S" "$CTL" fence "$file" -- true
	expect 0 fence 5 "$CTL" fence "$file.2" -- "$CTL" fence "$file.3" -- echo ran
	[ "$output" = ran ]
}

@test "through symbolic links, a dangling one too" {
	mkdir "$work/other"
	ln -s other/real "$file"
	expect 0 trace -y -e trace=fsync "$CTL" fence "$file" --token 5 -- true
	grep -q "fsync([0-9]*<$work/other>)" "$log"
	holds 5
	[ -L "$file" ]
	expect 80 "$CTL" fence "$work/other/real" --token 4 -- true
}

# steps: of the last trace, as words; the first execve is that of cflockctl.
steps() {
	sed -n -e "s|^execve(\"$CTL\".*|start|p" -e 's|^execve(.* = 0$|exec|p' -e "s|^flock([0-9]*<$file>, LOCK_EX) *= 0\$|lock|p" \
		-e "s|^pread64([0-9]*<$file>.*|read|p" -e "s|^pwrite64([0-9]*<$file>, \"\([0-9]*\)[\\]n\", 17, 0) *= 17\$|write:\1|p" \
		-e "s|^fsync([0-9]*<$file>) *= 0\$|sync|p" -e "s|^fsync([0-9]*<$work>) *= 0\$|sync-directory|p" "$log" | xargs
}

@test "everything is on the disk before the command starts" {
	traced=(-y -e trace=execve,flock,pread64,pwrite64,fsync)
	trace "${traced[@]}" "$CTL" fence "$file" --token 5 -- /bin/true
	[ "$(steps)" = "start lock read sync-directory write:0000000000000005 sync exec" ]
	trace "${traced[@]}" "$CTL" fence "$file" --token 6 -- /bin/true
	[ "$(steps)" = "start lock read write:0000000000000006 sync exec" ]
	# Another may have been killed between its write and its sync.
	trace "${traced[@]}" "$CTL" fence "$file" --token 6 -- /bin/true
	[ "$(steps)" = "start lock read write:0000000000000006 sync exec" ]
	run trace "${traced[@]}" "$CTL" fence "$file" --token 5 -- /bin/true
	[ "$(steps)" = "start lock read" ]
}

@test "no lock service, no cflock.conf, no settings" {
	echo "nonsense = nonsense" >"$work/cflock.conf"
	wrong=(env CFLOCK_CONFIG="$work/cflock.conf" XDG_CONFIG_HOME="$work" CFLOCK_TTL=nonsense CFLOCK_SERVER=nonsense)
	expect 78 "${wrong[@]}" "$CTL" status a
	expect 0 "${wrong[@]}" "$CTL" fence "$file" --token 5 -- echo ran
	[ "$output" = ran ]
	trace -e trace=openat,open,socket,connect "${wrong[@]}" "$CTL" fence "$file" --token 5 -- true
	grep -q "$file" "$log"
	[ "$(grep -c -e cflock.conf -e socket -e connect "$log")" = 0 ]
}

# number: what $file holds, 0 when it is new or empty; fails for garbage.
number() {
	if [ ! -s "$file" ]; then
		echo 0
	elif [ "$(wc -c <"$file")" = 17 ] && grep -qx '[0-9]\{16\}' "$file"; then
		echo $((10#$(cat "$file")))
	else
		fail "garbage: $(od -c "$file")"
	fi
}

# was_killed_at TOKEN: what must hold after a SIGKILL on the way from $before.
was_killed_at() {
	local found

	found=$(number)
	[ "$found" -ge "$before" ] || fail "from $before down to $found"
	[ "$found" -le "$1" ] || fail "$1 became $found"
	[ ! -s "$log.ran" ] || [ "$(tail -n 1 "$log.ran")" -le "$found" ] || fail "$found, but $(tail -n 1 "$log.ran") ran"
	before=$found
}

# calls_with_file: of the last trace, from the first one on $file to exec, each
# as NAME:when=N, the Nth of its name.  strace's own execve does not count.
calls_with_file() {
	awk -F '(' -v file="\"$file\"" 'NR == 1 { next }
		{ n[$1]++ }
		index($0, file) { found = 1 }
		found { print $1 ":when=" n[$1] }
		$1 == "execve" { exit }' "$log"
}

@test "SIGKILL at each of its system calls: no lower number, no garbage, and the next one runs" {
	token=10
	for from in new old; do
		before=0
		rm -f "$file" "$log.ran"
		[ "$from" = new ] || fence 5 true
		trace "$CTL" fence "$file" --token 5 -- /bin/true
		calls=$(calls_with_file)
		for call in openat:when= flock: pread64: pwrite64: fsync: execve:when=1; do
			[[ $calls == *"$call"* ]] || fail "no $call in: $calls"
		done
		for call in $calls; do
			[ "$from" = old ] || { rm -f "$file" && before=0; }
			token=$((token + 1))
			code=0
			trace -e inject="${call%:when*}:signal=KILL:${call#*:}" "$CTL" fence "$file" --token "$token" -- \
				/bin/sh -c 'echo $CFLOCK_TOKEN >>"$log.ran"' || code=$?
			[ "$code" = 137 ] || fail "not killed at $call"
			[ ! -e "$log.ran" ]
			was_killed_at "$token"
			expect 0 fence "$token" true
			holds "$token"
			before=$token
		done
	done
}

@test "SIGKILL at random moments: no lower number, no garbage, and the next one runs" {
	before=0
	for token in $(seq 50); do
		in_background "$CTL" fence "$file" --token "$token" -- sh -c 'echo $CFLOCK_TOKEN >>"$log.ran"'
		read -r -t "0.00$((RANDOM % 60 + 10))" <><(:) || true
		kill -KILL "$background" 2>/dev/null || true
		wait "$background" || true
		was_killed_at "$token"
	done
	expect 0 fence 51 true
	holds 51
}

@test "many at once: what runs never goes backward, and never overlaps" {
	count=80 begun=()
	for i in $(seq "$count"); do
		token=$((RANDOM % 30 + 1))
		in_background bash -c '"$0" fence "$file" --token "$1" -- sh -c "echo begin $1 >>\"$log\"; sleep 0.002; echo end $1 >>\"$log\""
			echo "$1 $?" >>"$log.codes"' "$CTL" "$token" 2>/dev/null
		begun+=("$background")
	done
	wait "${begun[@]}"
	[ "$(wc -l <"$log.codes")" = "$count" ]
	[ "$(grep -c -v -e ' 0$' -e ' 80$' "$log.codes")" = 0 ]
	[ "$(grep -c ' 0$' "$log.codes")" = "$(($(wc -l <"$log") / 2))" ]
	awk 'NR % 2 { if ($1 != "begin" || $2 < last) exit 1; last = $2; next }
		$1 != "end" || $2 != last { exit 1 }' "$log" || fail "$(cat "$log")"
	# The highest is refused by none.
	highest=$(cut -d ' ' -f 1 "$log.codes" | sort -n | tail -n 1)
	holds "$highest"
	[ "$(grep -c "^$highest 80" "$log.codes")" = 0 ]
}
