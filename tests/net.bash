# Shared by the tests of partitions: hosts in a network of the test's own, which
# is cut and healed host by host.  Needs no root where users may have namespaces
# of their own, but ip and nft.  Beside helpers.bash:
#
#	setup() { test_setup; net_up one two three; }
#	teardown() { net_down; test_teardown; }
#
# Each host has an address, ${address[HOST]}, on one switch, and a host name; files,
# Unix sockets that are files, and process numbers are shared by all, so that a
# test can look at a server by its socket, whatever is cut.

# A host's first process, which keeps its network.
declare -gA host_pid address

# Runs a command in the network of process $1.
net_enter() {
	local pid=$1 user=()

	shift
	[ "$(id -u)" = 0 ] || user=(-U --preserve-credentials)
	nsenter -t "$pid" "${user[@]}" -n -u -- "$@"
}

# on_host HOST COMMAND...: by a process, not by a function of the shell.
on_host() {
	local pid=${host_pid[$1]}

	shift
	net_enter "$pid" "$@"
}

# on_host_background HOST COMMAND...: as in_background, with the command itself in
# $background.
on_host_background() {
	local user=() pid=${host_pid[$1]}

	shift
	[ "$(id -u)" = 0 ] || user=(-U --preserve-credentials)
	in_background nsenter -t "$pid" "${user[@]}" -n -u -- "$@"
}

# net_new NAME COMMAND...: a network, made by COMMAND for what it runs.
net_new() {
	local name=$1

	shift
	rm -f "$net_dir/$name"
	"$@" bash -c "hostname $name; ip link set lo up || exit
		echo \$\$ >'$net_dir/$name'; exec sleep infinity" \
		</dev/null >/dev/null 2>"$net_dir/error" 3>&- &
	wait_until test -s "$net_dir/$name" || fail "$(cat "$net_dir/error")"
	host_pid[$name]=$(cat "$net_dir/$name")
}

# net_up HOST...: all are connected.  Names are those of network interfaces: short.
net_up() {
	local host user=() count=0

	net_dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-net.XXXXXX")
	host_pid=()
	address=()
	[ "$(id -u)" = 0 ] || user=(-r)
	net_new switch unshare "${user[@]}" -n -u
	net_enter "${host_pid[switch]}" ip link add name ports type bridge
	net_enter "${host_pid[switch]}" ip link set ports up
	for host; do
		# In the switch's user namespace, or none could be moved to it.
		net_new "$host" net_enter "${host_pid[switch]}" unshare -n -u
		count=$((count + 1))
		address[$host]=10.77.0.$count
		net_connect "$host"
	done
}

net_connect() {
	local switch=${host_pid[switch]}

	net_enter "$switch" ip link add name "$1" type veth peer name eth0 \
		netns "${host_pid[$1]}"
	net_enter "$switch" ip link set "$1" master ports up
	on_host "$1" ip address add "${address[$1]}/24" dev eth0
	on_host "$1" ip link set eth0 up
	# What comes in from whom it is cut off from is lost without a word, as on a
	# broken line: the sender sees no error.
	on_host "$1" nft -f - <<-'END'
		table ip net {
			set cut { type ipv4_addr; }
			chain in {
				type filter hook input priority 0;
				ip saddr @cut drop
			}
		}
	END
}

# net_deaf HOST OTHER_HOST...: what comes from those is lost on the first; its own
# still arrives there.
net_deaf() {
	local other

	for other in "${@:2}"; do
		on_host "$1" nft add element ip net cut "{ ${address[$other]} }"
	done
}

# net_cut HOST OTHER_HOST...: no packet passes between the first and the others.
net_cut() {
	local other

	for other in "${@:2}"; do
		net_deaf "$1" "$other"
		net_deaf "$other" "$1"
	done
}

# net_heal [HOST OTHER_HOST...]: again all pass; without arguments, between all.
net_heal() {
	local host

	if [ $# = 0 ]; then
		for host in "${!address[@]}"; do
			on_host "$host" nft flush set ip net cut
		done
		return
	fi
	for host in "${@:2}"; do
		on_host "$1" nft delete element ip net cut "{ ${address[$host]} }"
		on_host "$host" nft delete element ip net cut "{ ${address[$1]} }"
	done
}

# net_redis HOST DIR [OPTION]...: as start_redis, on port 6379 of that host, too.
net_redis() {
	local host=$1 dir=$2

	shift 2
	mkdir -p "$dir"
	on_host "$host" redis-server --bind 0.0.0.0 --protected-mode no \
		--unixsocket "$dir/redis.sock" --dir "$dir" --save '' --appendonly no \
		--daemonize yes --pidfile "$dir/pid" --logfile "$dir/log" \
		"$@" >/dev/null </dev/null 3>&-
	wait_until redis-cli -s "$dir/redis.sock" ping
}

# net_pids HOST: all processes there.
net_pids() {
	local network

	network=$(readlink "/proc/${host_pid[$1]}/ns/net") || return 0
	find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%l %p\n' |
		sed -n "s|^net:\[${network//[!0-9]/}\] /proc/\([0-9]*\)/.*|\1|p"
} 2>/dev/null

# Ends all that runs on the hosts, and the network with it.
net_down() {
	local host pid

	[ -n "${net_dir-}" ] || return 0
	for host in "${!host_pid[@]}"; do
		for pid in $(net_pids "$host"); do
			[ "$pid" = "${host_pid[$host]}" ] || kill -KILL "$pid" 2>/dev/null || true
		done
		kill -KILL "${host_pid[$host]}" 2>/dev/null || true
	done
	host_pid=()
	rm -rf "$net_dir"
}
