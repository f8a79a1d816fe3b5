#!/bin/sh
# How long does it take from the end of one command to the start of the next
# that waits for the same lock, and what does that, and the waiting, cost Redis?
#
#   handover.sh     CFLOCK=./cflock ROUNDS=15
#
# 1. Hand-overs of flock, cflock and etcdctl lock, in turns, with 2, 50 and 500
#    waiters (etcdctl: up to 50).  The commands themselves note the time, as the
#    first and the last thing they do; counted are the first 50 hand-overs of a
#    round.  To reach: cflock at most 3 times flock's, etcdctl lock at least 10
#    times cflock's.  Fails when two commands ran at once, or one did not run.
# 2. Commands per hand-over, with 2, 50 and 500 waiters.  Fails unless clients
#    send the same number each time, and at most 6.
# 3. Commands that 500 waiters send.  Fails unless below 2 a second for each.
#
# Starts a Redis and an etcd of its own, on loopback; see overhead.sh.  Without
# etcd or flock, their rows are left out.
set -eu
CFLOCK=${CFLOCK:-./cflock}
rounds=${ROUNDS:-15}
here=$(dirname "$0")
waiting_seconds=6
counted_hand_overs=5

dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-bench.XXXXXX")
servers='' runners=''
clean_up() {
	for process in $runners $servers; do
		kill "$process" 2>/dev/null || :
		kill -CONT "$process" 2>/dev/null || :
	done
	for process in $runners $servers; do
		wait "$process" 2>/dev/null || :
	done
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

has() { command -v "$1" >/dev/null; }

fail() {
	echo "$*" >&2
	tail -n 5 "$dir"/*.log >&2
	exit 1
}

# wait_for COMMAND...: polls, up to a minute.
wait_for() {
	tries=600
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "waited too long for: $*"
		sleep 0.1
	done
}

${CC:-cc} -O2 -D_GNU_SOURCE -o "$dir/stamp" "$here/stamp.c"

port=$((20000 + $$ % 20000))
redis-server --port $port --bind 127.0.0.1 --dir "$dir" --save '' \
	--appendonly no >"$dir/redis.log" 2>&1 &
servers=$!
wait_for redis-cli -p $port ping
unset CFLOCK_PASSWORD REDISCLI_AUTH
# Renewals would be counted as well: there are none for 4 s.
# Just started, it could not give a lease for a while.
export CFLOCK_NO_GRACE=yes
export CFLOCK_SERVER="redis://127.0.0.1:$port" CFLOCK_CONFIG='' CFLOCK_TTL=20s

tools='cflock'
if has flock; then
	tools="flock $tools"
	: >"$dir/file"
	inode=$(ls -i "$dir/file")
	inode=${inode%% *}
fi
if has etcd && has etcdctl; then
	tools="$tools etcdctl"
	# shellcheck disable=SC2086 # a list
	etcd --data-dir "$dir/etcd" --logger zap ${ETCD_FLAGS-} \
		--listen-client-urls "http://127.0.0.1:$((port + 1))" \
		--advertise-client-urls "http://127.0.0.1:$((port + 1))" \
		--listen-peer-urls "http://127.0.0.1:$((port + 2))" \
		--initial-advertise-peer-urls "http://127.0.0.1:$((port + 2))" \
		--initial-cluster "default=http://127.0.0.1:$((port + 2))" \
		>"$dir/etcd.log" 2>&1 &
	servers="$servers $!"
	export ETCDCTL_API=3
	export ETCDCTL_ENDPOINTS="http://127.0.0.1:$((port + 1))"
	wait_for etcdctl endpoint health
fi

# === one holder, and others who wait =========================================

# run TOOL COUNT
run() {
	left=$2
	case $1 in
	flock) set -- flock "$dir/file" ;;
	cflock) set -- "$CFLOCK" bench ;;
	etcdctl) set -- etcdctl lock bench ;;
	esac
	while [ "$left" -gt 0 ]; do
		"$@" "$dir/stamp" "$dir/stamps" "$dir/hold" \
			>>"$dir/runners.log" 2>&1 &
		runners="$runners $!"
		left=$((left - 1))
	done
}

# are_waiting TOOL COUNT
are_waiting() {
	case $1 in
	flock) grep -c -- "-> FLOCK .*:$inode " /proc/locks ;;
	cflock) redis-cli -p $port zcard 'cflock:{bench}:line' ;;
	etcdctl) etcdctl get --prefix bench/ --keys-only | sed 1,2d | grep -c . ;;
	esac | grep -qx "$2"
}

has_stamps() { [ "$(wc -l <"$dir/stamps")" -eq "$1" ]; }

# start TOOL COUNT: a holder that holds on, and so many others who wait.
start() {
	rm -f "$dir/stamps"
	mkfifo "$dir/hold"
	runs=$(($2 + 1))
	run "$1" 1
	wait_for has_stamps 1
	run "$1" "$2"
	wait_for are_waiting "$1" "$2"
}

# Lets all of them run, one after the other.
let_go() {
	exec 3>"$dir/hold"
	rm "$dir/hold"
	# It happens when the first sleep ends, while nothing else is started here.
	sleep 0.2 &
	exec 3>&-
	sleep 0.5
	wait_for has_stamps $((2 * runs))
	for process in $runners; do
		wait "$process" || fail "$process ended with $?"
	done
	runners=''
}

# Reads numbers; writes the median, and what a tenth is below and above.
spread() {
	sort -n | awk '
		{ value[NR - 1] = $1 }
		END {
			tenth = int(NR / 10)
			print value[int(NR / 2)], value[tenth], value[NR - 1 - tenth]
		}'
}

# === 1. how long =============================================================

# measure TOOL COUNT
measure() {
	start "$1" "$2"
	let_go
	awk '
		$1 != (NR % 2 ? "start" : "end") { exit 1 }
		$1 == "start" && NR > 1 && NR <= 101 { printf "%.3f\n", $2 - end }
		{ end = $2 }
	' "$dir/stamps" >>"$dir/times.$2.$1" || fail "$1: two ran at once"
}

show_times() {
	for count in 2 50 500; do
		for tool in $tools; do
			[ ! -e "$dir/times.$count.$tool" ] ||
				echo "$count $tool $(spread <"$dir/times.$count.$tool")"
		done
	done | awk '
		{
			count[NR] = $1; tool[NR] = $2
			median[$1, $2] = $3; low[NR] = $4; high[NR] = $5
		}
		function ratio(to) {
			to = median[count[i], to]
			return to ? sprintf("%.2f", median[count[i], tool[i]] / to) : "-"
		}
		END {
			form = "%-32s %8s %17s %9s %9s\n"
			printf form, "", "median", "10 % .. 90 %", "/ flock", "/ cflock"
			for (i = 1; i <= NR; i++)
				printf form, count[i] " waiters, " tool[i] \
					(tool[i] == "etcdctl" ? " lock" : ""),
					sprintf("%.2f", median[count[i], tool[i]]),
					sprintf("%.2f .. %.2f", low[i], high[i]),
					ratio("flock"), ratio("cflock")
		}'
}

for count in 2 50 500; do
	case $count in
	2) round=$rounds ;;
	50) round=$(((rounds + 4) / 5)) ;;
	500) round=1 ;;
	esac
	while [ "$round" -gt 0 ]; do
		for tool in $tools; do
			[ "$tool$count" = etcdctl500 ] || measure "$tool" "$count"
		done
		round=$((round - 1))
	done
done
echo "from the end of one command to the start of the next; ms"
show_times

# === 2. and 3. what it costs =================================================

# Writes the number of commands that clients sent, other than ours, and of those
# that were called within scripts; the first are such as no script calls.
commands() {
	redis-cli -p $port info commandstats | awk -F '[:=,]' '
		!sub(/^cmdstat_/, "", $1) || $1 == "info" { next }
		$1 ~ /^(eval|fcall|script|xread|b[lrz]|wait|p?subscribe)/ ||
		$1 ~ /^(auth|hello|select|client|ping)/ {
			sent += $3
			next
		}
		{ within += $3 }
		END { print sent + 0, within + 0 }'
}

# Signs of life, which 500 waiters give without a pause, would be counted as
# well.  All that were stopped for longer than they rest give theirs at once,
# and after that it is quiet for a while.
fall_in_step() {
	pkill -STOP -P $$ -x "${CFLOCK##*/}" || :
	sleep 1.25
	pkill -CONT -P $$ -x "${CFLOCK##*/}" || :
}

# Sets $before.
wait_for_quiet() {
	tries=50 before=
	until [ "$before" = "$(commands)" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "the waiters send commands all the time"
		before=$(commands)
		sleep 0.15
	done
}

# difference BEFORE AFTER: of each of their numbers.
difference() {
	echo "$*" | awk '{
		for (i = 1; i <= NF / 2; i++)
			printf "%d%s", $(i + NF / 2) - $i, i < NF / 2 ? " " : "\n"
	}'
}

# count_commands COUNT
count_commands() {
	start cflock "$1"
	if [ "$1" = 500 ]; then
		before=$(commands)
		sleep $waiting_seconds
		difference "$before" "$(commands)" >"$dir/waiting"
	fi
	hand_over=0
	while [ $hand_over -lt $counted_hand_overs ]; do
		hand_over=$((hand_over + 1))
		fall_in_step
		wait_for_quiet
		: >"$dir/hold"
		wait_for has_stamps $((2 * hand_over + 1))
		# Some are sent when the next command has started.
		sleep 0.1
		difference "$before" "$(commands)" >>"$dir/commands.$1"
		run cflock 1
		runs=$((runs + 1))
		wait_for are_waiting cflock "$1"
	done
	let_go
}

# median FIELD FILE
median() {
	awk -v field="$1" '{ print $field }' "$2" | spread | sed 's/ .*//'
}

for count in 2 50 500; do
	count_commands $count
done
echo
form='%-32s %8s %17s\n'
# shellcheck disable=SC2059 # a format
printf "$form" 'commands per hand-over' 'sent' 'within scripts'
failed=0
for count in 2 50 500; do
	sent=$(median 1 "$dir/commands.$count")
	# shellcheck disable=SC2059
	printf "$form" "$count waiters" "$sent" \
		"$(median 2 "$dir/commands.$count")"
	if [ "$sent" -gt 6 ]; then
		echo "   that is more than 6" >&2
		failed=1
	fi
	if [ "$sent" != "$(median 1 "$dir/commands.2")" ]; then
		echo "   that is not the same as with 2" >&2
		failed=1
	fi
done
echo
# shellcheck disable=SC2059
printf "$form" 'commands a waiter a second' 'sent' 'within scripts'
read -r sent within <"$dir/waiting"
per_second() {
	awk "BEGIN { printf \"%.2f\", $1 / 500 / $waiting_seconds }"
}
# shellcheck disable=SC2059
printf "$form" '500 waiters' "$(per_second "$sent")" "$(per_second "$within")"
if [ "$sent" -ge $((2 * 500 * waiting_seconds)) ]; then
	echo "   that is not below 2" >&2
	failed=1
fi
[ $failed -eq 0 ]
