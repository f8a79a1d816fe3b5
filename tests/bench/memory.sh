#!/bin/sh
# The memory of cflock and its guardian while a command runs, in KiB.
#
#   memory.sh     CFLOCK=./cflock
#
# RSS counts pages of the C library that all processes share in full, PSS by
# their part.  Fails when the sum of RSS is above 4 MiB.
set -eu
CFLOCK=${CFLOCK:-./cflock}
limit_kib=4096

dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-bench.XXXXXX")
started=''
clean_up() {
	for process in $started; do
		kill "$process" 2>/dev/null || :
		wait "$process" 2>/dev/null || :
	done
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

redis-server --port 0 --unixsocket "$dir/redis.sock" --dir "$dir" --save '' \
	--appendonly no >"$dir/redis.log" 2>&1 &
redis=$!
started=$redis
export CFLOCK_SERVER="unix://$dir/redis.sock" CFLOCK_CONFIG=

wait_for() {
	tries=300
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || { echo "waited too long for: $*" >&2; exit 1; }
		sleep 0.1
	done
}
wait_for redis-cli -s "$dir/redis.sock" ping

"$CFLOCK" --ttl 2s bench sh -c 'echo >"$0"; exec sleep 60' "$dir/runs" &
cflock=$!
started="$cflock $redis"
wait_for [ -e "$dir/runs" ]
# Two renewals, and whatever they need is in memory.
sleep 1.2
guardian=$(pgrep -P "$cflock" -x lease-guardian)

# field NAME PID
field() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$2/smaps_rollup"; }

sum_rss=0 sum_pss=0
printf '%-12s %8s %8s   KiB\n' '' RSS PSS
for process in "cflock $cflock" "guardian $guardian"; do
	pid=${process#* }
	rss=$(field Rss "$pid") pss=$(field Pss "$pid")
	sum_rss=$((sum_rss + rss)) sum_pss=$((sum_pss + pss))
	printf '%-12s %8d %8d\n' "${process% *}" "$rss" "$pss"
done
printf '%-12s %8d %8d   (limit: RSS %d)\n' sum $sum_rss $sum_pss $limit_kib
[ $sum_rss -le $limit_kib ]
