# Servers that mean harm: whatever they answer, cflock and cflockctl end in time
# with the right code, run nothing that they may not, take no more memory than
# otherwise, and say why in one line that steers no terminal.

bats_require_minimum_version 1.5.0
load helpers
load helpers/scripts

setup_file() {
	use_redis
	for server in 1 2; do
		start_redis "$REDIS_DIR/$server"
	done
	HOSTILE=$REDIS_DIR/h
	mkdir "$HOSTILE"
	python3 "$BATS_TEST_DIRNAME/helpers/hostile.py" "$HOSTILE" "$REDIS_DIR/redis.sock" \
		</dev/null >"$HOSTILE/log" 2>&1 3>&- &
	HOSTILE_PID=$!
	export HOSTILE HOSTILE_PID
	wait_until test -s "$HOSTILE/ready"
}

teardown_file() {
	kill -KILL "$HOSTILE_PID"
	for server in 1 2; do
		stop_redis "$REDIS_DIR/$server"
	done
	drop_redis
}

setup() {
	test_setup
	unset CFLOCK_SERVER
	read -ra bad <"$HOSTILE/ready"
	# Known to the server, so that the first script is answered at once.
	for script in acquire renew release; do
		script_text "$script" | rcli -x script load
	done
}

teardown() {
	test_teardown
}

# What a command that needs no more is given: a server that is not there.
ordinary_kib() {
	# shellcheck disable=SC2119
	besieged none "$CFLOCK" -S "unix://$work/nothing" -w 0.1 "$name" true
	cut -d ' ' -f 4 "$work/results"
}

# besieged "TAG..." COMMAND...: into $work/results.
besieged() {
	python3 "$BATS_TEST_DIRNAME/helpers/besiege.py" "$work" "${@:2}" <<<"$1" \
		>"$work/results" 3>&-
}

# repelled CODES MS "TAG..." COMMAND...: each ends with one of the codes, within so
# many ms, with one line and nothing on standard output, and leaves nothing behind.
repelled() {
	local codes=$1 most_ms=$2 kib tag code ms had left out err

	kib=$(ordinary_kib)
	besieged "${@:3}"
	[ "$(wc -l <"$work/results")" = "$(wc -w <<<"$3")" ]
	while read -r tag code ms had left out err; do
		is_repelled
	done <"$work/results"
	[ -z "$(find "$work" -name '*.ran')" ] || fail "run: $(ls "$work"/*.ran)"
}

is_repelled() {
	[[ " $codes " == *" $code "* ]] || fail "$tag: exit code $code: $(said)"
	[ "$ms" -le "$most_ms" ] || fail "$tag: took $ms ms, more than $most_ms"
	[ "$had" -le $((kib + 32768)) ] || fail "$tag: had $had KiB, of $kib ordinarily"
	[ "$left" = 0 ] || fail "$tag: has left $left processes behind"
	[ "$out $err" = "nothing line" ] || fail "$tag: not one line: $(said)"
}

said() {
	cat -v "$work/$tag.out" "$work/$tag.err"
}

@test "cflock: 69 in time, whatever a server answers" {
	repelled 69 6000 "${bad[*]}" "$CFLOCK" -t 1s -w 0.6 -S "redis://127.0.0.1:{port}" \
		"$name" touch "$work/{}.ran"
}

@test "cflock: closed behind each byte of a grant" {
	for try in 1 2 3 4 5 6; do
		tries+=" cut"
	done
	besieged "$tries" "$CFLOCK" -t 1s -w 1 -S "unix://$HOSTILE/{}" "$name" touch "$work/cut.ran"
	[ "$(cut -d ' ' -f 2 "$work/results" | sort -u)" = 69 ]
	# A grant has 31 bytes.
	within 31 "$(cat "$HOSTILE/cut.count")" 500 requests
	[ ! -e "$work/cut.ran" ]
}

# at_once WORDS...: the function `one` with each of them, and a folder of its own.
at_once() {
	local words pid

	for words; do
		(
			work=$(mktemp -d "$work/XXXXXX")
			# shellcheck disable=SC2086 # several words
			one $words
		) 3>&- &
		pids+=("$!")
	done
	for pid in "${pids[@]}"; do
		wait "$pid"
	done
}

@test "cflock: over a cluster's nodes and sentinels that answer so" {
	one() {
		repelled 69 6000 "${bad[*]}" "$CFLOCK" -t 1s -w 0.6 -S "$1" "$name" touch "$work/{}.ran"
	}
	at_once "redis+cluster://127.0.0.1:{port}" "redis+sentinel://127.0.0.1:{port}/jobs"
}

@test "cflockctl: 69 in time, whatever a server answers" {
	one() {
		repelled 69 12000 "${bad[*]}" "$CTL" "$@" -S "unix://$HOSTILE/{}"
	}
	at_once "status $name" "list --json" "break $name"
}

@test "cflockctl doctor: 69 in time, or what it found" {
	besieged "${bad[*]}" "$CTL" doctor -S "unix://$HOSTILE/{}"
	while read -r tag code ms had left out err; do
		case "$code $out $err" in
		"69 nothing line" | [12]" lines nothing") ;;
		*) fail "$tag: exit code $code, and $(said)" ;;
		esac
		[ "$ms" -le 12000 ]
		[ "$left" = 0 ]
	done <"$work/results"
}

@test "cflockctl list: a server that names locks without end" {
	repelled 69 6000 long-list "$CTL" list -S "unix://$HOSTILE/{}"
	[[ $(cat "$work/long-list.err") == *"cannot list the locks of unix://"*"not a Redis server"* ]]
}

@test "cflock: refused, in numbers and words that are too much" {
	repelled 1 6000 "held woken" "$CFLOCK" -w 0.6 -S "unix://$HOSTILE/{}" "$name" \
		touch "$work/{}.ran"
	# It may not be asked without a pause: two requests, each ms at most.
	[ "$(cat "$HOSTILE/woken.count")" -lt 1400 ]
	besieged "held" "$CFLOCK" --log-json -w 0.6 -S "unix://$HOSTILE/{}" "$name" \
		touch "$work/{}.ran"
	python3 -c 'import json, sys; [json.loads(line) for line in sys.stdin]' <"$work/held.err"
}

@test "a cluster whose nodes send in circles, and nowhere" {
	repelled 69 6000 "moved-to-itself moved-in-circles asked-in-circles moved-nowhere moved-steering" \
		"$CFLOCK" -t 1s -w 0.6 -S "redis+cluster://127.0.0.1:{port}" "$name" touch "$work/{}.ran"
	# Five redirections, each 100 ms.
	[ "$(cat "$HOSTILE/moved-to-itself.count")" -lt 80 ]
	# The last try may have had no time for all of them.
	besieged moved-in-circles "$CFLOCK" -v -t 1s -w 0.6 -S "redis+cluster://127.0.0.1:{port}" \
		"$name" touch "$work/{}.ran"
	grep -q "do not agree where the lock is" "$work/moved-in-circles.err"
}

@test "a sentinel that names itself as the master, and nonsense" {
	repelled 69 6000 "names-itself names-nonsense knows-nonsense" "$CFLOCK" -t 1s -w 0.6 \
		-S "redis+sentinel://127.0.0.1:{port}/jobs" "$name" touch "$work/{}.ran"
}

# Without a fork: dozens of them run at once.
stamps='echo "$CFLOCK_TOKEN" >"$0.token"
	exec 9<> <(:)
	while :; do
		echo "${EPOCHREALTIME/[.,]/}" >>"$0.stamps"
		read -r -t 0.02 -u 9
	done'

@test "good until the grant: the command is dead in time, and 79" {
	besieged "${bad[*]/#/then-}" "$CFLOCK" -t 2s -S "unix://$HOSTILE/{}" "$name-{}" \
		bash -c "$stamps" "$work/{}"
	while read -r tag code ms had left out err; do
		[ "$code" = 79 ] || fail "$tag: exit code $code: $(said)"
		[ "$left" = 0 ] || fail "$tag: has left $left processes behind"
		[ "$out" = nothing ]
		[ "$err" != unclean ] || fail "$tag: $(said)"
		[ "$ms" -le 6000 ] || fail "$tag: took $ms ms"
		# The first token of a lock is the server's time at its grant, in us.
		last=$(tail -n 1 "$work/$tag.stamps")
		ran_us=$((last - $(cat "$work/$tag.token")))
		[ "$ran_us" -lt 2000000 ] || fail "$tag: ran for $ran_us us"
	done <"$work/results"
	[ "$(wc -l <"$work/results")" = "${#bad[@]}" ]
}

# Two good servers, and a third.
use_quorum() {
	for server in 1 2; do
		redis-cli -s "$REDIS_DIR/$server/redis.sock" flushall
		looks_old "$REDIS_DIR/$server"
	done
	CFLOCK_SERVER="unix://$REDIS_DIR/1/redis.sock unix://$REDIS_DIR/2/redis.sock unix://$HOSTILE/{}"
}

@test "one of three: as if it was away" {
	use_quorum
	liars="held woken grants-all long-list wants-high"
	besieged "${bad[*]} $liars" env "CFLOCK_SERVER=$CFLOCK_SERVER" "$CFLOCK" -t 2s -w 6 \
		"$name-{}" sh -c 'sleep 1; exit 3'
	while read -r tag code ms had left out err; do
		[ "$code" = 3 ] || fail "$tag: exit code $code: $(said)"
		[ "$left" = 0 ] || fail "$tag: has left $left processes behind"
		[ "$out $err" = "nothing nothing" ] || fail "$tag: $(said)"
		[ "$ms" -le 8000 ] || fail "$tag: took $ms ms"
	done <"$work/results"
}

@test "one of three that wants ever higher tokens: the lock can be had again" {
	use_quorum
	in_background env "CFLOCK_SERVER=${CFLOCK_SERVER//'{}'/reset}" "$CFLOCK" -t 3s "$name" \
		sh -c 'touch "$0"; sleep 1' "$work/holds"
	pids+=("$background")
	wait_until test -e "$work/holds"
	# The first of the answers is the one that would be learned from.
	for server in 1 2; do
		redis-cli -s "$REDIS_DIR/$server/redis.sock" client pause 300
	done
	for try in 1 2 3; do
		besieged wants-high env "CFLOCK_SERVER=$CFLOCK_SERVER" "$CFLOCK" -t 3s -w 6 \
			"$name" sh -c 'exit 3'
		read -r tag code ms had left out err <"$work/results"
		[ "$code" = 3 ] || fail "exit code $code: $(said)"
	done
}

@test "cflockctl: one of three, as if it was away" {
	use_quorum
	holding=${CFLOCK_SERVER//'{}'/silent}
	in_background env "CFLOCK_SERVER=$holding" "$CFLOCK" -t 20s "$name" sh -c \
		'touch "$0"; exec sleep 60' "$work/holds"
	pids+=("$background")
	wait_until test -e "$work/holds"
	besieged "${bad[*]} held grants-all" env "CFLOCK_SERVER=$CFLOCK_SERVER" "$CTL" status --json "$name"
	while read -r tag code ms had left out err; do
		[ "$code" = 0 ] || fail "$tag: exit code $code: $(said)"
		[ "$ms" -le 8000 ] || fail "$tag: took $ms ms"
		grep -q '"state": "held"' "$work/$tag.out" || fail "$tag: $(said)"
		[ "$(grep -c '"id"' "$work/$tag.out")" = 1 ] || fail "$tag: $(said)"
	done <"$work/results"
}
