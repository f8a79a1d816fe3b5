# redis+sentinel://: three real sentinels, a master and a replica, and sentinels
# that say what a test wants.  What is held or waited for follows a fail-over.

# shellcheck disable=SC2154,SC2030,SC2031 # what `run` and the helpers set; each test has its own
bats_require_minimum_version 1.5.0
load helpers
load helpers/nodes
load helpers/sentinels

setup_file() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR
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
	export CFLOCK_SERVER=redis+sentinel://127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}/jobs
	# shellcheck disable=SC2034 # of the helpers
	WAIT_LIMIT_S=90
}

signal_sentinels() {
	local i

	for i in 0 1 2; do
		kill -"$1" "$(cat "$REDIS_DIR/$i.pid")"
	done
}

teardown() {
	signal_sentinels CONT
	test_teardown
}

@test "got, renewed and released at the master" {
	is_got_renewed_and_released
}

@test "cflockctl, and another database" {
	is_seen_in_another_database
}

@test "a sentinel that is dead, or that hangs: the others are asked" {
	local tail=127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}/jobs

	settle
	expect 0 "$CFLOCK" -S "redis+sentinel://127.0.0.1:1,$tail" "$name" true
	is_silent
	fake hung
	expect 0 "$CFLOCK" -S "redis+sentinel://127.0.0.1:$port,$tail" "$name" true
	is_silent
	# A name that there is not.
	expect 0 "$CFLOCK" -S "redis+sentinel://nowhere.invalid,$tail" "$name" true
	is_silent
}

@test "the majority counts" {
	local odd

	settle
	start_redis "$work/other" --port 0 --bind 127.0.0.1
	odd=$(free_port)
	redis-cli -s "$work/other/redis.sock" config set port "$odd"
	fake odd
	echo "127.0.0.1 $odd" >"$work/says-odd"
	start a -S "redis+sentinel://127.0.0.1:$port,127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}/jobs"
	wait_until has_begun a
	[ "$(cli -p "$master" exists "$key")" = 1 ]
	[ "$(cli -p "$odd" exists "$key")" = 0 ]
	touch "$work/go"
	ended_well a

	# One against one: neither.
	expect 69 "$CFLOCK" -n -S "redis+sentinel://127.0.0.1:$port,127.0.0.1:${ports[1]},127.0.0.1:1/jobs" \
		"$name" touch "$work/ran"
	says "do not agree" "127.0.0.1:$odd"
	[ ! -e "$work/ran" ]
	stop_redis "$work/other"
}

@test "what is named as the master but is a replica is not asked" {
	local replica

	settle
	replica=${ports[3]}
	[ "$replica" != "$master" ] || replica=${ports[4]}
	fake stale
	echo "127.0.0.1 $replica" >"$work/says-stale"
	# Even where it would take the lock.
	cli -p "$replica" config set replica-read-only no
	expect 69 "$CFLOCK" -n -S "redis+sentinel://127.0.0.1:$port/jobs" "$name" touch "$work/ran"
	says "is none"
	[ ! -e "$work/ran" ]
	[ "$(cli -p "$replica" exists "$key")" = 0 ]
	cli -p "$replica" config set replica-read-only yes

	# Until the sentinel has heard of it.
	in_background "$CFLOCK" -S "redis+sentinel://127.0.0.1:$port/jobs" "$name" touch "$work/ran"
	pids+=("$background")
	sleep 0.5
	[ ! -e "$work/ran" ]
	echo "127.0.0.1 $master" >"$work/says-stale"
	wait_until test -e "$work/ran"
}

@test "no sentinel: 69; no such master: 69; no sentinel at all" {
	expect 69 "$CFLOCK" -n -S redis+sentinel://127.0.0.1:1,127.0.0.1:2/jobs "$name" touch "$work/ran"
	says "no sentinel of redis+sentinel://127.0.0.1:1,127.0.0.1:2/jobs answers" \
		"cannot connect to the sentinel 127.0.0.1:1: Connection refused"
	expect 69 "$CFLOCK" -S "${CFLOCK_SERVER%jobs}other" "$name" touch "$work/ran"
	says 'the sentinels know no master of the name "other"'
	expect 69 "$CFLOCK" -S "redis+sentinel://127.0.0.1:${ports[3]}/jobs" "$name" touch "$work/ran"
	says "is no sentinel"
	expect 69 "$CFLOCK" -S "redis+sentinel://nowhere.invalid/jobs" "$name" touch "$work/ran"
	says "there is no such name"
	expect 69 "$CFLOCK" -n -S "redis://127.0.0.1:${ports[0]}" "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
}

@test "the last try of a wait finds no sentinel in its little time: 1, not 69" {
	settle
	fake slow
	echo "127.0.0.1 $master" >"$work/says-slow"
	start a
	wait_until has_begun a
	start b -w 2 -S "redis+sentinel://127.0.0.1:$port/jobs"
	wait_until is_in_line 1
	: >"$work/says-slow"
	sleep 1.5
	cli -p "$master" client kill type normal skipme yes
	cli -p "$master" client kill type pubsub
	ended b
	[ "$code" = 1 ] || fail "$code: $(cat "$work/stderr-b")"
	touch "$work/go"
	ended_well a
}

@test "the sentinels' password, and the servers'" {
	local url

	mkdir "$work/other"
	start_redis "$work/other" --requirepass hunter2 --port 0 --bind 127.0.0.1
	redis-cli -a hunter2 -s "$work/other/redis.sock" config set port "$(free_port)"
	fake one s3cret
	redis-cli -a hunter2 -s "$work/other/redis.sock" config get port |
		sed -n 's/^\([0-9]*\)$/127.0.0.1 \1/p' >"$work/says-one"
	url=redis+sentinel://:hunter2@127.0.0.1:$port/jobs
	# shellcheck disable=SC2016 # in the command
	expect 0 "$CFLOCK" -S "$url?sentinel-password=s3cret&sentinel-user=ann" "$name" \
		bash -c 'tr "\0" "\n" </proc/$PPID/cmdline; cat /proc/$PPID/environ; env'
	[[ $output == *CFLOCK_NAME* ]]
	[[ $output != *hunter2* ]]
	[[ $output != *s3cret* ]]
	expect 77 "$CFLOCK" -S "$url" "$name" true
	says "the sentinel 127.0.0.1:$port" "password"
	expect 77 "$CFLOCK" -S "$url?sentinel-password=wrong" "$name" true
	says "refused the user or the password"
	expect 77 "$CFLOCK" -S "redis+sentinel://127.0.0.1:$port/jobs?sentinel-password=s3cret" "$name" true
	says "the server wants a password"
	stop_redis "$work/other"
}

@test "a fail-over by hand while the lock is held" {
	is_held_through_fail_over
}

@test "a fail-over by hand: nobody goes on at the old master, which goes on as one" {
	settle
	start a --ttl 3s
	wait_until has_begun a
	fail_over
	start b --ttl 3s -w 9
	ended b
	[ "$code" = 1 ] || fail "$code: $(cat "$work/stderr-b")"
	touch "$work/go"
	ended_well a
}

# The connection by which one who holds asks the first sentinel, for so many seconds
# at least: its id in $asks.
asks_for() {
	asks=$(cli -p "${ports[0]}" client list |
		sed -n 's/^id=\([0-9]*\) .* age=\([0-9]*\) .* cmd=sentinel\(|master\)\{0,1\} .*/\2 \1/p' |
		awk -v least="$1" '$1 >= least { print $2 }')
	[ -n "$asks" ]
}

asks_anew() {
	asks_for 0 && [ "$asks" != "$1" ]
}

@test "renewals ask the sentinels by connections that stay, or are made anew" {
	local first i

	settle
	start a --ttl 2s
	wait_until has_begun a
	wait_until asks_for 0
	first=$asks
	wait_until asks_for 3
	[ "$asks" = "$first" ]
	for i in 0 1 2; do
		cli -p "${ports[i]}" client kill type normal skipme yes
	done
	wait_until asks_anew "$first"
	touch "$work/go"
	ended_well a
}

@test "all sentinels hang while the lock is held: it goes on; nobody else comes in" {
	settle
	start a --ttl 3s
	wait_until has_begun a
	wait_until asks_for 0
	signal_sentinels STOP
	sleep 7
	[ "$(cli -p "$master" pttl "$key")" -gt 0 ]
	is_alive "${pid_of[a]}"
	expect 69 "$CFLOCK" -n "$name" touch "$work/ran"
	says "no answer in time"
	signal_sentinels CONT
	wait_until is_settled
	expect 1 "$CFLOCK" -n "$name" touch "$work/ran"
	[ ! -e "$work/ran" ]
	touch "$work/go"
	ended_well a
}

# Three that say where the master is, until two of them say what is in $2, or one what
# is in $2, and one what is in $3: then a lease that is held at the master is no longer
# known to be one, and is lost.
is_lost_when_they_say() {
	local fakes='' i

	settle
	for i in 1 2 3; do
		fake "$1-$i"
		echo "127.0.0.1 $master" >"$work/says-$1-$i"
		fakes=$fakes,127.0.0.1:$port
	done
	[ $# = 3 ] || ln -sf "says-$1-2" "$work/says-$1-3"
	start "$1" -v --ttl 2s -S "redis+sentinel://${fakes#,}/jobs"
	wait_until has_begun "$1"
	sleep 1
	# At once: between two steps might be the last try of a lease.
	echo "$2" >"$work/new"
	mv "$work/new" "$work/says-$1-2"
	[ $# = 2 ] || echo "$3" >"$work/says-$1-3"
	ended "$1"
	[ "$code" = 79 ] || fail "$code: $(cat "$work/stderr-$1")"
}

@test "sentinels that do not agree: the lease is lost" {
	is_lost_when_they_say a "127.0.0.1 1" ""
	grep -q "do not agree" "$work/stderr-a" || fail "$(cat "$work/stderr-a")"
}

@test "sentinels that name what is not to be found: the lease is lost" {
	is_lost_when_they_say a "nowhere.invalid 1"
	grep -q "nowhere.invalid" "$work/stderr-a" || fail "$(cat "$work/stderr-a")"
}

# a, which may have lost its lease, and b and c, who waited for it.
all_three_have_run() {
	ended a
	[ "$code" = 0 ] || [ "$code" = 79 ] || fail "$code: $(cat "$work/stderr-a")"
	ended_well b
	ended_well c
	[ "$(sort -u "$work/began" | wc -l)" = 3 ] || fail "began: $(cat "$work/began")"
}

# They go back to a master that was never told that it is none: it knows nothing of
# what the other granted.
@test "a fail-over by hand, and one back within seconds" {
	local first

	settle
	first=$master
	fail_over
	master=$(named_by 0)
	start a --ttl 2s
	wait_until has_begun a
	[ "$(cli -p "$first" exists "$key")" = 0 ]
	start b --ttl 2s
	wait_until is_in_line 1
	fail_over
	[ "$(named_by 0)" = "$first" ]
	start c --ttl 2s
	sleep 5
	touch "$work/go"
	all_three_have_run
	tokens_grow
}

@test "a fail-over by hand while the lock is waited for" {
	settle
	start a --ttl 20s
	wait_until has_begun a
	start b --ttl 20s
	start c --ttl 20s
	wait_until is_in_line 2
	fail_over
	touch "$work/go"
	all_three_have_run
}

@test "the master dies while the lock is held and waited for" {
	outlives_the_master
}
