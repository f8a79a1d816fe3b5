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
waiting_seconds=6
counted_hand_overs=5

wanted='flock cflock etcdctl'
# shellcheck source=tests/bench/peers.inc
. "${0%/*}/peers.inc"
# Renewals would be counted as well: there are none for 4 s.
ttl_s=20

# === 1. how long =============================================================

# measure TOOL COUNT
measure() {
	start "$1" "$2"
	let_go
	awk '
		$1 != (NR % 2 ? "start" : "end") { exit 1 }
		$1 == "start" && NR > 1 && NR <= 101 { printf "%.3f\n", $2 - end }
		{ end = $2 }
	' stamps >>"times.$2.$1" || fail "$1: two ran at once"
}

show_times() {
	for count in 2 50 500; do
		for tool in $tools; do
			[ ! -e "times.$count.$tool" ] ||
				echo "$count $tool $(spread <"times.$count.$tool")"
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
	pkill -STOP -P $$ -x cflock || :
	sleep 1.25
	pkill -CONT -P $$ -x cflock || :
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
		difference "$before" "$(commands)" >waiting
	fi
	hand_over=0
	while [ $hand_over -lt $counted_hand_overs ]; do
		hand_over=$((hand_over + 1))
		fall_in_step
		wait_for_quiet
		: >hold
		wait_for has_stamps $((2 * hand_over + 1))
		# Some are sent when the next command has started.
		sleep 0.1
		difference "$before" "$(commands)" >>"commands.$1"
		run_stamp cflock 1
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
	sent=$(median 1 "commands.$count")
	# shellcheck disable=SC2059
	printf "$form" "$count waiters" "$sent" \
		"$(median 2 "commands.$count")"
	if [ "$sent" -gt 6 ]; then
		echo "   that is more than 6" >&2
		failed=1
	fi
	if [ "$sent" != "$(median 1 commands.2)" ]; then
		echo "   that is not the same as with 2" >&2
		failed=1
	fi
done
echo
# shellcheck disable=SC2059
printf "$form" 'commands a waiter a second' 'sent' 'within scripts'
read -r sent within <waiting
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
