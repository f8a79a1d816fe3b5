# The command finds everything as it would have found it without cflock.

load helpers

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
	[ ! -d "$REDIS_DIR.auth" ] || { stop_redis "$REDIS_DIR.auth"; rm -rf "$REDIS_DIR.auth"; }
}

setup() {
	name=$(lock_name)
	work=$BATS_TEST_TMPDIR
}

# same COMMAND...: it says the same with cflock around it and without.  What
# stands in the array `around` is put around both.
same() {
	"${around[@]}" "$@" >"$work/without" </dev/null 3>&-
	"${around[@]}" "$CFLOCK" "$name" "$@" >"$work/with" </dev/null 3>&-
	[ -s "$work/without" ] || fail "it says nothing"
	diff "$work/without" "$work/with"
}

signals=(grep -E '^(Sig|Shd)(Pnd|Blk|Ign|Cgt)' /proc/self/status)

@test "the signal mask" {
	around=(env)
	same "${signals[@]}"
	around=(env '--block-signal=TERM,HUP,CHLD,USR2,PIPE,WINCH,RTMIN+3')
	same "${signals[@]}"
	grep -q 'SigBlk:.*[1-9]' "$work/with"
}

@test "ignored signals" {
	around=(env '--ignore-signal=HUP,USR1,INT,TERM,PIPE,TSTP,RTMIN+5')
	same "${signals[@]}"
	grep -q 'SigIgn:.*[1-9]' "$work/with"
}

@test "what ignores a signal is not ended by it, as with nohup" {
	run env --ignore-signal=HUP,USR1 "$CFLOCK" "$name" sh -c '
		kill -HUP $$
		kill -USR1 $$
		kill -HUP $PPID
		exit 17'
	[ "$status" = 17 ]
}

@test "cflock ignores what it was told to ignore" {
	env --ignore-signal=HUP,USR1 "$CFLOCK" "$name" \
		bash -c 'echo >"$0/runs"; read -r _ <"$0/end"; exit 23' "$work" \
		</dev/null 3>&- &
	mkfifo "$work/end"
	wait_until [ -e "$work/runs" ]
	kill -HUP $!
	kill -USR1 $!
	echo >"$work/end"
	status=0
	wait $! || status=$?
	[ "$status" = 23 ]
}

@test "a parent that ignores SIGCHLD does not lose the exit code" {
	local n

	for n in 0 7 255; do
		status=0
		env --ignore-signal=CHLD "$CFLOCK" "$name" sh -c "exit $n" || status=$?
		[ "$status" = "$n" ]
	done
	around=(env --ignore-signal=CHLD)
	same "${signals[@]}"
}

@test "SIGPIPE, blocked, ignored or neither" {
	local what

	for what in --default-signal=PIPE --ignore-signal=PIPE --block-signal=PIPE; do
		around=(env "$what")
		same "${signals[@]}"
	done
	env --default-signal=PIPE "$CFLOCK" "$name" bash -c 'yes | head -n 1
		echo "${PIPESTATUS[0]}"' >"$work/out"
	[ "$(tail -n 1 "$work/out")" = 141 ]
}

@test "the rest of /proc/self/status: ids, capabilities, umask, processors" {
	around=(env)
	# FDSize: the room of the kernel's table, which a fork may shrink to what
	# is in use; the descriptors and their limit have tests of their own.
	same grep -vE '^(Ns|NS)?(pid|Pid|PPid|Tgid|Ngid|NStgid|NSpid|NSpgid|NSsid|FDSize|Vm.*|Rss.*|Hugetlb.*|SigQ|.*ctxt_switches):' \
		/proc/self/status
	grep -q ^CapEff "$work/with"
}

@test "open descriptors, and what they are open to" {
	local show=(find /proc/self/fd/ -mindepth 1 -printf '%f %l\n')

	echo hello >"$work/input"
	"${show[@]}" <"$work/input" >"$work/without" 7>>"$work/seven" 3>&-
	"$CFLOCK" "$name" "${show[@]}" <"$work/input" >"$work/with" 7>>"$work/seven" 3>&-
	# The folder that it reads, and its own output, differ in their names.
	sed -i "s,/proc/[0-9]*/fd,FOLDER,; s,$work/with.*,OUTPUT," "$work/with" "$work/without"
	diff "$work/without" "$work/with"
	grep -q "^7 $work/seven" "$work/with"
	grep -q "^0 $work/input" "$work/with"
}

@test "an inherited descriptor can be read and written" {
	echo from >"$work/six"
	"$CFLOCK" "$name" sh -c 'read -r word <&6; echo "$word to" >&7' \
		6<"$work/six" 7>"$work/seven"
	[ "$(cat "$work/seven")" = "from to" ]
}

@test "a high descriptor, too" {
	bash -c 'exec 250>"$1/high"; exec "$2" "$3" sh -c "echo high >/proc/self/fd/250"' \
		- "$work" "$CFLOCK" "$name"
	[ "$(cat "$work/high")" = high ]
}

@test "closed stdin, stdout and stderr stay closed" {
	# The exit code says which are open: 1 stdin, 2 stdout, 4 stderr.
	local see='n=0
		[ ! -e /proc/$$/fd/0 ] || n=$((n + 1))
		[ ! -e /proc/$$/fd/1 ] || n=$((n + 2))
		[ ! -e /proc/$$/fd/2 ] || n=$((n + 4))
		exit $n'

	status=0; "$CFLOCK" "$name" sh -c "$see" || status=$?
	[ "$status" = 7 ]
	status=0; "$CFLOCK" "$name" sh -c "$see" <&- || status=$?
	[ "$status" = 6 ]
	status=0; "$CFLOCK" "$name" sh -c "$see" >&- || status=$?
	[ "$status" = 5 ]
	status=0; "$CFLOCK" "$name" sh -c "$see" 2>&- || status=$?
	[ "$status" = 3 ]
	status=0; "$CFLOCK" "$name" sh -c "$see" <&- >&- 2>&- || status=$?
	[ "$status" = 0 ]
	nothing_left "$name"
}

@test "closed descriptors do not become sockets that messages go into" {
	status=0
	"$CFLOCK" -v --ttl 300ms "$name" sh -c 'sleep 1; exit 9' <&- >&- 2>&- || status=$?
	[ "$status" = 9 ]
	nothing_left "$name"
}

@test "the working directory, a removed one, too" {
	around=(env)
	mkdir "$work/below"
	cd "$work/below"
	same pwd
	same readlink /proc/self/cwd
	rmdir "$work/below"
	same readlink /proc/self/cwd
	grep -q deleted "$work/with"
}

@test "the umask" {
	umask 0137
	"$CFLOCK" "$name" sh -c 'umask; echo >"$0/made"' "$work" >"$work/out"
	[ "$(cat "$work/out")" = 0137 ]
	[ "$(stat -c %a "$work/made")" = 640 ]
}

@test "the environment, but for CFLOCK_*" {
	export ODD=$'two\nlines' EMPTY='' LONG
	LONG=$(printf '%60000s' x)
	around=(env)
	same sh -c 'env -0 | grep -zvE "^(CFLOCK_|_=|SHLVL=|PWD=|OLDPWD=)" | sort -z'
	grep -zq '^ODD=two' "$work/with"
	"$CFLOCK" "$name" env | grep -o '^CFLOCK_[A-Z_]*' | sort >"$work/ours"
	env | grep -o '^CFLOCK_[A-Z_]*' | sort >"$work/theirs"
	[ "$(comm -23 "$work/ours" "$work/theirs" | tr '\n' ' ')" = \
		"CFLOCK_ANCESTORS CFLOCK_ID CFLOCK_NAME CFLOCK_TOKEN CFLOCK_TTL_MS " ]
	[ -z "$(comm -13 "$work/ours" "$work/theirs")" ]
}

@test "CFLOCK_NAME, _TOKEN, _ID and _TTL_MS are the lease's own" {
	"$CFLOCK" --ttl 1.5s "$name" sh -c '
		echo "$CFLOCK_NAME $CFLOCK_TTL_MS"
		[ "$(redis-cli -s "$0/redis.sock" get "cflock:{$CFLOCK_NAME}")" = \
			"$CFLOCK_ID/$CFLOCK_TOKEN" ] && echo same' "$REDIS_DIR" >"$work/out"
	[ "$(cat "$work/out")" = "$name 1500
same" ]
}

@test "no password anywhere: command, its environment, cflock, guardian" {
	local dir=$REDIS_DIR.auth way

	start_redis "$dir" --requirepass s3cretword
	for way in CFLOCK_PASSWORD=s3cretword REDISCLI_AUTH=s3cretword \
		CFLOCK_SERVER="unix://:s3cretword@$dir/redis.sock"; do
		env CFLOCK_SERVER="unix://$dir/redis.sock" "$way" "$CFLOCK" -v "$name" sh -c '
			echo started
			cat /proc/self/environ /proc/$$/environ /proc/$$/cmdline
			for pid in $PPID $(ps -o ppid= -p $PPID); do
				cat /proc/$pid/environ /proc/$pid/cmdline
			done
			env' >"$work/out" 2>&1
		grep -aq started "$work/out"
		grep -aq CFLOCK_TOKEN "$work/out"
		[ "$(grep -ac s3cretword "$work/out")" = 0 ] || fail "$way: $(cat -v "$work/out")"
	done
	"$CFLOCK" --server "unix://:s3cretword@$dir/redis.sock" "$name" sh -c '
		echo started
		for pid in $$ $PPID $(ps -o ppid= -p $PPID); do
			cat /proc/$pid/environ /proc/$pid/cmdline
		done' >"$work/out" 2>&1
	grep -aq started "$work/out"
	[ "$(grep -ac s3cretword "$work/out")" = 0 ] || fail "$(cat -v "$work/out")"
}

@test "arguments: empty, blanks, newlines, quotes, options, any byte" {
	local all i arguments

	all=
	for ((i = 1; i < 256; i++)); do
		printf -v all '%s%b' "$all" "\\x$(printf %02x "$i")"
	done
	arguments=('' ' ' $'new\nline' "it's" '"' '$HOME' '*' '-n' '--' '--help' '%s' \\ "$all" '')
	printf '%s\0' "${arguments[@]}" >"$work/without"
	"$CFLOCK" "$name" printf '%s\0' "${arguments[@]}" >"$work/with"
	cmp "$work/without" "$work/with"
	"$CFLOCK" "$name" -- printf '%s\0' "${arguments[@]}" >"$work/with"
	cmp "$work/without" "$work/with"
}

@test "-c runs one shell command through \$SHELL" {
	run env SHELL=/bin/bash "$CFLOCK" "$name" -c 'echo "$BASH|$#"; exit 5'
	[ "$status" = 5 ]
	[ "$output" = "/bin/bash|0" ]
}

@test "megabytes through stdin and stdout, unmodified" {
	head -c 24000000 /dev/urandom >"$work/data"
	dd if="$work/data" bs=7777 status=none | "$CFLOCK" "$name" cat | cmp - "$work/data"
	dd if="$work/data" bs=7777 status=none |
		"$CFLOCK" "$name" sh -c 'cat >&2' 2>&1 >/dev/null | cmp - "$work/data"
}

@test "the end of stdin comes through" {
	[ "$(printf 'a\nb' | timeout 30 "$CFLOCK" "$name" wc -c)" = 3 ]
	[ "$(timeout 30 "$CFLOCK" "$name" wc -c </dev/null)" = 0 ]
}

@test "what the command leaves unread stays for the next" {
	[ "$(printf 'one\ntwo\n' | { "$CFLOCK" "$name" sh -c 'read -r line'; cat; })" = two ]
}

@test "a closed pipe ends the command, and cflock" {
	env --default-signal=PIPE timeout 30 bash -c '
		"$0" "$1" yes | head -n 1
		exit "${PIPESTATUS[0]}"' "$CFLOCK" "$name" >"$work/out" 2>"$work/err" 3>&- || status=$?
	[ "$status" = 141 ]
	[ "$(cat "$work/out")" = y ]
	nothing_left "$name"
}

@test "a pipe ends when the command closes it, though the command goes on" {
	mkfifo "$work/end" "$work/out"
	"$CFLOCK" "$name" bash -c 'echo out; exec >&-; read -r _ <"$0/end"' "$work" \
		</dev/null >"$work/out" 3>&- &
	[ "$(timeout 30 cat "$work/out")" = out ]
	is_locked "$name"
	echo >"$work/end"
	wait $!
}

@test "a writer sees that the command has closed its end" {
	mkfifo "$work/in" "$work/end"
	"$CFLOCK" "$name" bash -c 'exec <&-; echo >"$0/closed"; read -r _ <"$0/end"' "$work" \
		<"$work/in" 3>&- &
	exec 8>"$work/in"
	wait_until [ -e "$work/closed" ]
	# SIGPIPE or EPIPE: nobody reads any more.
	wait_until writer_is_refused
	exec 8>&-
	echo >"$work/end"
	wait $!
}

writer_is_refused() {
	! (trap '' PIPE; echo x >&8) 2>/dev/null
}

@test "nice value, scheduling policy and class of input and output" {
	local what

	for what in 'nice -n 5' 'chrt -b 0' 'chrt -i 0' 'ionice -c 3'; do
		read -r -a around <<<"$what"
		same nice
		same sh -c 'chrt -p $$ | sed "s/[0-9]*.s //"'
		same sh -c 'ionice -p $$'
	done
	around=(env)
	same sh -c 'chrt -p $$ | sed "s/[0-9]*.s //"'
}

@test "limits" {
	ulimit -S -n 77
	ulimit -S -c 0
	ulimit -S -s 4096
	ulimit -S -t 1000
	around=(env)
	same cat /proc/self/limits
	grep -q '^Max open files *77 ' "$work/with"
}

@test "the score for when memory runs out" {
	around=(sh -c 'echo 123 >/proc/self/oom_score_adj; exec "$@"' -)
	same cat /proc/self/oom_score_adj
	[ "$(cat "$work/with")" = 123 ]
}

@test "without a terminal the command leads a process group of its own" {
	setsid -w "$CFLOCK" "$name" sh -c 'ps -o pid=,pgid= -p $$' >"$work/out" 3>&-
	read -r pid group <"$work/out"
	[ "$pid" = "$group" ]
}

@test "the command is in cflock's session" {
	local session

	session=$("$CFLOCK" "$name" sh -c 'ps -o sid= -p $$')
	[ "$session" = "$(ps -o sid= -p $$)" ]
}

@test "namespaces, root and control group are the same" {
	around=(env)
	same sh -c 'readlink /proc/self/root /proc/self/ns/*; cat /proc/self/cgroup'
}
