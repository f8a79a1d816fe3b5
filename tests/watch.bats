# cflockctl watch: a screen on a terminal, which is left as it was in each way
# out; blocks and lines elsewhere.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	export CTL CFLOCK
	export -f rcli
}

teardown() {
	thaw_redis
	test_teardown
	wait "${pids[@]}" 2>/dev/null || true
}

# on_screen: does what stdin says; see helpers/screen.py.
on_screen() {
	python3 "$BATS_TEST_DIRNAME/helpers/screen.py" 3>&-
}

# hold NAME ARG...: a holder, until the end of the test.
hold() {
	in_background "$CFLOCK" "$@" sleep 60
	pids+=("$background")
	holder=$background
	wait_until is_locked "${!#}"
}

# foreign_locks N: as many locks of another client, of 3 digits each.
foreign_locks() {
	local i

	for i in $(seq -w 100 $((99 + $1))); do
		echo "SET cflock:{$name/$i} x PX 600000"
	done | rcli --pipe
}

has_lines() {
	[ "$(wc -l <"$1")" -ge "$2" ]
}

@test "a screen with server, time, count and the table; it follows what happens" {
	hold --message "of the test" "$name"
	in_background "$CFLOCK" --message next "$name" sleep 60
	pids+=("$background")
	on_screen <<-END
		start 24 150 "$CTL" watch '$name*'
		is alternate no-cursor no-echo
		row 1 ^unix://.*redis.sock.*[0-9][0-9]:[0-9][0-9]:[0-9][0-9]  1 lock like $name\*$
		row 2 ^LOCK +STATE +HOLDER +SINCE +LEFT +WAITING +COMMAND$
		row 3 ^$name +exclusive +\S+@$(uname -n):$holder +.* ago\) +[0-9.]+ s +1 +sleep 60$
		check rcli set "cflock:{$name/b}" x px 60000
		row 1 2 locks like
		row 4 ^$name/b +foreign
		check kill -TERM $holder
		row 3 :$background +.* +0 +sleep 60$
		check kill -TERM $background
		row 3 ^$name/b +foreign
		row 4 ^$
		check rcli del "cflock:{$name/b}"
		row 1 0 locks like
		row 2 ^LOCK
		row 3 ^$
		keys q
		ended 0
	END
}

@test "it refreshes each second, not more often" {
	hold "$name"
	rcli config resetstat
	on_screen <<-END
		start 24 100 "$CTL" watch
		is alternate
		check sleep 3
		keys q
		ended 0
	END
	# One SCAN and one look at each: two scripts a refresh, 3 to 5 of them.
	within 3 "$(calls_of scan)" 6 "refreshes in 3 s"
}

@test "every way out leaves the terminal as it was" {
	hold "$name"
	for way in "keys q:0" "keys Q:0" "keys C-c:130" "keys C-\\:131" "signal TERM:143" "signal INT:130" \
		"signal HUP:129" "signal QUIT:131" "signal USR1:138" "signal ALRM:142"; do
		on_screen <<-END
			start 10 80 "$CTL" watch
			is alternate no-cursor no-wrap no-echo
			shows ^$name
			keys x
			${way%:*}
			ended ${way##*:}
		END
	done
}

@test "a hang-up ends it" {
	hold "$name"
	on_screen <<-END
		start 10 80 "$CTL" watch
		shows ^$name
		hangup
		ended 129
	END
}

@test "a signal that is to be ignored stays ignored" {
	on_screen <<-END
		start 10 80 sh -c 'trap "" USR1; exec "$CTL" watch'
		is alternate
		signal USR1
		check rcli set "cflock:{$name}" x px 60000
		shows ^$name
		keys q
		ended 0
	END
	rcli del "cflock:{$name}"
}

@test "cut to the height, with how many more; it follows the window" {
	foreign_locks 30
	on_screen <<-END
		start 12 100 "$CTL" watch '$name*'
		row 1 30 locks
		row 3 ^$name/100
		row 11 ^$name/108
		row 12 ^and 21 more$
		resize 32 100
		row 32 ^$name/129
		lacks more$
		resize 6 100
		row 6 ^and 27 more$
		row 1 30 locks
		resize 31 100
		row 31 ^and 2 more$
		resize 3 100
		row 3 ^and 30 more$
		resize 2 100
		row 2 ^LOCK
		resize 1 100
		row 1 30 locks
		resize 24 100
		row 24 ^and 9 more$
		keys q
		ended 0
	END
	empty_redis
}

@test "what does not fit is not looked at" {
	foreign_locks 500
	rcli config resetstat
	on_screen <<-END
		start 12 100 "$CTL" watch '$name*'
		row 12 ^and 491 more$
		check sleep 1.5
		keys q
		ended 0
	END
	within 10 "$(calls_of zcard)" 60 "locks looked at"
	empty_redis
}

@test "cut to the width, whatever others wrote" {
	wide=$'wide \xe2\x82\xac\xe6\xbc\xa2 \e]0;gotcha\a \e[2J end'
	in_background "$CFLOCK" "$name" sh -c 'sleep 60; : "$0"' "$wide $(printf '%0100d' 0)"
	pids+=("$background")
	wait_until is_locked "$name"
	on_screen <<-END
		start 10 120 "$CTL" watch '$name*'
		row 3 ^$name .*wide ..
		row 4 ^$
		resize 10 20
		row 2 ^LOCK.{10,}$
		row 3 ^$name .{9,}$
		row 4 ^$
		resize 10 4
		row 1 ^unix$
		row 2 ^LOCK$
		row 3 ^test$
		row 4 ^$
		keys q
		ended 0
	END
}

@test "a server that goes away and comes back" {
	start_redis "$work/redis"
	export CFLOCK_SERVER=unix://$work/redis/redis.sock
	redis-cli -s "$work/redis/redis.sock" set "cflock:{$name}" x px 600000
	export -f start_redis looks_old stop_redis wait_until wait_gone is_zombie fail
	on_screen <<-END
		start 10 150 "$CTL" watch
		row 1 ^unix:.* 1 lock$
		row 3 ^$name +foreign
		check stop_redis "$work/redis"
		row 1 ^..:..:..  1 lock as of ..:..:..: cannot connect to unix:.*redis.sock: .*
		row 3 ^$name +foreign
		check start_redis "$work/redis"
		row 1 ^unix:.* 0 locks$
		row 3 ^$
		keys q
		ended 0
	END
	stop_redis "$work/redis"
}

@test "a server that is frozen: it can be left at once, and follows the window" {
	hold "$name"
	on_screen <<-END
		start 10 100 "$CTL" watch
		shows ^$name
		check kill -STOP $(redis_pid)
		check sleep 1.5
		resize 5 30
		row 2 ^LOCK.{20,26}$
		row 1 ^unix:
		keys q
		ended 0
		check kill -CONT $(redis_pid)
		start 10 200 "$CTL" watch
		shows ^$name
		check kill -STOP $(redis_pid)
		row 1 as of ..:..:..: cannot get an answer from unix:.*: no answer in time
		signal TERM
		ended 143
	END
}

@test "Ctrl-Z gives the terminal back; fg takes it; not in the background" {
	hold "$name"
	on_screen <<-END
		start 40 100 env PS1='@> ' bash --norc --noprofile --noediting -i
		shows ^@>
		type "$CTL" watch
		is alternate no-cursor no-wrap no-echo
		shows ^$name
		keys C-z
		is no-alternate cursor wrap echo
		shows Stopped
		check rcli set "cflock:{$name/2}" x px 60000
		type fg
		is alternate no-cursor no-wrap no-echo
		shows ^$name/2
		keys C-z
		is no-alternate cursor wrap echo
		type bg; echo sum=\$((20 + 3))
		shows sum=23
		check sleep 1.5
		is no-alternate cursor wrap echo
		type fg
		is alternate no-cursor no-wrap no-echo
		shows ^$name/2
		keys q
		is no-alternate cursor wrap echo
		type "$CTL" watch & sleep 1.5; echo sum=\$((40 + 3))
		shows sum=43
		is no-alternate cursor wrap echo
		type kill %1; wait %1; echo code=\$?
		shows code=143
		type exit 0
		ended 0
	END
	rcli del "cflock:{$name/2}"
}

@test "a terminal that takes nothing any more: a signal ends it" {
	foreign_locks 300
	on_screen <<-END
		start 300 200 "$CTL" watch
		is alternate
		pause
		check sleep 2
		signal TERM
		ended 143
	END
	empty_redis
}

@test "Ctrl-S, then a signal: the terminal is as it was" {
	hold "$name"
	on_screen <<-END
		start 10 100 "$CTL" watch
		shows ^$name
		keys C-s
		check sleep 1.5
		signal TERM
		ended 143
	END
}

@test "not on a terminal: a block each second, until it is killed" {
	hold "$name"
	in_background "$CTL" watch "$name*" >"$work/blocks"
	pids+=("$background")
	wait_until has_lines "$work/blocks" 9
	kill -TERM "$background"
	code=0
	wait "$background" || code=$?
	[ "$code" = 143 ]
	run ! grep -q $'\e' "$work/blocks"
	[[ $(sed -n 1p "$work/blocks") == LOCK*STATE*COMMAND ]]
	[[ $(sed -n 2p "$work/blocks") == "$name "*exclusive*"sleep 60" ]]
	[ -z "$(sed -n 3p "$work/blocks")" ]
	[[ $(sed -n 4p "$work/blocks") == LOCK*STATE*COMMAND ]]
	[ -z "$(sed -n 6p "$work/blocks")" ]
}

@test "a dumb terminal gets blocks, too" {
	hold "$name"
	TERM=dumb command script -qfec "timeout 2.5 '$CTL' watch" "$work/screen" >/dev/null </dev/null || true
	[ "$(grep -c "^$name .*exclusive" "$work/screen")" -ge 2 ]
	run ! grep -q $'\e' "$work/screen"
}

@test "--json: an array each second, a line each; on a terminal, too" {
	hold "$name"
	in_background "$CTL" watch --json "$name*" >"$work/lines"
	pids+=("$background")
	wait_until has_lines "$work/lines" 2
	kill -TERM "$background"
	wait "$background" || true
	python3 -c 'import json, sys
for line in open(sys.argv[1]).read().split("\n")[:2]:
    [lock] = json.loads(line)
    assert lock["name"] == sys.argv[2] and lock["state"] == "held", line
    assert lock["holders"][0]["command"] == "sleep 60", line' "$work/lines" "$name"
	on_screen <<-END
		start 10 2000 "$CTL" watch --json '$name*'
		shows ^\[\{"name":"$name",.*\}\]$
		is no-alternate cursor echo
		keys C-c
		ended 130
	END
}

@test "not on a terminal: each trouble is told once, and it goes on" {
	start_redis "$work/redis"
	in_background "$CTL" -S "unix://$work/redis/redis.sock" watch --json >"$work/lines" 2>"$work/err"
	pids+=("$background")
	wait_until has_lines "$work/lines" 1
	stop_redis "$work/redis"
	wait_until grep -q "cannot connect to .*; trying again" "$work/err"
	sleep 2.2
	[ "$(grep -c "cannot connect" "$work/err")" = 1 ]
	seen=$(wc -l <"$work/lines")
	start_redis "$work/redis"
	wait_until has_lines "$work/lines" $((seen + 2))
	stop_redis "$work/redis"
}

@test "not to be shown even once: as with list" {
	expect 69 "$CTL" -S "unix://$work/none" watch
	says "cannot connect to unix://$work/none"
	expect 64 "$CTL" watch a b
	expect 64 "$CTL" watch --force
	on_screen <<-END
		start 10 100 "$CTL" -S "unix://$work/none" watch
		ended 69
		shows cannot connect to
	END
}

@test "nobody reads: it ends" {
	code=0
	"$CTL" watch >/dev/full 2>"$work/err" || code=$?
	[ "$code" = 71 ]
	hold "$name"
	"$CTL" watch --json 3>&- | head -n 1 | grep -q "$name"
}
