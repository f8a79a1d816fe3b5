# What the guardian does where a system call fails, is held up, or comes in an
# order that chance seldom makes: strace fails and delays them for it.

bats_require_minimum_version 1.5.0
load helpers
load helpers/tree

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	tree_setup
	tracers=()
}

teardown() {
	[ "${#tracers[@]}" = 0 ] || kill "${tracers[@]}" 2>/dev/null || true
	tree_teardown
}

# How often the process has gone to sleep, or was stopped.
sleeps_of() {
	sed -n 's/^voluntary_ctxt_switches:[[:space:]]*//p' "/proc/$1/status"
}

# It sleeps, as it did when it was last looked at.
rests() {
	local before=$seen

	seen=$(sleeps_of "$1")
	[ "$seen" = "$before" ] && grep -q '^State:.S' "/proc/$1/status"
}

is_traced() {
	! is_alive "$1" ||
		{ grep -q '^TracerPid:.[1-9]' "/proc/$1/status" && [ "$(sleeps_of "$1")" -ge "$2" ]; }
}

# trace PID OPTION...: strace, from when the process is asleep on; the call that it
# sleeps in is begun again: it stops for strace, and again, and sleeps.
trace() {
	local pid=$1 sleeps seen=''

	shift
	wait_until rests "$pid"
	sleeps=$(sleeps_of "$pid")
	strace -qq -p "$pid" -o /dev/null "$@" </dev/null >/dev/null 2>&1 3>&- &
	tracers+=("$!")
	wait_until is_traced "$pid" $((sleeps + 3))
}

# begin SCRIPT OPTION...: as start of helpers/tree; leaves $guardian while it waits
# for the lease, until thaw_redis.
begin() {
	freeze_redis
	start "$@" -w 30
	wait_until pgrep -P "$cflock"
	guardian=$(pgrep -P "$cflock")
}

# traced COMMAND...: all of cflock under strace.  LeakSanitizer does not work so.
traced() {
	ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0 \
		strace -qq -f -o /dev/null "$@"
}

# The server freezes: the tree must be dead before the lease can be over.
freeze_and_die() {
	local ms

	ms=$(now_ms)
	freeze_redis
	wait_dead
	was_dead_before $((ms + $1))
	thaw_redis
	exits_with 79
	wait_until nothing_left "$name"
}

# A child in a session of its own that writes $0/seen on TERM and stays.
child='setsid bash -c "trap \"touch \$0/seen\" TERM; touch \$0/ready; '"$forever"'" "$0" &'

is_zombie_or_gone() {
	[ ! -e "/proc/$1" ] || is_zombie "$1"
}

@test "a guardian that dies before the command can ask to die with it: nothing is run" {
	local command

	begin 'touch "$0/ran"'
	trace "$guardian" -f -e inject=prctl:delay_enter=1500000:when=1
	thaw_redis
	wait_until pgrep -P "$guardian"
	command=$(pgrep -P "$guardian")
	# Or it would kill it first.
	kill -STOP "$cflock"
	kill -KILL "$guardian"
	wait_until is_zombie_or_gone "$command"
	kill -CONT "$cflock"
	wait_gone "$cflock"
	[ ! -e "$work/ran" ]
	wait_until nothing_left "$name"
}

# has_only_its_own: the guardian's descriptors are the four that it needs.
has_only_its_own() {
	[ "$(find "/proc/$guardian/fd" -type l -printf '%l\n' | sed 's/:\[[0-9]*\]$//' | sort | xargs)" = \
		"/proc/$guardian/task/$guardian/children anon_inode:[signalfd] anon_inode:[timerfd] socket" ]
}

@test "no inherited descriptor stays open, whatever the kernel knows of close_range" {
	local fault

	# The first of its calls is refused, the second, ...: as many as there are gaps.
	for fault in close_range:error=ENOSYS close_range:error=EPERM:when={1,2,3,4,5}; do
		renew_tree_watch
		exec 7<"$work" 200<"$work"
		begin 'touch "$0/ready"; '"$forever"
		exec 7<&- 200<&-
		[ -e "/proc/$guardian/fd/200" ]
		trace "$guardian" -e "inject=$fault"
		thaw_redis
		wait_until has_only_its_own
		kill -TERM "$cflock"
		wait_dead
		exits_with 143
	done
}

@test "... and where their list cannot be read" {
	exec 7<"$work" 200<"$work"
	# So that not each number up to a million is tried.
	begin 'touch "$0/ready"; '"$forever"
	exec 7<&- 200<&-
	prlimit --pid "$guardian" --nofile=1024
	trace "$guardian" -e inject=close_range:error=ENOSYS -e inject=openat:error=ENFILE:when=1
	thaw_redis
	wait_until has_only_its_own
	kill -TERM "$cflock"
	wait_dead
	exits_with 143
}

@test "calls that are interrupted are made again" {
	begin 'touch "$0/ready"; sleep 1; exit 7' --ttl 4s
	trace "$guardian" -e inject=recvfrom,wait4:error=EINTR:when=1+2
	trace "$cflock" -e inject=recvfrom:error=EINTR:when=1+2
	thaw_redis
	exits_with 7
	[ ! -s "$work/err" ] || fail "$(cat "$work/err")"
	nothing_left "$name"
}

@test "a guardian that is not needed leaves nothing behind, however waiting for it ends" {
	local fault

	rcli set "$(printf 'cflock:{%s}' "$name")" other
	for fault in EINTR ECHILD; do
		expect 1 traced -e inject="wait4:error=$fault:when=1" "$CFLOCK" -n "$name" \
			touch "$work/ran"
	done
	[ ! -e "$work/ran" ]
}

@test "reports that cannot be read: the command is dead before the lock is free" {
	begin 'touch "$0/ready"; '"$forever"
	thaw_redis
	wait_ready
	trace "$cflock" -e inject=recvfrom:error=EIO
	# What it has to read may have been found before.
	kill -STOP "$(pgrep -P "$guardian")" 2>/dev/null || true
	wait_dead
	exits_with 79
	wait_until nothing_left "$name"
}

@test "orders that are read too late change nothing" {
	start 'trap "" TERM; touch "$0/ready"; '"$forever" --ttl 3s
	wait_ready
	trace "$guardian" -e inject=recvfrom:delay_exit=2200000:when=1
	"$CTL" break --wait 0 "$name" >/dev/null 2>&1 || true
	wait_dead
	exits_with 79
	grep -q 'the lease is lost' "$work/err"
	run ! grep -q 'asked to end by' "$work/err"
}

@test "asked to end while nobody can tell whether the lease stands: it ends" {
	is_asked() {
		[ -n "$(rcli --raw keys "cflock:{$name}:stop:*")" ]
	}
	has_failed() {
		grep -q 'renewal.* failed' "$work/err" || [ -e "$work/seen" ]
	}
	start 'trap "touch \$0/seen; exit 3" TERM; touch "$0/ready"; '"$forever" \
		--prefer availability -v
	wait_ready
	# It is told with the next renewal, which fails, and the next but one.
	in_background "$CTL" break "$name"
	wait_until is_asked
	freeze_redis
	wait_until has_failed
	thaw_redis
	wait_dead
	exits_with 3
	[ -e "$work/seen" ]
	grep -q 'asked to end by' "$work/err"
}

@test "that the command may go on without a lease is heard too late: it may not" {
	start 'trap "" TERM; touch "$0/ready"; '"$forever" --ttl 3s --prefer availability
	wait_ready
	trace "$guardian" -e inject=recvfrom:delay_exit=2200000:when=1
	freeze_redis
	wait_dead
	thaw_redis
	exits_with 79
	wait_until nothing_left "$name"
}

@test "cflock is killed while the guardian writes to it: the command ends at once" {
	local killed_ms

	start 'touch "$0/ready"; until [ -e "$0/go" ]; do sleep 0.01; done; kill -STOP $$; '"$forever" \
		--ttl 1m
	wait_ready
	trace "$guardian" -e inject=sendto:delay_enter=1000000
	touch "$work/go"
	command=$(pgrep -P "$guardian")
	is_stopped() {
		[ "$(state_of "$command")" = T ]
	}
	wait_until is_stopped
	sleep 0.3
	killed_ms=$(now_ms)
	kill -KILL "$cflock"
	wait_dead
	was_dead_before $((killed_ms + 10000))
}

@test "cflock is killed with reports unread: the command ends at once" {
	local killed_ms

	start 'touch "$0/ready"; '"$forever" --ttl 1m
	wait_ready
	command=$(pgrep -P "$guardian")
	kill -STOP "$cflock"
	kill -STOP "$command"
	sleep 0.3
	killed_ms=$(now_ms)
	kill -KILL "$cflock"
	wait_dead
	was_dead_before $((killed_ms + 10000))
}

@test "a guardian that hears of the lease when it is over starts nothing" {
	# Long enough for strace to come while the first request is waited for.
	begin 'touch "$0/ran"' --ttl 3s
	trace "$guardian" -e inject=recvfrom:delay_exit=3500000
	thaw_redis
	exits_with 79
	[ ! -e "$work/ran" ]
	wait_until nothing_left "$name"
}

@test "a guardian that ends before it is told to start is replaced" {
	begin 'touch "$0/ran"; exit 7'
	trace "$guardian" -e inject=recvfrom:error=EIO:when=1
	wait_gone "$guardian"
	thaw_redis
	exits_with 7
	[ -e "$work/ran" ]
	nothing_left "$name"
}

@test "what the guardian needs cannot be had: 71, nothing is run" {
	local fault

	for fault in timerfd_create:error=EMFILE prctl:error=EINVAL; do
		expect 71 traced -e inject="$fault" "$CFLOCK" "$name" touch "$work/ran"
	done
	expect 71 traced -P /proc/thread-self/children -e inject=openat:error=ENOENT \
		"$CFLOCK" "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	nothing_left "$name"
}

@test "where there are no pidfds, the whole tree sees TERM, and is dead in time" {
	local error

	# Old kernels; old sandboxes.
	for error in ENOSYS EPERM; do
		renew_tree_watch
		rm -f "$work/seen"
		start "$child trap '' TERM; $forever" --ttl 2s
		wait_ready
		trace "$guardian" -e inject=pidfd_open:error=$error
		freeze_and_die 2000
		[ -e "$work/seen" ]
	done
}

@test "where processes cannot be looked at, the tree is dead in time" {
	local fault

	for fault in pidfd_open:error=EMFILE openat:error=ENFILE; do
		renew_tree_watch
		rm -f "$work/seen"
		start "$child trap '' TERM; $forever" --ttl 2s
		wait_ready
		trace "$guardian" -e "inject=$fault"
		freeze_and_die 2000
		[ ! -e "$work/seen" ]
	done
}

# A file of the child cannot be read, as if it had just ended.
@test "what seems to be gone when it is looked at is dead in time" {
	local file fault pid

	for file in task:openat task/PID/children:openat stat:read; do
		renew_tree_watch
		start "$child"' echo $! >"$0/pid"; trap "" TERM; '"$forever" --ttl 2s
		wait_ready
		wait_until test -s "$work/pid"
		pid=$(cat "$work/pid")
		fault=${file#*:} file=${file%:*}
		trace "$guardian" -P "/proc/$pid/${file/PID/$pid}" -e "inject=$fault:error=ESRCH"
		freeze_and_die 2000
	done
}

@test "one that got another parent while the tree was walked is dead in time" {
	cat >"$work/tree.py" <<-'END'
		import ctypes, os, signal, sys
		ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
		signal.signal(signal.SIGTERM, signal.SIG_IGN)
		if os.fork() == 0:
		    signal.signal(signal.SIGTERM, signal.SIG_DFL)
		    if os.fork() == 0:
		        def see(*_):
		            open(sys.argv[1] + "/seen", "w").close()
		        signal.signal(signal.SIGTERM, see)
		        open(sys.argv[1] + "/ready", "w").close()
		    while True:
		        signal.pause()
		while True:
		    signal.pause()
	END
	start 'exec python3 "$0/tree.py" "$0"' --ttl 3s
	wait_ready
	trace "$guardian" -e inject=pidfd_open:delay_enter=200000
	freeze_and_die 3000
	[ ! -e "$work/seen" ]
}

# To look for what a script has left takes a process.
@test "--attach: where none can be forked, the script is dead in time, and the holder ends" {
	local script ms

	cat >"$work/script" <<-'END'
		eval "$("$CFLOCK" --attach $$ --ttl 2s "$name")" || exit
		exec 9>"$work/alive"
		touch "$work/ready"
		while :; do sleep 0.02; done
	END
	export CFLOCK name work
	in_background bash "$work/script" 2>>"$work/err"
	script=$background
	wait_until test -e "$work/ready"
	guardian=$(pgrep -P "$(pgrep -fx "$CFLOCK --attach $script .*")")
	trace "$guardian" -e inject=clone,clone3:error=EAGAIN
	ms=$(now_ms)
	freeze_redis
	wait_dead
	was_dead_before $((ms + 2000))
	wait_gone "$script"
	wait_gone "$guardian"
	thaw_redis
	wait_until nothing_left "$name"
}
