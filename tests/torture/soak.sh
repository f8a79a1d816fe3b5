#!/bin/sh
# Does anything grow?  One who holds and renews, one who waits, and 10,000 runs beside
# them: the memory of each, of Redis, and the number of keys, before and after.
#
#   soak.sh       CFLOCK=./cflock SECONDS_MIN=600 RUNS=10000 RENEWALS=1000
#
# Prints a row each 30 s; ends when all three have been reached.  Fails when from the
# first row, a while after the start, to the last a process of cflock grew by more
# than 64 KiB of RSS, Redis by more than 64 KiB of used memory, or keys were left.
set -eu
CFLOCK=${CFLOCK:-./cflock}
seconds_min=${SECONDS_MIN:-600}
runs_min=${RUNS:-10000}
renewals_min=${RENEWALS:-1000}
limit_kib=64

# shellcheck source=tests/bench/server.inc
. "${0%/*}/../bench/server.inc"

# Renewals are counted on a server where nothing else is done.
redis-server --port 0 --unixsocket "$dir/renewed.sock" --dir "$dir" --save '' \
	--appendonly no >"$dir/renewed.log" 2>&1 &
renewed=$!
started="$renewed $redis"
wait_for redis-cli -s "$dir/renewed.sock" ping

# hold SOCKET: $holder and $guardian of one whose command goes on and on.
hold() {
	"$CFLOCK" -S "unix://$dir/$1" --ttl 1s held sh -c 'echo >"$0"; exec sleep 100000' "$dir/$1.held" &
	holder=$!
	started="$holder $started"
	wait_for [ -e "$dir/$1.held" ]
	guardian=$(pgrep -P "$holder" -x lease-guardian)
}

hold redis.sock
hold renewed.sock
"$CFLOCK" --ttl 5s held true 2>/dev/null &
waiter=$!
started="$waiter $started"

run_on_and_on() {
	runs=0
	while :; do
		"$CFLOCK" "run-$1-$((runs % 10))" true
		runs=$((runs + 1))
		echo $runs >"$dir/runs-$1.new"
		mv "$dir/runs-$1.new" "$dir/runs-$1"
	done
}
loops=''
for loop in 1 2; do
	run_on_and_on $loop &
	started="$! $started"
	loops="$loops $!"
done

rss() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"; }

# info SECTION NAME SOCKET
info() {
	redis-cli -s "$dir/$3" info "$1" | tr -d '\r' | sed -n "s/^$2[:=]\([0-9]*\).*/\1/p"
}

# While nothing else is on its way.  What is asked for here is asked for once before
# the first row, too.
row() {
	# shellcheck disable=SC2086 # a list
	kill -STOP $loops
	sleep 0.5
	row="$(($(date +%s) - began)) $(($(cat "$dir/runs-1") + $(cat "$dir/runs-2")))"
	row="$row $(info commandstats 'cmdstat_evalsha:calls' renewed.sock)"
	for process in $holder $guardian $waiter; do
		row="$row $(rss "$process")"
	done
	row="$row $(($(info memory used_memory redis.sock) / 1024))"
	row="$row $(($(info memory used_memory renewed.sock) / 1024))"
	# shellcheck disable=SC2086 # a list
	printf '%7s %7s %9s %8s %9s %8s %8s %8s\n' $row
	keys >"$dir/keys"
	# shellcheck disable=SC2086 # a list
	kill -CONT $loops
}

keys() { redis-cli -s "$dir/redis.sock" --raw keys '*' | grep -v -e ':gone:' | sort; }

# By then, each process has had its stack and its buffers, and each lock its token.
wait_for [ -e "$dir/runs-1" ]
wait_for [ -e "$dir/runs-2" ]
began=$(date +%s)
sleep 15
row >/dev/null
printf '%7s %7s %9s %8s %9s %8s %8s %8s   KiB from the fourth on\n' \
	seconds runs renewals holder guardian waiter Redis Redis
row
first=$row
cp "$dir/keys" "$dir/keys-first"
while :; do
	sleep "${EACH:-30}"
	row
	# shellcheck disable=SC2086 # a list
	set -- $row
	[ "$1" -lt "$seconds_min" ] || [ "$2" -lt "$runs_min" ] || [ "$3" -lt "$renewals_min" ] || break
done
diff "$dir/keys-first" "$dir/keys" || { echo "keys were left, or are gone" >&2; exit 1; }
echo "$first
$row" | awk -v limit=$limit_kib '
	NR == 1 { for (i = 4; i <= NF; i++) first[i] = $i }
	NR == 2 { for (i = 4; i <= NF; i++) if ($i - first[i] > limit) grew = grew " " i ": " $i - first[i] " KiB" }
	END { if (grew) { print "grew, by column:" grew; exit 1 } print "nothing grew, no key is left" }'
