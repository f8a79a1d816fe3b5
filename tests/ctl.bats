# cflockctl: usage, status and list.

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

# hold NAME ARG...: a holder of NAME, until the end of the test.
hold() {
	in_background "$CFLOCK" "$@" sleep 60
	pids+=("$background")
	holder=$background
}

has_line_of() {
	[ "$(rcli zcard "$key:line")" = "$1" ]
}

# field PATH: of the JSON in $output.
field() {
	python3 -c 'import json, sys
value = json.load(sys.stdin)
for step in sys.argv[1].split("."):
    value = value[int(step) if step.isdigit() else step]
print(value)' "$1" <<<"$output"
}

@test "bad usage: 64, with what is wrong" {
	for arguments in "|what to do is missing" "nothing|no such verb" "status|NAME of the lock is missing" \
		"status a b|too many" "status a{b|letters, digits" "list a b|too many" "doctor a|too many" \
		"status --foo a|--foo: there is no such option" "status a -S|argument is missing"; do
		# shellcheck disable=SC2086 # words
		expect 64 "$CTL" ${arguments%%|*}
		says "cflockctl: " "${arguments#*|}" "--help"
	done
}

@test "bad configuration: 78; unreachable: 69; no rights: 77" {
	expect 78 "$CTL" -S nonsense status "$name"
	expect 78 env CFLOCK_TTL=nonsense "$CTL" status "$name"
	says CFLOCK_TTL
	expect 69 "$CTL" -S "unix://$work/none" status "$name"
	says "cannot connect to unix://$work/none"
	rcli acl setuser nobody reset on '>pw' '~*' +ping
	expect 77 "$CTL" -S "unix://nobody:pw@$REDIS_SOCKET" status "$name"
	says "ACL"
	[[ $stderr != *pw@* ]]
}

@test "--help and --version" {
	expect 0 "$CTL" --help
	[[ $output == *"status [--json] NAME"* ]]
	expect 0 "$CTL" status --version
	[[ $output == "cflockctl "[0-9]* ]]
}

@test "status of a lock that is free" {
	expect 0 "$CTL" status "$name"
	[ "$output" = "$name: free" ]
	"$CFLOCK" "$name" true
	expect 0 "$CTL" status --json "$name"
	[ "$(field state)" = free ]
	[ "$(field name)" = "$name" ]
	[ "$(field token)" = "$(rcli get "$key:token")" ]
}

@test "status: the holder, and the line in its order" {
	hold --message "big deploy" "$name"
	wait_until is_locked "$name"
	for i in 1 2; do
		in_background "$CFLOCK" --message "waiter $i" "$name" true
		pids+=("$background")
		wait_until has_line_of "$i"
	done
	expect 0 "$CTL" status "$name"
	[[ $output == "$name: exclusive, "*" left, 2 waiting, last token "* ]]
	[[ $output == *"held by  host "*", pid $holder, user "*": sleep 60 (big deploy)"* ]]
	[[ $output == *" 1.   host "*"true (waiter 1)"*" 2.   host "*"true (waiter 2)"* ]]
	expect 0 "$CTL" status "$name" --json
	now=$(date +%s)
	[ "$(field state) $(field kind) $(field waiting)" = "held exclusive 2" ]
	[ "$(field holders.0.pid) $(field holders.0.message)" = "$holder big deploy" ]
	[ "$(field holders.0.id)/$(field holders.0.token)" = "$(rcli get "$key")" ]
	[ "$(field value)" = "$(rcli get "$key")" ]
	[ "$(field waiters.0.message) $(field waiters.1.message)" = "waiter 1 waiter 2" ]
	[ "$(field waiters.1.place)" = 2 ]
	within 1 "$(field left_ms)" 10000 "ms are left"
	since=$(date -d "$(field holders.0.since)" +%s)
	within $((now - 30)) "$since" "$now" "is since when"
	ends=$(date -d "$(field ends)" +%s)
	within $((now - 10)) "$ends" $((now + 11)) "is the end"
	[ "$(printf '%s\n' "$output" | grep -o '"[a-z_]*"' | head -n 3 | tr -d '\n')" = '"name""kind""exclusive"' ]
}

@test "status: shared, slots, a foreign client, a cooldown" {
	hold -s "$name"
	hold -s "$name"
	has_holders() { [ "$(rcli hlen "cflock:{$1}:holders")" = "$2" ]; }
	wait_until has_holders "$name" 2
	expect 0 "$CTL" status "$name"
	[[ $output == "$name: shared by 2, "* ]]
	[ "$(grep -c "held by" <<<"$output")" = 2 ]

	hold --slots 3 "$name.slots"
	wait_until has_holders "$name.slots" 1
	expect 0 "$CTL" status "$name.slots"
	[[ $output == "$name.slots: 1 of 3 slots, "* ]]

	rcli set "cflock:{$name.foreign}" "somebody" px 60000
	expect 0 "$CTL" status "$name.foreign"
	[[ $output == "$name.foreign: foreign, "*'a client that is not cflock (value "somebody")'* ]]
	rcli persist "cflock:{$name.foreign}"
	expect 0 "$CTL" status "$name.foreign"
	[[ $output == *"without an end"* ]]

	"$CFLOCK" --cooldown 30s "$name.cool" true
	expect 0 "$CTL" status "$name.cool"
	[[ $output == "$name.cool: cooling down"*"cooling down, 2"*" s left, since the run "* ]]
}

@test "status: what others have written cannot steer the terminal" {
	script acquire evil 60000 24000 exclusive '' 0 '' '' $'h\e[2Jost' 1 $'us\ter' $'com\nmand' $'bad\xff'
	expect 0 "$CTL" status "$name"
	[[ $output == *'host h?[2Jost, pid 1, user us?er'*': com?mand (bad?)'* ]]
	expect 0 "$CTL" status --json "$name"
	[ "$(field holders.0.host)" = 'h?[2Jost' ]
	expect 0 "$CTL" list "$name"
	[[ $output != *$'\e'* ]]
	rcli hset "$key:holders" evil 'not json'
	expect 69 "$CTL" status "$name"
}

@test "status changes nothing, and works on a replica" {
	hold "$name"
	wait_until is_locked "$name"
	rcli replicaof 127.0.0.1 1
	expect 0 "$CTL" status "$name"
	[[ $output == "$name: exclusive"* ]]
	expect 0 "$CTL" list "$name"
	rcli replicaof no one
}

@test "list: what is in use, sorted, by pattern; not what is free" {
	hold "$name/b"
	hold "$name/a"
	wait_until is_locked "$name/a"
	wait_until is_locked "$name/b"
	"$CFLOCK" --cooldown 30s "$name/c" true
	"$CFLOCK" "$name/free" true
	expect 0 "$CTL" list "$name/*"
	[[ ${lines[0]} == LOCK*STATE*HOLDER*SINCE*LEFT*WAITING*COMMAND ]]
	[[ ${lines[1]} == "$name/a "*exclusive*"sleep 60" ]]
	[[ ${lines[2]} == "$name/b "*exclusive*"sleep 60" ]]
	[[ ${lines[3]} == "$name/c "*"cooling down"* ]]
	[ "${#lines[@]}" = 4 ]
	expect 0 "$CTL" list --json "$name/[ab]"
	[ "$(field 0.name) $(field 1.name)" = "$name/a $name/b" ]
	expect 0 "$CTL" list "$name/none*"
	[ -z "$output" ]
	expect 0 "$CTL" list --json "$name/none*"
	[ "$(tr -d ' \n' <<<"$output")" = "[]" ]
}

@test "list: 10,000 locks, each once; no KEYS" {
	for i in $(seq 10000); do
		echo "SET cflock:{$name/$i} x PX 600000"
	done | rcli --pipe
	rcli config resetstat
	expect 0 "$CTL" list "$name/*"
	[ "$(tail -n +2 <<<"$output" | cut -d ' ' -f 1 | sort -u | wc -l)" = 10000 ]
	[ "$(wc -l <<<"$output")" = 10001 ]
	[ "$(rcli info commandstats | grep -c cmdstat_keys)" = 0 ]
	empty_redis
}

@test "list on a terminal: no line is longer than it is wide" {
	in_background "$CFLOCK" "$name" sh -c "sleep 60; $(printf '%0200d' 0)"
	pids+=("$background")
	wait_until is_locked "$name"
	command script -qec "stty cols 80; '$CTL' list '$name'" /dev/null >"$work/screen" </dev/null
	[ "$(tr -d '\r' <"$work/screen" | wc -L)" = 80 ]
	grep -q "^$name .*exclusive" "$work/screen"
	expect 0 "$CTL" list "$name"
	[ "$(wc -L <<<"$output")" -gt 200 ]
}

@test "nobody reads: 71" {
	hold "$name"
	wait_until is_locked "$name"
	code=0
	"$CTL" status "$name" >/dev/full 2>"$work/err" || code=$?
	[ "$code" = 71 ]
	grep -q "cannot write to standard output" "$work/err"
}

@test "with standard output closed, nothing of it goes to the server" {
	hold DEL
	wait_until is_locked DEL
	rcli set exclusive kept
	"$CTL" list >&- 2>/dev/null || true
	[ "$(rcli get exclusive)" = kept ]
}
