# What cflock promises when all goes well, and when another has the lock.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
}

teardown() {
	test_teardown
}

# hold [OPTION]...: takes the lock in the background until $work/go exists.
hold() {
	in_background "$CFLOCK" "$@" "$name" sh -c '
		: >"$work/held"
		until [ -e "$work/go" ]; do sleep 0.01; done'
	pids+=("$background")
	holder=$background
	wait_until test -e "$work/held"
}

let_go() {
	: >"$work/go"
	wait "$holder"
}

token_of_a_run() {
	"$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TOKEN"'
}

@test "the command runs under the lock, which is gone after" {
	expect 0 "$CFLOCK" "$name" redis-cli -s "$REDIS_SOCKET" exists "$key"
	[ "$output" = 1 ]
	is_silent
	nothing_left "$name"
}

@test "the exit status is the command's" {
	for code in 0 1 2 63 77 255; do
		expect "$code" "$CFLOCK" "$name" sh -c "exit $code"
		is_silent
	done
	expect 143 "$CFLOCK" "$name" sh -c 'kill -TERM $$'
	nothing_left "$name"
}

@test "name, id, token and ttl are in the environment" {
	expect 0 "$CFLOCK" -t 5s "$name" sh -c '
		echo "$CFLOCK_NAME $CFLOCK_ID/$CFLOCK_TOKEN $CFLOCK_TTL_MS"
		redis-cli -s "$REDIS_SOCKET" get "$key"'
	[[ ${lines[0]} =~ ^"$name "[0-9a-f]{32}/[0-9]+" 5000"$ ]]
	[ "${lines[0]}" = "$name ${lines[1]} 5000" ]
}

@test "the key is a plain string with an expiry" {
	expect 0 "$CFLOCK" -t 5s "$name" sh -c '
		redis-cli -s "$REDIS_SOCKET" type "$key"
		redis-cli -s "$REDIS_SOCKET" pttl "$key"'
	[ "${lines[0]}" = string ]
	[ "${lines[1]}" -gt 0 ]
	[ "${lines[1]}" -le 5000 ]
}

@test "only the token is left behind, and that for ever" {
	expect 0 "$CFLOCK" "$name" true
	[ "$(rcli keys "$key*")" = "$key:token" ]
	[ "$(rcli pttl "$key:token")" = -1 ]
}

@test "the token grows from run to run" {
	first=$(token_of_a_run)
	second=$(token_of_a_run)
	third=$(token_of_a_run)
	[ "$first" -lt "$second" ]
	[ "$second" -lt "$third" ]
	[ "$third" -lt $((1 << 53)) ]
	[ "$(rcli get "$key:token")" = "$third" ]
}

@test "the token grows over FLUSHALL" {
	first=$(token_of_a_run)
	rcli flushall
	second=$(CFLOCK_TTL=1s token_of_a_run)
	looks_old "$REDIS_DIR"
	[ "$first" -lt "$second" ]
}

@test "the token grows over a restart without persistence" {
	first=$(token_of_a_run)
	stop_redis "$REDIS_DIR"
	YOUNG_REDIS=1 start_redis "$REDIS_DIR"
	[ "$(rcli exists "$key:token")" = 0 ]
	second=$(CFLOCK_TTL=1s token_of_a_run)
	looks_old "$REDIS_DIR"
	[ "$first" -lt "$second" ]
}

@test "the token grows though the stored one is ahead of the clock" {
	rcli set "$key:token" 8000000000000000
	[ "$(token_of_a_run)" = 8000000000000001 ]
	[ "$(token_of_a_run)" = 8000000000000002 ]
}

@test "a token that would not fit is refused, and nothing is run" {
	for bad in 9007199254740991 1e300 inf nan; do
		rcli set "$key:token" "$bad"
		expect 69 "$CFLOCK" -n "$name" touch "$work/ran"
		says "fencing token" "$key:token"
		[ ! -e "$work/ran" ]
		nothing_left "$name"
	done
}

@test "a second run waits for the end of the first" {
	hold
	before=$(calls_of evalsha)
	in_background "$CFLOCK" "$name" sh -c 'echo "second, go: $(ls "$work/go")" >"$work/log"'
	pids+=("$background")
	asked_thrice() { [ "$(calls_of evalsha)" -ge $((before + 3)) ]; }
	wait_until asked_thrice
	[ ! -e "$work/log" ]
	let_go
	wait "$background"
	[ "$(cat "$work/log")" = "second, go: $work/go" ]
	nothing_left "$name"
}

@test "-n: code 1, and a line that tells who holds it" {
	export LOGNAME=operator
	hold --message "nightly backup"
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	[ "${#stderr_lines[@]}" = 1 ]
	says "cflock: $name: held by" "host $(hostname)," "pid $holder," "user operator," \
		'sh -c' "(nightly backup)"
	took 0 1500
	let_go
}

@test "what the holder wrote cannot steer a terminal" {
	hold --message $'\e[2Jx\rfoo\nbar'
	expect 1 "$CFLOCK" -n "$name" true
	[ "${#stderr_lines[@]}" = 1 ]
	[[ $stderr != *[$'\e\r']* ]]
	says "?[2Jx?foo?bar"
	let_go
}

@test "-E: the code for a conflict" {
	hold
	expect 0 "$CFLOCK" -n -E 0 "$name" touch "$work/ran"
	expect 255 "$CFLOCK" -n -E 255 "$name" touch "$work/ran"
	expect 42 "$CFLOCK" -w 0.1 -E 42 "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	let_go
}

@test "-w: waits until its deadline, fractions too" {
	hold
	for seconds in 0.2 0.75; do
		ms=$(awk "BEGIN { print $seconds * 1000 }")
		expect 1 "$CFLOCK" -w "$seconds" "$name" touch "$work/ran"
		took "$ms" $((ms + 600))
		says "held by"
	done
	[ ! -e "$work/ran" ]
	let_go
}

@test "-w: succeeds when the lock is let go of in time" {
	hold
	in_background "$CFLOCK" -w 20 "$name" touch "$work/ran"
	pids+=("$background")
	let_go
	wait "$background"
	[ -e "$work/ran" ]
}

@test "eight rivals never overlap, and all get their turn" {
	for _ in 1 2 3 4 5 6 7 8; do
		in_background "$CFLOCK" "$name" sh -c '
			mkdir "$work/in" || echo overlap >>"$work/bad"
			sleep 0.03
			rmdir "$work/in"
			echo "$CFLOCK_TOKEN" >>"$work/tokens"'
		pids+=("$background")
	done
	for pid in "${pids[@]}"; do
		wait "$pid"
	done
	[ ! -e "$work/bad" ]
	[ "$(wc -l <"$work/tokens")" = 8 ]
	[ "$(cat "$work/tokens")" = "$(sort -nu "$work/tokens")" ]
	nothing_left "$name"
}

@test "a client that took the key by SET NX PX excludes us" {
	rcli set "$key" somebody-else NX PX 60000
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	says "not cflock" "somebody-else"
	[ ! -e "$work/ran" ]
	[ "$(rcli get "$key")" = somebody-else ]
	rcli del "$key"
	expect 0 "$CFLOCK" -n "$name" true
}

@test "a client that took the key without an expiry excludes us" {
	rcli set "$key" somebody-else
	expect 1 "$CFLOCK" -w 0.3 "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	[ "$(rcli get "$key")" = somebody-else ]
}

@test "a client that took the key is waited for until its expiry" {
	rcli set "$key" somebody-else NX PX 700
	expect 0 "$CFLOCK" "$name" true
	took 600 5000
}

@test "a client that takes the key by SET NX PX is excluded by us" {
	expect 0 "$CFLOCK" "$name" redis-cli -s "$REDIS_SOCKET" set "$key" other NX PX 1000
	[ -z "$output" ]
	[ "$(rcli set "$key" other NX PX 1000)" = OK ]
}

@test "SCRIPT FLUSH before a run is not noticed" {
	rcli script flush
	expect 0 "$CFLOCK" "$name" true
	is_silent
	nothing_left "$name"
}

@test "SCRIPT FLUSH in the middle of a run is not noticed" {
	expect 0 "$CFLOCK" -t 1500ms "$name" sh -c '
		redis-cli -s "$REDIS_SOCKET" script flush
		sleep 2
		redis-cli -s "$REDIS_SOCKET" get "$key"
		echo "$CFLOCK_ID/$CFLOCK_TOKEN"
		redis-cli -s "$REDIS_SOCKET" script flush'
	is_silent
	[ "${lines[1]}" = "${lines[2]}" ]
	nothing_left "$name"
}

@test "the lease is renewed for as long as the command runs" {
	hold -t 1500ms
	value=$(rcli get "$key")
	end=$(($(now_ms) + 2500))
	samples=0
	while [ "$(now_ms)" -lt "$end" ]; do
		[ "$(rcli pttl "$key")" -gt 0 ]
		samples=$((samples + 1))
		sleep 0.02
	done
	[ "$samples" -gt 10 ]
	[ "$(rcli get "$key")" = "$value" ]
	let_go
}

@test "the holder's description lives as long as the lease" {
	hold -t 1500ms --message why
	sleep 2
	[[ $(rcli hvals "$key:holders") == *'"message":"why"'* ]]
	[ "$(rcli pttl "$key:holders")" -gt 0 ]
	let_go
}

@test "asking for a lock that an ancestor holds: refused at once, 64" {
	expect 64 "$CFLOCK" "$name" "$CFLOCK" "$name" touch "$work/ran"
	says "$name" "already"
	took 0 3000
	[ ! -e "$work/ran" ]
	nothing_left "$name"
}

@test "asking for it again through another lock: refused at once, 64" {
	expect 64 "$CFLOCK" "$name" "$CFLOCK" "$name-b" "$CFLOCK" "$name" touch "$work/ran"
	says "$name:" "already"
	took 0 3000
	[ ! -e "$work/ran" ]
	nothing_left "$name"
	nothing_left "$name-b"
}

@test "a lock of another name inside is allowed" {
	expect 0 "$CFLOCK" "$name" "$CFLOCK" "$name-b" sh -c '
		redis-cli -s "$REDIS_SOCKET" exists "$key" "cflock:{$name-b}"'
	[ "$output" = 2 ]
	is_silent
	nothing_left "$name"
	nothing_left "$name-b"
}

@test "the same name after the one inside has ended is no nesting" {
	expect 0 "$CFLOCK" "$name" "$CFLOCK" "$name-b" true
	expect 0 "$CFLOCK" "$name-b" "$CFLOCK" "$name" true
	is_silent
}

@test "the lock is held until all that the command started has ended" {
	in_background "$CFLOCK" "$name" sh -c '
		sh -c "echo \$\$ >\"$work/child\"; until [ -e \"$work/go\" ]; do sleep 0.01; done" &
		until [ -s "$work/child" ]; do sleep 0.01; done
		echo $$ >"$work/command"'
	pids+=("$background")
	holder=$background
	wait_until test -s "$work/command"
	wait_gone "$(cat "$work/command")"
	pids+=("$(cat "$work/child")")
	is_alive "$holder"
	is_locked "$name"
	expect 1 "$CFLOCK" -n "$name" true
	let_go
	nothing_left "$name"
}

@test "-o: the lock is held until the command itself has ended" {
	in_background "$CFLOCK" -o "$name" sh -c '
		sh -c "echo \$\$ >\"$work/child\"; until [ -e \"$work/go\" ]; do sleep 0.01; done" &
		until [ -s "$work/child" ]; do sleep 0.01; done'
	pids+=("$background")
	wait "$background"
	pids+=("$(cat "$work/child")")
	is_alive "$(cat "$work/child")"
	nothing_left "$name"
	: >"$work/go"
	wait_gone "$(cat "$work/child")"
}

@test "a run is two requests: one to acquire, one to release" {
	expect 0 "$CFLOCK" "$name" true
	rcli config resetstat
	expect 0 "$CFLOCK" "$name" true
	[ "$(calls_of evalsha)" = 2 ]
	# What the scripts call, and the clients of this test; no handshake.
	rcli info commandstats | grep -v '^cmdstat_info:' >"$work/stats"
	run ! grep -E '^cmdstat_(eval|hello|ping|auth|select|client|info|script)[:|]' "$work/stats"
}

@test "a handshake costs no round trip of its own" {
	rcli acl setuser two-trips on '>open sesame' '~*' '&*' +@all
	python3 "$BATS_TEST_DIRNAME/helpers/proxy.py" "$REDIS_SOCKET" "$work/port" \
		"$work/none" "$work/turns" </dev/null 3>&- &
	pids+=("$!")
	wait_until test -s "$work/port"
	# So that the server knows the scripts.
	expect 0 "$CFLOCK" "$name" true
	url=redis://two-trips:open%20sesame@127.0.0.1:$(cat "$work/port")/1
	expect 0 "$CFLOCK" -S "$url" "$name" redis-cli -s "$REDIS_SOCKET" -n 1 exists "$key"
	[ "$output" = 1 ]
	is_silent
	[ "$(wc -l <"$work/turns")" = 2 ]
}

@test "script: acquire is idempotent by id" {
	first=$(acquire_as me 60000)
	[[ $first == 1$'\n'[0-9]* ]]
	second=$(acquire_as me 90000)
	[ "$first" = "$second" ]
	[ "$(rcli pttl "$key")" -gt 60000 ]
	[ "$(rcli pttl "$key:holders")" -gt 60000 ]
	[ "$(rcli get "$key:token")" = "${first#1?}" ]
}

@test "script: acquire by another is refused, and tells of the holder" {
	acquire_as me
	value=$(rcli get "$key")
	mapfile -t answer < <(acquire_as you)
	[ "${answer[*]:0:2}" = "0 held" ]
	[ "${answer[*]:4:2}" = "0 0" ] # no place in a line that is empty
	[ "${answer[6]}" -gt 59000 ]
	[ "${answer[7]}" = 1 ] # holder
	[ "${answer[*]:9:6}" = "me host 1 user command message" ]
	# "me" is a prefix of another id, and is not it.
	[ "$(acquire_as m | head -n 1)" = 0 ]
	[ "$(rcli get "$key")" = "$value" ]
}

@test "script: an acquire that comes behind its own release in doubt is void" {
	script release late '' doubt
	run script acquire late 60000 24000 exclusive wait 60000 '' '' host 1 user command ''
	[[ $output == *"GONE late was released meanwhile"* ]]
	nothing_left "$name"
	# Not for ever, and for nobody else.
	within 1 "$(rcli pttl "$key:gone:late")" 2700 "ms until it is forgotten"
	script acquire other 60000 24000 exclusive '' 0 '' '' host 1 user command ''
	[ "$(script release other '')" = 1 ]
}

@test "script: a release in doubt works, though Redis is out of memory" {
	acquire_as me
	rcli config set maxmemory-policy noeviction maxmemory 1
	run script release me '' doubt
	rcli config set maxmemory 0
	[ "$output" = 1 ]
	nothing_left "$name"
}

@test "script: renew is idempotent, and only for the very lease" {
	acquire_as me 60000
	value=$(rcli get "$key")
	token=${value#*/}
	[ "$(renew_as me "$token" 90000)" = 1 ]
	[ "$(renew_as me "$token" 90000)" = 1 ]
	[ "$(rcli pttl "$key")" -gt 60000 ]
	[ "$(renew_as me 1 120000)" = $'0\n'"$value"$'\n1' ]
	[ "$(renew_as you "$token" 120000)" = $'0\n'"$value"$'\n1' ]
	[ "$(rcli pttl "$key")" -le 90001 ]
	rcli del "$key"
	[ "$(renew_as me "$token" 60000)" = $'0\n\n0' ]
	[ "$(rcli exists "$key")" = 0 ]
}

@test "script: release is idempotent, and only by the holder" {
	acquire_as me
	[ "$(release_as you)" = 0 ]
	[ "$(release_as m)" = 0 ]
	[ "$(rcli exists "$key" "$key:holders")" = 2 ]
	[ "$(release_as me)" = 1 ]
	[ "$(release_as me)" = 0 ]
	nothing_left "$name"
	[ "$(rcli exists "$key:token")" = 1 ]
}
