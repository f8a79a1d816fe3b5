#!/bin/sh
# row.sh SOURCE PACKAGE...: what run.sh does inside of a row's system.  Installs
# the server's packages from the release SOURCE, and what the tests need; builds
# /cflock/src in /cflock/build, and runs the tests; says in /cflock/result by
# what and how it went.  Exits with 0 only if all passed.
set -eu
cd /cflock
source=$1
shift

# named server|cli: where it is, under Redis' name or that of a fork.
named() {
	for fork in redis valkey redict; do
		[ ! -e "/usr/bin/$fork-$1" ] || { echo "/usr/bin/$fork-$1"; return 0; }
	done
	return 1
}

if ! named server >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update
	apt-get -qq --no-install-recommends -t "$source" install "$@"
fi
# The tests, and deps.sh, know the programs by Redis' names, and redict-cli does
# not know the password of redis-cli by its.
for program in server cli; do
	rm -f /usr/local/bin/redis-$program
	[ ! -e /usr/bin/redis-$program ] || continue
	cat >/usr/local/bin/redis-$program <<-END
		#!/bin/sh
		[ -z "\${REDISCLI_AUTH-}" ] || export REDICTCLI_AUTH="\$REDISCLI_AUTH"
		exec $(named $program) "\$@"
	END
	chmod 755 /usr/local/bin/redis-$program
done
sh src/contrib/deps.sh check

(cd src && ./bootstrap && { [ ! -e config.status ] || make distclean; })
mkdir build
cd build
../src/configure --enable-werror
make -j"$(nproc)"
# Tests wait more than they work.
jobs=-j${JOBS:-$((2 * $(nproc)))}
status=0
make -k "$jobs" check ${TESTS:+"TESTS=$TESTS"} || status=$?
[ -n "${TESTS-}" ] || make -k "$jobs" check-topologies || status=$?

count() {
	find . -name '*.trs' -exec cat {} + | grep -cE "^:test-result: ($1)( |\$)" || true
}
passed=$(count 'PASS|XFAIL') failed=$(count 'FAIL|XPASS|ERROR')
echo "$(redis-server --version | sed 's/ server v=\([^ ]*\).*/ \1/')," \
	"hiredis $(pkg-config --modversion hiredis), gcc $(gcc -dumpfullversion):" \
	"$passed passed, $failed failed" >../result
[ "$status" -eq 0 ] && [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
