# Every option, short and long, and how strictly its value is read.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	name=$(lock_name)
	key="cflock:{$name}"
	work=$(mktemp -d "$REDIS_DIR/work.XXXXXX")
	export name key work
	unset SHELL
}

# held: by a client that will not let go.
held() {
	rcli set "$key" other-client
}

# runs [ARG]...: so called, cflock runs its command, without a word.
runs() {
	expect 0 "$CFLOCK" "$@" "$name" touch "$work/ran"
	is_silent
	[ -e "$work/ran" ]
	rm "$work/ran"
}

# bad TEXT... -- ARG...: bad usage, told in one line, and Redis is not asked.
bad() {
	local texts=()

	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	shift
	CFLOCK_SERVER=unix:///nowhere expect 64 "$CFLOCK" "$@"
	says "cflock: " "${texts[@]}"
	[ "${#stderr_lines[@]}" = 1 ]
	[ -z "$output" ]
	[ ! -e "$work/ran" ]
}

# bad_value OPTION VALUE: refused, and both are named.
bad_value() {
	bad "$1: " -- "$1=$2" "$name" touch "$work/ran"
	[ -z "$2" ] || says "${3-$2}"
}

@test "silent when all goes well" {
	runs
	[ -z "$output" ]
	nothing_left "$name"
}

@test "-x -e --exclusive: the default" {
	runs -x
	runs -e
	runs --exclusive
	runs -xe
}

@test "-n --nb --nonblock: do not wait" {
	runs -n
	held
	for option in -n --nb --nonblock; do
		expect 1 "$CFLOCK" "$option" "$name" touch "$work/ran2"
		took 0 1500
	done
	[ ! -e "$work/ran2" ]
}

@test "-w --wait --timeout: wait for so long" {
	held
	for option in -w0.3 '-w 0.3' --wait=0.3 '--wait 300ms' --timeout=.3s '-w 0.005m'; do
		# shellcheck disable=SC2086
		expect 1 "$CFLOCK" $option "$name" true
		took 290 1500
	done
	expect 1 "$CFLOCK" -w 0 "$name" true
	took 0 1500
}

@test "of -n and -w the later counts" {
	held
	expect 1 "$CFLOCK" -w 20 -n "$name" true
	took 0 2000
	expect 1 "$CFLOCK" -n -w 0.4 "$name" true
	took 390 2000
}

@test "-E --conflict-exit-code: 0 to 255" {
	held
	expect 9 "$CFLOCK" -n -E 9 "$name" true
	expect 9 "$CFLOCK" -n -E9 "$name" true
	expect 255 "$CFLOCK" -n --conflict-exit-code 255 "$name" true
	expect 0 "$CFLOCK" -n --conflict-exit-code=0 "$name" touch "$work/ran"
	for value in 256 600 -1 1.5 1x x '' ' 1' '1 ' +1 0x1 99999999999999999999; do
		bad_value --conflict-exit-code "$value"
	done
}

@test "-o --close: run" {
	runs -o
	runs --close
}

@test "-S --server: another server" {
	url=$CFLOCK_SERVER
	CFLOCK_SERVER=unix:///nowhere runs -S "$url"
	CFLOCK_SERVER=unix:///nowhere runs --server "$url"
	CFLOCK_SERVER=unix:///nowhere runs "--server=$url"
}

@test "-t --ttl: 200ms to 1h" {
	while read -r value ms; do
		expect 0 "$CFLOCK" --ttl "$value" "$name" sh -c 'echo "$CFLOCK_TTL_MS"'
		[ "$output" = "$ms" ]
	done <<-'CASES'
		1 1000
		1.5 1500
		.5s 500
		5.s 5000
		1.2501s 1251
		1m 60000
		1h 3600000
		60m 3600000
	CASES
	# So short that the command may be stopped on a busy machine.
	for value in 200ms 0.2; do
		run --separate-stderr "$CFLOCK" -t "$value" "$name" true
		[[ $status = 0 || $status = 79 ]]
	done
	expect 0 "$CFLOCK" -t 3s "$name" sh -c 'echo "$CFLOCK_TTL_MS"'
	[ "$output" = 3000 ]
	for value in 199ms 0.199999 0 2h 3601 1h1m; do
		bad_value --ttl "$value" ''
	done
}

@test "durations are read strictly" {
	for value in '' 1x x ms s . .s 1S 1sec '1 s' ' 1' -1 +1 1e1 0x1 1,5 1..5 1.5.5 inf nan \
		99999999999999999999h 1d; do
		bad_value --wait "$value" ''
		bad_value --ttl "$value" ''
	done
	bad "--wait: its argument DURATION is missing" -- -w
}

@test "--renew-by: 1 to 99 per cent that fit the ttl" {
	runs --renew-by 50
	runs --renew-by=1%
	runs --renew-by 78 -t 10s
	for value in 0 100 -1 60.5 60%% % '' x '60 %'; do
		bad_value --renew-by "$value" ''
	done
	bad "renew-by must come before the kill" -- --renew-by 95 "$name" true
	bad "renew-by must come before the kill" -- --renew-by 80 -t 1s "$name" true
}

@test "--stop-signal: a name or number" {
	for value in TERM SIGTERM term sigterm INT HUP USR1 KILL 15 9 RTMIN RTMAX; do
		runs --stop-signal "$value"
	done
	for value in '' 0 65 -1 NONE SIG SIGSIG STOP CONT CHLD 19 TERMX ' TERM'; do
		bad_value --stop-signal "$value" ''
	done
}

@test "--stop-signal: is what the command gets when the lease is lost" {
	in_background "$CFLOCK" -t 1s --stop-signal USR2 "$name" sh -c '
		trap "echo got USR2 >\"$work/got\"; exit" USR2
		: >"$work/up"
		while :; do sleep 0.01; done' 2>"$work/stderr"
	wait_until test -e "$work/up"
	rcli del "$key"
	code=0
	wait "$background" || code=$?
	[ "$code" = 79 ]
	[ "$(cat "$work/got")" = "got USR2" ]
}

@test "--message: kept for others to read" {
	expect 0 "$CFLOCK" --message 'for the others; "quoted"' "$name" sh -c '
		redis-cli -s "$REDIS_DIR/redis.sock" hvals "$key:holders"'
	[[ $output == *'"message":"for the others; \"quoted\""'* ]]
	runs --message ''
	runs --message "$(printf '%01024d' 0)"
	bad "--message: it is longer than 1024 bytes" -- \
		--message "$(printf '%01025d' 0)" "$name" true
}

@test "-q --quiet: no word about a conflict" {
	held
	for option in -q --quiet; do
		expect 1 "$CFLOCK" "$option" -n "$name" true
		is_silent
	done
	expect 69 "$CFLOCK" -q -S unix:///nowhere -w 0.1 "$name" true
	says "cannot connect"
	expect 64 "$CFLOCK" -q -t 1x "$name" true
	[ -n "$stderr" ]
}

@test "-v --verbose: tells what is done" {
	for option in -v --verbose; do
		expect 0 "$CFLOCK" "$option" -t 2s "$name" sleep 0.8
		says "cflock: $name: granted" "token" "renewed"
	done
}

@test "of -q and -v the later counts" {
	expect 0 "$CFLOCK" -v -q "$name" true
	is_silent
	expect 0 "$CFLOCK" -q -v "$name" true
	says "granted"
}

@test "-h --help: on stdout, 0, in any company" {
	for arguments in -h --help '-n -h' '-h -t'; do
		# shellcheck disable=SC2086
		expect 0 "$CFLOCK" $arguments
		is_silent
		[[ $output == "Usage:"* ]]
	done
	CFLOCK_TTL=bad CFLOCK_CONFIG=/nowhere expect 0 "$CFLOCK" --help
}

@test "--help names all options, and none that is not built" {
	expect 0 "$CFLOCK" --help
	for option in -s --shared -x -e --exclusive -m --slots --cooldown --retry-failed -n --nonblock --nb -w --wait --timeout -E \
		--conflict-exit-code -o --close -c --command -S --server -t --ttl --renew-by \
		--attach --release --no-grace --min-replicas --stop-signal --message --prefer --password-file --tls-ca-file --tls-ca-dir --tls-cert --tls-key \
		--tls-server-name --log-json --syslog -v --verbose -q --quiet -h --help -V \
		--version; do
		grep -qE -- "(^|[ ,])$option([ ,]|\$)" <<<"$output" || fail "no $option"
	done
	for option in --fork --no-fork --unlock; do
		[[ $output != *"$option"* ]] || fail "$option is named"
	done
	while IFS= read -r line; do
		[ "${#line}" -le 80 ] || fail "longer than 80 columns: $line"
	done <<<"$output"
}

@test "-V --version: on stdout, 0" {
	for option in -V --version; do
		expect 0 "$CFLOCK" "$option"
		is_silent
		[[ $output =~ ^cflock\ [0-9]+\.[0-9]+ ]]
	done
}

@test "-h and -V to a full disk: not 0" {
	expect 71 sh -c '"$0" --help >/dev/full' "$CFLOCK"
	expect 71 sh -c '"$0" --version >/dev/full' "$CFLOCK"
}

@test "-F and -u: 64, and why" {
	for option in -F --no-fork; do
		bad "renew" "drop -F" -- "$option" "$name" touch "$work/ran"
	done
	for option in -u --unlock; do
		bad "no descriptor to unlock" "drop -u" -- "$option" "$name" touch "$work/ran"
	done
}

@test "options that there are not, or not so: 64" {
	bad "-y: there is no such option" -- -y "$name" true
	bad "--yes: there is no such option" -- --yes "$name" true
	bad "--no: there is no such option, or several begin so" -- --no "$name" true
	bad "--quiet: it takes no argument" -- --quiet=1 "$name" true
	bad "--ttl" "is missing" -- --ttl
	bad "-y: there is no such option" -- -xyz "$name" true
}

@test "abbreviations that are clear are understood" {
	runs --nonb
	runs --excl
}

@test "NAME: letters, digits and . _ - : / @ + %, 1 to 200 bytes" {
	for good in a A0 a.b_c-d:e/f@g+h%i "$(printf '%0200d' 0)" :x /x @; do
		expect 0 "$CFLOCK" -n "$good" true
		is_silent
	done
	for wrong in '' 'a b' 'a{b' 'a}b' 'a*' 'a,b' 'a=b' $'a\n' $'\e[2J' 'ä' "$(printf '%0201d' 0)"; do
		bad "the NAME of the lock must be" -- "$wrong" touch "$work/ran"
	done
	expect 0 "$CFLOCK" -- -dash true
}

@test "NAME or command missing: 64" {
	bad "the NAME of the lock is missing" --
	bad "the NAME of the lock is missing" -- -n
	bad "the command after NAME is missing" -- "$name"
	bad "the command after -- is missing" -- "$name" --
}

@test "--: before NAME and before the command" {
	expect 0 "$CFLOCK" -n -- "$name" echo a -- b
	[ "$output" = "a -- b" ]
	expect 0 "$CFLOCK" "$name" -- echo -n -c -- b
	[ "$output" = "-c -- b" ]
	expect 0 "$CFLOCK" -- "$name" -- echo x
	[ "$output" = x ]
}

@test "options of the command are its own" {
	expect 0 "$CFLOCK" "$name" echo -v -h --help -E 256
	[ "$output" = "-v -h --help -E 256" ]
}

@test "an option behind NAME: 64, and where it belongs" {
	bad "options stand before NAME" "-n" -- "$name" -n touch "$work/ran"
	bad "options stand before NAME" "--ttl" -- "$name" --ttl=5s touch "$work/ran"
}

@test "arguments reach the command as they are" {
	expect 0 "$CFLOCK" "$name" printf '[%s]' 'a b' '' '*' $'\n' "'" '$HOME' ä
	[ "$output" = $'[a b][][*][\n]['"'"'][$HOME][ä]' ]
}

@test "-c --command: through the shell" {
	expect 3 "$CFLOCK" "$name" -c 'echo "$0 $CFLOCK_NAME"; exit 3'
	[ "$output" = "/bin/sh $name" ]
	expect 3 "$CFLOCK" "$name" --command 'exit 3'
	SHELL=/bin/bash expect 0 "$CFLOCK" "$name" -c 'echo "${BASH_VERSION:+bash} $0"'
	[ "$output" = "bash /bin/bash" ]
	SHELL='' expect 0 "$CFLOCK" "$name" -c 'echo "$0"'
	[ "$output" = /bin/sh ]
}

@test "-c: one argument, behind NAME" {
	bad "exactly one argument" -- "$name" -c
	bad "exactly one argument" -- "$name" -c touch "$work/ran"
	bad "after the NAME" -- -c true "$name"
	expect 0 "$CFLOCK" "$name" sh -c 'echo "$0"' second
	[ "$output" = second ]
}

@test "--help and the manual name the same options" {
	"$CFLOCK" --help | grep -oE -e '--[a-z][a-z-]+' | sort -u >"$BATS_TEST_TMPDIR/help"
	# In mdoc: .It Fl n , Fl Fl nonblock , Fl Fl nb
	sed -n '/^\.Sh OPTIONS/,/^\.Sh TIMELINE/p' \
		"${top_srcdir:-$BATS_TEST_DIRNAME/..}/man/cflock.1" |
		sed -n 's/^\.It //p' | grep -oE 'Fl Fl [a-z-]+' |
		sed 's/Fl Fl /--/' | sort -u >"$BATS_TEST_TMPDIR/manual"
	diff "$BATS_TEST_TMPDIR/help" "$BATS_TEST_TMPDIR/manual"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/help")" -ge 15 ]
}
