# rediss://: the same as without TLS, for who uses it; and certificates that are
# not right, on either end.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/certs

setup_file() {
	certs=$(mktemp -d "${TMPDIR:-/tmp}/cflock-certs.XXXXXX")
	PORT=$(free_port)
	export certs PORT
	{
		make_ca ca
		make_ca other
		make_cert server ca subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1
		make_cert name-only ca subjectAltName=DNS:localhost
		make_cert foreign ca subjectAltName=DNS:redis.example.net
		make_cert expired ca subjectAltName=DNS:localhost faketime -f -10d
		make_cert client ca extendedKeyUsage=clientAuth
		make_cert stranger other extendedKeyUsage=clientAuth
		cat "$certs/client.crt" "$certs/client.key" >"$certs/both.pem"
		openssl ec -aes128 -passout pass:x -in "$certs/client.key" -out "$certs/locked.key"
	} 2>/dev/null
	use_redis --bind 127.0.0.1 ::1 --tls-port "$PORT" --tls-auth-clients no \
		--tls-cert-file "$certs/server.crt" --tls-key-file "$certs/server.key" \
		--tls-ca-cert-file "$certs/ca.crt"
	use_helper recorder
}

teardown_file() {
	drop_redis
	rm -rf "$certs"
}

setup() {
	test_setup
	export CFLOCK CTL
	export CFLOCK_SERVER=rediss://localhost:$PORT CFLOCK_TLS_CA_FILE=$certs/ca.crt
	marker=6$RANDOM.$RANDOM$BATS_TEST_NUMBER
}

teardown() {
	rcli config set tls-auth-clients no tls-protocols '' requirepass '' \
		tls-cert-file "$certs/server.crt" tls-key-file "$certs/server.key"
	pkill -KILL -f "sleep $marker" || true
	test_teardown
}

# The server shows $1.crt from now on.
serve() {
	rcli config set tls-cert-file "$certs/$1.crt" tls-key-file "$certs/$1.key"
}

@test "runs the command, without a word, and releases the lock" {
	expect 7 "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_NAME"; exit 7'
	is_silent
	[ "$output" = "$name" ]
	nothing_left "$name"
}

@test "a name, IPv4 and IPv6; the database" {
	for host in localhost 127.0.0.1 '[::1]'; do
		expect 0 "$CFLOCK" -S "rediss://$host:$PORT/3" "$name" \
			redis-cli -s "$REDIS_SOCKET" -n 3 exists "$key"
		is_silent
		[ "$output" = 1 ]
	done
}

@test "held by others: 1, and who" {
	in_background "$CFLOCK" "$name" sleep "$marker"
	wait_until is_locked "$name"
	refused 1 "held by host" "sleep $marker" -- -n
	kill -TERM "$background"
	wait_gone "$background"
	nothing_left "$name"
}

@test "the lease is renewed" {
	in_background "$CFLOCK" -t 5s "$name" sleep "$marker"
	wait_until is_locked "$name"
	calls=$(calls_of evalsha)
	wait_until eval '[ "$(calls_of evalsha)" -ge $((calls + 3)) ]'
	is_locked "$name"
	kill -TERM "$background"
	code=0
	wait "$background" || code=$?
	[ "$code" = 143 ]
	nothing_left "$name"
}

@test "the connections are lost: another one renews" {
	in_background "$CFLOCK" -v -t 10s "$name" sleep "$marker" 2>"$work/err"
	wait_until grep -q renewed "$work/err"
	rcli client kill type normal skipme yes
	renewed=$(grep -c renewed "$work/err")
	wait_until eval '[ "$(grep -c renewed "$work/err")" -gt $((renewed + 1)) ]'
	kill -TERM "$background"
	wait_gone "$background"
	nothing_left "$name"
}

@test "the lease is lost: 79, and the command stopped" {
	in_background "$CFLOCK" -t 2s "$name" sleep "$marker"
	wait_until pgrep -f "^sleep $marker"
	rcli del "$key"
	code=0
	wait "$background" || code=$?
	[ "$code" = 79 ]
	run ! pgrep -f "^sleep $marker"
}

@test "who waits is woken, in order" {
	in_background "$CFLOCK" "$name" sh -c 'while [ ! -e "$work/go" ]; do sleep 0.05; done'
	first=$background
	wait_until is_locked "$name"
	in_background "$CFLOCK" "$name" sh -c 'echo 2 >>"$work/order"'
	wait_until eval '[ "$(rcli zcard "$key:line")" = 1 ]'
	second=$background
	in_background "$CFLOCK" "$name" sh -c 'echo 3 >>"$work/order"'
	wait_until eval '[ "$(rcli zcard "$key:line")" = 2 ]'
	touch "$work/go"
	wait "$first" "$second" "$background"
	[ "$(tr -d '\n' <"$work/order")" = 23 ]
	nothing_left "$name"
}

@test "the processes look as without TLS" {
	ln -s "$CFLOCK" "$work/mylock"
	for program in "$CFLOCK" "$work/mylock"; do
		in_background "$program" -t 60s "$name" sleep "$marker"
		pids+=("$background")
		wait_until pgrep -f "^sleep $marker"
		[ "$(cat "/proc/$background/comm")" = "${program##*/}" ]
		[ "$(tr '\0' ' ' <"/proc/$background/cmdline")" = \
			"$program -t 60s $name sleep $marker " ]
		[[ $(readlink "/proc/$background/exe") == */cflock-tls ]]
		guardian=$(guardian_of "$background")
		[ "$(cat "/proc/$guardian/comm")" = lease-guardian ]
		wait_until eval '[ "$(find "/proc/$guardian/fd" -mindepth 1 | wc -l)" = 4 ]'
		kill -TERM "$background"
		wait_gone "$background"
	done
}

@test "the command inherits neither descriptors nor what is ours alone" {
	expect 0 "$CFLOCK" "$name" sh -c 'ls -l /proc/self/fd; env'
	run ! grep -e socket: -e CFLOCK_TLS_COMM <<<"$output"
	# As sh has them, which ignores what it was not given.
	run bash -c 'exec 0<&- 2>&-; "$CFLOCK" "$name" sh -c "ls /proc/self/fd; grep Sig[BIC] /proc/self/status"'
	with=$output
	export CFLOCK_SERVER=unix://$REDIS_SOCKET
	run bash -c 'exec 0<&- 2>&-; "$CFLOCK" "$name" sh -c "ls /proc/self/fd; grep Sig[BIC] /proc/self/status"'
	[ "$with" = "$output" ]
}

# The password is nowhere in what others can read of $1 and below.
is_hidden_in() {
	local pid

	for pid in $(pgrep -P "$1") "$1" $(pgrep -f "^sleep $marker"); do
		run ! grep -a "$secret" "/proc/$pid/cmdline" "/proc/$pid/environ"
	done
}

@test "a password in the URL, on the command line and in the environment" {
	secret=hunter$RANDOM
	rcli config set requirepass "$secret"
	export REDISCLI_AUTH=$secret
	urls=("-S rediss://:$secret@localhost:$PORT" "-S rediss://default:$secret@127.0.0.1:$PORT")
	for url in "${urls[@]}" "CFLOCK_SERVER=rediss://:$secret@localhost:$PORT" \
		"CFLOCK_PASSWORD=$secret CFLOCK_SERVER=rediss://localhost:$PORT"; do
		option=$url assignments=()
		if [[ $url != -S* ]]; then
			option=
			read -ra assignments <<<"$url"
		fi
		# shellcheck disable=SC2086 # two words
		in_background env -u REDISCLI_AUTH "${assignments[@]}" "$CFLOCK" $option \
			"$name" sleep "$marker" 2>"$work/err"
		wait_until pgrep -f "^sleep $marker"
		is_hidden_in "$background"
		kill -TERM "$background"
		wait_gone "$background"
		[ ! -s "$work/err" ]
	done
	refused 77 "password" -- -S "rediss://:wrong@localhost:$PORT"
	run ! grep -q "$secret" <<<"$stderr"
	rcli config set requirepass ''
}

@test "a setting in cflock.conf" {
	unset CFLOCK_SERVER CFLOCK_TLS_CA_FILE
	printf '%s\n' "server = rediss://localhost:$PORT" "tls-ca-file = $certs/ca.crt" >"$work/conf"
	CFLOCK_CONFIG=$work/conf expect 0 "$CFLOCK" "$name" true
	is_silent
	echo "tls-server-name = elsewhere" >>"$work/conf"
	CFLOCK_CONFIG=$work/conf refused 77 'not for "elsewhere"' --
}

@test "cflockctl: status and list, and check in the command" {
	unset CFLOCK_SERVER CFLOCK_TLS_CA_FILE
	service=(-S "rediss://localhost:$PORT" --tls-ca-file "$certs/ca.crt")
	expect 0 "$CFLOCK" "${service[@]}" "$name" sh -c '"$CTL" check && "$CTL" status "$CFLOCK_NAME"'
	is_silent
	[[ $output == *"$name"*"held"* ]]
	expect 0 "$CTL" "${service[@]}" list
	expect 0 "$CTL" status "${service[@]}" "$name"
	[[ $output == *"free"* ]]
	expect 77 "$CTL" -S "rediss://localhost:$PORT" status "$name"
	says "is not signed by a CA that is trusted here"
	expect 64 "$CTL" --tls-key x -S "rediss://localhost:$PORT" status "$name"
}

@test "cflockctl: the password does not stay" {
	secret=hunter$RANDOM
	rcli config set requirepass "$secret"
	export REDISCLI_AUTH=$secret
	expect 0 "$CTL" -S "rediss://:$secret@localhost:$PORT" status "$name"
	unset REDISCLI_AUTH
	CFLOCK_PASSWORD=$secret expect 0 "$CTL" status "$name"
	expect 77 "$CTL" status "$name"
	REDISCLI_AUTH=$secret rcli config set requirepass ''
}

@test "--attach and --release in a script" {
	cat >"$work/script" <<-'END'
		set -e
		unset CFLOCK_SERVER CFLOCK_TLS_CA_FILE
		eval "$("$CFLOCK" -S "rediss://localhost:$PORT" --tls-ca-file "$certs/ca.crt" --attach $$ "$name")"
		"$CTL" check
		"$CFLOCK" --release "$name"
		echo released
	END
	for shell in bash dash; do
		expect 0 "$shell" "$work/script"
		is_silent
		[ "$output" = released ]
		nothing_left "$name"
	done
	run ! eval 'eval "$("$CFLOCK" --tls-server-name elsewhere --attach $$ "$name")"'
}

@test "a signal reaches the command; another one those who wait" {
	"${as_in_foreground[@]}" "$CFLOCK" "$name" "$recorder" "$work/got" </dev/null 3>&- &
	background=$!
	pids+=("$background")
	wait_until grep -q ready "$work/got"
	kill -USR1 "$background"
	wait_until grep -qx 10 "$work/got"
	in_background "$CFLOCK" "$name" true
	waiter=$background
	wait_until eval '[ "$(rcli zcard "$key:line")" = 1 ]'
	kill -TERM "$waiter"
	code=0
	wait "$waiter" || code=$?
	[ "$code" = 143 ]
	wait_until eval '[ "$(rcli zcard "$key:line")" = 0 ]'
}

as_in_foreground=(env --default-signal=INT --default-signal=QUIT)

@test "on a terminal: Ctrl-C ends the command, 130" {
	python3 "$BATS_TEST_DIRNAME/helpers/terminal.py" 3>&- <<-END
		prompt
		line $CFLOCK $name sh -c 'echo up-\$CFLOCK_NAME; exec sleep $marker'
		expect up-$name
		key C-c
		prompt
		line echo "code=\$?"
		expect code=130
	END
	nothing_left "$name"
}

@test "an unknown CA: 77" {
	text="the server's certificate is not signed by a CA that is trusted here"
	CFLOCK_TLS_CA_FILE=$certs/other.crt refused 77 "$text" "tls-ca-file" --
	CFLOCK_TLS_CA_FILE='' refused 77 "$text" --
	refused 77 "$text" -- --tls-ca-file "$certs/other.crt" -w 20
	# The system's CAs count, and only when no other is given.
	CFLOCK_TLS_CA_FILE='' SSL_CERT_FILE=$certs/ca.crt expect 0 "$CFLOCK" "$name" true
	SSL_CERT_FILE=$certs/ca.crt refused 77 "$text" -- --tls-ca-file "$certs/other.crt"
}

@test "--tls-ca-dir" {
	mkdir "$work/cas"
	cp "$certs/other.crt" "$work/cas/other.pem"
	openssl rehash "$work/cas"
	export CFLOCK_TLS_CA_FILE=
	refused 77 "is not signed by a CA" -- --tls-ca-dir "$work/cas"
	cp "$certs/ca.crt" "$work/cas/ca.pem"
	openssl rehash "$work/cas"
	expect 0 "$CFLOCK" --tls-ca-dir "$work/cas" "$name" true
}

@test "a certificate for another name: 77; --tls-server-name" {
	serve foreign
	refused 77 'not for "localhost"' "tls-server-name" --
	refused 77 'not for "127.0.0.1"' -- -S "rediss://127.0.0.1:$PORT"
	expect 0 "$CFLOCK" --tls-server-name redis.example.net "$name" true
	expect 0 "$CFLOCK" --tls-server-name redis.example.net. -S "rediss://127.0.0.1:$PORT" \
		"$name" true
	refused 77 'not for "elsewhere"' -- --tls-server-name elsewhere
}

@test "an address must stand in the certificate as one: 77" {
	serve name-only
	expect 0 "$CFLOCK" "$name" true
	refused 77 'not for "127.0.0.1"' -- -S "rediss://127.0.0.1:$PORT"
	refused 77 'not for "::1"' -- -S "rediss://[::1]:$PORT"
	expect 0 "$CFLOCK" -S "rediss://[::1]:$PORT" --tls-server-name localhost "$name" true
	serve server
	expect 0 "$CFLOCK" --tls-server-name ::1 "$name" true
}

@test "an expired certificate: 77" {
	serve expired
	refused 77 "has expired" --
}

@test "the server asks for a certificate: 77 without, and with another's" {
	rcli config set tls-auth-clients yes
	for protocols in TLSv1.3 TLSv1.2; do
		rcli config set tls-protocols "$protocols"
		refused 77 "asks for a certificate; set tls-cert and tls-key" --
		refused 77 "does not accept the certificate" -- \
			--tls-cert "$certs/stranger.crt" --tls-key "$certs/stranger.key"
		expect 0 "$CFLOCK" --tls-cert "$certs/client.crt" --tls-key "$certs/client.key" \
			"$name" "$CTL" status "$name"
		is_silent
	done
	expect 0 "$CFLOCK" --tls-cert "$certs/both.pem" "$name" true
}

@test "files that are not right: 78 when not there, 77 when not good" {
	refused 78 "tls-ca-file $work/none: cannot read it: No such file" -- --tls-ca-file "$work/none"
	refused 78 "tls-cert $work/none: " -- --tls-cert "$work/none"
	refused 64 "--tls-key: it needs --tls-cert" -- --tls-key "$certs/client.key"
	refused 77 "tls-ca-file" "in PEM form" -- --tls-ca-file "$certs/server.key"
	refused 77 "tls-key" "does not belong to the certificate" -- \
		--tls-cert "$certs/client.crt" --tls-key "$certs/server.key"
	refused 77 "tls-key" "pass phrase" -- \
		--tls-cert "$certs/client.crt" --tls-key "$certs/locked.key"
	refused 77 "tls-cert" "as a private key" -- --tls-cert "$certs/client.crt"
	# They mean nothing elsewhere.
	expect 0 "$CFLOCK" -S "unix://$REDIS_SOCKET" --tls-ca-file "$work/none" "$name" true
}

@test "only TLS 1.1: 69" {
	port=$(free_port)
	OPENSSL_CONF=/dev/null openssl s_server -accept "127.0.0.1:$port" -tls1_1 \
		-cipher DEFAULT@SECLEVEL=0 -www -cert "$certs/server.crt" -key "$certs/server.key" \
		>"$work/out" 2>&1 </dev/null 3>&- &
	pids+=("$!")
	wait_until is_listening "$port"
	refused 69 "does not speak TLS 1.2 or later" -- -S "rediss://127.0.0.1:$port" -w 20
}

@test "TLS where none is spoken: 69" {
	port=$(free_port)
	python3 -m http.server --bind 127.0.0.1 -d "$work" "$port" >/dev/null 2>&1 </dev/null 3>&- &
	pids+=("$!")
	wait_until is_listening "$port"
	refused 69 "is it a port for redis://?" -- -S "rediss://127.0.0.1:$port" -w 20
}

# A plain Redis may wait for the end of a line that never comes.
@test "TLS to a plain Redis: 69" {
	port=$(free_port)
	rcli config set port "$port"
	wait_until is_listening "$port"
	for _ in 1 2 3; do
		refused 69 TLS -- -S "rediss://127.0.0.1:$port" -w 0.5
	done
	rcli config set port 0
}

@test "a server that does not answer the handshake: 69 at the end of the wait" {
	python3 -c '
import socket, sys, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
time.sleep(600)' >"$work/port" </dev/null 3>&- &
	pids+=("$!")
	wait_until test -s "$work/port"
	refused 69 "no answer to the TLS handshake in time" -- \
		-S "rediss://127.0.0.1:$(cat "$work/port")" -w 0.5
	took 490 15000
	in_background "$CFLOCK" -S "rediss://127.0.0.1:$(cat "$work/port")" "$name" true
	wait_until eval '[ "$(state_of "$background")" = S ]'
	kill -TERM "$background"
	code=0
	wait "$background" || code=$?
	[ "$code" = 143 ]
}

@test "a server that is gone: 69" {
	refused 69 "cannot connect to rediss://127.0.0.1:" "Connection refused" -- \
		-S "rediss://127.0.0.1:$(free_port)" -w 0.3
}

@test "SIGPIPE is not raised when the server closes" {
	expect 69 env --default-signal=PIPE "$CFLOCK" -w 0.5 \
		-S "rediss://127.0.0.1:$(python3 -c '
import os, socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
if os.fork():
	os._exit(0)
os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
end = time.time() + 20
s.settimeout(20)
while time.time() < end:
	try:
		s.accept()[0].close()
	except OSError:
		break' 3>&-)" "$name" touch "$work/ran"
	says "the server closed the connection"
	[ ! -e "$work/ran" ]
}

@test "the program that speaks TLS is not there: 71" {
	mkdir "$work/bin"
	cp "$CFLOCK" "$CTL" "$work/bin"
	export CFLOCK=$work/bin/cflock
	if [ -n "$(find "$(strings -a "$CFLOCK" | grep -m 1 '/libexec/cflock/')" -name cflock-tls 2>/dev/null)" ]; then
		skip "it is installed"
	fi
	refused 71 "cannot run the program cflock-tls" "No such file" --
	expect 71 "$work/bin/cflockctl" status "$name"
	says "cannot run the program cflockctl-tls"
	# Never a script that runs without its lock.
	run ! eval 'eval "$("$CFLOCK" --attach $$ "$name")"'
	expect 0 "$CFLOCK" -S "unix://$REDIS_SOCKET" "$name" true
}

@test "the program that speaks TLS cannot be loaded: no script runs without its lock" {
	mkdir "$work/bin"
	cp "$CFLOCK" "$work/bin"
	printf '#!/bin/sh\nexit 127\n' >"$work/bin/cflock-tls"
	chmod +x "$work/bin/cflock-tls"
	CFLOCK=$work/bin/cflock
	for shell in bash dash zsh; do
		run ! "$shell" -c 'set -e; eval "$("$CFLOCK" --attach $$ "$name")"; : >"$work/ran"'
		run "$shell" -c 'eval "$("$CFLOCK" --attach $$ "$name")" || exit; : >"$work/ran"'
		[ ! -e "$work/ran" ]
	done
}

# traced COMMAND...: LeakSanitizer does not work below strace.
traced() {
	ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0 strace -f -e trace=execve,openat \
		-o "$work/trace" "$@"
}

@test "without TLS, OpenSSL is not loaded" {
	run ldd "$CFLOCK"
	run ! grep -e libssl -e libcrypto <<<"$output"
	expect 0 traced "$CFLOCK" -S "unix://$REDIS_SOCKET" "$name" true
	run ! grep -e ssl -e crypto -e cflock-tls "$work/trace"
	expect 0 traced "$CFLOCK" "$name" true
	grep -q 'execve(".*/cflock-tls", ' "$work/trace"
}

@test "--help, --version and bad usage do without" {
	expect 0 traced "$CFLOCK" --version
	run ! grep -q cflock-tls "$work/trace"
	refused 64 "--ttl" -- --ttl x
}
