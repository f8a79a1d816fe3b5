# rediss+cluster://: a real cluster of three masters and a replica of each, by
# TLS.  The two nodes that the URL names are known by a name, the others not.

# shellcheck disable=SC2154,SC2030,SC2031 # what `run` and the helpers set; each test has its own
bats_require_minimum_version 1.5.0
load helpers
load helpers/certs
load helpers/nodes
load helpers/cluster

setup_file() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	certs=$REDIS_DIR/certs
	export REDIS_DIR certs
	mkdir "$certs"
	{
		make_ca ca
		make_ca other
		make_cert server ca subjectAltName=DNS:localhost,IP:127.0.0.1
		make_cert name-only ca subjectAltName=DNS:localhost
		make_cert announced ca subjectAltName=DNS:node.example.net,DNS:localhost
		make_cert foreign ca subjectAltName=DNS:jobs.example.net
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
	export CFLOCK_SERVER=rediss+cluster://localhost:${ports[0]},127.0.0.1:${ports[1]}
	export CFLOCK_TLS_CA_FILE=$certs/ca.crt
	# shellcheck disable=SC2034 # of the helpers
	WAIT_LIMIT_S=90
	slot=$(cli -p "${ports[0]}" cluster keyslot "$key")
}

teardown() {
	local port

	for port in "${ports[@]}"; do
		cli -p "$port" config set tls-auth-clients no cluster-announce-hostname '' \
			cluster-preferred-endpoint-type ip || true
		serve "$port" server || true
	done
	test_teardown
}

# serve PORT NAME: the node shows that certificate from now on.
serve() {
	cli -p "$1" config set tls-cert-file "$certs/$2.crt" tls-key-file "$certs/$2.key"
}

@test "a lock at each node, from each node" {
	is_got_at_each_node
}

@test "got, renewed, waited for and handed over at the owner of the slot" {
	settle
	start a --ttl 5s
	wait_until has_begun a
	[ "$(cli -p "$owner" exists "$key")" = 1 ]
	expect 1 "$CFLOCK" -n "$name" true
	start b --ttl 5s
	wait_until is_in_line 1
	sleep 7
	[ "$(cli -p "$owner" exists "$key")" = 1 ]
	touch "$work/go"
	ended_well a
	ended_well b
	nothing_is_left
}

@test "cflockctl: status, list of all masters, doctor, break" {
	is_seen_at_all_masters
}

@test "an unknown CA: 77; a cluster without TLS in the URL: 69" {
	refused 77 "of rediss+cluster://localhost:" "is not signed by a CA that is trusted here" -- \
		--tls-ca-file "$certs/other.crt" -w 20
	expect 77 "$CTL" --tls-ca-file "$certs/other.crt" list
	says "is not signed by a CA that is trusted here"
	refused 69 "is it a TLS port" -- -n -S "redis+cluster://127.0.0.1:${ports[0]}"
}

@test "a node without TLS: 69; one that is dead" {
	local plain

	plain=$(free_port)
	start_redis "$work/r" --port "$plain" --bind 127.0.0.1
	refused 69 TLS -- -w 2 -S "rediss+cluster://127.0.0.1:$plain"
	stop_redis "$work/r"
	expect 0 "$CFLOCK" -S "rediss+cluster://127.0.0.1:1,127.0.0.1:${ports[0]}" "$name" true
	is_silent
}

@test "the nodes ask for certificates" {
	local port

	settle
	for port in "${ports[@]}"; do
		cli -p "$port" config set tls-auth-clients yes
	done
	refused 77 "asks for a certificate; set tls-cert and tls-key" -- -w 20
	export CFLOCK_TLS_CERT=$certs/client.crt CFLOCK_TLS_KEY=$certs/client.key
	expect 0 "$CFLOCK" "$name" "$CTL" list
	is_silent
	[[ $output == *"$name"* ]]
}

@test "the owner is checked by the address that MOVED names: 77" {
	local other

	settle
	other=$(other_than "$owner")
	serve "$owner" name-only
	refused 77 "cannot connect to 127.0.0.1:$owner of rediss+cluster://" 'not for "127.0.0.1"' -- \
		-w 20 -S "rediss+cluster://127.0.0.1:$other"
	expect 77 "$CTL" -S "rediss+cluster://127.0.0.1:$other" list
	says 'not for "127.0.0.1"'
	# A node that the URL names is known by that name.
	expect 0 "$CFLOCK" -S "rediss+cluster://127.0.0.1:$other,localhost:$owner" "$name" true
	is_silent
	expect 0 "$CTL" -S "rediss+cluster://127.0.0.1:$other,localhost:$owner" list
	serve "$owner" server
	expect 0 "$CFLOCK" -S "rediss+cluster://127.0.0.1:$other" "$name" true
}

@test "a seed whose certificate is not right: the others are asked; 77, 69" {
	local other

	settle
	other=$(other_than "$owner")
	serve "$other" foreign
	expect 0 "$CFLOCK" -S "rediss+cluster://127.0.0.1:$other,127.0.0.1:$owner" "$name" true
	is_silent
	refused 77 'not for "127.0.0.1"' -- -w 20 -S "rediss+cluster://127.0.0.1:$other"
	# What is not there may come.
	refused 69 'not for "127.0.0.1"' -- -n -S "rediss+cluster://127.0.0.1:1,127.0.0.1:$other"
	refused 69 refused -- -n -S "rediss+cluster://127.0.0.1:$other,127.0.0.1:1"
}

@test "--tls-server-name stands for all of them" {
	local port

	settle
	for port in "${ports[@]}"; do
		serve "$port" foreign
	done
	refused 77 'not for "' -- -w 20
	expect 0 "$CFLOCK" --tls-server-name jobs.example.net "$name" "$CTL" list
	is_silent
	[[ $output == *"$name"* ]]
}

@test "the host names that nodes announce" {
	local port

	settle
	for port in "${ports[@]}"; do
		cli -p "$port" config set cluster-announce-hostname node.example.net
		serve "$port" announced
	done
	wait_until all_announced
	# By the first node's name in the URL; the others' is that in CLUSTER NODES.
	export CFLOCK_SERVER=rediss+cluster://localhost:${ports[0]}
	expect 0 "$CTL" list
	is_silent
	# MOVED says something else, which counts.
	for port in "${ports[@]}"; do
		[ "$port" != "${ports[0]}" ] || continue
		[ "$port" != "$owner" ] || refused 77 'not for "127.0.0.1"' -- -w 20
	done
	for port in "${ports[@]}"; do
		cli -p "$port" config set cluster-announce-hostname localhost \
			cluster-preferred-endpoint-type hostname
	done
	wait_until moved_names localhost
	expect 0 "$CFLOCK" "$name" true
	is_silent
}

all_announced() {
	[ "$(cli -p "${ports[0]}" cluster nodes | grep -c ',node.example.net')" = 6 ]
}

# No node sends us to another but by that name.
moved_names() {
	local port

	for port in "${ports[@]}"; do
		[ "$(cli -p "$port" cluster nodes | grep -c ",$1")" = 6 ] || return 1
		[ "$port" = "$owner" ] || cli -p "$port" get "$key" | grep -q "MOVED $slot $1:" || return 1
	done
}

@test "the slot moves while the lock is held and waited for" {
	follows_the_slot
}

@test "a fail-over by hand while the lock is held and waited for" {
	follows_a_fail_over
}

@test "the owner dies, the only node that was named" {
	outlives_the_owner
}
