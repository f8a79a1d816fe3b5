#!/bin/sh
# What does cflock cost beside flock, etcdctl lock, redis-py's Lock, and a script of
# redis-cli?  In one run, in turns: a table, and a plot of it.
#
#   report.sh [SECTION]...     CFLOCK=./cflock OUT=. ROUNDS=100 HELD=300
#                              CROWDS='10 100 1000'
#
#   overhead     `true` under a lock that is free
#   handover     from the end of one command to the start of the next that waits
#   takeover     the same, after the crash of the holder's host
#   contention   10, 100 and 1,000 (CROWDS) who want one lock, each to run `true`
#   held         many locks held at once: what their renewals cost the server
#   memory       of those who hold, and of those who wait
#   startup      instructions and system calls of one run
#
# Without a SECTION, all of them: about 10 minutes.  ROUNDS are those of overhead;
# the others have a part of them.  HELD locks are held at once by cflock, by heavier
# peers a sixth of that.  Writes OUT/report.md, OUT/report.svg and OUT/report.tsv,
# the numbers of both; see report.py for its lines.
#
# Redis and etcd are started for it, on this machine: the times are those of the
# programs, and a network's round trips come on top.  An etcd writes to its disk
# before it answers, a Redis does not, and promises less; ETCD_FLAGS=--unsafe-no-fsync
# leaves that out.  Peers that are not installed are left out; `sh contrib/deps.sh
# bench` has all of them.
set -eu
CFLOCK=${CFLOCK:-./cflock}
rounds=${ROUNDS:-100}
held=${HELD:-300}
crowds=${CROWDS:-10 100 1000}
all='overhead handover takeover contention held memory startup'
sections=${*:-$all}
for section in $sections; do
	case " $all " in
	*" $section "*) ;;
	*) echo "report.sh: no section $section; there are: $all" >&2; exit 64 ;;
	esac
done
out=${OUT:-.}
mkdir -p "$out"
out=$(cd "$out" && pwd)

wanted='flock cflock etcdctl redispy by-hand'
# shellcheck source=tests/bench/peers.inc
. "${0%/*}/peers.inc"

# fact KIND FIELD...: a line of the numbers; fields are separated by tabs.
fact() {
	(IFS='	' && printf '%s\n' "$*") >>report.tsv
}

# part PERCENT: of the rounds; one at least.
part() { echo $(((rounds * $1 + 99) / 100)); }

# sample GROUP TOOL NUMBER
sample() { echo "$3" >>"samples.$1.$2"; }

# group NAME HEADING UNIT: what was sampled, a line each.
group() {
	fact group "$2" "$3"
	for tool in true $tools; do
		[ -e "samples.$1.$tool" ] || continue
		# shellcheck disable=SC2046 # numbers
		fact value "$(label "$tool")" $(spread <"samples.$1.$tool")
	done
}

# cpu_ms PID: CPU time of all of its threads.
cpu_ms() {
	cat "/proc/$1"/task/*/schedstat |
		awk '{ ns += $1 } END { printf "%.3f\n", ns / 1e6 }'
}

server_of() {
	case $1 in
	flock) ;;
	etcdctl) echo "$etcd" ;;
	*) echo "$redis" ;;
	esac
}

# requests TOOL: that its server has had from clients, other than from us.  Commands
# within scripts are not counted: no script of cflock's calls those that are.
requests() {
	case $1 in
	etcdctl)
		/usr/bin/python3 - "$ETCDCTL_ENDPOINTS/metrics" <<-'END'
			import sys
			import urllib.request

			text = urllib.request.urlopen(sys.argv[1]).read().decode()
			print(int(sum(float(line.split()[-1]) for line in text.split("\n")
			              if line.startswith("grpc_server_msg_received_total"))))
		END
		;;
	*)
		redis-cli -p $port info commandstats | awk -F '[:=,]' -v tool="$1" '
			!sub(/^cmdstat_/, "", $1) { next }
			$1 ~ /^(eval|xread|b[lrz]|wait|auth|hello|select|client\|set|ping)/ ||
			$1 == "set" && tool != "cflock" { sent += $3 }
			END { print sent + 0 }'
		;;
	esac
}

minus() { awk "BEGIN { print $1 - $2 }"; }

# What the server of TOOL did in between is then in $cpu, ms, and $asked, requests.
# To ask it takes its time as well, which is not counted.
count_from() {
	server=$(server_of "$1")
	asked=$(requests "$1")
	cpu=$(cpu_ms "$server")
}

count_up_to() {
	cpu=$(minus "$(cpu_ms "$server")" "$cpu")
	asked=$(minus "$(requests "$1")" "$asked")
}

# === overhead ================================================================

overhead() {
	fact section 'Overhead of a lock that is free'
	fact note "\`true\` by itself, and under a lock: from before the process is" \
		"made until its end was seen; $rounds runs each, in turns."
	set -- true
	for tool in $tools; do
		# shellcheck disable=SC2046 # words
		set -- "$@" , $(under "$tool" bench) true
	done
	stopwatch "$rounds" "$@" >run.times
	fact group 'one run of `true`' ms
	for tool in true $tools; do
		read -r median low high
		fact value "$(label "$tool")" "$median" "$low" "$high" "$rounds"
	done <run.times
}

# === handover ================================================================

# hand_over TOOL: two of them.
hand_over() {
	start "$1" 2
	let_go
	awk '
		$1 != (NR % 2 ? "start" : "end") { exit 1 }
		$1 == "start" && NR > 1 { printf "%.3f\n", $2 - end }
		{ end = $2 }
	' stamps >>"samples.handover.$1" || fail "$1: two ran at once"
}

handover() {
	count=$(part 15)
	fact section 'Hand-over to the next who waits'
	fact note "From the end of one command to the start of the next: two wait, and" \
		"the commands themselves note the time, as the first and the last thing they" \
		"do; $((2 * count)) hand-overs each, in turns.  redis-py's Lock polls, here" \
		"each 50 ms (its default: 100 ms), and so does the script, each 100 ms."
	ttl_s=20
	while [ "$count" -gt 0 ]; do
		for tool in $tools; do
			hand_over "$tool"
		done
		count=$((count - 1))
	done
	group handover 'hand-over' ms
}

# === takeover ================================================================

takeover() {
	count=$(part 8)
	fact section 'Take-over after a crash'
	fact note "From the crash of the holder's host to the start of the next: all" \
		"processes of the holder are killed by SIGKILL at once, cflock's guardian as" \
		"well; a lease of 10 s; $count crashes each, spread over the" \
		"time between two renewals.  flock: the kernel frees it, as it knows that the" \
		"processes have ended; nobody can know of another host.  cflock renews each" \
		"2 s, the first in the line holds the lock from 6 s after the last renewal," \
		"and starts when the old lease is over: 8 to 10 s.  etcdctl lock and" \
		"redis-py's Lock with a thread that renews it: each third of the lease, and" \
		"wait for its end: 6.7 to 10 s.  The script does not renew: its lock ends 10 s" \
		"after it was taken, whether its command has ended or not."
	ttl_s=10 by_hand_s=10
	mkfifo hold
	holders=''
	for tool in $tools; do
		for try in $(seq "$count"); do
			run "$tool" "crash-$try" stamp "stamps.$tool.$try" hold
			holders="$holders $tool.$try:$runner"
		done
	done
	for try in $holders; do
		wait_for has_stamps 1 "stamps.${try%:*}"
	done
	first=$runners runners=''
	for try in $holders; do
		try=${try%:*}
		run "${try%.*}" "crash-${try##*.}" stamp "stamps.$try" none
	done
	second=$runners runners="$first $runners"
	sleep 1
	pause=$(awk "BEGIN { print 10 / 3 / $count }")
	for try in $(seq "$count"); do
		for holder in $holders; do
			case $holder in *".$try:"*) ;; *) continue ;; esac
			# shellcheck disable=SC2046 # numbers
			crash "stamps.${holder%:*}" $(tree "${holder#*:}") ||
				fail "${holder%:*} has not held on"
			wait "${holder#*:}" 2>/dev/null || :
		done
		sleep "$pause"
	done
	runners=$second
	end_runners
	rm hold
	for try in $holders; do
		try=${try%:*}
		awk '
			$1 == "crash" { crash = $2 }
			$1 == "start" { start = $2 }
			END {
				if (!crash || start < crash)
					exit 1
				printf "%.3f\n", start - crash
			}
		' "stamps.$try" >>"samples.takeover.${try%.*}" ||
			# Nothing renews it, and the machine was too slow.
			[ "${try%.*}" = by-hand ] || fail "$try: two ran at once"
	done
	by_hand_s=60
	group takeover 'take-over after a crash' ms
}

# === contention ==============================================================

# contend TOOL COUNT
contend() {
	server=$(server_of "$1")
	[ -z "$server" ] || count_from "$1"
	# shellcheck disable=SC2046 # words
	sample "time-$2" "$1" "$(crowd "$2" $(under "$1" bench) true)"
	[ -n "$server" ] || return 0
	count_up_to "$1"
	sample "cpu-$2" "$1" "$(awk "BEGIN { print $cpu / $2 }")"
	sample "requests-$2" "$1" "$(awk "BEGIN { print $asked / $2 }")"
}

# are_too_many TOOL COUNT: see the note of contention.
are_too_many() {
	[ "$2" -gt 100 ] && [ "$1" != flock ] && [ "$1" != cflock ]
}

contention() {
	fact section 'Contention: many want one lock at once, each to run `true`'
	fact note "From before the first is started until the last has ended; the CPU" \
		"time of the server process, and the requests that it was sent, for each of" \
		"the runs; $(part 10) rounds in turns, of 100 and more $(part 3).  More than" \
		"100 are not asked of those who cannot bear it on a small machine: a thousand" \
		"of etcdctl lock would take about 9 GiB, and half a minute of CPU to start; of" \
		"redis-py's Lock, 18 GiB and four minutes, and then send 20,000 requests a" \
		"second; of the script, start 10,000 processes a second."
	ttl_s=10
	for contenders in $crowds; do
		count=$(part $((contenders < 100 ? 10 : 3)))
		while [ "$count" -gt 0 ]; do
			for tool in $tools; do
				are_too_many "$tool" "$contenders" ||
					contend "$tool" "$contenders"
			done
			count=$((count - 1))
		done
		for measure in time cpu requests; do
			case $measure in
			time) group "time-$contenders" "$contenders contenders: all have run" ms ;;
			cpu) group "cpu-$contenders" "$contenders contenders: server CPU a run" ms ;;
			requests) group "requests-$contenders" "$contenders contenders: requests a run" '' ;;
			esac
			for tool in $tools; do
				! are_too_many "$tool" "$contenders" ||
					fact without "$(label "$tool")"
			done
		done
	done
}

# === held ====================================================================

memory_used() {
	redis-cli -p $port info memory | tr -d '\r' | sed -n 's/^used_memory://p'
}

# What MEMORY USAGE says of all keys.
keys_use() {
	redis-cli -p $port --scan | sed 's/.*/memory usage "&" samples 0/' |
		redis-cli -p $port | awk '{ sum += $1 } END { print sum + 0 }'
}

# hold TOOL COUNT SECONDS: sets $cpu, that of its server in ms a lock and minute,
# and $asked, requests a lock and minute.
hold() {
	server=$(server_of "$1")
	idle=$(cpu_ms "$server")
	sleep 5
	idle=$(minus "$(cpu_ms "$server")" "$idle")
	rm -f stamps
	mkfifo hold
	runs=$2
	memory=$(memory_used) keys=$(keys_use)
	for try in $(seq "$2"); do
		run "$1" "held-$try" stamp stamps hold
	done
	wait_for has_stamps "$2"
	# The first renewals of all.
	sleep $((ttl_s / 2))
	count_from "$1"
	sleep "$3"
	count_up_to "$1"
	memory=$(minus "$(memory_used)" "$memory") keys=$(minus "$(keys_use)" "$keys")
	let_go
	cpu=$(awk "BEGIN { print ($cpu - $idle * $3 / 5) * 60 / $3 / $2 }")
	asked=$(awk "BEGIN { print $asked * 60 / $3 / $2 }")
}

held() {
	ttl_s=10
	fact section 'Many locks held at once'
	fact note "cflock: $held locks with leases of 10 s; others, whose clients weigh" \
		"more: $(((held + 5) / 6)); for 10 s each; less what the server takes when idle." \
		"flock has no server, and the script does not renew."
	for tool in $tools; do
		case $tool in
		flock | by-hand) continue ;;
		cflock) hold cflock "$held" 10 ;;
		*) hold "$tool" $(((held + 5) / 6)) 10 ;;
		esac
		sample held-cpu "$tool" "$cpu"
		sample held-requests "$tool" "$asked"
		[ "$tool" != etcdctl ] || continue
		[ "$tool" != cflock ] || extrapolate
		# shellcheck disable=SC2154 # set by hold
		sample held-keys "$tool" "$(awk "BEGIN { print $keys / $runs }")"
		sample held-memory "$tool" "$(awk "BEGIN { print $memory / $runs }")"
	done
	group held-cpu 'server CPU for a lock held, a minute' ms
	group held-requests 'requests for a lock held, a minute' ''
	group held-keys 'Redis memory for a lock held: keys' B
	group held-memory 'Redis memory for a lock held: keys and connection' B
}

# On paper: 10,000 locks, from what those that were held took.
extrapolate() {
	fact note "$(awk -v cpu="$cpu" -v asked="$asked" -v keys="$keys" \
		-v memory="$memory" -v held="$runs" 'BEGIN {
		renewal_us = cpu / asked * 1000
		a_second = 10000 * asked / 60
		printf "On paper, 10,000 locks of cflock: 10,000 x %.1f a minute / 60 = " \
			"%.0f renewals a second, x %.1f us of CPU each = %.0f %% of a core;",
			asked, a_second, renewal_us, a_second * renewal_us / 1e4
		printf " 10,000 x (%.0f B of keys + %.0f B of a connection) = %.0f MiB.",
			keys / held, (memory - keys) / held,
			memory / held * 10000 / 1048576
		printf "  Each lock held is a connection: `maxclients`, 10,000 by default, " \
			"has to be above their number."
	}')"
}

# === memory ==================================================================

# memory_of GROUP TOOL PID: the sums of its processes, without the command.
memory_of() {
	for process in $(tree "$3"); do
		[ "$(cat "/proc/$process/comm")" = stamp ] ||
			cat "/proc/$process/smaps_rollup"
	done | awk '
		$1 == "Rss:" { rss += $2 }
		$1 == "Pss:" { pss += $2 }
		END { print rss, pss }' >sums
	read -r rss pss <sums
	sample "rss-$1" "$2" "$rss"
	sample "pss-$1" "$2" "$pss"
}

memory() {
	fact section 'Memory of who holds, and of who waits'
	fact note "All processes but the command: cflock with its guardian, the script" \
		"with its sleep.  One of each, after a renewal or two.  RSS counts pages that" \
		"others have as well in full, PSS by their part."
	ttl_s=3
	for tool in $tools; do
		start "$tool" 1
		sleep 2.2
		# shellcheck disable=SC2086 # numbers
		set -- $runners
		memory_of holds "$tool" "$1"
		memory_of waits "$tool" "$2"
		let_go
	done
	for who in holds waits; do
		group "rss-$who" "one that $who: RSS" KiB
		group "pss-$who" "one that $who: PSS" KiB
	done
}

# === startup =================================================================

# instructions TOOL COMMAND...: that all processes of one run execute.  A process
# that is forked starts with the count of its parent; the guardian's is set back.
instructions() {
	tool=$1
	shift
	rm -f callgrind.*
	valgrind -q --tool=callgrind --trace-children=yes --zero-before=be_guardian \
		--callgrind-out-file=callgrind.%p "$@" >/dev/null 2>>runners.log ||
		fail "valgrind: $* ended with $?"
	sample instructions "$tool" \
		"$(awk '$1 == "totals:" { sum += $2 } END { print sum / 1000 }' callgrind.*)"
}

# system_calls TOOL COMMAND...
system_calls() {
	tool=$1
	shift
	strace -f -c -o calls "$@" >/dev/null 2>>runners.log
	sample calls "$tool" "$(awk '
		$1 ~ /^[0-9]/ && $NF != "total" { sum += $4 }
		END { print sum }' calls)"
}

startup() {
	count=$(part 5)
	fact section 'What a run of `true` under a lock executes'
	fact note "All processes, \`true\` as well; $count runs each, in turns." \
		"Instructions in user space by valgrind's callgrind, which is not for programs" \
		"in Go, and takes minutes for Python; system calls by strace -f -c."
	ttl_s=10
	while [ "$count" -gt 0 ]; do
		for tool in true $tools; do
			words=$(under "$tool" bench)
			# shellcheck disable=SC2086 # words
			system_calls "$tool" $words true
			# shellcheck disable=SC2086
			[ "$tool" = etcdctl ] || [ "$tool" = redispy ] ||
				instructions "$tool" $words true
		done
		count=$((count - 1))
	done
	group instructions 'instructions of a run' thousand
	group calls 'system calls of a run' ''
}

# =============================================================================

fact about "$(uname -srm), $(nproc) cores:$(
	sed -n 's/^model name[[:space:]]*: / /p' /proc/cpuinfo | head -n 1)"
fact about "$(cflock --version | head -n 1); $(
	redis-server --version | sed 's/ server v=\([^ ]*\).*/ \1/')$(
	[ -z "$etcd" ] || etcd --version | sed -n 's/^etcd Version: /; etcd /p')$(
	! has flock || flock --version | sed 's/^/; /')$(
	/usr/bin/python3 -c 'import redis; print("; redis-py", redis.__version__)' 2>/dev/null || :)"
fact about "Load of the machine before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
for section in $sections; do
	echo "report.sh: $section" >&2
	$section
done
cp report.tsv "$out"
python3 "$here/report.py" "$out"
cat "$out/report.md"
