# Names, messages, commands and records of others that mean harm: they cannot steer
# a terminal, break JSON or a line of the log, or touch another lock's keys.

bats_require_minimum_version 1.5.0
load helpers
load helpers/devlog

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	empty_redis
	test_setup
	export CFLOCK CTL
	export -f rcli
	# Escapes, C1, ends of lines, what turns the writing, broken UTF-8, and what a
	# shell, printf, Lua, JSON or syslog may take for its own.
	nasty=$'\e[2J\e]0;gotcha\a \xc2\x9b31m \r\n\t\v\b\x7f \xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6'
	nasty+=$'\xff\xc3(\xed\xa0\x80\xf8 %s%n$(touch ran)`touch ran`;"\'\\","token":"9"}]]--<13>'
	cd "$work" || exit
}

teardown() {
	test_teardown
	wait "${pids[@]}" 2>/dev/null || true
}

# steers_nothing FILE: it is UTF-8 without what steers a terminal.
steers_nothing() {
	iconv -f utf-8 -t utf-8 "$1" >/dev/null || fail "$1: not UTF-8: $(cat -v "$1")"
	! LC_ALL=C grep -qP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]' \
		"$1" || fail "$1 steers the terminal: $(cat -v "$1")"
}

is_one_line() {
	[ "$(wc -l <"$1")" = 1 ] || fail "$1: not one line: $(cat -v "$1")"
	steers_nothing "$1"
}

# gives CODE COMMAND...: its output is in $work/out, and clean; so is $work/err.
gives() {
	local code=0

	"${@:2}" >"$work/out" 2>"$work/err" </dev/null 3>&- || code=$?
	steers_nothing "$work/out"
	steers_nothing "$work/err"
	[ "$code" = "$1" ] || fail "exit code $code, not $1: ${*:2}: $(cat "$work/err")"
}

# complains CODE COMMAND...: in one line.
complains() {
	gives "$@"
	is_one_line "$work/err"
	[ ! -s "$work/out" ]
}

# is_json FILE [EXPRESSION]: each line, or all of it; of that `it`, it is true.
is_json() {
	python3 - "$1" "${2:-True}" <<-'END'
		import json, sys
		with open(sys.argv[1], encoding="utf-8", newline="\n") as file:
		    text = file.read()
		try:
		    it = json.loads(text)
		except ValueError:
		    it = [json.loads(line) for line in text.split("\n")[:-1]]
		assert eval(sys.argv[2]), it
	END
}

# A holder, and one who waits, that say what they like.
hold_nastily() {
	LOGNAME=$nasty in_background "$CFLOCK" -t 20s --message "$1" "$name" \
		sh -c 'sleep 60; :' "$nasty" "$nasty"
	pids+=("$background")
	holder=$background
	wait_until is_locked "$name"
	LOGNAME=$nasty in_background "$CFLOCK" --message "$1" "$name" sh -c : "$nasty"
	pids+=("$background")
	wait_until eval '[ "$(rcli zcard "$key:line")" = 1 ]'
}

# What is shown of the lock, in each way.
all_is_clean() {
	complains 1 "$CFLOCK" -n "$name" true
	gives 1 "$CFLOCK" -v -w 0.1 "$name" true
	complains 1 "$CFLOCK" --log-json -n "$name" true
	is_json "$work/err" 'it["event"] == "not_started" and it["name"] == "'"$name"'"'
	gives 0 "$CTL" status "$name"
	gives 0 "$CTL" list
	[ "$(grep -c "^$name " "$work/out")" = 1 ]
	gives 0 "$CTL" status --json "$name"
	is_json "$work/out" 'it["name"] == "'"$name"'" and len(it["holders"]) == 1'
	gives 0 "$CTL" list --json
	is_json "$work/out" '"'"$name"'" in [lock["name"] for lock in it]'
}

@test "message, command and user: clean lines, tables and JSON" {
	hold_nastily "$nasty"
	all_is_clean
	gives 124 timeout 0.5 "$CTL" watch
	gives 124 timeout 0.5 "$CTL" watch --json
	is_json "$work/out"
	[ ! -e ran ]
	complains 1 "$CFLOCK" -n -E 1 --message "$nasty" "$name" -c ": $nasty"
	kill -TERM "$holder"
}

@test "on a terminal: the line of a wait, and the screen" {
	hold_nastily "$nasty"
	in_background env --default-signal=INT script -qfec \
		"stty cols 2000; '$CFLOCK' -w 2.5 '$name' true" "$work/typescript"
	pids+=("$background")
	wait "$background" || true
	# But for our own.
	sed -e '/^Script /d' -e 's/\r//g; s/\x1b\[K//g' "$work/typescript" >"$work/shown"
	grep -q 'waiting for' "$work/shown"
	steers_nothing "$work/shown"
	# It knows no other sequences than those of the screen.
	python3 "$BATS_TEST_DIRNAME/helpers/screen.py" 3>&- <<-END
		start 24 300 "$CTL" watch
		shows ^$name +exclusive .*gotcha
		keys q
		ended 0
	END
}

@test "syslog: one datagram a message, without control characters" {
	with_devlog read
	hold_nastily "$nasty"
	gives 1 in_dev "$CFLOCK" --syslog -n "$name" true
	wait_until grep -q gotcha "$work/syslog"
	steers_nothing "$work/syslog"
	[ "$(grep -c '^<[0-9]*>.* cflock\[' "$work/syslog")" = "$(wc -l <"$work/syslog")" ]
	[ "$(wc -l <"$work/syslog")" = 1 ]
}

@test "messages of 64 KiB, and of one byte too many" {
	long=$(printf '%065535d' 0)
	complains 64 "$CFLOCK" --message "$long" "$name" true
	# A command may be as long: what is shown of it is not.
	gives 0 "$CFLOCK" "$name" true "$long" "$nasty$long"
	gives 0 "$CFLOCK" "$name" -c ": $long"
	in_background "$CFLOCK" "$name" sh -c 'touch held; sleep 60; :' "$long$nasty"
	pids+=("$background")
	wait_until test -e held
	all_is_clean
	[ "$(wc -c <"$work/out")" -lt 4000 ]
}

# record FIELD=TEXT...: as JSON, with what is not given as it may be.
record() {
	python3 - "$@" <<-'END'
		import json, os, sys
		record = dict(host="h", pid="1", user="u", command="c", message="m", since=1, token="1",
		              started=True, kind="exclusive", spare=1, ends=9e15, **{"from": 1})
		for pair in sys.argv[1:]:
		    field, _, text = os.fsencode(pair).partition(b"=")
		    record[field.decode()] = text.decode("latin-1")
		# As bytes, where it was bytes.
		sys.stdout.buffer.write(json.dumps(record, ensure_ascii=False).encode("latin-1"))
	END
}

@test "records of others in Redis: broken UTF-8, 64 KiB, absurd numbers" {
	long=$(printf '%065535d' 0)
	rcli set "$key" abc/1 px 600000
	record {host,pid,user,command,message}="$nasty$long" | rcli -x hset "$key:holders" abc
	all_is_clean
	for since in -1 1e300 9007199254740992; do
		rcli hset "$key:holders" abc "$(record | sed "s/\"since\": 1/\"since\": $since/")"
		gives 0 "$CTL" status "$name"
		gives 0 "$CTL" status --json "$name"
		is_json "$work/out"
		complains 1 "$CFLOCK" -n "$name" true
	done
}

@test "ids, values and the line of others" {
	rcli set "$key" "$nasty$(printf '%090000d' 0)" px 600000
	rcli zadd "$key:line" 1 "$nasty"
	rcli hset "$key:waiters" "$nasty" "$(record "host=$nasty")"
	rcli set "$key:cooldown" "$nasty" px 600000
	rcli set "$key:token" "$nasty"
	gives 0 "$CTL" status "$name"
	gives 0 "$CTL" list
	gives 0 "$CTL" status --json "$name"
	is_json "$work/out" 'it["state"] == "foreign"'
	complains 1 "$CFLOCK" -n "$name" true
}

@test "keys that look like locks of other names: neither shown, nor in the way" {
	for other in $'a\n\nb' $'\e[2J' $'\xff' 'a b' "$name"$'\n0\n' "$(printf '%0300d' 0)" '"'; do
		rcli set "cflock:{$other}" x px 600000
		rcli zadd "cflock:{$other}:line" 1 x
	done
	rcli set "$key" x px 600000
	gives 0 "$CTL" list
	[ "$(grep -cv '^LOCK' "$work/out")" = 1 ] || fail "$(cat -v "$work/out")"
	gives 0 "$CTL" list --json
	is_json "$work/out" '[lock["name"] for lock in it] == ["'"$name"'"]'
	empty_redis
}

@test "names that look like another lock's keys: locks of their own" {
	names=("$name")
	for suffix in token holders line beats waiters cooldown lease:x gone:x wake:x stop:x epoch; do
		names+=("$name:$suffix")
	done
	names+=("$name:" ":$name" "$name/" "$name%" cflock: cflock:epoch epoch % - .)
	# All at once, each in itself, with all the keys that a lock may have.
	nested=(true)
	for one in "${names[@]}"; do
		nested=("$CFLOCK" -n -t 20s --cooldown=1ms -- "$one" "${nested[@]}")
	done
	gives 0 "${nested[@]}"
	[ ! -s "$work/err" ]
	gives 0 "${nested[@]/#--cooldown=*/-s}"
	[ ! -s "$work/err" ]
	# A token each, the epoch, and nothing else.
	[ "$(rcli keys 'cflock:*:token' | wc -l)" = "${#names[@]}" ]
	[ "$(rcli keys '*' | wc -l)" = $((${#names[@]} + 1)) ] || fail "$(rcli keys '*')"
}

# all_complain CODE COMMAND... <VALUES: with each of the values, which a NUL ends, for
# "{}": in one line.
all_complain() {
	local value code count=0

	: >"$work/all"
	while IFS= read -r -d '' value; do
		code=0
		"${@:2}" "${words[@]//'{}'/$value}" 2>>"$work/all" >&2 </dev/null 3>&- || code=$?
		[ "$code" = "$1" ] || fail "exit code $code, not $1, with: $value"
		count=$((count + 1))
	done
	steers_nothing "$work/all"
	[ "$(wc -l <"$work/all")" = "$count" ] || fail "not one line each: $(cat "$work/all")"
}

@test "names that none can have: 64, and one line" {
	bad=('' 'a{b' 'a}b' '{}' 'a b' $'a\n' $'\e[2J' $'\xc3\xa4' $'\xe2\x80\xae' 'a*' 'a\b' "a'"
		"$nasty" "$(printf '%0201d' 0)" "$(printf '%065535d' 0)")
	words=(-- '{}' touch ran)
	all_complain 64 "$CFLOCK" < <(printf '%s\0' "${bad[@]}")
	words=(-- '{}')
	all_complain 64 "$CTL" status < <(printf '%s\0' "${bad[@]}")
	all_complain 64 "$CTL" break < <(printf '%s\0' "${bad[@]}")
	gives 0 "$CFLOCK" "$(printf '%0200d' 0)" true
	[ ! -e ran ]
}

@test "options and settings that mean harm: one line" {
	words=('{}' "$name" touch ran)
	all_complain 64 "$CFLOCK" < <(for option in ttl wait renew-by slots cooldown prefer \
		min-replicas stop-signal conflict-exit-code; do
		printf -- '--%s=%s\0' "$option" "$nasty"
	done)
	all_complain 64 "$CFLOCK" < <(printf '%s\0' "--$nasty" "-$nasty")
	complains 78 "$CFLOCK" "--server=$nasty" "$name" true
	words=('{}')
	all_complain 64 "$CTL" < <(printf '%s\0' "$nasty" "--$nasty" "status --$nasty")
	all_complain 64 "$CTL" check < <(printf '%s\0' "--min-left=$nasty" "--$nasty")
	CFLOCK_TTL=$nasty complains 78 "$CFLOCK" "$name" true
	CFLOCK_SERVER=redis://$nasty complains 78 "$CFLOCK" "$name" true
	for line in "$nasty=1" "ttl=$nasty" "server=redis://h/$nasty" "[$nasty]"; do
		printf '%s\n' "$line" >x.conf
		CFLOCK_CONFIG=x.conf complains 78 "$CFLOCK" "$name" true
	done
	[ ! -e ran ]
}

@test "what cannot be started, and what asks a holder to end: one line" {
	complains 127 "$CFLOCK" "$name" "./${nasty//\//}"
	in_background "$CFLOCK" -t 1s "$name" sh -c 'touch held; sleep 60; :'
	pids+=("$background")
	"$CFLOCK" -t 1s "$name-2" sh -c 'touch held-2; sleep 60; :' 2>told </dev/null 3>&- &
	pids+=("$!")
	wait_until test -e held-2
	LOGNAME=$nasty gives 0 "$CTL" break --message "$nasty" "$name-2"
	is_one_line told
	grep -q gotcha told
}
