# cflockctl doctor: what it says of real servers of all kinds.

bats_require_minimum_version 1.5.0
load helpers

manual=${top_srcdir:-$BATS_TEST_DIRNAME/..}/man/cflockctl.1

# As good as one server can be.
setup_file() {
	use_redis --appendonly yes --appendfsync always
	python3 "$BATS_TEST_DIRNAME/helpers/proxy.py" "$REDIS_DIR/redis.sock" "$REDIS_DIR/port" \
		"$REDIS_DIR/damage" /dev/null </dev/null >"$REDIS_DIR/proxy.log" 2>&1 3>&- &
	echo "$!" >"$REDIS_DIR/proxy.pid"
	wait_until test -s "$REDIS_DIR/port"
}

teardown_file() {
	kill -KILL "$(cat "$REDIS_DIR/proxy.pid")"
	drop_redis
}

# A long ttl: what a busy machine does to round trips is not to matter.
setup() {
	test_setup
	export CFLOCK_TTL=1m
}

teardown() {
	thaw_redis
	test_teardown
	stop_redis "$work/r"
	stop_redis "$work/master"
	rcli replicaof no one
	rcli config set appendonly yes appendfsync always save '' maxmemory 0 \
		maxmemory-policy noeviction latency-monitor-threshold 0
	rcli latency reset
}

# examine CODE [ARG...]: doctor --json; its exit code must be CODE.
examine() {
	local code=$1

	shift
	expect "$code" "$CTL" "$@" doctor --json
	# The sanitizers end with 1, too.
	[ "$code" -gt 2 ] || is_silent
}

# of NAME FIELD: of a finding in $output.
of() {
	python3 -c 'import json, sys
for finding in json.load(sys.stdin):
    if finding["name"] == sys.argv[1]:
        print(finding[sys.argv[2]])' "$1" "$2" <<<"$output"
}

# found LEVEL NAME TEXT [ADVICE]: that is a part of the finding; else no advice.
found() {
	[ "$(of "$2" level)" = "$1" ] || fail "$2 is not $1 in: $output"
	[[ $(of "$2" text) == *"$3"* ]] || fail "$2 does not say '$3' in: $output"
	[[ $(of "$2" advice) == *"${4-}"* ]] || fail "$2 does not advise '$4' in: $output"
	[ -n "${4-}" ] || [ -z "$(of "$2" advice)" ] || fail "$2 has advice in: $output"
}

# The names of all findings, or of those that are not ok.
names() {
	python3 -c 'import json, sys
print(*(f["name"] for f in json.load(sys.stdin) if f["level"] != sys.argv[1]))' "${1-}" <<<"$output"
}

# all_ok_but NAME...
all_ok_but() {
	[ "$(names ok)" = "$*" ] || fail "not ok: $(names ok), in: $output"
}

# Damages the replies of the proxy from now on, and makes it the server.
proxy() {
	printf '%s\n' "$name" 1 on "$1" >"$REDIS_DIR/damage.new"
	mv "$REDIS_DIR/damage.new" "$REDIS_DIR/damage"
	CFLOCK_SERVER=redis://127.0.0.1:$(cat "$REDIS_DIR/port")
}

# What a server that tells these FIELDs in INFO would be.
proxy_info() {
	local info

	info=$(printf '%s\\r\\n' "$@")
	proxy "replace=\$$(printf '%b' "$info" | wc -c)\\r\\n$info\\r\\n"
}

@test "all is well: 0, each finding of the manual is told, in its order" {
	examine 0
	all_ok_but
	[ "$(names)" = "$(sed -n '/^\.Sh FINDINGS/,/^\.Sh/s/^\.It Em //p' "$manual" | xargs)" ]
	found ok reachable "unix://$REDIS_DIR/redis.sock: connected in "
	found ok version "$(redis-server --version | sed 's/ server v=\([^ ]*\).*/ \1/')"
	found ok mode standalone
	found ok role master
	found ok rights "the user default has all"
	found ok persistence "appendfsync always"
	found ok eviction "no maxmemory"
	found ok replicas none
	found ok clock "differ by "
	found ok round-trip "the 12.0 s between renewals (ttl 1 m 00 s)"
	found ok latency "a renewal has 24.0 s"
	took 1000 10000
	expect 0 "$CTL" doctor
	unset CFLOCK_TTL
	run "$CTL" doctor
	[[ $output == *"the 2.0 s between renewals (ttl 10.0 s)"*"a renewal has 4.0 s"* ]]
}

@test "for people: a row each, in the same words" {
	examine 0
	json=$output
	expect 0 "$CTL" doctor
	is_silent
	[ "${#lines[@]}" = 12 ]
	[[ ${lines[0]} == "ok "*" reachable "*"connected in "* ]]
	[ "$(awk '{ print $2 }' <<<"$output" | xargs)" = "$(output=$json names)" ]
	[[ $output == *"$(output=$json of persistence text)"* ]]
	rcli config set appendonly no
	expect 1 "$CTL" doctor
	[ "${#lines[@]}" = 13 ]
	[[ $output == *$'\nwarning  persistence  neither '*$'\n                      -> set appendonly yes\n'* ]]
}

@test "on a terminal: no line is longer than it is wide, and no word is lost" {
	rcli config set maxmemory 900mb maxmemory-policy allkeys-lru appendonly no
	rcli acl setuser jobs reset on '>pw' '~other:*' +@all -info
	for width in 80 60; do
		code=0
		script -qec "stty cols $width; '$CTL' -S unix://jobs:pw@$REDIS_SOCKET doctor" /dev/null \
			</dev/null >"$work/screen" || code=$?
		[ "$code" = 2 ]
		within $((width - 8)) "$(tr -d '\r' <"$work/screen" | wc -L)" "$width" "is the longest line"
		[[ $(tr -s ' \r\n' ' ' <"$work/screen") == *" lacks ~cflock:* +info -> ACL SETUSER jobs ~cflock:* +info "* ]]
	done
	code=0
	script -qec "stty cols 5; '$CTL' doctor" /dev/null </dev/null >"$work/screen" || code=$?
	[ "$code" = 2 ]
	within 30 "$(tr -d '\r' <"$work/screen" | wc -L)" 50 "is the longest line"
	[[ $(tr -d ' \r\n' <"$work/screen") == *"unix://$REDIS_DIR/redis.sock:connectedin"* ]]
}

@test "bad usage: 64; configuration: 78; standard output: 71" {
	expect 64 "$CTL" doctor it
	says "too many arguments"
	expect 64 env CFLOCK_TTL=1s CFLOCK_RENEW_BY=95% "$CTL" doctor
	says "do not fit"
	expect 78 env CFLOCK_TTL=nonsense "$CTL" doctor
	code=0
	"$CTL" doctor >/dev/full 2>"$work/err" || code=$?
	[ "$code" = 71 ]
	grep -q "cannot write to standard output" "$work/err"
}

@test "unreachable: 69; also as JSON" {
	expect 69 "$CTL" -S "unix://$work/none" doctor
	says "cannot connect to unix://$work/none"
	[ -z "$output" ]
	examine 69 -S "unix://$work/none"
	[ "$(names)" = reachable ]
	found danger reachable "cannot connect to unix://$work/none" "whether the server runs"
}

@test "a server that is frozen: 69 in time" {
	freeze_redis
	expect 69 "$CTL" doctor
	says "no answer in time"
	took 4900 9000
}

@test "credentials refused: 77; the password is not shown" {
	start_redis "$work/r" --requirepass secret
	CFLOCK_SERVER=unix://$work/r/redis.sock
	expect 77 "$CTL" doctor
	says "wants a password"
	examine 77 -S "unix://:wrong-one@$work/r/redis.sock"
	found danger reachable "refused the user or the password" "the password"
	[[ $output$stderr != *wrong-one* ]]
	examine 1 -S "unix://:secret@$work/r/redis.sock"
	[[ $output != *secret* ]]
}

@test "it changes nothing" {
	rcli set "$key" another
	rcli del cflock:epoch
	before=$(rcli info persistence | grep rdb_changes_since_last_save)
	for _ in 1 2; do
		expect 0 "$CTL" doctor
	done
	[ "$(rcli info persistence | grep rdb_changes_since_last_save)" = "$before" ]
	[ "$(rcli keys '*')" = "$key" ]
	rcli del "$key"
}

@test "persistence: none, snapshots, and each appendfsync" {
	rcli config set appendonly no
	examine 1
	all_ok_but persistence
	found warning persistence "neither append-only file nor snapshots: a restart forgets" "appendonly yes"
	rcli config set save '3600 1 60 1000'
	rcli save
	rcli mset a 1 b 2
	examine 1
	all_ok_but persistence
	found warning persistence "snapshots only (save 3600 1 60 1000)" "appendonly yes"
	found warning persistence ", 2 changes now" "appendonly yes"
	rcli del a b
	rcli config set appendonly yes appendfsync everysec
	examine 0
	found ok persistence "appendfsync everysec"
	rcli config set appendfsync no
	examine 1
	all_ok_but persistence
	found warning persistence "appendfsync no" "appendfsync everysec"
}

@test "eviction: each policy, with maxmemory and without" {
	for policy in allkeys-lru volatile-lru volatile-ttl allkeys-random; do
		rcli config set maxmemory 900mb maxmemory-policy "$policy"
		examine 2
		all_ok_but eviction
		found danger eviction "$policy: drops locks" "maxmemory-policy noeviction"
		found danger eviction "of 900.00M used" "maxmemory-policy noeviction"
	done
	rcli config set maxmemory 0
	examine 0
	found ok eviction "no maxmemory (policy allkeys-random)"
	rcli config set maxmemory 900mb maxmemory-policy noeviction
	examine 0
	found ok eviction "noeviction; "
	rcli config set maxmemory $(($(rcli info memory | sed -n 's/^used_memory:\([0-9]*\).*/\1/p') + 100000))
	examine 1
	found warning eviction "nearly full" "raise maxmemory"
	found ok writes accepted
}

@test "memory is full: writes are refused" {
	rcli config set maxmemory 1
	examine 2
	all_ok_but writes eviction
	found danger writes "OOM" "no lock can be had"
}

@test "a replica, and its master, as replicas come and lag" {
	port=$(free_port)
	start_redis "$work/master" --port "$port" --bind 127.0.0.1 --repl-diskless-sync-delay 0 \
		--appendonly yes
	start_redis "$work/r" --replicaof 127.0.0.1 "$port" --appendonly yes
	is_linked() { redis-cli -s "$work/r/redis.sock" info replication | grep -q "^master_link_status:up"; }
	wait_until is_linked

	examine 2 -S "unix://$work/r/redis.sock"
	all_ok_but role writes
	found danger role "a replica, linked to its master" "the master: 127.0.0.1, port $port"
	found danger writes READONLY "no lock"

	CFLOCK_SERVER=unix://$work/master/redis.sock
	lag_is() { redis-cli -s "$work/master/redis.sock" info replication | grep -q "^slave0:.*state=online.*,lag=$1"; }
	wait_until lag_is '[01]'
	examine 1
	all_ok_but replicas
	found warning replicas "1, " "min-replicas-to-write 1"
	redis-cli -s "$work/master/redis.sock" config set min-replicas-to-write 1
	examine 0
	found ok replicas "writes are refused when too few"

	kill -STOP "$(cat "$work/r/pid")"
	wait_until lag_is '[3-9]'
	examine 1
	all_ok_but replicas
	found warning replicas "1, all online, " "the load of the replicas"
	# More than min-replicas-max-lag: none counts any more.
	wait_until lag_is '1[1-9]'
	examine 2
	found danger writes NOREPLICAS "no lock"
}

@test "a replica without a link: danger" {
	rcli replicaof 127.0.0.1 1
	examine 2
	all_ok_but role writes
	found danger role "a replica, without a link to its master" "127.0.0.1, port 1"
}

@test "an ACL without INFO and CONFIG: unknown, with the right to grant" {
	user_may() {
		rcli acl setuser jobs reset on '>pw' '~cflock:*' +@all "$@"
		CFLOCK_SERVER=unix://jobs:pw@$REDIS_SOCKET
	}
	user_may -info
	examine 2
	all_ok_but version mode role rights persistence eviction replicas
	found danger rights "lacks +info" "ACL SETUSER jobs +info"
	for finding in version mode role persistence eviction replicas; do
		found warning "$finding" "unknown, as this user may not ask for INFO" "ACL SETUSER jobs +info"
	done
	user_may '-config|get'
	examine 1
	all_ok_but persistence
	found warning persistence "unknown" "ACL SETUSER jobs +config|get"
	user_may -latency
	examine 0
	user_may -@dangerous +info '+config|get' -latency
	examine 0
	found ok rights "the user jobs has all"
}

@test "an ACL without what cflock needs: danger, each right named" {
	rcli acl setuser jobs reset on '>pw' '~cflock:*' +@all -time -evalsha -zadd
	examine 2 -S "unix://jobs:pw@$REDIS_SOCKET"
	all_ok_but rights clock
	found danger rights "the user jobs lacks +evalsha +time +zadd" "ACL SETUSER jobs +evalsha +time +zadd"
	found warning clock "unknown" "+time"
	rcli acl setuser jobs reset on '>pw' '~other:*' '%R~cflock:*' +@all
	examine 2 -S "unix://jobs:pw@$REDIS_SOCKET"
	all_ok_but writes rights
	found danger rights "lacks ~cflock:*" "ACL SETUSER jobs ~cflock:*"
	found warning writes "unknown" "see rights"
}

@test "commands that were renamed: danger for ours, unknown for CONFIG" {
	start_redis "$work/r" --rename-command CONFIG '' --rename-command EVAL ''
	examine 2 -S "unix://$work/r/redis.sock"
	all_ok_but rights persistence
	found danger rights "does not know what these allow: +eval" "rename no commands"
	found warning persistence "unknown, as the server does not tell CONFIG GET" "ask those who run the server"
}

@test "the server's clock is ahead, or behind: a warning" {
	# The sanitizers want to be loaded first; it does not matter here.
	shifted() {
		expect 1 env FAKETIME_DONT_FAKE_MONOTONIC=1 \
			ASAN_OPTIONS="${ASAN_OPTIONS-}:verify_asan_link_order=0" faketime -f "$1" "$CTL" doctor --json
		all_ok_but clock
		found warning clock "leases are not harmed" NTP
	}
	shifted -20s
	[[ $(of clock text) == "the server's is "@(19.*|20.*)" s ahead of ours"* ]] || fail "$output"
	shifted +90s
	[[ $(of clock text) == "the server's is 1 m "@(29|30)" s behind ours"* ]] || fail "$output"
}

@test "round trips that are long for the ttl" {
	# As found, whatever the longest may be on a busy machine.
	examine_round_trip() {
		run --separate-stderr env CFLOCK_TTL="$1" "$CTL" doctor --json
	}
	proxy delay=0.05
	examine_round_trip 2s
	[ "$status" -gt 0 ]
	found warning round-trip " ms (median of 21) is much of the 400 ms between renewals (ttl 2.0 s)" "longer ttl"
	examine_round_trip 1m
	found ok round-trip ", which is little of the 12.0 s between renewals (ttl 1 m 00 s)"
	examine_round_trip 200ms
	[ "$status" = 2 ]
	found danger round-trip "is much of the 40 ms" "longer ttl"
	CFLOCK_RENEW_BY=30 examine_round_trip 2s
	found warning round-trip "is much of the 200 ms" "longer ttl"
}

@test "a pause of the server while it is looked at" {
	rcli config resetstat
	CFLOCK_TTL=1s "$CTL" doctor --json >"$work/out" </dev/null 3>&- &
	pids+=("$!")
	asked() { [ "$(calls_of time)" -ge 3 ]; }
	wait_until asked
	freeze_redis
	sleep 0.8
	thaw_redis
	code=0
	wait "${pids[0]}" || code=$?
	output=$(cat "$work/out")
	[ "$code" = 2 ]
	all_ok_but latency
	found danger latency "and a renewal has 400 ms" "longer ttl"
	[[ $(of latency text) == *"took "@([78]??" ms"|?.?" s")", and"* ]] || fail "$output"
}

@test "pauses that the server remembers" {
	rcli config set latency-monitor-threshold 100
	rcli eval 'local s = 0 for i = 1, 2e7 do s = s + i end return 1' 0
	most=$(rcli --raw latency latest | sed -n '/^command$/,$p' | sed -n 4p)
	[ "$most" -ge 100 ]
	seen="the server itself has seen $(python3 -c 'import sys
ms = int(sys.argv[1])
print(f"{ms} ms" if ms < 1000 else f"{ms // 100 / 10} s")' "$most") (command)"
	# A renewal has 0.4 of the ttl.
	CFLOCK_TTL=$((10 * most))ms examine 1
	all_ok_but latency
	found warning latency "$seen" "SLOWLOG"
	CFLOCK_TTL=$((2 * most))ms examine 2
	found danger latency "$seen" "SLOWLOG"
	CFLOCK_TTL=$((100 * most))ms examine 0
	found ok latency "$seen"
}

@test "part of a cluster: danger" {
	YOUNG_REDIS=1 start_redis "$work/r" --port "$(free_port)" --bind 127.0.0.1 --cluster-enabled yes \
		--cluster-port "$(free_port)" --cluster-config-file "$work/nodes.conf"
	examine 2 -S "unix://$work/r/redis.sock"
	found danger mode "part of a cluster" "write redis+cluster:// for redis://"
	found danger writes "CLUSTERDOWN" "no lock"
}

@test "a Sentinel: danger" {
	port=$(free_port)
	mkdir "$work/r"
	printf '%s\n' "port $port" "bind 127.0.0.1" "dir $work/r" "daemonize yes" "pidfile $work/r/pid" \
		"logfile $work/r/log" "sentinel monitor it 127.0.0.1 1 1" >"$work/r/sentinel.conf"
	redis-server "$work/r/sentinel.conf" --sentinel >/dev/null </dev/null 3>&-
	wait_until redis-cli -p "$port" ping
	examine 2 -S "redis://127.0.0.1:$port"
	found danger mode "a Sentinel, which holds no locks" "address of the master"
}

@test "versions: too old; Valkey and Redict, which name the mode otherwise" {
	proxy_info redis_version:4.0.14 redis_mode:standalone role:master
	examine 2
	found danger version "Redis 4.0.14" "Redis 5 or later"
	[ "$(of clock level)" = warning ]
	proxy_info redis_version:7.2.4 server_name:valkey valkey_version:8.1.3
	examine 1
	found ok version "Valkey 8.1.3 (like Redis 7.2.4)"
	found warning mode "the server does not tell INFO" "ask those"
	proxy_info redis_version:7.2.4 server_name:valkey valkey_version:8.1.3 server_mode:standalone
	examine 1
	found ok mode standalone
	proxy_info redict_version:7.3.6 redict_mode:sentinel redis_version:7.2.4
	examine 2
	found ok version "Redict 7.3.6 (like Redis 7.2.4)"
	found danger mode "a Sentinel" "address of the master"
}

@test "what a server says cannot steer the terminal" {
	proxy_info 'redis_version:7\x1b[2J\xff' redis_mode:standalone
	examine 1
	found ok version 'Redis 7?[2J?'
	expect 1 "$CTL" doctor
	[[ $output == *'Redis 7?[2J?'* ]]
	[[ $output != *$'\e'* ]]
}

@test "numbers that no server means do no harm" {
	proxy_info redis_version:7 connected_slaves:9223372036854775807 \
		master_repl_offset:-9223372036854775808 \
		slave0:state=online,offset=9223372036854775807,lag=99999999999999999999 \
		maxmemory:9223372036854775807 maxmemory_policy:noeviction used_memory:-1 aof_enabled:7
	examine 1
	found warning replicas 9223372036854775807 "look at the network"
	proxy 'replace=*2\r\n:9223372036854775807\r\n:9223372036854775807\r\n'
	examine 1
	proxy 'replace=*1\r\n*4\r\n$1\r\nx\r\n:1\r\n:1\r\n:9223372036854775807\r\n'
	examine 1
	[[ $(of latency text) != *"has seen"* ]]
}
