#!/bin/sh
# check.sh: installs what is missing, then builds and tests cflock in every way
# that counts.  QUICK=1: gcc alone.  Ends with "N passed, N failed", where a
# step that failed without a failed test (a build, lint) counts as one, and
# exits with 0 only if nothing failed.  Takes up to 25 minutes on two cores.
set -u
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d) || exit 1
src=$work/src
steps_failed=0
jobs=-j$(nproc)
# Tests wait more than they work.
test_jobs=-j$((2 * $(nproc)))

# distcheck leaves a folder behind that cannot be written to when it fails.
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The number of TAP lines that ended as one of $1 (PASS|XFAIL ...) below $2.
count() {
	find "$2" -name '*.trs' -exec cat {} + |
		grep -cE "^:test-result: ($1)( |\$)"
}

good='PASS|XFAIL' bad='FAIL|XPASS|ERROR'

# step NAME COMMAND...: runs it in $work/NAME, quietly unless it fails.
step() {
	name=$1 start=$(date +%s)
	shift
	mkdir -p "$work/$name"
	echo "== $name"
	(cd "$work/$name" && "$@") >"$work/$name.log" 2>&1 </dev/null
	status=$?
	failed=$(count "$bad" "$work/$name")
	echo "   $(($(date +%s) - start)) s, $(count "$good" "$work/$name")" \
		"passed, $failed failed, status $status"
	[ $status -ne 0 ] || [ "$failed" -ne 0 ] || return 0
	if [ "$failed" -eq 0 ]; then
		steps_failed=$((steps_failed + 1))
		tail -n 60 "$work/$name.log"
	fi
	find "$work/$name" -name test-suite.log -exec tail -n 200 {} +
	# All of them by name: the end of the logs need not show the first.
	(cd "$work/$name" && find . -name '*.trs' \
		-exec grep -HE "^:test-result: ($bad)( |\$)" {} +) |
		sed 's|^\./||; s|\.trs::test-result||'
	return 1
}

# build CONFIGURE-OPTION...: in the current folder.
build() {
	"$src/configure" --enable-werror "$@" && make "$jobs"
}

# suite CONFIGURE-OPTION... [-- MAKE-ARGUMENT...]: builds, then `make check` with
# that, or all of the tests.
suite() {
	options=
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		options="$options $1"
		shift
	done
	[ $# -eq 0 ] || shift
	# shellcheck disable=SC2086 # a list
	build $options || return
	if [ $# -gt 0 ]; then
		make "$test_jobs" check "$@"
		return
	fi
	make "$test_jobs" check
	suite_status=$?
	make "$test_jobs" check-topologies && return $suite_status
}

# The tests of a list that exist: unit tests all, and the bats files named.
tests() {
	(cd "$src" && ls tests/unit/test_*.c && for name; do
		ls "tests/$name.bats"
	done) 2>/dev/null | sed 's/\.c$//' | tr '\n' ' '
}

bootstrap() {
	cd "$src" && ./bootstrap && { [ ! -e config.status ] || make distclean; }
}

lint() {
	cd "$work/clang" && make lint
}

memcheck() {
	[ ! -e "$src/tests/valgrind.sh" ] ||
		CFLOCK=$work/dynamic/cflock sh "$src/tests/valgrind.sh"
}

# Of the tests only what shows that the tarball holds all that is needed.
model() {
	sh "$src/tests/model/run.sh"
}

distcheck() {
	"$src/configure" && make distcheck "TESTS=$(tests basic)" \
		DISTCHECK_CONFIGURE_FLAGS=--enable-werror
}

sh contrib/deps.sh test || exit 1
# A copy, as configure refuses to build beside sources that were built in place.
mkdir "$src" && tar cf - --exclude=.git . | tar xf - -C "$src" || exit 1
step bootstrap bootstrap || exit 1

step gcc suite
if [ -z "${QUICK-}" ]; then
	step asan suite --enable-sanitizers=address,undefined
	step clang build CC=clang
	step tsan suite CC=clang --enable-sanitizers=thread \
		-- "TESTS=$(tests basic loss tls)"
	step dynamic build --disable-static-libs --disable-static-pie
	step lint lint
	step valgrind memcheck
	step model model
	step distcheck distcheck
fi

failed=$(($(count "$bad" "$work") + steps_failed))
echo "$(count "$good" "$work") passed, $failed failed"
[ $failed -eq 0 ]
