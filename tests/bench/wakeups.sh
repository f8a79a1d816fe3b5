#!/bin/sh
# Who wakes up while a command runs, and what for?  Watches cflock and its
# guardian by strace while they are at rest, and lists the system calls of each
# thread.
#
#   wakeups.sh [SECONDS]     default 7; CFLOCK=./cflock
#
# Fails when cflock's main thread did anything at all, or when the guardian or
# the renewing thread was woken more often than leases were renewed, which is
# counted by the Redis server.
set -eu
CFLOCK=${CFLOCK:-./cflock}
seconds=${1:-7}

# shellcheck source=tests/bench/server.inc
. "${0%/*}/server.inc"

"$CFLOCK" --ttl 3s bench sh -c 'echo >"$0"; exec sleep 600' "$dir/runs" &
cflock=$!
started="$cflock $redis"
wait_for [ -e "$dir/runs" ]
guardian=$(pgrep -P "$cflock" -x lease-guardian)

scripts_run() {
	redis-cli -s "$dir/redis.sock" info commandstats |
		sed -n 's/^cmdstat_evalsha:calls=\([0-9]*\),.*/\1/p'
}

# Its thread is started for the first renewal.
is_renewed() { [ "$(scripts_run)" -ge 2 ]; }
wait_for is_renewed

is_traced() {
	grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$1/status"
}

# One file a thread.  What was under way when strace came is not a wake-up.
strace -ff -q -o "$dir/trace" -p "$cflock" -p "$guardian" &
strace=$!
started="$strace $started"
wait_for is_traced "$cflock"
wait_for is_traced "$guardian"
sleep 0.1
for file in "$dir"/trace.*; do
	wc -l <"$file" >"$file:before"
done
before=$(scripts_run)
sleep "$seconds"
renewals=$(($(scripts_run) - before))
kill "$strace"
wait "$strace" 2>/dev/null || :
started="$cflock $redis"

# calls PID: its completed calls since all were watched, a name a line.  The
# last line may be a call that strace left unfinished.
calls() {
	sed "1,$(cat "$dir/trace.$1:before")d" "$dir/trace.$1" |
		grep -v 'detached' | sed -n 's/^\([a-z0-9_]*\)(.*/\1/p'
}

echo "in $seconds s, with --ttl 3s: $renewals renewals"
failed=0
for file in "$dir"/trace.*; do
	case $file in *:before) continue ;; esac
	thread=${file##*.}
	calls "$thread" >"$file:calls"
	count=$(grep -c . "$file:calls" || :)
	# Each sleep, and each wait for an answer, is one of these.
	polls=$(grep -cE '^p?poll$' "$file:calls" || :)
	case $thread in
	"$cflock") name='main thread' most_polls=0 ;;
	"$guardian") name='guardian' most_polls=$((renewals + 1)) ;;
	# One poll until it is time, and one for the answer of Redis.
	*) name='renewer' most_polls=$((2 * renewals + 2)) ;;
	esac
	printf '%-12s %4d calls: %s\n' "$name" "$count" "$(
		sort "$file:calls" | uniq -c | sort -k 1,1nr -k 2 |
			awk '{ printf "%s%s %d", (NR > 1 ? ", " : ""), $2, $1 }')"
	if [ "$polls" -gt "$most_polls" ] ||
		{ [ $most_polls -eq 0 ] && [ "$count" -gt 0 ]; }; then
		echo "   that is more than $renewals renewals need" >&2
		failed=1
	fi
done
if [ "$renewals" -lt 2 ]; then
	echo "too few renewals to tell" >&2
	failed=1
fi
[ $failed -eq 0 ]
