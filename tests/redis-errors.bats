# What Redis answers when it cannot or will not do what is asked, or when it was
# frozen for a time: the right code, a message that names the cause, the command
# not started, and no lock left behind.

bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts
load helpers/stamps

setup_file() {
	use_redis --dbfilename not-a-file.rdb
	mkdir "$REDIS_DIR/not-a-file.rdb"
}

teardown_file() {
	drop_redis
}

setup() {
	stamp_setup
}

teardown() {
	thaw_redis
	test_teardown
	stop_redis "$work/r"
	rcli config set maxmemory 0 save ''
	rcli replicaof no one
}

# As user USER, who has all rights but those that RULES take away.
as_user() {
	local user=$1

	shift
	rcli acl setuser "$user" reset on '>pw' '~*' '&*' +@all "$@"
	CFLOCK_SERVER=unix://$user:pw@$REDIS_SOCKET
}

@test "NOAUTH: 77" {
	start_redis "$work/r" --requirepass secret
	CFLOCK_SERVER=unix://$work/r/redis.sock expect 77 "$CFLOCK" "$name" touch "$work/ran"
	says "the server wants a password" "CFLOCK_PASSWORD"
	took 0 2000
	[ ! -e "$work/ran" ]
	[ "$(REDISCLI_AUTH=secret redis-cli -s "$work/r/redis.sock" keys '*')" = cflock:epoch ]
}

@test "WRONGPASS: 77, the password is not shown" {
	as_user wrongpass
	CFLOCK_SERVER=unix://wrongpass:not-the-one@$REDIS_SOCKET \
		expect 77 "$CFLOCK" -v "$name" touch "$work/ran"
	says "WRONGPASS" "refused the user or the password"
	[[ $stderr != *not-the-one* ]]
	not_run
}

@test "a user that the server does not know: 77" {
	CFLOCK_SERVER=unix://nobody-such:pw@$REDIS_SOCKET \
		expect 77 "$CFLOCK" "$name" touch "$work/ran"
	says "WRONGPASS"
	not_run
}

@test "a password though the server has none: 77" {
	CFLOCK_SERVER=unix://:surplus@$REDIS_SOCKET \
		expect 77 "$CFLOCK" "$name" touch "$work/ran"
	says "the server knows no password"
	[[ $stderr != *surplus* ]]
	not_run
}

@test "NOPERM for the request: 77" {
	as_user no-eval -evalsha -eval
	expect 77 "$CFLOCK" "$name" touch "$work/ran"
	says "NOPERM" "ACL" "evalsha"
	not_run
}

@test "NOPERM for a command of the script: 77, and no lock is left" {
	for right in get set hset pexpire time; do
		as_user "no-$right" "-$right"
		expect 77 "$CFLOCK" "$name" touch "$work/ran"
		says "ACL does not allow this user what cflock needs"
		not_run
	done
}

# Background runs of the test below; what they say goes to $work/err.
as_jobs() {
	in_background "$CFLOCK" -t 600ms "$@" 2>>"$work/err"
	pids+=("$background")
}

stands_in_line() {
	[ "$(rcli zcard "$key:line")" = "$1" ]
}

@test "the rights that the manual gives are enough for all that is built" {
	local rules holder dead

	rules=$(sed -n '/^ACL SETUSER jobs/,/^\.Ed/{s/\\e$//;s/^ACL SETUSER jobs on >PASSWORD//;/^\.Ed/d;p}' \
		"${top_srcdir:-$BATS_TEST_DIRNAME/..}/man/cflock.1")
	# shellcheck disable=SC2086 # a list
	rcli acl setuser jobs reset on '>pw' $rules
	CFLOCK_SERVER="unix://jobs:pw@$REDIS_SOCKET?db=0"

	# A holder that is stopped, one who takes over, one who dies in the line.
	as_jobs "$name" sleep 60
	holder=$background
	wait_until is_locked "$name"
	as_jobs "$name" true
	dead=$background
	wait_until stands_in_line 1
	as_jobs "$name" touch "$work/ran"
	wait_until stands_in_line 2
	kill -KILL "$dead"
	kill -STOP "$holder"
	wait "$background" || fail "$(cat "$work/err")"
	[ -e "$work/ran" ]
	kill -CONT "$holder"
	wait "$holder" || [ $? = 79 ]

	as_jobs -s "$name" sleep 1
	expect 0 "$CFLOCK" -s -w 5 "$name" true
	expect 0 "$CFLOCK" -w 5 "$name" true
	as_jobs -m 2 "$name" sleep 1
	expect 0 "$CFLOCK" -m 2 -w 5 "$name" true
	wait
	expect 3 "$CFLOCK" --cooldown 5s --retry-failed -w 5 "$name" sh -c 'exit 3'
	expect 0 "$CFLOCK" --cooldown 1s -w 5 "$name" true
	expect 1 "$CFLOCK" -n "$name" true
	says "cooling down"
	grep -i "NOPERM\|ACL" "$work/err" && fail "a right is missing"
	[ "$(rcli --raw acl log | grep -c '^jobs$')" = 0 ]
}

@test "NOPERM for the keys: 77" {
	as_user no-keys resetkeys '~other:*'
	expect 77 "$CFLOCK" "$name" touch "$work/ran"
	says "NOPERM" "ACL"
	not_run
}

@test "NOPERM for the database's choice: 77" {
	as_user no-select -select
	CFLOCK_SERVER+='?db=2' expect 77 "$CFLOCK" "$name" touch "$work/ran"
	says "NOPERM" "AUTH or SELECT"
	not_run
	[ -z "$(rcli -n 2 keys '*')" ]
}

@test "WRONGTYPE, the lock's key is a list: 69 at once, untouched" {
	rcli rpush "$key" a b
	expect 69 "$CFLOCK" "$name" touch "$work/ran"
	says "WRONGTYPE" "not a lock"
	took 0 2000
	[ ! -e "$work/ran" ]
	[ "$(rcli llen "$key")" = 2 ]
	[ "$(rcli keys "$key*")" = "$key" ]
}

@test "WRONGTYPE, the holder's key is a list: 69, no lock is left" {
	rcli rpush "$key:holders" a b
	expect 69 "$CFLOCK" "$name" touch "$work/ran"
	says "WRONGTYPE"
	[ ! -e "$work/ran" ]
	[ "$(rcli exists "$key")" = 0 ]
}

@test "OOM: 69 within the wait, no lock is left" {
	rcli config set maxmemory-policy noeviction maxmemory 1
	expect 69 "$CFLOCK" -w 0.5 "$name" touch "$work/ran"
	says "OOM" "maxmemory"
	took 400 2500
	rcli config set maxmemory 0
	not_run
}

@test "READONLY: 69 within the wait" {
	rcli replicaof 127.0.0.1 1
	expect 69 "$CFLOCK" -w 0.5 "$name" touch "$work/ran"
	says "READONLY" "replica"
	took 400 2500
	rcli replicaof no one
	not_run
}

@test "MISCONF: 69 within the wait" {
	rcli config set save '3600 1'
	rcli bgsave
	save_failed() { rcli info persistence | grep -q '^rdb_last_bgsave_status:err'; }
	wait_until save_failed
	expect 69 "$CFLOCK" -w 0.5 "$name" touch "$work/ran"
	says "MISCONF" "cannot save"
	took 400 2500
	rcli config set save ''
	not_run
}

@test "BUSY with another script: 69 within the wait" {
	rcli config set busy-reply-threshold 50
	rcli eval 'while true do end' 0 >/dev/null 2>&1 </dev/null 3>&- &
	pids+=("$!")
	is_busy() { rcli ping | grep -q BUSY; }
	wait_until is_busy
	expect 69 "$CFLOCK" -w 0.5 "$name" touch "$work/ran"
	rcli script kill
	says "BUSY" "another script"
	took 400 2500
	not_run
}

# A server in $work/r that takes seconds to load its data.
start_loading() {
	start_redis "$work/r"
	redis-cli -s "$work/r/redis.sock" eval \
		"for i = 1, $1 do redis.call('set', 'k' .. i, string.rep('x', 200)) end" 0
	redis-cli -s "$work/r/redis.sock" save
	stop_redis "$work/r"
	YOUNG_REDIS=1 start_redis "$work/r" --key-load-delay 1000 --loading-process-events-interval-bytes 1024
	redis-cli -s "$work/r/redis.sock" get k1 | grep -q LOADING
}

@test "LOADING: 69 when the wait ends before" {
	start_loading 30000
	CFLOCK_SERVER=unix://$work/r/redis.sock \
		expect 69 "$CFLOCK" -w 0.5 "$name" touch "$work/ran"
	says "LOADING" "still loading"
	took 400 2500
	[ ! -e "$work/ran" ]
}

@test "LOADING: succeeds when it has loaded" {
	start_loading 1000
	CFLOCK_SERVER=unix://$work/r/redis.sock expect 0 "$CFLOCK" -w 25 "$name" touch "$work/ran"
	is_silent
	[ -e "$work/ran" ]
}

@test "an error that is over within the wait is not noticed" {
	rcli replicaof 127.0.0.1 1
	in_background "$CFLOCK" -v -w 25 "$name" touch "$work/ran" 2>"$work/stderr"
	pids+=("$background")
	wait_until grep READONLY "$work/stderr"
	rcli replicaof no one
	wait "$background"
	[ -e "$work/ran" ]
}

@test "in a run: rights taken away, 79 in time" {
	as_user dropped
	stamping
	rcli acl setuser dropped -evalsha -eval
	expiry=$(expiry_ms)
	lost_in_time "$expiry" "NOPERM" "ACL"
}

@test "in a run: a user removed, 79 in time" {
	as_user removed
	stamping
	rcli acl deluser removed
	expiry=$(expiry_ms)
	lost_in_time "$expiry" "WRONGPASS"
}

@test "in a run: made a replica, 79 in time" {
	stamping
	rcli replicaof 127.0.0.1 1
	expiry=$(expiry_ms)
	lost_in_time "$expiry" "READONLY"
	rcli replicaof no one
}

@test "in a run: out of memory harms no renewal" {
	expect 0 "$CFLOCK" -t 1500ms "$name" sh -c '
		redis-cli -s "$REDIS_SOCKET" config set maxmemory 1 >/dev/null
		sleep 2
		redis-cli -s "$REDIS_SOCKET" exists "$key"'
	[ "$output" = 1 ]
	is_silent
	nothing_left "$name"
}

@test "in a run: the release refused, code kept, and a line" {
	as_user no-release
	expect 5 "$CFLOCK" "$name" sh -c '
		redis-cli -s "$REDIS_SOCKET" acl setuser no-release -evalsha >/dev/null; exit 5'
	says "cannot release the lock, it ends by itself in" "NOPERM"
	[ "$(rcli pttl "$key")" -gt 0 ]
}

@test "a grant after its own deadline is none; asked again it is" {
	freeze_redis
	in_background "$CFLOCK" -t 1s -w 25 "$name" sh -c '
		[ "$(redis-cli -s "$REDIS_SOCKET" get "$key")" = "$CFLOCK_ID/$CFLOCK_TOKEN" ] &&
		[ "$(redis-cli -s "$REDIS_SOCKET" pttl "$key")" -gt 300 ] && : >"$work/ran"'
	pids+=("$background")
	sleep 1.3
	[ ! -e "$work/ran" ]
	thaw_redis
	wait "$background"
	[ -e "$work/ran" ]
	nothing_left "$name"
}

@test "rivals that asked a frozen server never overlap after the thaw" {
	freeze_redis
	for _ in 1 2 3; do
		in_background "$CFLOCK" -t 1s -w 25 "$name" sh -c '
			mkdir "$work/in" || echo overlap >>"$work/bad"
			sleep 0.1
			rmdir "$work/in"
			echo done >>"$work/log"'
		pids+=("$background")
	done
	sleep 1.3
	thaw_redis
	for pid in "${pids[@]}"; do
		wait "$pid"
	done
	[ ! -e "$work/bad" ]
	[ "$(wc -l <"$work/log")" = 3 ]
	nothing_left "$name"
}

@test "a frozen server and -n: 69, and no ghost of a lock after the thaw" {
	freeze_redis
	expect 69 "$CFLOCK" -n "$name" touch "$work/ran"
	says "no answer in time" "$REDIS_SOCKET"
	took 1900 4500
	thaw_redis
	rcli ping
	not_run
}

@test "a frozen server, several tries: no ghost after the thaw" {
	freeze_redis
	expect 69 "$CFLOCK" -t 300ms -w 0.9 "$name" touch "$work/ran"
	took 800 3500
	thaw_redis
	rcli ping
	# A ghost would be gone by itself soon: look at what was carried out last.
	not_run
}

@test "a frozen server, interrupted: no ghost after the thaw" {
	freeze_redis
	in_background "$CFLOCK" -t 10s "$name" touch "$work/ran"
	pids+=("$background")
	has_socket() { find "/proc/$background/fd" -lname 'socket:*' | grep -q .; }
	wait_until has_socket
	kill -TERM "$background"
	code=0
	wait "$background" || code=$?
	[ "$code" = 143 ]
	thaw_redis
	rcli ping
	not_run
}

