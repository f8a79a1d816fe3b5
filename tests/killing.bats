# A server that answers no more: the command's tree is dead before the lease is
# over, however hard it is to kill.

load helpers
load helpers/tree

setup_file() {
	use_redis
	use_helper forker
}

teardown_file() {
	drop_redis
}

setup() {
	tree_setup
}

teardown() {
	tree_teardown
}

# frozen_run SCRIPT [OPTION]...: the server freezes as the first thing in the
# command; the tree must be dead before the lease is over.  $grant_ms is the
# token's time, at which the lease began.
frozen_run() {
	local script=$1 now grant_us try

	shift
	for try in 1 2 3 4 5 6 7 8; do
		renew_tree_watch
		start 'kill -STOP '"$(redis_pid)"'
			echo "${EPOCHREALTIME/[.,]/} $CFLOCK_TOKEN" >"$0/frozen"
			'"$script" --ttl 1s "$@"
		wait_dead
		thaw_redis
		exits_with 79
		grep -q 'the lease is lost, the command is being stopped: ' "$work/err"
		read -r now grant_us <"$work/frozen"
		grant_ms=$((grant_us / 1000))
		# A renewal after 200 ms would have begun a lease that is not known.
		[ $((now - grant_us)) -lt 180000 ] || continue
		was_dead_before $((grant_ms + 1000))
		# What was sent to the frozen server may be carried out late.
		wait_until nothing_left "$name"
		return 0
	done
	fail "the machine is too slow to start a command in 180 ms, $try times"
}

@test "a command that obeys is dead in time" {
	frozen_run "$forever"
	[ "$dead_ms" -ge $((grant_ms + 550)) ] || fail "stopped too early"
}

@test "with a trap it sees TERM, and has time to clean up" {
	frozen_run 'trap "echo TERM >\"\$0/seen\"; sleep 0.05; echo clean >>\"\$0/seen\"; exit 0" TERM
		'"$forever"
	[ "$(tr '\n' ' ' <"$work/seen")" = "TERM clean " ]
}

@test "--stop-signal is what it sees" {
	frozen_run 'trap "echo USR1 >\"\$0/seen\"; exit 0" USR1; trap "echo TERM >\"\$0/seen\"" TERM
		'"$forever" --stop-signal USR1
	[ "$(cat "$work/seen")" = USR1 ]
}

@test "a daemon sees TERM, too" {
	frozen_run '(setsid bash -c "trap \"echo daemon >\$0/seen; exit\" TERM; '"$forever"'" "$0" &) &
		'"$forever"
	[ "$(cat "$work/seen")" = daemon ]
}

@test "a child in a session of its own, whose parent stays, sees TERM, too" {
	frozen_run 'setsid bash -c "trap \"echo child >\$0/seen; exit\" TERM; '"$forever"'" "$0" &
		trap "" TERM; '"$forever"
	[ "$(cat "$work/seen")" = child ]
}

@test "a child whose parent ends at once on TERM sees it, too" {
	frozen_run 'bash -c "trap \"echo child >\$0/seen; exit\" TERM; '"$forever"'" "$0" &
		exec sleep 60'
	[ "$(cat "$work/seen")" = child ]
}

@test "a command that ignores TERM is dead in time" {
	frozen_run "trap '' TERM; $forever"
	[ "$dead_ms" -ge $((grant_ms + 750)) ] || fail "killed too early"
}

@test "a daemon of a command that has ended is dead in time" {
	frozen_run "trap '' TERM; $daemon exit 0"
	[ -z "$(pgrep -f "daemon-$marker")" ]
}

@test "a stopped command is dead in time" {
	frozen_run "trap '' TERM;"' kill -STOP $$; '"$forever"
}

@test "a stopped daemon is dead in time" {
	frozen_run '(setsid sh -c "trap \"\" TERM; kill -STOP \$\$; sleep 60" &) & '"$forever"
}

@test "processes that each fork a successor are dead in time" {
	frozen_run 'exec "$forker" churn 8 "$0/ready"'
	no_forker_left
}

@test "a command that forks without end is dead in time" {
	frozen_run 'exec "$forker" spawn "$0/ready"'
	no_forker_left
}

@test "with -o the whole tree is dead in time, too" {
	frozen_run "trap '' TERM; $daemon $forever" -o
}

@test "a guardian that was stopped kills in time, too" {
	frozen_run 'kill -STOP $PPID; trap "" TERM; '"$forever"
}
