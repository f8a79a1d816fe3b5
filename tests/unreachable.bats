# No lock service: code 69, in the time that -w, -n or the ttl allow, not before
# it was tried for that time, with a message that names the cause.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	use_redis
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
		-keyout "$REDIS_DIR/tls.key" -out "$REDIS_DIR/tls.crt" 2>/dev/null
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	export CFLOCK helpers=$BATS_TEST_DIRNAME/helpers
}

teardown() {
	test_teardown
	stop_redis "$work/r"
}

# start_tcp_redis OPTION...: as start_redis, on $port and $work/r/redis.sock.
start_tcp_redis() {
	port=$(free_port)
	start_redis "$work/r" --port "$port" "$@"
	rcli_r() { redis-cli -s "$work/r/redis.sock" "$@"; }
	[ "$(rcli_r config get port | tail -n 1)" = "$port" ]
}

# unreachable ALLOWED_MS TEXT... -- OPTION...: 69 after that time.
unreachable() {
	local allowed_ms=$1 texts words

	split_at_dashes "${@:2}"
	expect 69 "$CFLOCK" "${words[@]}" "$name" touch "$work/ran"
	took "$allowed_ms" $((allowed_ms + 1200))
	says "cflock: $name: cannot " "${texts[@]}" "the command was not started"
	[ "${#stderr_lines[@]}" = 1 ]
	[ ! -e "$work/ran" ]
}

# in_network SCRIPT: by a shell in a network of its own, of which only the
# loopback is up; /etc/resolv.conf names a server there.  All that it starts
# ends with it.
in_network() {
	local user=()

	[ "$(id -u)" = 0 ] || user=(-r)
	echo 'nameserver 127.0.0.1' >"$work/resolv.conf"
	echo 'hosts: files dns' >"$work/nsswitch.conf"
	timeout -s KILL "$WAIT_LIMIT_S" unshare "${user[@]}" -mnp --fork --kill-child --mount-proc bash -ec '
		ip link set lo up
		mount --bind "$work/resolv.conf" "$(realpath /etc/resolv.conf)"
		mount --bind "$work/nsswitch.conf" /etc/nsswitch.conf
		# Dropped on arrival: the sender sees no error.
		drop() {
			nft add table inet t
			nft "add chain inet t i { type filter hook input priority 0; }"
			nft add rule inet t i "$@" drop
		}
		'"$1" </dev/null 3>&-
}

@test "TCP port closed, -w: 69 at the end of the wait" {
	unreachable 400 "connect to redis://127.0.0.1:" "Connection refused" -- \
		-S "redis://127.0.0.1:$(free_port)" -w 0.4
}

@test "TCP port closed, -n: 69 after two seconds of trying" {
	unreachable 2000 "Connection refused" -- -S "redis://127.0.0.1:$(free_port)" -n
}

@test "TCP port closed, no limit: 69 after one ttl" {
	unreachable 1000 "Connection refused" -- -S "redis://127.0.0.1:$(free_port)" -t 1s
}

@test "socket missing: 69 at the end of the wait" {
	unreachable 400 "connect to unix://$work/none.sock" "No such file" -- \
		-S "unix://$work/none.sock" -w 0.4
}

@test "socket that nobody listens on: 69 at the end of the wait" {
	start_redis "$work/r"
	stop_redis "$work/r"
	[ -S "$work/r/redis.sock" ]
	unreachable 400 "Connection refused" -- -S "unix://$work/r/redis.sock" -w 0.4
}

@test "socket without permission: 77, named" {
	local nobody=()

	start_redis "$work/r"
	chmod 0 "$work/r/redis.sock"
	chmod 755 "$REDIS_DIR" "$work" "$work/r"
	cp "$CFLOCK" "$work/cflock"
	[ "$(id -u)" != 0 ] || nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	expect 77 "${nobody[@]}" "$work/cflock" -S "unix://$work/r/redis.sock" -w 0.3 "$name" true
	says "cannot connect to" "Permission denied"
}

@test "a server that comes up during the wait: succeeds, TCP" {
	port=$(free_port)
	in_background "$CFLOCK" -v -S "redis://127.0.0.1:$port" -w 25 "$name" touch "$work/ran" \
		2>"$work/stderr"
	pids+=("$background")
	wait_until grep 'refused; trying again' "$work/stderr"
	start_redis "$work/r" --port "$port"
	wait "$background"
	[ -e "$work/ran" ]
}

@test "a server that comes up during the wait: succeeds, socket" {
	in_background "$CFLOCK" -v -S "unix://$work/r/redis.sock" -w 25 "$name" touch "$work/ran" \
		2>"$work/stderr"
	pids+=("$background")
	wait_until grep 'trying again' "$work/stderr"
	start_redis "$work/r"
	wait "$background"
	[ -e "$work/ran" ]
}

@test "no route: 69 at the end of the wait" {
	expect 0 in_network '
		code=0
		begun=${EPOCHREALTIME/[.,]/}
		"$CFLOCK" -S redis://192.0.2.1 -w 0.4 "$name" touch "$work/ran" || code=$?
		echo "$code $((${EPOCHREALTIME/[.,]/} / 1000 - begun / 1000))"'
	says "cannot connect to redis://192.0.2.1:6379" "Network is unreachable"
	[ "${output% *}" = 69 ]
	[ "${output#* }" -ge 399 ]
	[ "${output#* }" -lt 1600 ]
	[ ! -e "$work/ran" ]
}

# black_hole OPTION...: to a server behind a rule that drops all; "CODE MS".
black_hole() {
	expect 0 in_network '
		redis-server --port 6390 --save "" --unixsocket "$work/hidden.sock" \
			>"$work/redis.log" 2>&1 &
		until redis-cli -p 6390 ping >/dev/null 2>&1; do sleep 0.01; done
		drop tcp dport 6390
		code=0
		begun=${EPOCHREALTIME/[.,]/}
		"$CFLOCK" -S redis://127.0.0.1:6390 '"$*"' "$name" touch "$work/ran" || code=$?
		echo "$code $((${EPOCHREALTIME/[.,]/} / 1000 - begun / 1000))"
		[ -z "$(redis-cli -s "$work/hidden.sock" keys "*")" ]'
	says "cannot connect to redis://127.0.0.1:6390" "no answer in time"
	[ ! -e "$work/ran" ]
}

@test "black hole, -w: 69 at the end of the wait" {
	black_hole -w 0.6
	[ "${output% *}" = 69 ]
	[ "${output#* }" -ge 599 ]
	[ "${output#* }" -lt 1800 ]
}

@test "black hole, -n: 69 after two seconds" {
	black_hole -n
	[ "${output% *}" = 69 ]
	[ "${output#* }" -ge 1999 ]
	[ "${output#* }" -lt 3200 ]
}

@test "black hole, no limit: 69 after one ttl" {
	black_hole -t 1s
	[ "${output% *}" = 69 ]
	[ "${output#* }" -ge 999 ]
	[ "${output#* }" -lt 2200 ]
}

@test "a black hole that opens in the run: 79, the command dead in time" {
	expect 0 in_network '
		redis-server --port 6390 --save "" --unixsocket "$work/hidden.sock" \
			>"$work/redis.log" 2>&1 &
		until redis-cli -p 6390 ping >/dev/null 2>&1; do sleep 0.01; done
		"$CFLOCK" --no-grace -t 1s -S redis://127.0.0.1:6390 "$name" bash -c "
			while :; do echo \${EPOCHREALTIME/[.,]/} >>\"\$work/stamps\"; sleep 0.01; done" &
		cflock=$!
		until [ -s "$work/stamps" ]; do sleep 0.01; done
		drop tcp dport 6390
		now=$((${EPOCHREALTIME/[.,]/} / 1000))
		expiry=$((now + $(redis-cli -s "$work/hidden.sock" pttl "$key")))
		code=0
		wait "$cflock" || code=$?
		echo "$code $((expiry - $(tail -n 1 "$work/stamps") / 1000))"'
	says "the lease is lost" "no answer in time"
	[ "${output% *}" = 79 ]
	[ "${output#* }" -gt 0 ]
}

@test "a name that does not exist: 69, named" {
	expect 0 in_network '
		python3 "$helpers/nxdomain.py" "$work/dns.up" &
		until [ -e "$work/dns.up" ]; do sleep 0.01; done
		code=0
		"$CFLOCK" -S redis://does-not-exist.invalid -w 20 "$name" touch "$work/ran" || code=$?
		echo "$code"'
	[ "$output" = 69 ]
	says 'cannot find the host "does-not-exist.invalid"' "no such name"
	took 0 8000
	[ ! -e "$work/ran" ]
}

@test "a name without the program that looks names up: 69, named" {
	cp "$CFLOCK" "$work/cflock"
	# One that was installed by this build would be taken.
	[ ! -e /usr/local/libexec/cflock/cflock-resolve ] ||
		skip "cflock-resolve is installed"
	expect 69 "$work/cflock" -S redis://localhost -w 0.4 "$name" touch "$work/ran"
	says 'cannot find the host "localhost"' "cflock-resolve cannot be run"
	[ ! -e "$work/ran" ]
}

@test "a name service that does not answer: 69 at the end of the wait" {
	expect 0 in_network '
		drop udp dport 53
		code=0
		begun=${EPOCHREALTIME/[.,]/}
		"$CFLOCK" -S redis://redis.example -w 0.7 "$name" touch "$work/ran" || code=$?
		echo "$code $((${EPOCHREALTIME/[.,]/} / 1000 - begun / 1000))"
		# The look-up does not outlive cflock.
		! pgrep cflock >&2'
	says 'cannot find the host "redis.example"' "name service did not answer in time"
	[ "${output% *}" = 69 ]
	[ "${output#* }" -ge 699 ]
	[ "${output#* }" -lt 1900 ]
	[ ! -e "$work/ran" ]
}

@test "one of three names that the service does not answer for: start, hold and hand-over go on" {
	start_redis "$work/1"
	start_redis "$work/2"
	export CFLOCK_SERVER="redis://redis.example unix://$work/1/redis.sock unix://$work/2/redis.sock"
	expect 0 in_network '
		drop udp dport 53
		begun=${EPOCHREALTIME/[.,]/}
		"$CFLOCK" -n "$name" true
		echo $((${EPOCHREALTIME/[.,]/} / 1000 - begun / 1000))
		# For longer than its lease.
		"$CFLOCK" -t 2s "$name" sh -c "touch \"$work/began\"; sleep 5" &
		until [ -e "$work/began" ]; do sleep 0.01; done
		"$CFLOCK" -w 20 "$name" touch "$work/next"
		wait $!'
	is_silent
	[ "$output" -lt 2500 ] || fail "the first took $output ms"
	[ -e "$work/next" ]
	stop_redis "$work/1"
	stop_redis "$work/2"
}

@test "a name service that does not answer, interrupted: ends at once" {
	expect 0 in_network '
		drop udp dport 53
		"$CFLOCK" -S redis://redis.example "$name" touch "$work/ran" &
		until pgrep -P $! >/dev/null; do sleep 0.01; done
		kill -TERM $!
		code=0
		begun=${EPOCHREALTIME/[.,]/}
		wait $! || code=$?
		echo "$code $((${EPOCHREALTIME/[.,]/} / 1000 - begun / 1000))"
		! pgrep cflock >&2'
	[ "${output% *}" = 143 ]
	[ "${output#* }" -lt 1500 ]
}

@test "a TLS port: 69, and a message that thinks of it" {
	start_redis "$work/r"
	stop_redis "$work/r"
	port=$(free_port)
	start_redis "$work/r" --tls-port "$port" --tls-cert-file "$REDIS_DIR/tls.crt" \
		--tls-key-file "$REDIS_DIR/tls.key" --tls-auth-clients no
	wait_until is_listening "$port"
	expect 69 "$CFLOCK" -S "redis://127.0.0.1:$port" -w 0.5 "$name" touch "$work/ran"
	says "TLS port"
	took 0 1700
	[ ! -e "$work/ran" ]
}

@test "an HTTP server: 69, and a message that thinks of it" {
	port=$(free_port)
	python3 -m http.server --bind 127.0.0.1 -d "$work" "$port" >/dev/null 2>&1 </dev/null 3>&- &
	pids+=("$!")
	wait_until is_listening "$port"
	expect 69 "$CFLOCK" -S "redis://127.0.0.1:$port" -w 0.5 "$name" touch "$work/ran"
	says "not a Redis server"
	took 0 1700
	[ ! -e "$work/ran" ]
}

@test "a server that says nothing: 69 at the end of the wait" {
	python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
time.sleep(60)' "$work/mute.sock" </dev/null 3>&- &
	pids+=("$!")
	wait_until test -S "$work/mute.sock"
	unreachable 500 "no answer in time" -- -S "unix://$work/mute.sock" -w 0.5
}

@test "IPv4, IPv6 and a name" {
	start_tcp_redis --bind 127.0.0.1 ::1
	for host in 127.0.0.1 '[::1]' localhost; do
		expect 0 "$CFLOCK" -S "redis://$host:$port" "$name" \
			redis-cli -s "$work/r/redis.sock" exists "$key"
		[ "$output" = 1 ]
		is_silent
	done
}

@test "a name without any network but the loopback" {
	expect 0 in_network '
		export CFLOCK_NO_GRACE=yes
		redis-server --port 6390 --save "" >/dev/null 2>&1 &
		until redis-cli -p 6390 ping >/dev/null 2>&1; do sleep 0.01; done
		"$CFLOCK" -S redis://localhost:6390 "$name" redis-cli -p 6390 exists "$key"'
	[ "$output" = 1 ]
}

@test "the default is port 6379 of 127.0.0.1" {
	expect 0 in_network '
		unset CFLOCK_SERVER
		export CFLOCK_NO_GRACE=yes
		redis-server --save "" >/dev/null 2>&1 &
		until redis-cli ping >/dev/null 2>&1; do sleep 0.01; done
		"$CFLOCK" "$name" redis-cli exists "$key"
		"$CFLOCK" -S redis://localhost "$name" redis-cli exists "$key"'
	[ "$output" = $'1\n1' ]
}

@test "the keys land in the database of the URL" {
	start_tcp_redis
	for url in "unix://$work/r/redis.sock?db=3" "redis://127.0.0.1:$port/3"; do
		expect 0 "$CFLOCK" -S "$url" "$name" sh -c '
			redis-cli -s "$work/r/redis.sock" -n 3 exists "$key"
			redis-cli -s "$work/r/redis.sock" keys "cflock:{*"'
		[ "$output" = 1 ]
		is_silent
		[ "$(rcli_r -n 3 keys 'cflock:{*')" = "$key:token" ]
	done
}

@test "renewals go to the database of the URL" {
	expect 0 "$CFLOCK" -t 1500ms -S "$CFLOCK_SERVER?db=5" "$name" sh -c '
		sleep 2
		redis-cli -s "$REDIS_DIR/redis.sock" -n 5 exists "$key"'
	[ "$output" = 1 ]
	is_silent
}

@test "a database that the server does not have: 69, named" {
	expect 69 "$CFLOCK" -S "$CFLOCK_SERVER?db=99" -w 0.5 "$name" touch "$work/ran"
	says "DB index is out of range"
	[ ! -e "$work/ran" ]
	nothing_left "$name"
}
