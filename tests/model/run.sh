#!/bin/sh
# run.sh [-v]: has spin search the models of the lease, lease.pml, and of the
# quorum, quorum.pml: whole, then with one rule broken at a time.  Prints TAP; -v:
# also how each case can happen, and how each mutant fails.  CC=cc.  Takes about
# a minute and a half, and 400 MB.
set -u
CC=${CC:-cc}
verbose=${1:-}
models=$(cd "$(dirname "$0")" && pwd)
for tool in spin "${CC%% *}"; do
	if ! command -v "$tool" >/dev/null; then
		echo "Bail out! $tool is missing: 'sh contrib/deps.sh test'" \
			"installs what the tests need"
		exit 1
	fi
done
dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-model.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
# spin writes its files where it is, and next to the model.
cp "$models"/*.pml "$dir" && cd "$dir" || exit 1

tests=0 failed=0
model= # what build() builds: the name of a file, without .pml

# build C_OPTIONS [MACRO...]: makes ./pan, which searches the model.
build() {
	options=$1
	shift
	macros=$*
	rm -f pan pan.log
	# NOREDUCE: each step touches what all share, there is nothing to reduce.
	# shellcheck disable=SC2086 # words
	run_spin -a >build.log 2>&1 &&
		$CC $options -w -DNOREDUCE -DNOFAIR -DMEMLIM=1800 -o pan pan.c \
			>>build.log 2>&1
}

# With the macros of the build before.
run_spin() {
	# shellcheck disable=SC2086 # words
	spin -P"$CC -E -x c" $macros "$@" "$model.pml"
}

# search PAN_OPTION...: writes pan.log.
search() {
	rm -f "$model.pml.trail"
	if [ -x pan ]; then
		./pan "$@" >pan.log 2>&1
	else
		cat build.log >pan.log
	fi
}

# search_short PAN_OPTION...: for what takes few steps, so that it is found in few.
search_short() {
	for depth in 20 25 30 35 40 50 60 80; do
		search "$@" "-m$depth"
		! grep -q 'errors: 1$' pan.log || return
	done
}

# The events that led to what was found.
tell() {
	[ -f "$model.pml.trail" ] || return
	run_spin -t -B -T 2>&1 |
		sed -e '/^ltl /d' -e '/^Never claim/d' -e '/^spin: /d' -e 's/^/#   /'
}

# verdict EXIT_CODE NAME
verdict() {
	tests=$((tests + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tests - $2"
		return
	fi
	failed=$((failed + 1))
	echo "not ok $tests - $2"
	sed 's/^/# /' pan.log
}

# Everything was searched, and no error was found.
is_proven() {
	grep -q 'errors: 0$' pan.log &&
		! grep -q -e 'search depth too small' -e 'not completed' \
			-e 'out of memory' -e 'resource limit' pan.log
}

count_states() {
	sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1 states/p' pan.log
}

# Nothing but the ends of endless loops was never reached.
is_all_reached() {
	grep -q '^unreached in' pan.log &&
		! grep ', state [0-9]*, "' pan.log | grep -qv '"-end-"'
}

# can_happen CLAIM WHAT: the claim, that this never happens, is refuted.
can_happen() {
	search_short -a -N "$1"
	grep -q "never claim.*($1)" pan.log && grep -q 'errors: 1$' pan.log
	verdict $? "can happen: $2"
	[ "$verbose" != -v ] || tell
}

# must_fail ERROR WHAT: the mutant that was built is found out, by that error.
must_fail() {
	case $1 in
	assertion*) search_short ;;
	*) search_short -a ;;
	esac
	grep -qF "pan:1: $1" pan.log && grep -q 'errors: 1$' pan.log
	verdict $? "fails, as it should: $2"
	[ "$verbose" != -v ] || tell
}

# === lease.pml ================================================================

model=lease
build '-O2 -DSAFETY'
search -m100000 -w23
is_proven
verdict $? "never two commands at once; tokens increase: $(count_states)"
tell
is_all_reached
verdict $? "no step of the model is out of reach"

build -O2 -DLIVENESS
search -a -N granted -m100000 -w23
is_proven && grep -q 'never claim.*(granted)' pan.log
verdict $? "a free lock with a live waiter is granted: $(count_states)"
tell

build -O0 -DCASES
can_happen dies_before_start \
	"one takes over, dies before it starts, and the next takes over from it"
can_happen slow_to_start \
	"one takes over, is slow, and comes back when another has taken over"
can_happen two_at_once "two try to take over at once, and one waits"
can_happen back_too_late \
	"the old holder's renewal comes in after the takeover, and is refused"
can_happen back_in_time \
	"the old holder's renewal comes in before the takeover, which must wait"

two_commands='assertion violated (commands==0)'
old_token='assertion violated (number>last_run)'
build '-O0 -DSAFETY' -DMUTANT_START_AT_GRANT
must_fail "$two_commands" "start at the grant, not at the end of the old lease"
build '-O0 -DSAFETY' -DMUTANT_COUNT_FROM_REPLY
must_fail "$two_commands" "count deadlines from the reply, not from the request"
build '-O0 -DSAFETY' -DMUTANT_NO_MARGIN
must_fail "$two_commands" "kill without a margin for clocks that differ"
build '-O0 -DSAFETY' -DMUTANT_LATE_RENEWAL
must_fail "$two_commands" "accept a renewal after the takeover"
build '-O0 -DSAFETY' -DMUTANT_RELEASE_AT_ONCE
must_fail "$two_commands" "free what was taken over before the old lease is over"
build '-O0 -DSAFETY' -DMUTANT_SAME_TOKEN
must_fail "$old_token" "take over under the same token"
build -O0 -DLIVENESS -DMUTANT_NO_PRUNING
must_fail 'acceptance cycle' "let the dead keep their places in the line"

# === quorum.pml ===============================================================

model=quorum
build '-O1 -DSAFETY' -DANONYMOUS
search -m100000 -w23
is_proven
verdict $? "quorum: never two commands at once; tokens increase: $(count_states)"
tell
is_all_reached
verdict $? "quorum: no step of the model is out of reach"

build -O0 -DCASES -DTOKENS=2 -DRESTARTS=0
can_happen split_vote "quorum: each has one vote, and one is granted the lock later"
build -O1 -DCASES -DTOKENS=2 -DTWO_CLIENTS
can_happen one_round "quorum: a grant in one round"
can_happen second_round \
	"quorum: refused for a token that is too low, then granted a higher one"
can_happen moves_on \
	"quorum: two masters forget a lease, one after the other, and it still stands"
can_happen reclaims "quorum: a lease is had back from a master in grace"
can_happen all_forgotten \
	"quorum: both masters of a grant forget it, and vote for the next"

two_commands='assertion violated  !('
old_token='assertion violated (token[id]>last_run)'
# mutant MACRO RESTARTS TOKENS ERROR WHAT: no more of them than it takes.
mutant() {
	build '-O0 -DSAFETY' "-DMUTANT_$1" "-DRESTARTS=$2" "-DTOKENS=$3" \
		-DTWO_CLIENTS
	must_fail "$4" "quorum: $5"
}
mutant NOT_STRICT 0 1 "$old_token" "vote for a token again, for another"
mutant NO_LEAST 1 2 "$old_token" "vote for any token after a restart"
mutant EMPTY_VOTES 1 2 "$two_commands" "vote at once after a restart"
mutant MINORITY 0 2 "$two_commands" "count one vote as a majority"
mutant OLD_ROUND 0 2 "$two_commands" "count answers of an earlier round"
mutant REVOTE_ANY 0 2 "$two_commands" "vote for a lease though another has the vote"
mutant RECLAIM_ANY 1 2 "$two_commands" \
	"in grace, vote for a lease that had no vote there before"
mutant RELEASE_ANY 0 3 "$two_commands" "release what a later round was given"

echo "1..$tests"
exit $((failed != 0))
