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

# shellcheck source=tests/bench/server.inc
. "${0%/*}/server.inc"

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
