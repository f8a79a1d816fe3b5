#!/bin/sh
# try.sh: see cflock at work in half a minute.  Installs what a build lacks
# (Debian, Ubuntu; elsewhere it says what), builds a copy of these sources in a
# temporary folder, starts a Redis of its own there, and cleans up after itself.
# Exits with 0 only if everything went as told.
set -eu
cd "$(dirname "$0")/.."
src=$PWD
sh contrib/deps.sh build

tmp=$(mktemp -d)
redis='' children=''
cleanup() {
	for child in $children; do
		kill "$child" 2>/dev/null || :
		wait "$child" || :
	done
	# SIGKILL, as it may be frozen.
	[ -z "$redis" ] || kill -KILL "$redis" 2>/dev/null || :
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

say() { printf '\n%s\n' "$@"; }
fail() { printf '\nNOT AS TOLD: %s\n' "$*" >&2; exit 1; }

# Hundredths of a second since the machine started, and how to print them.
now() { read -r up _ </proc/uptime; echo "${up%.*}${up#*.}"; }
seconds() { printf '%d.%02d s' $(($1 / 100)) $(($1 % 100)); }

say "Building cflock in $tmp ..."
mkdir "$tmp/src"
tar cf - --exclude=.git . | tar xf - -C "$tmp/src"
if ! (cd "$tmp/src" && ./bootstrap && ./configure && make clean &&
	make -j2 cflock) >"$tmp/build.log" 2>&1; then
	tail -n 40 "$tmp/build.log" >&2
	fail "the build"
fi
cflock=$tmp/src/cflock

redis-server --port 0 --unixsocket "$tmp/redis.sock" --save '' \
	--appendonly no --dir "$tmp" >"$tmp/redis.log" 2>&1 &
redis=$!
tries=100
until redis-cli -s "$tmp/redis.sock" ping >/dev/null 2>&1; do
	tries=$((tries - 1))
	[ $tries -gt 0 ] || fail "redis-server did not start: $(cat "$tmp/redis.log")"
	sleep 0.1
done
# What the user has set must not change the show.
unset CFLOCK_TTL CFLOCK_RENEW_BY CFLOCK_STOP_SIGNAL CFLOCK_NONBLOCK \
	CFLOCK_WAIT CFLOCK_PASSWORD REDISCLI_AUTH
# Just started, it could not give a lease for a while.
export CFLOCK_NO_GRACE=yes
export CFLOCK_SERVER="unix://$tmp/redis.sock"

say "1. Two rivals want the lock 'demo' at the same time.  Each runs

       cflock demo sh job.sh NAME      (two seconds of work)

   cflock takes the lock in Redis, or waits for it, and then runs the command.
   Each run gets a token, higher than all before: what it writes to can refuse
   a writer that comes with an old one."
echo

cd "$tmp"
cat >job.sh <<'JOB'
mkdir inside || exit 9 # if two were in here at once
echo "   $1 has the lock, token $CFLOCK_TOKEN"
echo "$CFLOCK_TOKEN" >>tokens
sleep 2
echo "   $1 is done"
rmdir inside
JOB
"$cflock" demo sh job.sh Anna &
anna=$!
"$cflock" demo sh job.sh Bert &
bert=$!
children="$anna $bert"

tries=100
until [ -s tokens ]; do
	tries=$((tries - 1))
	[ $tries -gt 0 ] || fail "neither got the lock"
	sleep 0.1
done
echo "   meanwhile, 'cflock -n demo true' (-n: do not wait) says:"
code=0
"$cflock" -n demo true 2>refusal || code=$?
sed 's/^/     /' refusal
echo "   ... and exits with $code"
[ $code -eq 1 ] || fail "-n on a held lock should exit with 1"
[ -s refusal ] || fail "-n on a held lock should say so"

wait $anna || fail "Anna's run exited with $?"
wait $bert || fail "Bert's run exited with $?"
sort -nu tokens | cmp -s - tokens ||
	fail "the tokens should go up"
children=

say "2. The Redis server freezes while a command runs under

       cflock --ttl 3s demo sh job.sh  (work that cleans up on SIGTERM)

   --ttl is the length of the lease: when Redis heard nothing for so long, it
   gives the lock to others.  So the command must be over before that."
echo

cat >job.sh <<'JOB'
exec 2>/dev/null # "Terminated", which some shells say of their sleep
trap 'echo "   the command: got SIGTERM, cleaning up"; exit 0' TERM
echo "   the command: at work, token $CFLOCK_TOKEN"
while :; do
	read -r up rest </proc/uptime
	echo "$up" >alive.new
	mv alive.new alive
	sleep 0.1
done
JOB
"$cflock" --ttl 3s demo sh job.sh &
holder=$!
children=$holder
sleep 2
[ -s alive ] || fail "the command did not start"
frozen=$(now)
kill -STOP "$redis"
echo "   (Redis is frozen)"
code=0
wait $holder || code=$?
children=
ended=$(($(now) - frozen))
alive=$(($(tr -d . <alive) - frozen))
echo "   the command was last alive $(seconds $alive) after that,"
echo "   cflock exited with $code (lease lost) after $(seconds $ended)"
[ $code -eq 79 ] || fail "a lost lease should exit with 79"
[ $alive -lt 300 ] || fail "the command should not outlive its lease"

kill -CONT "$redis"
echo "   (Redis is back)"
"$cflock" --wait 10 demo \
	sh -c 'echo "   the next one has the lock, token $CFLOCK_TOKEN"' ||
	fail "the lock should be free again"

say "All as told.  Next: the README, and 'man $src/man/cflock.1'."
