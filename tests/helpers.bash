# Shared by all .bats files: a private redis-server on a Unix socket for each
# file, and helpers that wait by polling.  A missing component is a failure.

CFLOCK=${CFLOCK:-$BATS_TEST_DIRNAME/../cflock}
CTL=${CFLOCK}ctl

# Nothing of the user's own settings may reach a test.  bats reads this file
# for each test anew: what use_redis has set is to stay.
unset "${!CFLOCK_@}" REDISCLI_AUTH 2>/dev/null || true
[ -z "${REDIS_DIR-}" ] || export CFLOCK_SERVER=unix://$REDIS_DIR/redis.sock
export CFLOCK_CONFIG=/dev/null

# The only thing that a low limit buys is flakes.
WAIT_LIMIT_S=${WAIT_LIMIT_S:-30}

fail() {
	echo "$*" >&2
	return 1
}

# split_at_dashes [TEXT]... -- [WORD]...: into texts[] and words[], of the caller.
split_at_dashes() {
	texts=()
	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	# shellcheck disable=SC2034 # of the caller
	words=("${@:2}")
}

# wait_until COMMAND...: until it succeeds.
wait_until() {
	local end=$((SECONDS + WAIT_LIMIT_S))

	until "$@" >/dev/null 2>&1; do
		# Where the caller tests it, the shell does not end by itself.
		[ "$SECONDS" -lt "$end" ] || fail "waited $WAIT_LIMIT_S s for: $*" || return 1
		sleep 0.01
	done
}

wait_gone() {
	local end=$((SECONDS + WAIT_LIMIT_S))

	while kill -0 "$1" 2>/dev/null && ! is_zombie "$1"; do
		[ "$SECONDS" -lt "$end" ] || fail "process $1 is still there" || return 1
		sleep 0.01
	done
}

is_zombie() {
	grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

is_alive() {
	kill -0 "$1" 2>/dev/null && ! is_zombie "$1"
}

now_ms() {
	local us=${EPOCHREALTIME/[.,]/}

	echo "${us%???}"
}

# free_port [PORT]...: one that nobody listens on, nor on that of a cluster's bus
# above it; below those that the kernel gives out, and none of the arguments.
free_port() {
	local port

	while port=$((RANDOM % 10000 + 10000)); [[ " $* " == *" $port "* ]] ||
		is_listening "$port" || is_listening $((port + 10000)); do
		:
	done
	echo "$port"
}

is_listening() {
	(: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# start_redis DIR [OPTION]...: a server on DIR/redis.sock; its pid in DIR/pid.
start_redis() {
	local dir=$1

	shift
	mkdir -p "$dir"
	# Short paths: a socket's path has room for 107 bytes.
	redis-server --port 0 --unixsocket "$dir/redis.sock" --dir "$dir" --save '' \
		--appendonly no --daemonize yes --pidfile "$dir/pid" --logfile "$dir/log" \
		"$@" >/dev/null </dev/null 3>&-
	wait_until redis-cli -s "$dir/redis.sock" ping
	if [ "${1-}" = --requirepass ]; then
		local -x REDISCLI_AUTH=$2
	fi
	[ -n "${YOUNG_REDIS-}" ] || [[ " $* " == *" --replicaof "* ]] ||
		wait_until looks_old "$dir"
}

# looks_old DIR: the server of start_redis is taken for one that has long been up,
# so that the first grant need not wait for a ttl; after `flushall` as well.
looks_old() {
	local server replication

	server=$(redis-cli -s "$1/redis.sock" info server | tr -d '\r')
	replication=$(redis-cli -s "$1/redis.sock" info replication | tr -d '\r')
	redis-cli -s "$1/redis.sock" set cflock:epoch \
		"$(sed -n 's/^run_id://p' <<<"$server") $(
			sed -n 's/^master_replid://p' <<<"$replication") 0 0 restart" |
		grep -q OK
}

# The private server without any data, and taken for one that has long been so.
empty_redis() {
	rcli flushall
	looks_old "$REDIS_DIR"
} >/dev/null

stop_redis() {
	local pid

	[ -s "$1/pid" ] || return 0
	pid=$(cat "$1/pid")
	kill -CONT "$pid" 2>/dev/null || true
	kill -KILL "$pid" 2>/dev/null || true
	wait_gone "$pid"
	rm -f "$1/pid"
}

redis_pid() {
	cat "$REDIS_DIR/pid"
}

freeze_redis() {
	kill -STOP "$(redis_pid)"
}

thaw_redis() {
	kill -CONT "$(redis_pid)"
}

# To the private server of the file.
rcli() {
	redis-cli -s "$REDIS_DIR/redis.sock" "$@"
}

# within LOW VALUE HIGH WHAT
within() {
	[ "$2" -ge "$1" ] || fail "$4: $2, which is less than $1"
	[ "$2" -le "$3" ] || fail "$4: $2, which is more than $3"
}

# How often the private server was asked to do a command.
calls_of() {
	rcli info commandstats | sed -n "s/^cmdstat_$1:calls=\([0-9]*\),.*/\1/p"
}

# use_redis [OPTION]...: in setup_file.
use_redis() {
	REDIS_DIR=$(mktemp -d "${TMPDIR:-/tmp}/cflock-test.XXXXXX")
	export REDIS_DIR
	export CFLOCK_SERVER=unix://$REDIS_DIR/redis.sock
	start_redis "$REDIS_DIR" "$@"
}

# In teardown_file.
drop_redis() {
	stop_redis "$REDIS_DIR"
	rm -rf "$REDIS_DIR"
}

# A lock's name of its own for each test.
lock_name() {
	echo "test-$BATS_TEST_NUMBER"
}

# nothing_left NAME: no lock and no holder; only the token may stay, and for a
# while the mark of one who has given up.
nothing_left() {
	local keys

	keys=$(rcli --raw keys "cflock:{$1}*" | grep -v -e ':token$' -e ':gone:' || true)
	[ -z "$keys" ] || fail "left in Redis: $keys"
}

is_locked() {
	[ "$(rcli exists "cflock:{$1}")" = 1 ]
}

# guardian_of PID: the guardian below the cflock PID.
guardian_of() {
	local pid

	# shellcheck disable=SC2013 # words are wanted
	for pid in $(cat /proc/"$1"/task/*/children); do
		[ "$(cat "/proc/$pid/comm")" = lease-guardian ] || continue
		echo "$pid"
		return 0
	done
	return 1
} 2>/dev/null

# Runs in the background; stdin and bats' own descriptor are not inherited.
# Its pid in $background.
in_background() {
	"$@" </dev/null 3>&- &
	# shellcheck disable=SC2034 # for the callers
	background=$!
}

# For setup() and teardown(): $name and $key of a lock, a folder $work, and the
# list $pids of what is to be killed in the end.
test_setup() {
	name=$(lock_name)
	key="cflock:{$name}"
	work=$(mktemp -d "$REDIS_DIR/work.XXXXXX")
	export name key work REDIS_SOCKET=$REDIS_DIR/redis.sock
	pids=()
}

test_teardown() {
	local pid

	for pid in "${pids[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
	done
}

# The state of process $1 by its letter in /proc: S asleep, T stopped.
state_of() {
	sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status"
}

# use_helper NAME: in setup_file.  The path of the C program tests/helpers/NAME
# in a variable of that name; built here, where `make check` has not.
use_helper() {
	local built=${HELPERS:-$BATS_TEST_DIRNAME/helpers}/$1

	if [ ! -x "$built" ]; then
		built=$BATS_FILE_TMPDIR/$1
		"${CC:-cc}" -D_GNU_SOURCE -o "$built" "$BATS_TEST_DIRNAME/helpers/$1.c"
	fi
	export "$1=$built"
}

# expect CODE COMMAND...: its exit code must be CODE.  Leaves $output, $stderr
# and $elapsed_ms.
# shellcheck disable=SC2154 # what `run` sets
expect() {
	local code=$1 begun_ms

	shift
	begun_ms=$(now_ms)
	run --separate-stderr "$@"
	elapsed_ms=$(($(now_ms) - begun_ms))
	[ "$status" -eq "$code" ] ||
		fail "exit code $status, not $code, of: $*"$'\n'"stdout: $output"$'\n'"stderr: $stderr"
}

# says TEXT...: each of them stands in what the last `expect` saw on stderr.
says() {
	local text

	for text; do
		[[ $stderr == *"$text"* ]] || fail "no \"$text\" in: $stderr"
	done
}

# Nothing came on stderr.
is_silent() {
	[ -z "$stderr" ] || fail "not silent: $stderr"
}

# took MIN MAX: the last `expect`, in ms.
took() {
	[ "$elapsed_ms" -ge "$1" ] || fail "took $elapsed_ms ms only, not $1"
	[ "$elapsed_ms" -le "$2" ] || fail "took $elapsed_ms ms, more than $2"
}
