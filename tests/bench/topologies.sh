#!/bin/bash
# What does a lock cost by way of Sentinel, Cluster, a quorum of three, TLS, and
# with a replica that has to acknowledge it, beside a single server?
#
#   topologies.sh     TOPOLOGIES=tests/bench/topologies ROUNDS=1000
#
# In turns, in one process: see topologies.c, which `make bench` builds.  To reach:
# Sentinel and Cluster at most 1.2 times the single server once connected, the
# quorum at most 2 times.  Starts servers of its own on loopback ports.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
topologies=${TOPOLOGIES:-tests/bench/topologies}
rounds=${ROUNDS:-1000}

[ -x "$topologies" ] || {
	echo "$topologies is not there; make it, or set TOPOLOGIES" >&2
	exit 1
}
# shellcheck disable=SC2034 # for the helpers
BATS_TEST_DIRNAME=$here
exec 3>/dev/null
dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-bench.XXXXXX")
clean_up() {
	local pidfile

	for pidfile in "$dir"/*/*.pid; do
		kill -KILL "$(cat "$pidfile")" 2>/dev/null || :
	done
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
# shellcheck source=tests/helpers.bash
. "$here/helpers.bash"
for part in nodes certs; do
	# shellcheck disable=SC1090
	. "$here/helpers/$part.bash"
done

# in_folder NAME: servers that are started from here on are in $dir/NAME.
in_folder() {
	REDIS_DIR=$dir/$1
	mkdir "$REDIS_DIR"
	ports=()
}

in_folder sentinel
# shellcheck source=tests/helpers/sentinels.bash
. "$here/helpers/sentinels.bash"
start_all
sentinels=127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}
replicated=${ports[3]}

in_folder single
for i in 0 1 2; do
	ports[i]=$(free_port "${ports[@]}")
	start_node "$i"
done
single=("${ports[@]}")

certs=$dir/certs
mkdir "$certs"
{
	make_ca ca
	make_cert server ca "subjectAltName=IP:127.0.0.1"
} 2>/dev/null
in_folder tls
ports[0]=$(free_port)
start_node 0
tls=${ports[0]}
unset certs

in_folder cluster
# shellcheck source=tests/helpers/cluster.bash
. "$here/helpers/cluster.bash"
start_all >/dev/null
cluster=127.0.0.1:${ports[0]},127.0.0.1:${ports[1]}

at=redis://127.0.0.1
"$topologies" "$rounds" "$dir/certs/ca.crt" \
	"a single server" 0 "$at:${single[0]}" \
	"Sentinel" 0 "redis+sentinel://$sentinels/jobs" \
	"Cluster" 0 "redis+cluster://$cluster" \
	"a quorum of three" 0 "$at:${single[0]} $at:${single[1]} $at:${single[2]}" \
	"a single server, TLS" 0 "rediss://127.0.0.1:$tls" \
	"a master with a replica" 0 "$at:$replicated" \
	"... --min-replicas 1" 1 "$at:$replicated"
