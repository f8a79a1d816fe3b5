#!/bin/sh
# The short paths under valgrind's memcheck: no error in cflock, its guardian
# and its thread.  (What lives as long as the process is not freed: no search
# for leaks.)  CFLOCK=./cflock.  Prints TAP.
set -u
CFLOCK=${CFLOCK:-./cflock}
dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-valgrind.XXXXXX") || exit 1
trap 'kill -KILL "$(cat "$dir/pid")" 2>/dev/null; rm -rf "$dir"' EXIT

redis-server --port 0 --unixsocket "$dir/redis.sock" --dir "$dir" --save '' \
	--appendonly no --daemonize yes --pidfile "$dir/pid" >/dev/null || exit 1
until redis-cli -s "$dir/redis.sock" ping >/dev/null 2>&1; do sleep 0.1; done
export CFLOCK_SERVER="unix://$dir/redis.sock" CFLOCK_CONFIG=/dev/null
redis-cli -s "$dir/redis.sock" set 'cflock:{held}' somebody >/dev/null
redis-cli -s "$dir/redis.sock" rpush 'cflock:{list}' 1 >/dev/null
printf 'ttl = 20s\nmessage = from a file\n' >"$dir/conf"

tests=0 failed=0
# path NAME CODE ARGUMENT...: one run of cflock that is to end with CODE.
path() {
	name=$1 wanted=$2
	shift 2
	tests=$((tests + 1))
	valgrind --quiet --error-exitcode=99 --log-file="$dir/valgrind.%p" \
		"$CFLOCK" "$@" >/dev/null 2>"$dir/stderr"
	code=$?
	if [ "$code" = "$wanted" ] && ! grep -q '^==.*[a-z]' "$dir"/valgrind.*; then
		echo "ok $tests $name"
	else
		echo "not ok $tests $name: exit code $code"
		cat "$dir"/valgrind.* "$dir/stderr" | sed 's/^/# /'
		failed=$((failed + 1))
	fi
	rm -f "$dir"/valgrind.*
}

path "a run" 0 run true
path "the command's exit code" 3 run sh -c 'exit 3'
path "a run with renewals" 0 --ttl 500ms run sleep 1
path "held" 1 -n held true
path "held until the end of the wait" 1 -w 0.3 held true
path "not a lock" 69 list true
path "no such command" 127 run ./no-such-command
path "bad usage" 64 --ttl 1y run true
path "bad URL" 78 --server nonsense run true
path "refused connection" 69 -w 0.3 --server unix:///nonexistent/sock run true
path "no such host" 69 -w 5 --server redis://no-such-host.invalid run true
path "key deleted" 79 --ttl 500ms run sh -c \
	"redis-cli -s '$dir/redis.sock' del 'cflock:{run}'; sleep 5"
CFLOCK_CONFIG=$dir/conf path "a config file" 0 run true
path "help" 0 --help
echo "1..$tests"
exit $((failed != 0))
