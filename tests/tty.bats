# On a terminal, under a shell with job control: the keys do what they do
# without cflock, and a stopped command does not keep its lease.

load helpers

setup_file() {
	use_redis
	use_helper recorder
}

teardown_file() {
	drop_redis
}

setup() {
	name=$(lock_name)
	work=$BATS_TEST_TMPDIR
	marker=8$RANDOM.$RANDOM$BATS_TEST_NUMBER
	got=$work/got
	# Writes its process number where the test can find it.
	cat >"$work/cflock" <<-'END'
		#!/bin/sh
		echo $$ >"${0%/*}/pid.new"
		mv "${0%/*}/pid.new" "${0%/*}/pid"
		exec "$CFLOCK" "$@"
	END
	chmod +x "$work/cflock"
	export CFLOCK PATH="$work:$PATH" name work marker got
	export -f rcli is_locked nothing_left fail guardian_of is_zombie is_alive
	export -f no_process_left state_of command_is cflock_is count_is
}

teardown() {
	pkill -KILL -f "$marker" || true
}

# on_terminal: does what stdin says; see helpers/terminal.py.
on_terminal() {
	python3 "$BATS_TEST_DIRNAME/helpers/terminal.py" 3>&-
}

no_process_left() {
	! pgrep -f "sleep $marker"
}

# By the letter in /proc: S asleep, T stopped.
command_is() {
	[ "$(state_of "$(pgrep -P "$(guardian_of "$(cat "$work/pid")")")")" = "$1" ]
}

cflock_is() {
	[ "$(state_of "$(cat "$work/pid")")" = "$1" ]
}

# count_is SIGNAL N: the recorder got it N times.
count_is() {
	[ "$(grep -cx "$1" "$got")" = "$2" ]
}

recorded() {
	[ "$(tr '\n' ' ' <"$got")" = "ready $1 " ] || fail "$(cat "$got")"
}

@test "Ctrl-C reaches the command, once, and cflock waits for it" {
	on_terminal <<-END
		prompt
		line cflock $name $recorder $got
		poll grep -q ready $got
		key C-c
		poll count_is 2 1
		check is_locked $name
		key C-c
		poll count_is 2 2
		check kill -RTMAX \$(cat $work/pid)
		prompt
		line echo "code=\$?"
		expect code=44
	END
	recorded "2 2 64"
	nothing_left "$name"
}

@test "Ctrl-C ends the command: 130, lock free" {
	on_terminal <<-END
		prompt
		line cflock $name sleep $marker
		poll command_is S
		key C-c
		prompt
		line echo "code=\$?"
		expect code=130
		check no_process_left
		check nothing_left $name
	END
}

@test "Ctrl-C ends a shell loop around cflock" {
	on_terminal <<-END
		prompt
		line while :; do cflock $name sleep $marker; done
		poll command_is S
		key C-c
		prompt
		line echo "sum=\$((20 + 3))"
		expect sum=23
		check no_process_left
		check nothing_left $name
	END
}

@test "Ctrl-C does not end a shell loop whose command handles it" {
	on_terminal <<-END
		prompt
		line for i in 1 2; do cflock $name bash -c 'trap "exit 0" INT; echo run-\$0; while :; do sleep 0.01; done' \$i; done
		expect run-1
		key C-c
		expect run-2
		key C-c
		prompt
	END
	nothing_left "$name"
}

@test "Ctrl-C ends a shell loop around a waiting cflock" {
	rcli set "cflock:{$name}" other
	on_terminal <<-END
		prompt
		line while :; do cflock $name touch $work/ran; done
		poll cflock_is S
		key C-c
		prompt
		line echo "sum=\$((20 + 3))"
		expect sum=23
	END
	[ ! -e "$work/ran" ]
	rcli del "cflock:{$name}"
}

# The guardian is held up just before it starts the command.
@test "Ctrl-C, Ctrl-\\, hang-up between the grant and the start end the command, lock free" {
	local key code

	# Before the lease it still goes by its parent's name.
	find_guardian() {
		guardian=$(pgrep -P "$(cat "$work/pid")")
	}
	hold_up() {
		find_guardian
		strace -qq -p "$guardian" -o /dev/null \
			-e inject=rt_sigtimedwait:delay_enter=2000000 >/dev/null 2>&1 &
		until grep -q '^TracerPid:.[1-9]' "/proc/$guardian/status"; do sleep 0.01; done
		kill -CONT "$(cat "$REDIS_DIR/pid")"
	}
	is_held_up() {
		find_guardian && [ "$(state_of "$guardian")" = t ] && is_locked "$name"
	}
	export -f find_guardian hold_up is_held_up
	for key in C-c:130 'C-\:131' hangup:; do
		code=${key#*:} key=${key%:*}
		rm -f "$work/pid"
		on_terminal <<-END
			prompt
			check kill -STOP \$(cat $REDIS_DIR/pid)
			line cflock $name sleep $marker
			poll find_guardian
			check hold_up
			poll is_held_up
			${code:+key }$key
			${code:+prompt}
			${code:+line echo "code=\$?"}
			${code:+expect code=$code}
		END
		wait_until nothing_left "$name"
		no_process_left
	done
}

@test "Ctrl-\\ reaches the command, once" {
	on_terminal <<-END
		prompt
		line cflock $name $recorder $got
		poll grep -q ready $got
		key C-\\
		poll count_is 3 1
		check kill -RTMAX \$(cat $work/pid)
		prompt
	END
	recorded "3 64"
}

@test "Ctrl-\\ ends the command: 131, lock free" {
	on_terminal <<-END
		prompt
		line ulimit -c 0
		prompt
		line cflock $name sleep $marker
		poll command_is S
		key C-\\
		prompt
		line echo "code=\$?"
		expect code=131
		check no_process_left
		check nothing_left $name
	END
}

@test "Ctrl-Z and fg in time: the command goes on, with its lease" {
	on_terminal <<-END
		prompt
		line cflock --ttl 3s $name sleep $marker
		poll command_is S
		key C-z
		expect Stopped
		prompt
		check command_is T && cflock_is T
		check rcli get cflock:{$name} >$work/before
		line fg
		poll command_is S && cflock_is S
		check sleep 3.5
		check rcli get cflock:{$name} | cmp - $work/before
		check is_locked $name
		key C-c
		prompt
		line echo "code=\$?"
		expect code=130
	END
	nothing_left "$name"
}

@test "Ctrl-Z for too long: the command is dead, the lock free; fg says 79" {
	on_terminal <<-END
		prompt
		line cflock --ttl 1s $name sleep $marker
		poll command_is S
		key C-z
		expect Stopped
		prompt
		poll ! pgrep -x -f "sleep $marker"
		poll ! is_locked $name
		check cflock_is T
		check [ "\$($CFLOCK -n $name echo mine)" = mine ]
		line fg
		expect lease is lost
		prompt
		line echo "code=\$?"
		expect code=79
	END
	nothing_left "$name"
}

@test "Ctrl-Z does not stop cflock when the command does not stop" {
	on_terminal <<-END
		prompt
		line cflock --ttl 1s $name $recorder $got
		poll grep -q ready $got
		key C-z
		poll count_is 20 1
		check sleep 1.5
		check cflock_is S
		check is_locked $name
		check kill -RTMAX \$(cat $work/pid)
		prompt
		line echo "code=\$?"
		expect code=44
	END
	recorded "20 64"
}

@test "Ctrl-Z while waiting, and fg" {
	rcli set "cflock:{$name}" other
	on_terminal <<-END
		prompt
		line cflock $name bash -c 'exit 41'
		poll cflock_is S && ls -l /proc/\$(cat $work/pid)/fd | grep socket
		key C-z
		expect Stopped
		prompt
		check cflock_is T
		check rcli del cflock:{$name}
		line fg
		prompt
		line echo "code=\$?"
		expect code=41
	END
	nothing_left "$name"
}

@test "Ctrl-C reaches a command that has made a group of its own" {
	cat >"$work/own_group.py" <<-'END'
		import os, sys
		os.setpgid(0, 0)
		os.execvp("sleep", ["sleep", sys.argv[1]])
	END
	on_terminal <<-END
		prompt
		line cflock $name python3 $work/own_group.py $marker
		poll pgrep -x -f "sleep $marker"
		key C-c
		prompt
		line echo "code=\$?"
		expect code=130
		check no_process_left
		check nothing_left $name
	END
}

@test "a command that ignores SIGTERM is killed, and the rest of its pipeline is not" {
	on_terminal <<-END
		prompt
		line cflock --ttl 1s $name bash -c 'trap "" TERM; while :; do sleep $marker; done' | (cat; echo "rest=\$((20 + 3))")
		poll pgrep -x -f "sleep $marker"
		check kill -STOP \$(cat $REDIS_DIR/pid)
		expect lease is lost
		expect rest=23
		prompt
		line echo "code=\$?"
		expect code=0
		check no_process_left
		check kill -CONT \$(cat $REDIS_DIR/pid)
		poll nothing_left $name
	END
}

# HUP is the kernel's, to a stopped group that nobody of the session can continue.
@test "a stopped command whose cflock is killed is continued, to end" {
	on_terminal <<-END
		prompt
		line cflock $name bash -c 'trap "" HUP; trap "echo TERM >$got; exit" TERM; echo ready; while :; do sleep 0.01; done' $marker
		expect ready
		check kill -STOP \$(pgrep -P "\$(guardian_of "\$(cat $work/pid)")")
		poll command_is T
		check kill -KILL \$(cat $work/pid)
		poll grep -q TERM $got
		poll nothing_left $name
	END
}

@test "Ctrl-C ends a pipeline" {
	on_terminal <<-END
		prompt
		line cflock $name sleep $marker | cat
		poll command_is S
		key C-c
		prompt
		line echo "codes=\${PIPESTATUS[*]}"
		expect codes=130 130
		check no_process_left
		check nothing_left $name
	END
}

@test "Ctrl-Z and fg of a pipeline" {
	on_terminal <<-END
		prompt
		line cflock $name bash -c 'echo first; read -r word; echo "read-\$word"' | cat
		expect first
		key C-z
		expect Stopped
		prompt
		line fg
		poll command_is S
		line hello
		expect read-hello
		prompt
	END
	nothing_left "$name"
}

@test "the command can read from the terminal" {
	on_terminal <<-END
		prompt
		line cflock $name bash -c 'echo ready; read -r word; echo "read-\$word"; exit 42'
		expect ready
		line hello
		expect read-hello
		prompt
		line echo "code=\$?"
		expect code=42
	END
}

@test "in the background it is stopped when it reads; fg lets it go on" {
	on_terminal <<-END
		prompt
		line cflock $name cat &
		prompt
		poll command_is T && cflock_is T
		line fg
		poll command_is S && cflock_is S
		line hello
		expect hello
		key C-d
		prompt
		line echo "code=\$?"
		expect code=0
	END
	nothing_left "$name"
}

@test "in the background Ctrl-C does not reach it" {
	on_terminal <<-END
		prompt
		line cflock $name $recorder $got &
		prompt
		poll grep -q ready $got
		key C-c
		prompt
		line kill -RTMAX \$!
		line wait \$!
		line echo "code=\$?"
		expect code=44
	END
	recorded "64"
}

@test "an interactive shell under the lock has job control" {
	on_terminal <<-END
		prompt
		line cflock --ttl 1s $name env PS1='inner> ' bash --norc --noprofile --noediting -i
		expect inner>
		line sleep $marker
		poll pgrep -x -f "sleep $marker"
		key C-z
		expect Stopped
		expect inner>
		check sleep 1.5
		check is_locked $name
		line fg
		poll [ "\$(state_of "\$(pgrep -x -f "sleep $marker")")" = S ]
		key C-c
		expect inner>
		line exit 43
		prompt
		line echo "code=\$?"
		expect code=43
	END
	nothing_left "$name"
}

@test "a new size of the window reaches the command, once" {
	on_terminal <<-END
		prompt
		line cflock $name $recorder $got
		poll grep -q ready $got
		resize 33 99
		poll count_is 28 1
		check kill -RTMAX \$(cat $work/pid)
		prompt
	END
	recorded "28 64"
}

@test "a hang-up ends the command and frees the lock" {
	on_terminal <<-END
		prompt
		line cflock --ttl 60s $name sleep $marker
		poll command_is S
		hangup
		poll no_process_left
		poll nothing_left $name
	END
}

@test "a hang-up while waiting leaves nothing behind" {
	rcli set "cflock:{$name}" other
	on_terminal <<-END
		prompt
		line cflock $name touch $work/ran
		poll cflock_is S && ls -l /proc/\$(cat $work/pid)/fd | grep socket
		hangup
		poll ! kill -0 \$(cat $work/pid)
	END
	rcli del "cflock:{$name}"
	nothing_left "$name"
	[ ! -e "$work/ran" ]
}

@test "the terminal belongs to the shell again afterwards" {
	on_terminal <<-END
		prompt
		line cflock $name true
		prompt
		line ps -o pgid=,tpgid= -p \$\$ | { read -r a b; [ "\$a" != "\$b" ]; echo "foreground=\$?"; }
		expect foreground=0
		prompt
		line read -r word
		line typed
		line echo "word=\$word"
		expect word=typed
	END
}
