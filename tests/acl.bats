# The rights in contrib/redis-acl/cflock.acl: they are enough, and each of them
# is needed, and named when it is missing.

bats_require_minimum_version 1.5.0
load helpers

rule_file=${top_srcdir:-$BATS_TEST_DIRNAME/..}/contrib/redis-acl/cflock.acl
manual=${top_srcdir:-$BATS_TEST_DIRNAME/..}/man/cflock.1

# The rights by what shows that they are needed; see the tests of these names.
needed_to_run="evalsha time info get hgetall mget set hset pexpire zrange"
needed_to_be_refused="zcard zrank pttl"
needed_to_wait="zadd zrevrange zscore zrangebyscore del hget xread"
needed_to_have_waited="zrem hdel exists"
needed_elsewhere="eval select xadd hexists scan"

setup_file() {
	cp "$rule_file" "$BATS_FILE_TMPDIR/users.acl"
	use_redis --aclfile "$BATS_FILE_TMPDIR/users.acl"
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	jobs_may
}

teardown() {
	test_teardown
}

# The user as the file has it, and RULES.
jobs_may() {
	rcli acl load
	rcli acl setuser jobs '>pw' "$@"
	CFLOCK_SERVER=unix://jobs:pw@$REDIS_SOCKET
}

# lacks RIGHT: the user has all but that one; $name is that of another lock.
lacks() {
	jobs_may "-$1"
	name=$(lock_name)-$1
	key="cflock:{$name}"
}

# names RIGHT: what the last `expect` saw on stderr says that it is missing.
names() {
	says "ACL"
	grep -qi -e "'$1'" -e "missing is .*+$1\>" -e "or +$1\>" -e "AUTH or $1" <<<"$stderr" ||
		fail "+$1 is not named in: $stderr"
}

# hold ARG...: who has all rights holds $name, until $work/end is there; the lock
# may be one that others hold already.
hold() {
	rm -f "$work/end" "$work/held"
	CFLOCK_SERVER=unix://$REDIS_SOCKET in_background "$CFLOCK" "$@" "$name" \
		sh -c ': >"$work/held"; until [ -e "$work/end" ]; do sleep 0.01; done' 2>>"$work/err"
	pids+=("$background")
	holder=$background
	wait_until test -e "$work/held"
}

stand_in_line() {
	[ "$(rcli zcard "$key:line")" = "$1" ]
}

# as_jobs ARG...: in the background; what it says goes to $work/err.
as_jobs() {
	in_background "$CFLOCK" "$@" 2>>"$work/err"
	pids+=("$background")
}

# expect_of PID CODE: that job's exit code, and $stderr from $work/err.
expect_of() {
	local code=0

	wait "$1" || code=$?
	stderr=$(cat "$work/err")
	[ "$code" = "$2" ] || fail "exit code $code, not $2; stderr: $stderr"
}

# The rights of a rule, one a line, sorted.
rights_in() {
	tr -s ' \t' '\n' | grep -x '[+~%&@-].*' | sort
}

@test "the rule of the manual is that of the file" {
	in_manual=$(sed -n '/^ACL SETUSER jobs/,/^\.Ed/p' "$manual" | sed 's/\\e$//' | rights_in)
	[ "$(wc -l <<<"$in_manual")" -gt 20 ]
	diff <(rights_in <"$rule_file") - <<<"$in_manual"
}

@test "each right of the file is tried below" {
	# shellcheck disable=SC2086 # lists
	diff <(rights_in <"$rule_file" | grep -v '^~') <(printf '+%s\n' $needed_to_run \
		$needed_to_be_refused $needed_to_wait $needed_to_have_waited $needed_elsewhere | sort)
	[ "$(rights_in <"$rule_file" | grep '^~')" = '~cflock:*' ]
}

@test "the user of the file cannot log in before it has a password" {
	rcli acl load
	CFLOCK_SERVER=unix://jobs:@$REDIS_SOCKET expect 77 "$CFLOCK" "$name" true
	CFLOCK_SERVER=unix://jobs:pw@$REDIS_SOCKET expect 77 "$CFLOCK" "$name" true
	says WRONGPASS
}

@test "the rights are enough: run, wait, renew, share, slots, cooldown, status, list" {
	rcli acl log reset
	expect 3 "$CFLOCK" -t 400ms "$name" sh -c 'sleep 1; exit 3'
	is_silent
	as_jobs "$name" sh -c 'until [ -e "$work/end" ]; do sleep 0.01; done'
	holder=$background
	wait_until is_locked "$name"
	expect 1 "$CFLOCK" -n "$name" true
	says "held by"
	as_jobs -s "$name" touch "$work/first"
	wait_until stand_in_line 1
	as_jobs -s "$name" touch "$work/second"
	wait_until stand_in_line 2
	expect 0 "$CTL" status "$name"
	[[ $output == *"held by"*" 1. "*" 2. "* ]]
	expect 0 "$CTL" list "$name"
	[[ $output == *"$name"*exclusive* ]]
	touch "$work/end"
	wait "$holder"
	wait_until test -e "$work/first" -a -e "$work/second"
	wait
	as_jobs -m 2 "$name" sleep 1
	wait_until is_locked "$name"
	expect 0 "$CFLOCK" -m 2 "$name" true
	wait
	expect 4 "$CFLOCK" --cooldown 60s --retry-failed "$name" sh -c 'exit 4'
	expect 0 "$CFLOCK" --cooldown 60s "$name" true
	expect 1 "$CFLOCK" "$name" true
	says "cooling down"
	CFLOCK_SERVER+='?db=1' expect 0 "$CFLOCK" "$name" true
	is_silent
	[ ! -s "$work/err" ] || fail "said: $(cat "$work/err")"
	[ -z "$(rcli --raw acl log)" ] || fail "refused: $(rcli --raw acl log)"
}

@test "the rights are enough: a lease lost, taken over, and given to the next" {
	rcli acl log reset
	as_jobs -t 600ms "$name" sleep 60
	holder=$background
	wait_until is_locked "$name"
	as_jobs "$name" true
	dead=$background
	wait_until stand_in_line 1
	as_jobs "$name" touch "$work/ran"
	next=$background
	wait_until stand_in_line 2
	kill -KILL "$dead"
	kill -STOP "$holder"
	expect_of "$next" 0
	[ -e "$work/ran" ]
	kill -CONT "$holder"
	expect_of "$holder" 79
	[ -z "$(rcli --raw acl log)" ] || fail "refused: $(rcli --raw acl log)"
}

@test "needed to run: 77, named" {
	for right in $needed_to_run; do
		lacks "$right"
		expect 77 "$CFLOCK" "$name" touch "$work/ran"
		names "$right"
		[ ! -e "$work/ran" ]
	done
}

@test "needed to be refused: 77, named" {
	for right in $needed_to_be_refused; do
		lacks "$right"
		hold
		expect 77 "$CFLOCK" -n "$name" touch "$work/ran"
		names "$right"
		touch "$work/end"
		wait "$holder"
	done
	[ ! -e "$work/ran" ]
}

@test "needed to wait: 77, named" {
	for right in $needed_to_wait; do
		lacks "$right"
		hold -s
		# So that an exclusive one stands in the line before.
		CFLOCK_SERVER=unix://$REDIS_SOCKET as_jobs "$name" true
		other=$background
		wait_until stand_in_line 1
		expect 77 "$CFLOCK" -s -w 20 "$name" touch "$work/ran"
		names "$right"
		touch "$work/end"
		wait "$holder" "$other"
	done
	[ ! -e "$work/ran" ]
}

@test "needed to have waited: 77, named" {
	for right in $needed_to_have_waited; do
		lacks "$right"
		hold
		: >"$work/err"
		as_jobs "$name" touch "$work/ran"
		waiter=$background
		wait_until stand_in_line 1
		touch "$work/end"
		expect_of "$waiter" 77
		names "$right"
		wait "$holder"
	done
	[ ! -e "$work/ran" ]
}

@test "eval is needed, when the server does not know the script: 77, named" {
	lacks eval
	rcli script flush
	expect 77 "$CFLOCK" "$name" touch "$work/ran"
	names eval
	[ ! -e "$work/ran" ]
}

@test "select is needed for a database: 77, named" {
	lacks select
	expect 0 "$CFLOCK" "$name" true
	CFLOCK_SERVER+='?db=1' expect 77 "$CFLOCK" "$name" touch "$work/ran"
	names select
	[ ! -e "$work/ran" ]
}

@test "xadd is needed to let the next of several in: 77, named" {
	lacks xadd
	hold
	as_jobs -s "$name" touch "$work/ran"
	waiter=$background
	wait_until stand_in_line 1
	CFLOCK_SERVER=unix://$REDIS_SOCKET as_jobs -s "$name" true
	wait_until stand_in_line 2
	touch "$work/end"
	expect_of "$waiter" 77
	names xadd
	[ ! -e "$work/ran" ]
}

@test "hexists is needed to tell by whom a lease was lost: 79, named" {
	lacks hexists
	as_jobs -t 1s -v "$name" sleep 60
	wait_until is_locked "$name"
	rcli set "$key" another px 60000
	expect_of "$background" 79
	names hexists
}

@test "scan is needed to list: 77, named" {
	lacks scan
	expect 0 "$CTL" status "$name"
	expect 77 "$CTL" list
	names scan
}

@test "the keys are needed: 77, named" {
	jobs_may resetkeys '~other:*'
	expect 77 "$CFLOCK" "$name" touch "$work/ran"
	says "ACL" "missing is ~cflock:*"
	[ ! -e "$work/ran" ]
}

@test "a narrower pattern gives some locks only" {
	jobs_may resetkeys '~cflock:epoch' '~cflock:{web/*'
	expect 0 "$CFLOCK" "web/$name" true
	expect 77 "$CFLOCK" "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
}

@test "cflockctl doctor tries the same rights" {
	expect 1 "$CTL" doctor
	[[ $output == *"the user jobs has all "*"~cflock:*"* ]]
	# Half of them at a time, so that each two are told apart by one of the runs.
	mapfile -t all < <(rights_in <"$rule_file" | grep -v -e '^~' -e '+select')
	for bit in 1 2 4 8 16; do
		missing=()
		for i in "${!all[@]}"; do
			[ $((i & bit)) = 0 ] || missing+=("${all[i]}")
		done
		jobs_may "${missing[@]/+/-}"
		expect 2 "$CTL" doctor --json
		diff <(printf '%s\n' "${missing[@]}") \
			<(sed -n 's/.*"the user jobs lacks \(.*\)",/\1/p' <<<"$output" | rights_in)
		diff <(printf '%s\n' "${missing[@]}") \
			<(sed -n 's/.*"ACL SETUSER jobs \(+.*\)"/\1/p' <<<"$output" |
				grep -v -e config -e ' +info"' | rights_in | uniq)
	done
}
