# Where settings and secrets may stand, which of them counts, and that no secret
# is to be seen anywhere.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	use_redis
	# `shown` says what cflock was told, as its command sees it.
	rcli acl setuser tester on '>se%cret' '~*' '&*' +@all
	rcli acl setuser default resetpass '>only-a-word' '~*' '&*' +@all
}

teardown_file() {
	drop_redis
}

# The server wants a password in this file.
rcli() {
	REDISCLI_AUTH=only-a-word redis-cli -s "$REDIS_DIR/redis.sock" "$@"
}

setup() {
	name=$(lock_name)
	key="cflock:{$name}"
	work=$(mktemp -d "$REDIS_DIR/work.XXXXXX")
	export name key work
	SOCKET=$REDIS_DIR/redis.sock
	WITH_PASSWORD=unix://:only-a-word@$SOCKET
	export CFLOCK_SERVER=$WITH_PASSWORD
	mkdir "$work/xdg" "$work/home" "$work/home/.config"
	conf=$work/cflock.conf
}

# conf LINE...: the file that CFLOCK_CONFIG names.
conf() {
	printf '%s\n' "$@" >"$conf"
	export CFLOCK_CONFIG=$conf
}

# password_file TEXT
password_file() {
	printf '%s' "$1" >"$work/password"
	chmod 600 "$work/password"
}

# ttl_is MS [OPTION]...: what a run with these options has as its ttl.
ttl_is() {
	local ms=$1

	shift
	expect 0 "$CFLOCK" "$@" "$name" sh -c 'echo "$CFLOCK_TTL_MS"'
	[ "$output" = "$ms" ] || fail "the ttl is $output, not $ms"
}

# bad CODE TEXT... -- COMMAND...: nothing is run, and the line says TEXT.
bad() {
	local code=$1 texts words

	split_at_dashes "${@:2}"
	expect "$code" "${words[@]}" "$name" touch "$work/ran"
	says "cflock: " "${texts[@]}"
	[ "${#stderr_lines[@]}" = 1 ]
	[ -z "$output" ]
	[ ! -e "$work/ran" ]
}

@test "defaults: a ttl of ten seconds" {
	ttl_is 10000
}

@test "command line over environment over file" {
	conf 'ttl = 3s'
	ttl_is 3000
	CFLOCK_TTL=4s ttl_is 4000
	CFLOCK_TTL=4s ttl_is 5000 --ttl 5s
	ttl_is 5000 --ttl 5s
}

@test "the last of a repeated option counts" {
	ttl_is 5000 -t 3s --ttl 5s
	conf 'ttl = 3s' 'ttl = 4s'
	ttl_is 4000
}

@test "an empty variable is as if it were not there" {
	conf 'ttl = 3s'
	CFLOCK_TTL='' ttl_is 3000
}

@test "XDG_CONFIG_HOME, and HOME without it" {
	unset CFLOCK_CONFIG
	echo 'ttl = 3s' >"$work/xdg/cflock.conf"
	echo 'ttl = 4s' >"$work/home/.config/cflock.conf"
	export HOME=$work/home
	XDG_CONFIG_HOME=$work/xdg ttl_is 3000
	(unset XDG_CONFIG_HOME && ttl_is 4000)
	XDG_CONFIG_HOME=relative/path ttl_is 4000
	XDG_CONFIG_HOME=$work/none ttl_is 10000
}

@test "the user's file over that in /etc, key by key" {
	local system user=()

	unset CFLOCK_CONFIG
	system=$("$CFLOCK" --help | sed -n 's|^ *\(/.*/cflock\.conf\).*|\1|p')
	[ -n "$system" ]
	[ "$(id -u)" = 0 ] || user=(-r)
	cp "$CFLOCK" "$work/cflock"
	printf '%s\n' 'ttl = 3s' 'conflict-exit-code = 33' >"$work/system.conf"
	echo 'ttl = 4s' >"$work/xdg/cflock.conf"
	rcli set "cflock:{$name-held}" other
	# In place of the first directory above that is there.
	expect 0 timeout -s KILL "$WAIT_LIMIT_S" unshare "${user[@]}" -m bash -ec '
		dir=$(dirname "$1")
		there=$dir
		until [ -d "$there" ]; do there=$(dirname "$there"); done
		mount -t tmpfs none "$there"
		mkdir -p "$dir"
		cp "$work/system.conf" "$1"
		XDG_CONFIG_HOME=$work/none "$work/cflock" "$name" sh -c "echo \$CFLOCK_TTL_MS"
		export XDG_CONFIG_HOME=$work/xdg
		"$work/cflock" "$name" sh -c "echo \$CFLOCK_TTL_MS"
		code=0
		"$work/cflock" -q -n "$name-held" true || code=$?
		echo "$code"' bash "$system"
	[ "$output" = $'3000\n4000\n33' ] || fail "$output; $stderr"
}

@test "CFLOCK_CONFIG is read in place of all other files" {
	export XDG_CONFIG_HOME=$work/xdg
	printf '%s\n' 'ttl = 3s' 'conflict-exit-code = 33' >"$work/xdg/cflock.conf"
	conf 'ttl = 4s'
	ttl_is 4000
	rcli set "$key" other
	expect 1 "$CFLOCK" -n "$name" true
	rcli del "$key"
	CFLOCK_CONFIG='' ttl_is 10000
}

@test "CFLOCK_CONFIG names a file that is not there: 78" {
	CFLOCK_CONFIG=$work/none bad 78 "$work/none" "No such file" -- "$CFLOCK"
	CFLOCK_CONFIG=$work bad 78 "$work" -- "$CFLOCK"
}

@test "a file that may not be read: 78" {
	local nobody=()

	conf 'ttl = 3s'
	chmod 755 "$REDIS_DIR" "$work"
	chmod 777 "$SOCKET"
	chmod 000 "$conf"
	cp "$CFLOCK" "$work/cflock"
	[ "$(id -u)" != 0 ] || nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	bad 78 "$conf" "Permission denied" -- "${nobody[@]}" "$work/cflock"
}

@test "all settings of the file reach the run" {
	rcli set "$key" other
	conf '# comment' '; comment' '' '[cflock]' 'wait=0.3' '  conflict-exit-code : 7' \
		'message = why not' 'renew-by = 50%' 'stop-signal = INT' 'close = yes' 'verbose = no'
	bad 7 "held by" -- "$CFLOCK"
	took 280 2000
	rcli del "$key"
	expect 0 "$CFLOCK" "$name" true
	is_silent
}

@test "flags in the file: yes, no, and nothing else" {
	for yes in 1 yes true on YES; do
		conf "verbose = $yes"
		expect 0 "$CFLOCK" "$name" true
		says "granted"
	done
	for no in 0 no false off; do
		conf "verbose = $no"
		expect 0 "$CFLOCK" "$name" true
		is_silent
	done
	conf "verbose = perhaps"
	bad 78 "$conf:1: verbose: 'perhaps' is not yes or no" -- "$CFLOCK"
}

@test "bad values in the file: 78, with file and line" {
	while IFS='|' read -r line text; do
		conf '# the second line is bad' "$line" 'ttl = 3s'
		bad 78 "$conf:2" "$text" -- "$CFLOCK"
	done <<-'CASES'
		ttl = 1x|'1x' is not a duration
		ttl = 199ms|200ms to 1h
		wait = -1|'-1' is not a duration
		conflict-exit-code = 256|0 to 255
		renew-by = 0|1 to 99
		stop-signal = NONE|is not a signal
		server = http://x|server
		unheard-of = 1|the key 'unheard-of' is unknown
		exclusive = yes|the key 'exclusive' is unknown
		command = x|unknown
		no equals sign|KEY = VALUE
		[other]|section
		slots = 0|'0' is not a number
		cooldown = soon|is not a duration
		prefer = speed|'speed' is not consistency or availability
		min-replicas = -1|'-1' is not a number, 0 to 1000
	CASES
}

@test "bad values in the environment: 78, with the variable" {
	CFLOCK_TTL=1x bad 78 "CFLOCK_TTL: '1x' is not a duration" -- "$CFLOCK"
	CFLOCK_WAIT=soon bad 78 "CFLOCK_WAIT" -- "$CFLOCK"
	CFLOCK_CONFLICT_EXIT_CODE=256 bad 78 "CFLOCK_CONFLICT_EXIT_CODE" -- "$CFLOCK"
	CFLOCK_RENEW_BY=100 bad 78 "CFLOCK_RENEW_BY" -- "$CFLOCK"
	CFLOCK_SERVER=nonsense bad 78 "CFLOCK_SERVER" -- "$CFLOCK"
	CFLOCK_SHARED=2 bad 78 "CFLOCK_SHARED" -- "$CFLOCK"
	CFLOCK_PREFER=x bad 78 "CFLOCK_PREFER: 'x' is not consistency or availability" -- "$CFLOCK"
	CFLOCK_NO_GRACE=2 bad 78 "CFLOCK_NO_GRACE" -- "$CFLOCK"
	CFLOCK_MIN_REPLICAS=one bad 78 "CFLOCK_MIN_REPLICAS: 'one' is not a number" -- "$CFLOCK"
}

@test "a bad URL on the command line: 78" {
	for url in '' nonsense http://127.0.0.1 redis:// redis://h:0 redis://h:65536 redis://h:x \
		redis://h/x redis://h/-1 unix://relative 'unix:///s?db=x' redis://[::1 redis://h/1/2 \
		redis+sentinel://h redis+sentinel:///m 'redis+sentinel://h/m?x=1' redis+cluster://h/1 \
		rediss+sentinel://h rediss+cluster://h/1; do
		bad 78 "--server" -- "$CFLOCK" -S "$url"
	done
}

@test "no password where one is needed: 77" {
	bad 77 "password" -- "$CFLOCK" -S "unix://$SOCKET"
}

@test "the password by URL, variable and file" {
	expect 0 "$CFLOCK" -S "$WITH_PASSWORD" "$name" true
	CFLOCK_SERVER=$WITH_PASSWORD expect 0 "$CFLOCK" "$name" true
	export CFLOCK_SERVER=unix://$SOCKET
	CFLOCK_PASSWORD=only-a-word expect 0 "$CFLOCK" "$name" true
	REDISCLI_AUTH=only-a-word expect 0 "$CFLOCK" "$name" true
	password_file only-a-word
	expect 0 "$CFLOCK" --password-file "$work/password" "$name" true
	is_silent
	CFLOCK_PASSWORD_FILE=$work/password expect 0 "$CFLOCK" "$name" true
	conf "password-file = $work/password"
	expect 0 "$CFLOCK" "$name" true
	conf "server = $WITH_PASSWORD"
	CFLOCK_SERVER='' expect 0 "$CFLOCK" "$name" true
}

@test "which password counts: URL, CFLOCK_PASSWORD, file, REDISCLI_AUTH" {
	password_file wrong
	CFLOCK_PASSWORD=wrong REDISCLI_AUTH=wrong CFLOCK_PASSWORD_FILE=$work/password \
		expect 0 "$CFLOCK" "$name" true
	export CFLOCK_SERVER=unix://$SOCKET
	CFLOCK_PASSWORD=only-a-word REDISCLI_AUTH=wrong CFLOCK_PASSWORD_FILE=$work/password \
		expect 0 "$CFLOCK" "$name" true
	CFLOCK_PASSWORD=wrong REDISCLI_AUTH=only-a-word expect 77 "$CFLOCK" "$name" true
	password_file only-a-word
	REDISCLI_AUTH=wrong CFLOCK_PASSWORD_FILE=$work/password expect 0 "$CFLOCK" "$name" true
	# Command line over environment, here too.
	CFLOCK_PASSWORD=wrong expect 0 "$CFLOCK" --password-file "$work/password" "$name" true
}

@test "an ACL user with a password of odd characters" {
	expect 0 "$CFLOCK" -S "unix://tester:se%25cret@$SOCKET" "$name" true
	CFLOCK_PASSWORD=se%cret expect 0 "$CFLOCK" -S "unix://tester@$SOCKET" "$name" true
	password_file $'se%cret\r\nsecond line\n'
	expect 0 "$CFLOCK" -S "unix://tester@$SOCKET" --password-file "$work/password" "$name" true
	is_silent
	expect 77 "$CFLOCK" -S "unix://tester:wrong@$SOCKET" "$name" true
}

@test "an ACL user without a password: 78" {
	bad 78 "names a user" "no password" -- "$CFLOCK" -S "unix://tester@$SOCKET"
}

@test "a password-file that others can read is refused: 78" {
	password_file only-a-word
	for mode in 604 644 666; do
		chmod "$mode" "$work/password"
		bad 78 "password-file $work/password" "others can read it" -- \
			"$CFLOCK" -S "unix://$SOCKET" --password-file "$work/password"
	done
	for mode in 400 600 640; do
		chmod "$mode" "$work/password"
		expect 0 "$CFLOCK" -S "unix://$SOCKET" --password-file "$work/password" "$name" true
	done
}

@test "a password-file that is none: 78" {
	mkfifo -m 600 "$work/fifo"
	: >"$work/empty"
	chmod 600 "$work/empty"
	for file in "$work/none" "$work" "$work/fifo" "$work/empty" /dev/zero; do
		bad 78 "password-file $file" -- "$CFLOCK" -S "unix://$SOCKET" --password-file "$file"
		took 0 2000
	done
}

# run_and_look TEXT COMMAND...: TEXT is in the command line or environment of no
# process of the run, nor in what it prints.
run_and_look() {
	local secret=$1 pids pid file

	shift
	rm -f "$work/pid" "$work/go"
	in_background "$@" "$name" sh -c 'echo $$ >"$work/pid"; env
		until [ -e "$work/go" ]; do sleep 0.01; done' >"$work/output" 2>&1
	wait_until test -s "$work/pid"
	pids=("$background" "$(guardian_of "$background")" "$(cat "$work/pid")")
	[ -n "${pids[1]}" ]
	for pid in "${pids[@]}"; do
		for file in cmdline environ; do
			cp "/proc/$pid/$file" "$work/$file.$pid"
			[ -s "$work/$file.$pid" ]
		done
	done
	: >"$work/go"
	wait "$background"
	[ -s "$work/output" ]
	run ! grep -aFl "$secret" "$work/output" "$work"/cmdline.* "$work"/environ.*
	rm -f "$work"/cmdline.* "$work"/environ.*
}

@test "no password in ps, the environment of any process, or -v" {
	run_and_look only-a-word "$CFLOCK" -v -S "$WITH_PASSWORD"
	run_and_look only-a-word "$CFLOCK" -v "--server=$WITH_PASSWORD"
	run_and_look only-a-word "$CFLOCK" -v "-S$WITH_PASSWORD"
	run_and_look only-a-word "$CFLOCK" -v
	export CFLOCK_SERVER=unix://$SOCKET
	CFLOCK_PASSWORD=only-a-word run_and_look only-a-word "$CFLOCK" -v
	REDISCLI_AUTH=only-a-word run_and_look only-a-word "$CFLOCK" -v
	run_and_look se%25cret "$CFLOCK" -v -S "unix://tester:se%25cret@$SOCKET"
}

@test "the other variables pass, and the server without its password" {
	CFLOCK_SERVER="unix://tester:se%25cret@$SOCKET?db=2" MINE=yours expect 0 "$CFLOCK" "$name" \
		sh -c 'echo "$CFLOCK_SERVER $MINE ${CFLOCK_PASSWORD-unset}"'
	[ "$output" = "unix://tester@$SOCKET?db=2 yours unset" ]
}

@test "no password in any message" {
	local secret=hush-hush

	password_file "$secret"
	while IFS= read -r -d '' try; do
		expect_any eval "$try"
		[ "$status" -ge 64 ]
		[ -n "$stderr" ]
		[[ $output$stderr != *"$secret"* ]] || fail "$try: $stderr"
	done < <(printf '%s\0' \
		'"$CFLOCK" -v -S unix://:$secret@$SOCKET "$name" true' \
		'"$CFLOCK" -v -S unix://tester:$secret@$SOCKET "$name" true' \
		'"$CFLOCK" -v -w 0.2 -S unix://:$secret@/nowhere "$name" true' \
		'"$CFLOCK" -v -w 0.2 -S redis://:$secret@127.0.0.1:1 "$name" true' \
		'"$CFLOCK" -S redis://:$secret@h:99999 "$name" true' \
		'"$CFLOCK" -S http://:$secret@h "$name" true' \
		'"$CFLOCK" -v -w 0.2 -S rediss+cluster://:$secret@127.0.0.1:1 "$name" true' \
		'"$CFLOCK" -w 0.2 -S rediss://:$secret@127.0.0.1:1 "$name" true' \
		'"$CFLOCK" -v -w 0.2 -S "redis+sentinel://:$secret@127.0.0.1:1/m?sentinel-password=$secret" "$name" true' \
		'"$CFLOCK" -v -S "redis+sentinel://127.0.0.1:1/m?sentinel-pasword=$secret" "$name" true' \
		'"$CFLOCK" -v -w 0.2 -S "redis+cluster://:$secret@127.0.0.1:1" "$name" true' \
		'"$CFLOCK" -t redis://:$secret@h "$name" true' \
		'"$CFLOCK" --sever=redis://:$secret@h "$name" true' \
		'"$CFLOCK" redis://:$secret@h?x true' \
		'CFLOCK_SERVER=redis://u:$secret@h:x "$CFLOCK" "$name" true' \
		'CFLOCK_SERVER=unix://$SOCKET CFLOCK_PASSWORD=$secret "$CFLOCK" -v "$name" true' \
		'CFLOCK_SERVER=unix://$SOCKET REDISCLI_AUTH=$secret "$CFLOCK" -v "$name" true' \
		'CFLOCK_SERVER=unix://$SOCKET "$CFLOCK" -v --password-file "$work/password" "$name" true')
}

expect_any() {
	run --separate-stderr "$@"
}

@test "a nested cflock finds the server, given the password again" {
	password_file only-a-word
	export CFLOCK_PASSWORD_FILE=$work/password
	export CFLOCK_SERVER=unix://$SOCKET
	expect 0 "$CFLOCK" "$name" "$CFLOCK" "$name-b" sh -c 'echo "$CFLOCK_NAME"'
	[ "$output" = "$name-b" ]
	is_silent
}
