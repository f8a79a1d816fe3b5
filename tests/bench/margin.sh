#!/bin/bash
# How much of the lease is left when the last process of a command's tree is
# dead, after Redis has frozen?  The command itself freezes the server, so that
# the grant was the last word of it; the fencing token is the server's time of
# the grant in µs; that all are dead shows as the end of a FIFO that only they
# hold.  Nothing of this is measured by cflock itself.
#
#   margin.sh [RUNS [BUSY_LOOPS]]     default 50 0; CFLOCK=./cflock
#
# Prints one line, with ms; fails when one margin is negative, or more than the ttl.
set -u
CFLOCK=${CFLOCK:-./cflock}
runs=${1:-50} busy=${2:-0}
ttl_ms=1000

dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-margin.XXXXXX") || exit 1
hogs=()
clean_up() {
	[ "${#hogs[@]}" = 0 ] || kill "${hogs[@]}" 2>/dev/null
	kill -KILL "$(cat "$dir/pid")" 2>/dev/null
	rm -rf "$dir"
}
trap clean_up EXIT

# Taken for one that has long been up: just started, it could not give a lease for a
# while, and tokens would be ahead of its time.
# shellcheck source=tests/helpers.bash
. "${0%/*}/../helpers.bash"
start_redis "$dir" || exit 1
redis=$(cat "$dir/pid")
export CFLOCK_SERVER=unix://$dir/redis.sock

# So that the loops do not keep us from looking at the clock; for us alone.
chrt -R -f -p 2 $$ 2>/dev/null || true

for ((i = 0; i < busy; i++)); do
	(while :; do :; done) &
	hogs+=($!)
done

mkfifo "$dir/alive"
margins=()
while [ ${#margins[@]} -lt "$runs" ]; do
	# A tree that is not easily led: stays on SIGTERM, daemonised, stopped.
	# shellcheck disable=SC2016
	{ "$CFLOCK" -q --ttl "${ttl_ms}ms" margin bash -c '
		exec 8>"$1/alive"
		trap "" TERM
		setsid sleep 60 &
		(setsid sleep 60 &)
		sleep 60 & kill -STOP $!
		kill -STOP "$2"
		echo "$CFLOCK_TOKEN ${EPOCHREALTIME/[.,]/}" >&8
		while :; do sleep 1; done' - "$dir" "$redis" 2>/dev/null
		code=$?
		# Who waits for the command to open it, would wait for ever if it never ran.
		exec 8<>"$dir/alive"
		exit "$code"
	} &
	{
		read -r token frozen
		read -r _ # the end comes with the last of them
	} <"$dir/alive"
	now_us=${EPOCHREALTIME/[.,]/}
	kill -CONT "$redis"
	wait $!
	code=$?
	if [ "$code" != 79 ]; then
		echo "a run ended with $code instead of 79" >&2
		exit 1
	fi
	# The lease was over before the command could be started.
	[ -n "$token" ] || continue
	# The first renewal comes after a fifth of the ttl.  Where the server was
	# frozen later, it may have begun a lease that is not known here.
	[ $((frozen - token)) -lt $((ttl_ms * 180)) ] || continue
	margins+=($(((token + ttl_ms * 1000 - now_us) / 1000)))
done

mapfile -t sorted < <(printf '%s\n' "${margins[@]}" | sort -n)
echo "lease left at the last death, ttl $ttl_ms ms, $runs runs, $busy busy loops:" \
	"least ${sorted[0]} ms, median ${sorted[$((runs / 2))]} ms," \
	"most ${sorted[$((runs - 1))]} ms"
[ "${sorted[0]}" -ge 0 ] && [ "${sorted[-1]}" -le "$ttl_ms" ]
