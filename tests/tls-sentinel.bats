# rediss+sentinel://: three real sentinels, a master and a replica, all of which
# want certificates; and sentinels that say what a test wants.

# shellcheck disable=SC2154,SC2030,SC2031 # what `run` and the helpers set; each test has its own
bats_require_minimum_version 1.5.0
load helpers
load helpers/certs
load helpers/nodes
load helpers/sentinels

setup_file() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	certs=$REDIS_DIR/certs auth_clients=yes
	export REDIS_DIR certs auth_clients
	mkdir "$certs"
	{
		make_ca ca
		make_ca other
		make_cert server ca subjectAltName=DNS:localhost,DNS:jobs.example.net,IP:127.0.0.1
		make_cert name-only ca subjectAltName=DNS:localhost
		make_cert foreign ca subjectAltName=DNS:jobs.example.net
		make_cert untrusted other subjectAltName=DNS:localhost,IP:127.0.0.1
		make_cert client ca extendedKeyUsage=clientAuth
	} 2>/dev/null
	start_all
}

teardown_file() {
	kill_nodes
	rm -rf "$REDIS_DIR"
}

setup() {
	test_setup
	read -ra ports <<<"$PORTS"
	export CFLOCK name work
	real=127.0.0.1:${ports[0]},localhost:${ports[1]},127.0.0.1:${ports[2]}
	export CFLOCK_SERVER=rediss+sentinel://$real/jobs
	export CFLOCK_TLS_CA_FILE=$certs/ca.crt
	export CFLOCK_TLS_CERT=$certs/client.crt CFLOCK_TLS_KEY=$certs/client.key
	# shellcheck disable=SC2034 # of the helpers
	WAIT_LIMIT_S=90
}

teardown() {
	test_teardown
}

# serve PORT NAME: the node shows that certificate from now on.
serve() {
	cli -p "$1" config set tls-cert-file "$certs/$2.crt" tls-key-file "$certs/$2.key"
}

# fake_tls N CERT [SAYS]: as fake, by TLS; says where the master is.
fake_tls() {
	fake "$1" "" "$certs/$2.crt" "$certs/$2.key"
	echo "${3-127.0.0.1 $master}" >"$work/says-$1"
}

@test "got, renewed and released at the master" {
	is_got_renewed_and_released
}

@test "cflockctl, and another database" {
	is_seen_in_another_database
}

@test "no certificate to show, and that of another CA: 77" {
	settle
	CFLOCK_TLS_CERT='' CFLOCK_TLS_KEY='' refused 77 "no sentinel of rediss+sentinel://" \
		"asks for a certificate; set tls-cert and tls-key" --
	refused 77 "does not accept the certificate" -- \
		--tls-cert "$certs/untrusted.crt" --tls-key "$certs/untrusted.key"
	# Also where it is the master that asks.
	fake_tls one server
	CFLOCK_TLS_CERT='' CFLOCK_TLS_KEY='' refused 77 "127.0.0.1:$master of rediss+sentinel://" \
		"asks for a certificate" -- -S "rediss+sentinel://127.0.0.1:$port/jobs"
}

@test "an unknown CA: 77" {
	settle
	refused 77 "no sentinel of rediss+sentinel://" "the sentinel 127.0.0.1:${ports[0]}" \
		"is not signed by a CA that is trusted here" -- --tls-ca-file "$certs/other.crt" -w 20
	refused 77 "tls-ca-file" "in PEM form" -- --tls-ca-file "$certs/server.key"
	expect 77 "$CTL" --tls-ca-file "$certs/other.crt" status "$name"
	says "is not signed by a CA that is trusted here"
}

@test "a sentinel whose certificate is not right: the others are asked" {
	settle
	fake_tls one untrusted "127.0.0.1 1"
	expect 0 "$CFLOCK" -S "rediss+sentinel://127.0.0.1:$port,$real/jobs" "$name" true
	is_silent
	fake_tls two foreign "127.0.0.1 1"
	expect 0 "$CFLOCK" -S "rediss+sentinel://$real,127.0.0.1:$port/jobs" "$name" true
	is_silent
	# It has no vote, as it was not listened to.
	expect 0 "$CFLOCK" -S "rediss+sentinel://127.0.0.1:$port,127.0.0.1:${ports[1]}/jobs" "$name" true
	is_silent
}

@test "no sentinel can be spoken with: 77 if all refuse; 69, and why" {
	local one

	settle
	fake_tls one untrusted
	one=$port
	fake_tls two foreign
	refused 77 "no sentinel of" "the sentinel 127.0.0.1:$one" "is not signed by a CA" -- -w 20 \
		-S "rediss+sentinel://127.0.0.1:$one,127.0.0.1:$port/jobs"
	refused 77 'not for "127.0.0.1"' -- -w 20 -S "rediss+sentinel://127.0.0.1:$port/jobs"
	# What is not there may come.
	refused 69 "the sentinel 127.0.0.1:1: Connection refused" "the sentinel 127.0.0.1:$one" \
		"is not signed by a CA" -- -n -S "rediss+sentinel://127.0.0.1:$one,127.0.0.1:1/jobs"
}

@test "a sentinel is checked by its name in the URL, and told it" {
	settle
	fake_tls one name-only
	expect 0 "$CFLOCK" -S "rediss+sentinel://localhost:$port/jobs" "$name" true
	is_silent
	[ "$(sort -u "$work/says-one.names")" = localhost ]
	rm "$work/says-one.names"
	refused 77 "the sentinel 127.0.0.1:$port" 'not for "127.0.0.1"' -- \
		-S "rediss+sentinel://127.0.0.1:$port/jobs"
	[ "$(sort -u "$work/says-one.names")" = None ]
}

@test "the master is checked by what the sentinels call it" {
	settle
	serve "$master" name-only
	refused 77 "127.0.0.1:$master of rediss+sentinel://" 'not for "127.0.0.1"' -- -w 20
	fake_tls one server "localhost $master"
	expect 0 "$CFLOCK" -S "rediss+sentinel://127.0.0.1:$port/jobs" "$name" true
	is_silent
	serve "$master" server
	foreign=$(free_port)
	start_redis "$work/r" --bind 127.0.0.1 --tls-port "$foreign" --tls-ca-cert-file "$certs/ca.crt" \
		--tls-cert-file "$certs/untrusted.crt" --tls-key-file "$certs/untrusted.key"
	echo "127.0.0.1 $foreign" >"$work/says-one"
	refused 77 "127.0.0.1:$foreign of rediss+sentinel://" "is not signed by a CA" -- -w 20 \
		-S "rediss+sentinel://127.0.0.1:$port/jobs"
	stop_redis "$work/r"
	expect 0 "$CFLOCK" "$name" true
}

@test "--tls-server-name stands for all of them" {
	settle
	serve "$master" foreign
	fake_tls one foreign
	refused 77 'not for "127.0.0.1"' -- -S "rediss+sentinel://127.0.0.1:$port/jobs"
	expect 0 "$CFLOCK" --tls-server-name jobs.example.net \
		-S "rediss+sentinel://127.0.0.1:$port/jobs" "$name" true
	is_silent
	[ "$(tail -n 1 "$work/says-one.names")" = jobs.example.net ]
	serve "$master" server
	refused 77 "the sentinel 127.0.0.1:$port" 'not for "localhost"' -- \
		--tls-server-name localhost -S "rediss+sentinel://127.0.0.1:$port/jobs"
	refused 77 'not for "elsewhere"' -- --tls-server-name elsewhere
}

@test "sentinels and a master without TLS, and TLS without its URL: 69" {
	local plain

	settle
	fake plain
	echo "127.0.0.1 $master" >"$work/says-plain"
	refused 69 "the sentinel 127.0.0.1:$port" TLS -- -w 2 -S "rediss+sentinel://127.0.0.1:$port/jobs"
	plain=$(free_port)
	start_redis "$work/r" --port "$plain" --bind 127.0.0.1
	refused 69 "the sentinel 127.0.0.1:$plain" TLS -- -w 2 -S "rediss+sentinel://127.0.0.1:$plain/jobs"
	fake_tls one server "127.0.0.1 $plain"
	refused 69 "127.0.0.1:$plain of rediss+sentinel://" TLS -- -w 2 \
		-S "rediss+sentinel://127.0.0.1:$port/jobs"
	stop_redis "$work/r"
	refused 69 "is it a TLS port" -- -n -S "redis+sentinel://$real/jobs"
}

@test "passwords: of the sentinels and of the servers" {
	settle
	fake one s3cret "$certs/server.crt" "$certs/server.key"
	echo "127.0.0.1 $master" >"$work/says-one"
	cli -p "$master" acl setuser ann on '>hunter2' '~*' '+@all'
	expect 0 "$CFLOCK" -S "rediss+sentinel://ann:hunter2@127.0.0.1:$port/jobs?sentinel-password=s3cret" \
		"$name" bash -c 'tr "\0" "\n" </proc/$PPID/cmdline; cat /proc/$PPID/environ; env'
	is_silent
	[[ $output == *CFLOCK_NAME* ]]
	[[ $output != *hunter2* ]]
	[[ $output != *s3cret* ]]
	refused 77 "the sentinel 127.0.0.1:$port" password -- -S "rediss+sentinel://127.0.0.1:$port/jobs"
	cli -p "$master" acl deluser ann
}

@test "the files are read once, for all connections" {
	settle
	cp "$certs/ca.crt" "$work/ca"
	expect 0 env ASAN_OPTIONS="${ASAN_OPTIONS-}:detect_leaks=0" strace -f -e trace=openat \
		-o "$work/trace" "$CFLOCK" --tls-ca-file "$work/ca" "$name" true
	[ "$(grep -c "\"$work/ca\"" "$work/trace")" -le 2 ] || fail "$(grep "$work/ca" "$work/trace")"
}

@test "a fail-over by hand while the lock is held" {
	is_held_through_fail_over
}

@test "the master dies while the lock is held and waited for" {
	outlives_the_master
}
