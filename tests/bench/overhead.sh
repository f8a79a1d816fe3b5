#!/bin/sh
# What does it cost to run a command under a lock?  Runs `true`, and `true`
# under flock, cflock, etcdctl lock and a script of redis-cli, in turns, and
# prints medians and ratios.
#
#   overhead.sh     CFLOCK=./cflock ROUNDS=200
#
# Starts a Redis and an etcd of its own, on this machine: the times are those
# of the programs, and a network's round trips come on top (cflock: two).  An
# etcd writes to its disk before it answers, a Redis does not, and promises
# less; ETCD_FLAGS=--unsafe-no-fsync leaves that out.  Without etcd or flock,
# their rows are left out.
set -eu
CFLOCK=${CFLOCK:-./cflock}
rounds=${ROUNDS:-200}
here=$(dirname "$0")

dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-bench.XXXXXX")
servers=''
clean_up() {
	for server in $servers; do
		kill "$server" 2>/dev/null || :
		wait "$server" 2>/dev/null || :
	done
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

has() { command -v "$1" >/dev/null; }

# until_ready NAME COMMAND...
until_ready() {
	name=$1 tries=300
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || {
			echo "$name did not start; see the end of its log:" >&2
			tail -n 5 "$dir/$name.log" >&2
			exit 1
		}
		sleep 0.1
	done
}

${CC:-cc} -O2 -D_GNU_SOURCE -o "$dir/stopwatch" "$here/stopwatch.c"

redis-server --port 0 --unixsocket "$dir/redis.sock" --dir "$dir" --save '' \
	--appendonly no >"$dir/redis.log" 2>&1 &
servers=$!
until_ready redis redis-cli -s "$dir/redis.sock" ping

unset CFLOCK_TTL CFLOCK_PASSWORD REDISCLI_AUTH
# Just started, it could not give a lease for a while.
export CFLOCK_NO_GRACE=yes
export CFLOCK_SERVER="unix://$dir/redis.sock" CFLOCK_CONFIG=

# What people write by hand: no renewal, and nobody stops the command in time.
cat >"$dir/by-hand" <<END
#!/bin/sh
[ "\$(redis-cli -s '$dir/redis.sock' SET by-hand \$\$ NX PX 10000)" = OK ] || exit 1
true
code=\$?
redis-cli -s '$dir/redis.sock' DEL by-hand
exit \$code
END
chmod +x "$dir/by-hand"

set -- true
rows='true'
if has flock; then
	set -- "$@" , flock "$dir/file" true
	rows="$rows
flock FILE true"
fi
set -- "$@" , "$CFLOCK" bench true
rows="$rows
cflock NAME true"
if has etcd && has etcdctl; then
	port=$((20000 + $$ % 20000))
	# shellcheck disable=SC2086 # a list
	etcd --data-dir "$dir/etcd" --logger zap ${ETCD_FLAGS-} \
		--listen-client-urls "http://127.0.0.1:$port" \
		--advertise-client-urls "http://127.0.0.1:$port" \
		--listen-peer-urls "http://127.0.0.1:$((port + 1))" \
		--initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
		--initial-cluster "default=http://127.0.0.1:$((port + 1))" \
		>"$dir/etcd.log" 2>&1 &
	servers="$servers $!"
	export ETCDCTL_API=3 ETCDCTL_ENDPOINTS="http://127.0.0.1:$port"
	until_ready etcd etcdctl endpoint health
	set -- "$@" , etcdctl lock bench true
	rows="$rows
etcdctl lock NAME true"
fi
set -- "$@" , "$dir/by-hand"
rows="$rows
redis-cli SET NX PX; true; DEL"

"$dir/stopwatch" "$rounds" "$@" >"$dir/times"

echo "$rounds runs each, in turns; ms"
echo "$rows" | paste -d ' ' "$dir/times" - | awk '
	{
		median[NR] = $1; low[NR] = $2; high[NR] = $3
		$1 = $2 = $3 = ""; sub(/^ */, ""); name[NR] = $0
		if ($1 == "flock") flock = median[NR]
		if (/^cflock/) cflock = median[NR]
	}
	function ratio(to) { return to ? sprintf("%.2f", median[i] / to) : "-" }
	END {
		form = "%-32s %8s %17s %9s %9s\n"
		printf form, "", "median", "10 % .. 90 %", "/ flock", "/ cflock"
		for (i = 1; i <= NR; i++)
			printf form, name[i], sprintf("%.2f", median[i]),
				sprintf("%.2f .. %.2f", low[i], high[i]),
				ratio(flock), ratio(cflock)
	}'
