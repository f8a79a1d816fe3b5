#!/bin/sh
# What does it cost to run a command under a lock?  Runs `true`, and `true`
# under flock, cflock, etcdctl lock and a script of redis-cli, in turns, and
# prints medians and ratios.
#
#   overhead.sh     CFLOCK=./cflock ROUNDS=200
#
# Starts a Redis and an etcd of its own, on this machine: the times are those
# of the programs, and a network's round trips come on top (cflock: two).  All by
# loopback TCP, and cflock by a Unix socket as well.  An
# etcd writes to its disk before it answers, a Redis does not, and promises
# less; ETCD_FLAGS=--unsafe-no-fsync leaves that out.  Without etcd or flock,
# their rows are left out.
set -eu
CFLOCK=${CFLOCK:-./cflock}
rounds=${ROUNDS:-200}

wanted='flock cflock etcdctl by-hand'
# shellcheck source=tests/bench/peers.inc
. "${0%/*}/peers.inc"

set -- true
rows='true'
for tool in $tools; do
	# shellcheck disable=SC2046 # words
	set -- "$@" , $(under "$tool" bench) true
	case $tool in
	flock) row='flock FILE true' ;;
	by-hand) row='redis-cli SET NX PX; true; EVAL' ;;
	*) row="$(label "$tool") NAME true" ;;
	esac
	rows="$rows
$row"
done
# As all others go by TCP.
set -- "$@" , "$CFLOCK" -S "unix://$dir/redis.sock" bench-unix true
rows="$rows
cflock -S unix:///PATH NAME true"

stopwatch "$rounds" "$@" >run.times

echo "$rounds runs each, in turns; ms"
echo "$rows" | paste -d ' ' run.times - | awk '
	{
		median[NR] = $1; low[NR] = $2; high[NR] = $3
		$1 = $2 = $3 = ""; sub(/^ */, ""); name[NR] = $0
		if ($1 == "flock") flock = median[NR]
		if (/^cflock NAME/) cflock = median[NR]
	}
	function ratio(to) { return to ? sprintf("%.2f", median[i] / to) : "-" }
	END {
		form = "%-32s %8s %17s %9s %9s\n"
		printf form, "", "median", "10 % .. 90 %", "/ flock", "/ cflock"
		for (i = 1; i <= NR; i++)
			printf form, name[i], sprintf("%.2f", median[i]),
				sprintf("%.2f .. %.2f", low[i], high[i]),
				ratio(flock), ratio(cflock)
	}'
