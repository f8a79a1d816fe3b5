# cflock.conf(5): its keys are those that there are, and what it shows works; what
# the README has in place of cronlock and of flock in a script.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	use_redis
	rcli acl setuser jobs on '>pw' '~*' '&*' +@all
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	page=${top_srcdir:-$BATS_TEST_DIRNAME/..}/man/cflock.conf.5
	conf=$work/cflock.conf
}

teardown() {
	test_teardown
}

# with_conf LINE COMMAND...: with a file of that line alone.
with_conf() {
	printf '%s\n' "$1" >"$conf"
	shift
	CFLOCK_CONFIG=$conf "$@"
}

@test "the keys of cflock.conf(5) are all keys that there are" {
	for option in $("$CFLOCK" --help | grep -oE -e '--[a-z][a-z-]+' | sed 's/^--//' | sort -u); do
		run --separate-stderr with_conf "$option = *" "$CFLOCK" "$name" true
		[[ $stderr == *"is unknown"* ]] || echo "$option"
	done >"$work/keys"
	sed -n '/^\.Sh KEYS/,/^\.Sh FILES/p' "$page" | sed -n 's/^\.It Ic \([a-z-]*\) .*/\1/p' | sort -u >"$work/named"
	diff "$work/named" "$work/keys"
	[ "$(wc -l <"$work/keys")" -ge 16 ]
	# And each is a variable that cflock.1 names.
	while read -r key; do
		grep -q "^\.Ev CFLOCK_$(tr '[:lower:]-' '[:upper:]_' <<<"$key")\$" "${page%/*}/cflock.1" ||
			fail "the variable of $key is not in cflock.1"
	done <"$work/keys"
}

@test "the example of cflock.conf(5)" {
	printf 'pw\n' >"$work/password"
	chmod 600 "$work/password"
	sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$page" | sed -n '/^# /,/^\.Ed/p' | grep -v '^\.Ed' |
		sed -e "s|redis://jobs@redis1.example.net/3|unix://jobs@$REDIS_SOCKET?db=3|" \
			-e "s|/etc/cflock.password|$work/password|" >"$conf"
	grep -q "^server = unix" "$conf"
	unset CFLOCK_SERVER
	export CFLOCK_CONFIG=$conf
	expect 0 "$CFLOCK" "$name" sh -c 'echo "$CFLOCK_TTL_MS"
		redis-cli -s "$REDIS_SOCKET" -n 3 --raw hvals "$key:holders"
		"$0" -n "$CFLOCK_NAME-2" true
		"$0" -w 0.1 "$1" true; echo "$?"' "$CFLOCK" "$name-held"
	[ "${lines[0]}" = 30000 ]
	[[ ${lines[1]} == *'"message":"see https:\/\/wiki.example.net\/jobs#locks"'* ]] || fail "$output"
	rcli -n 3 set "cflock:{$name-held}" other
	expect 75 "$CFLOCK" -w 0.1 "$name-held" true
	expect 0 "${CFLOCK}ctl" status "$name"
	# The other one: stopped at 40 %.
	[ "$(sed -n 's/^\$ \(CFLOCK_.*\) import .*/\1/p' "$page")" = "CFLOCK_RENEW_BY=40% cflock" ]
	CFLOCK_RENEW_BY=40% "$CFLOCK" "$name" true
}

@test "the format, as cflock.conf(5) has it" {
	# message_is TEXT LINE
	message_is() {
		run --separate-stderr with_conf "$2" "$CFLOCK" "$name" \
			redis-cli -s "$REDIS_SOCKET" --raw hvals "$key:holders"
		[[ $output == *"\"message\":\"$1\""* ]] || fail "not '$1': $output $stderr"
	}
	message_is "a b" 'message = a b'
	message_is "a b" $' \t message:a b  '
	message_is "a=b : c" 'message = a=b : c'
	message_is 'a # b' 'message = a # b'
	message_is a 'message = a ; b'
	message_is 'a;b' 'message = a;b'
	message_is "'a'" "message = 'a'"
	message_is two $'message = one\nmessage = two'
	message_is one $'# x\n; x\n\n[cflock]\nmessage = one'
	message_is "$(printf '%0189d' 0)" "message = $(printf '%0189d' 0)"
	for line in "message = $(printf '%0190d' 0)" 'Message = x' '[other]' $'message = a\n  b' 'nb = yes'; do
		run --separate-stderr with_conf "$line" "$CFLOCK" "$name" touch "$work/ran"
		[ "$status" = 78 ]
		[[ $stderr == *"$conf:"[12]:* ]]
		[ ! -e "$work/ran" ]
	done
	for line in 'retry-failed = yes' $'shared = yes\ncooldown = 5s' $'ttl = 1s\nrenew-by = 99'; do
		run --separate-stderr with_conf "$line" "$CFLOCK" "$name" touch "$work/ran"
		[ "$status" = 64 ] || fail "$status of $line: $stderr"
	done
	[ ! -e "$work/ran" ]
}

@test "the line of the README in place of cronlock" {
	line=$(sed -n 's/^    \(cflock .*\) reports make-reports$/\1/p' "${page%/*/*}/README" | grep 200)
	[ "$line" = "cflock -q -n -E 200 --cooldown 40s" ]
	# shellcheck disable=SC2086 # words
	{
		expect 33 "$CFLOCK" ${line#cflock } "$name" sh -c 'exit 33'
		expect 200 "$CFLOCK" ${line#cflock } "$name" touch "$work/ran"
		is_silent
		expect 137 "$CFLOCK" ${line#cflock } "$name.other" timeout -s KILL 0.1 sleep 10
		expect 124 "$CFLOCK" "$name.third" timeout 0.1 sleep 10
	}
	[ ! -e "$work/ran" ]
	within 35000 "$(rcli pttl "$key:cooldown")" 40000 "ms of the cooldown are left"
}

@test "the lines of the README for a script end it where cflock is not found" {
	calls=$(sed -n 's/.*| `\(lock=.*attach.*\)` |$/\1/p' "${page%/*/*}/README" | sed 's/\\|/|/g')
	[ "$(wc -l <<<"$calls")" -eq 2 ] || fail "$calls"
	while read -r line; do
		printf '%s\necho at work\n' "$line" >"$work/script"
		run -127 /usr/bin/env PATH=/nowhere /bin/sh "$work/script"
		[[ $output != *"at work"* ]] || fail "$output"
		sed "s/NAME/$name/" "$work/script" >"$work/with"
		expect 0 env PATH="${CFLOCK%/*}:$PATH" /bin/sh "$work/with"
		[ "$output" = "at work" ] || fail "$output"
	done <<<"$calls"
}
