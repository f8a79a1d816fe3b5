# Shared by the tests that kill: what a command starts opens the FIFO
# $work/alive for writing; its end is the death of the last of the tree.

tree_setup() {
	name=$(lock_name)
	work=$BATS_TEST_TMPDIR
	marker=7$RANDOM.$RANDOM$BATS_TEST_NUMBER
	renew_tree_watch
}

tree_teardown() {
	thaw_redis
	[ -z "${cflock:-}" ] || kill -KILL "$cflock" 2>/dev/null || true
	pkill -KILL -f "$marker" || true
	pkill -KILL -f "^[^ ]*forker .*$work/" || true
	end_tree_watch
}

# From now on $work/dead is to be the time in ms at which the FIFO ended.
renew_tree_watch() {
	end_tree_watch
	rm -f "$work"/{alive,dead,dead.new,frozen,ready}
	mkfifo "$work/alive"
	{
		read -r _ <"$work/alive" || true
		us=${EPOCHREALTIME/[.,]/}
		echo "${us%???}" >"$work/dead.new"
		mv "$work/dead.new" "$work/dead"
	} </dev/null >/dev/null 2>&1 3>&- &
	tree_watch=$!
	# No word of its end.
	disown "$tree_watch"
}

end_tree_watch() {
	[ -z "${tree_watch:-}" ] || kill -KILL "$tree_watch" 2>/dev/null || true
}

# start SCRIPT OPTION...: cflock in the background, without a terminal, around a
# bash that belongs to the tree; $cflock.  The script finds $work in $0 and the
# marker in $1, and writes $0/ready if wait_ready is to be used.
start() {
	local script=$1

	shift
	setsid "$CFLOCK" "$@" "$name" bash -c 'exec 9>"$0/alive"; '"$script" "$work" "$marker" \
		</dev/null >>"$work/out" 2>>"$work/err" 3>&- &
	cflock=$!
}

wait_ready() {
	wait_until [ -e "$work/ready" ]
	guardian=$(guardian_of "$cflock")
}

wait_dead() {
	wait_until [ -s "$work/dead" ]
	dead_ms=$(cat "$work/dead")
}

exits_with() {
	local code=0

	wait_gone "$cflock"
	wait "$cflock" || code=$?
	[ "$code" = "$1" ] || fail "exit code $code, not $1: $(cat "$work/err")"
}

# was_dead_before MS
was_dead_before() {
	[ "$dead_ms" -le "$1" ] || fail "dead $((dead_ms - $1)) ms too late"
}

no_forker_left() {
	[ -z "$(pgrep -f "^[^ ]*forker .*$work/")" ]
}

# For scripts of start; $daemon writes $0/ready.
forever='while :; do sleep 0.02; done'
daemon='(setsid bash -c "touch $0/ready; exec -a daemon-$1 sleep 60" &) &'
