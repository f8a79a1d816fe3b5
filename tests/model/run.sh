#!/bin/sh
# run.sh [-v]: has spin search the model of the lease, lease.pml: whole, then
# with one rule broken at a time.  Prints TAP; -v: also how each case can happen,
# and how each mutant fails.  CC=cc.  Takes about a minute, and 400 MB.
set -u
CC=${CC:-cc}
verbose=${1:-}
model=$(cd "$(dirname "$0")" && pwd)/lease.pml
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
cp "$model" "$dir" && cd "$dir" || exit 1

tests=0 failed=0

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
	spin -P"$CC -E -x c" $macros "$@" lease.pml
}

# search PAN_OPTION...: writes pan.log.
search() {
	rm -f lease.pml.trail
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
	[ -f lease.pml.trail ] || return
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

echo "1..$tests"
exit $((failed != 0))
