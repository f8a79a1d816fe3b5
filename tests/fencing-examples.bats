# contrib/fencing: each example lets an older token do nothing.

bats_require_minimum_version 1.5.0
load helpers

examples=$BATS_TEST_DIRNAME/../contrib/fencing

setup_file() {
	use_redis
}

teardown_file() {
	[ ! -s "$REDIS_DIR/postgres/data/postmaster.pid" ] ||
		kill -QUIT "$(head -n 1 "$REDIS_DIR/postgres/data/postmaster.pid")"
	drop_redis
}

setup() {
	test_setup
}

teardown() {
	test_teardown
}

# with TOKEN COMMAND...
with() {
	local token=$1

	shift
	CFLOCK_TOKEN=$token "$@"
}

# --- put-file.sh

put_file() {
	CFLOCKCTL=$CTL sh "$examples/put-file.sh" "$@"
}

@test "put-file.sh: a file over there, unless a newer run has been there" {
	export REMOTE='sh -c'
	target="$work/it's a \$target"
	seq 10000 >"$work/five"
	echo "six" >"$work/six"
	expect 0 with 5 put_file "$work/five" "$target"
	is_silent
	cmp "$work/five" "$target"
	expect 0 with 6 put_file "$work/six" "$target"
	expect 80 with 5 put_file "$work/five" "$target"
	says "$target.fence: has seen token 6, 5 is fenced off"
	[ "$(cat "$target")" = six ]
	[ ! -e "$target.part" ]
}

@test "put-file.sh: a remote command without our environment, in a folder of its own" {
	cat >"$work/ssh" <<-'END'
		#!/bin/sh
		# ssh HOST WORD...
		echo "host $1" >>"$work/ssh.log"
		shift
		cd /
		exec env -i PATH="$PATH" sh -c "$*"
	END
	chmod +x "$work/ssh"
	echo data >"$work/data"
	REMOTE="$work/ssh store" expect 0 with 5 put_file "$work/data" "$work/target"
	cmp "$work/data" "$work/target"
	[ "$(cat "$work/ssh.log")" = "host store" ]
	REMOTE="$work/ssh store" expect 80 with 4 put_file "$work/data" "$work/target"
}

@test "put-file.sh: when the connection breaks, TARGET stays what it was" {
	echo old >"$work/target"
	seq 10000 >"$work/data"
	cat >"$work/broken" <<-'END'
		#!/bin/sh
		head -c 1000 | sh -c "$1"
	END
	REMOTE="sh $work/broken" expect 1 with 5 put_file "$work/data" "$work/target"
	says "did not arrive"
	[ "$(cat "$work/target")" = old ]
	REMOTE="sh -c" expect 0 with 5 put_file "$work/data" "$work/target"
	cmp "$work/data" "$work/target"
}

@test "put-file.sh under cflock: the late run of an older holder is refused" {
	export CFLOCKCTL=$CTL examples
	echo new >"$work/new"
	echo late >"$work/late"
	# As a paused machine would go on: with the token that it was given once.
	"$CFLOCK" "$name" sh -c 'echo $CFLOCK_TOKEN' >"$work/token"
	REMOTE='sh -c' "$CFLOCK" "$name" sh "$examples/put-file.sh" "$work/new" "$work/target"
	REMOTE='sh -c' expect 80 with "$(cat "$work/token")" sh "$examples/put-file.sh" "$work/late" "$work/target"
	[ "$(cat "$work/target")" = new ]
}

# --- redis-set.sh

redis_set() {
	sh "$examples/redis-set.sh" "$1" -s "$REDIS_SOCKET" <<<"$2"
}

@test "redis-set.sh: a value in Redis, unless a newer run has been there" {
	expect 0 with 1764230400000005 redis_set "$name" five
	is_silent
	expect 0 with 1764230400000005 redis_set "$name" "five again"
	expect 0 with 1764230400000006 redis_set "$name" six
	[ "$(rcli hget "$name" value)" = six ]
	expect 80 with 1764230400000005 redis_set "$name" five
	says "5 is fenced off: the key has seen token 1764230400000006"
	expect 0 with 9007199254740991 redis_set "$name" last
	expect 80 with 9007199254740990 redis_set "$name" late
	[ "$(rcli hget "$name" value),$(rcli hget "$name" token)" = "last,9007199254740991" ]
}

@test "redis-set.sh: what fails is not fenced off" {
	expect 1 with nonsense redis_set "$name" x
	says "the token is not a number"
	rcli set "$name" "not a hash"
	expect 1 with 5 redis_set "$name" x
	says WRONGTYPE
	run ! env -u CFLOCK_TOKEN sh "$examples/redis-set.sh" "$name" -s "$REDIS_SOCKET" </dev/null
	run ! env CFLOCK_TOKEN=5 sh "$examples/redis-set.sh" "$name" -s "$work/none" </dev/null
	[ "$status" != 80 ]
}

# --- postgres.sh

# need_postgres: a private server, when PostgreSQL is installed here.
need_postgres() {
	local bin dir=$REDIS_DIR/postgres initdb as=()

	initdb=$(command -v initdb || find /usr/lib/postgresql /usr/pgsql* -name initdb 2>/dev/null | sort -V | tail -n 1)
	[ -n "$initdb" ] || skip "PostgreSQL is not installed: there is no initdb"
	command -v psql >/dev/null || skip "PostgreSQL's psql is not installed"
	bin=$(dirname "$(readlink -f "$initdb")")
	mkdir "$dir"
	# It refuses to run as root.
	if [ "$(id -u)" = 0 ]; then
		chmod a+x "$REDIS_DIR"
		chown nobody "$dir"
		as=(setpriv --reuid nobody --clear-groups)
	fi
	(
		cd /
		"${as[@]}" "$bin/initdb" -D "$dir/data" -U test -A trust -N --no-locale
		# Its shared memory is not to depend on the size of /dev/shm.
		"${as[@]}" "$bin/postgres" -D "$dir/data" -c listen_addresses= -c unix_socket_directories="$dir" \
			-c fsync=off -c shared_buffers=1MB -c dynamic_shared_memory_type=mmap &
	) >"$REDIS_DIR/postgres.log" 2>&1 </dev/null 3>&-
	unset "${!PG@}"
	export PGHOST=$dir PGUSER=test PGDATABASE=postgres
	wait_until psql -X -c 'SELECT 1'
}

sql() {
	psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

@test "postgres.sh: a transaction, unless a newer run has been there; while one is open, others wait" {
	need_postgres
	sql -f "$examples/postgres.sql"
	sql -c 'CREATE TABLE report (body text)'
	for word in five six; do
		echo "INSERT INTO report VALUES ('$word'); SELECT 'wrote $word';" >"$work/$word.sql"
	done
	echo "INSERT INTO report VALUES ('half'); nonsense;" >"$work/wrong.sql"
	put() { sh "$examples/postgres.sh" "it's the report" "$1"; }

	expect 0 with 5 put "$work/five.sql"
	is_silent
	[[ $output == *"wrote five"* ]]
	expect 0 with 5 put "$work/five.sql"
	expect 3 with 6 put "$work/wrong.sql"
	says "syntax error"
	# The transaction with token 6 was rolled back, its fence too.
	expect 0 with 5 put "$work/five.sql"
	expect 0 with 9007199254740990 put "$work/six.sql"
	expect 80 with 9007199254740989 put "$work/five.sql"
	says "token 9007199254740989 of it's the report is fenced off"
	[ "$(sql -c 'SELECT body FROM report' | xargs)" = "five five five six" ]
	# Another resource is not touched by that.
	expect 0 with 5 sh "$examples/postgres.sh" another "$work/five.sql"

	# An older transaction that is open still; and, behind the newer one, one
	# that is older than that.
	mkfifo "$work/slow"
	in_background psql -X -q -f "$work/slow"
	pids+=("$background")
	exec 7>"$work/slow"
	echo "BEGIN; SELECT cflock_fence('slow', 5); INSERT INTO report VALUES ('slow'); \! touch $work/begun" >&7
	wait_until test -e "$work/begun"
	in_background with 7 sh "$examples/postgres.sh" slow "$work/six.sql" 7>&-
	newer=$background
	waiting() { [ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")" = "$1" ]; }
	wait_until waiting 1
	[ "$(sql -c "SELECT count(*) FROM report WHERE body = 'six'")" = 1 ]
	echo "COMMIT;" >&7
	exec 7>&-
	wait "$newer"
	[ "$(sql -c 'SELECT body FROM report' | tail -n 2 | xargs)" = "slow six" ]
	expect 80 with 6 sh "$examples/postgres.sh" slow "$work/five.sql"
}
