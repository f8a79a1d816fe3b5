#!/bin/bash
# setnx.sh HOST PORT TTL_MS NAME COMMAND...: the lock as many scripts have it, for
# the torture chamber to find fault with: SET NX PX, a renewal in the background,
# and a release that looks whose lock it is.
set -u
host=$1 port=$2 ttl=$3 name=$4
shift 4
id=$$-$RANDOM$RANDOM

cli() {
	timeout 1 redis-cli -h "$host" -p "$port" "$@" 2>/dev/null
}

until [ "$(cli set "lock:$name" "$id" nx px "$ttl")" = OK ]; do
	sleep 0.1
done
TOKEN=$(cli incr "lock:$name:token")
export TOKEN

renew='if redis.call("get", KEYS[1]) == ARGV[1] then
	return redis.call("pexpire", KEYS[1], ARGV[2]) end return 0'
release='if redis.call("get", KEYS[1]) == ARGV[1] then
	return redis.call("del", KEYS[1]) end return 0'
(
	while sleep "$(printf '%d.%03d' $((ttl / 3000)) $((ttl / 3 % 1000)))"; do
		kill -0 $$ || exit
		cli eval "$renew" 1 "lock:$name" "$id" "$ttl"
	done
) >/dev/null 2>&1 &
renewer=$!
"$@"
code=$?
kill "$renewer"
cli eval "$release" 1 "lock:$name" "$id" >/dev/null
exit "$code"
