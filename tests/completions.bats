# The completions of bash, zsh and fish, in those shells.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/completions

SHELLS="bash zsh fish"

setup_file() {
	use_redis
	use_completions
	export OTHER=$BATS_FILE_TMPDIR/other
	start_redis "$OTHER"
	for name in deploy/db deploy/web nightly:eu; do
		rcli set "cflock:{$name}" someone
	done
	redis-cli -s "$OTHER/redis.sock" set "cflock:{deploy/other}" someone
}

teardown_file() {
	stop_redis "$OTHER"
	drop_redis
}

setup() {
	work=$BATS_TEST_TMPDIR
	touch "$work/secret.txt" "$work/two words.txt"
	mkdir "$work/some.dir"
	cd "$work" || return
}

@test "options: by what they begin with, and only before NAME" {
	for shell in $SHELLS; do
		completes "$shell" <<-'EOF'
			cflock --st -> cflock --stop-signal
			cflock -n --stop -> cflock -n --stop-signal
			cflock -w 5 --pass -> cflock -w 5 --password-file
			cflock --no-such ->
			cflock x --st ->
			cflock x --com -> cflock x --command
			cflock --com ->
		EOF
	done
}

@test "values: signals, files, URLs" {
	for shell in $SHELLS; do
		completes "$shell" <<-EOF
			cflock --stop-signal KI -> cflock --stop-signal KILL
			cflock --stop-signal=KI -> cflock --stop-signal=KILL
			cflock --stop-signal SIGKI -> cflock --stop-signal SIGKILL
			cflock --stop-signal STO ->
			cflock --password-file sec -> cflock --password-file secret.txt
			cflock --password-file=sec -> cflock --password-file=secret.txt
			cflock -S rediss: -> cflock -S rediss://
			cflock -Srediss: -> cflock -Srediss://
			cflock -nSrediss: -> cflock -nSrediss://
			cflock --server=rediss: -> cflock --server=rediss://
			cflock --server redis: -> cflock --server redis://
			cflock --server uni -> cflock --server unix://
			cflock -S unix://$work/sec -> cflock -S unix://$work/secret.txt
			cflock --tls-ca-file sec -> cflock --tls-ca-file secret.txt
			cflock --message sec ->
			cflock --prefer co -> cflock --prefer consistency
			cflock --prefer=a -> cflock --prefer=availability
			cflock --ttl sec ->
			cflockctl -S rediss: -> cflockctl -S rediss://
			cflockctl status --password-file=sec -> cflockctl status --password-file=secret.txt
		EOF
	done
}

@test "names of files are quoted" {
	for shell in bash zsh; do
		completes "$shell" <<-'EOF'
			cflock --password-file two -> cflock --password-file two\ words.txt
			cflock --password-file=two -> cflock --password-file=two\ words.txt
			cflockctl --password-file two -> cflockctl --password-file two\ words.txt
		EOF
	done
}

@test "the command behind NAME: as a command, with its own completion" {
	for shell in $SHELLS; do
		completes "$shell" <<-'EOF'
			cflock x mktem -> cflock x mktemp
			cflock -n -E 0 --ttl=5s x mktem -> cflock -n -E 0 --ttl=5s x mktemp
			cflock -nE0 -w5 x mktem -> cflock -nE0 -w5 x mktemp
			cflock --message "a b" x mktem -> cflock --message "a b" x mktemp
			cflock x -- mktem -> cflock x -- mktemp
			cflock x -c mktem -> cflock x -c mktemp
			cflock -- x mktem -> cflock -- x mktemp
			cflock x timeout --for -> cflock x timeout --foreground
			cflock x -- timeout --for -> cflock x -- timeout --foreground
			cflock x cat sec -> cflock x cat secret.txt
			cflock x timeout -s KI -> cflock x timeout -s KILL
		EOF
	done
}

@test "bash alone: commands and files" {
	WITHOUT_BASH_COMPLETION=1 completes bash <<-'EOF'
		cflock x mktem -> cflock x mktemp
		cflock x -- mktem -> cflock x -- mktemp
		cflock x -- cat sec -> cflock x -- cat secret.txt
		cflock --st -> cflock --stop-signal
	EOF
}

@test "names of locks: those of the server, or of that after -S" {
	for shell in $SHELLS; do
		completes "$shell" <<-EOF
			cflock dep -> cflock deploy/db deploy/web
			cflock deploy/w -> cflock deploy/web
			cflock -n -w 5 deploy/d -> cflock -n -w 5 deploy/db
			cflock nightly:e -> cflock nightly:eu
			cflock no-such ->
			cflock 'dep*' ->
			cflock -S unix://$OTHER/redis.sock dep -> cflock -S unix://$OTHER/redis.sock deploy/other
			cflock -nS unix://$OTHER/redis.sock dep -> cflock -nS unix://$OTHER/redis.sock deploy/other
			cflock --server=unix://$OTHER/redis.sock dep -> cflock --server=unix://$OTHER/redis.sock deploy/other
			cflock -S "unix://$OTHER/redis.sock" dep -> cflock -S "unix://$OTHER/redis.sock" deploy/other
			cflock -S redis://127.0.0.1:1 dep ->
			cflockctl status deploy/d -> cflockctl status deploy/db
			cflockctl status --json deploy/d -> cflockctl status --json deploy/db
			cflockctl list dep -> cflockctl list deploy/db deploy/web
			cflockctl break --wait 5 deploy/w -> cflockctl break --wait 5 deploy/web
			cflockctl -S unix://$OTHER/redis.sock status dep -> cflockctl -S unix://$OTHER/redis.sock status deploy/other
			cflockctl status -S unix://$OTHER/redis.sock dep -> cflockctl status -S unix://$OTHER/redis.sock deploy/other
			cflockctl check dep ->
			cflockctl status deploy/db dep ->
		EOF
	done
}

@test "a server that never answers: nothing, and soon" {
	kill -STOP "$(cat "$OTHER/pid")"
	for shell in $SHELLS; do
		complete_in_time "$shell" "cflock -S unix://$OTHER/redis.sock dep"
		complete_in_time "$shell" "cflockctl -S unix://$OTHER/redis.sock status dep"
	done
	kill -CONT "$(cat "$OTHER/pid")"
}

# complete_in_time SHELL LINE: it stays as it is, and that takes less than 1 s;
# once in five, on a busy machine.
complete_in_time() {
	local i ms

	for ((i = 0; i < 5; i++)); do
		TIMES=1 complete "$1" <<<"$2" >"$work/took"
		read -r ms line <"$work/took"
		[ "$line" = "$2" ] || fail "$1: became $line"
		[ "$ms" -ge 1000 ] || return 0
	done
	fail "$1: $2: $ms ms"
}

@test "cflockctl: verbs, and the options of each" {
	for shell in $SHELLS; do
		completes "$shell" <<-'EOF'
			cflockctl sta -> cflockctl status
			cflockctl -S redis://h sta -> cflockctl -S redis://h status
			cflockctl check --min -> cflockctl check --min-left
			cflockctl break --fo -> cflockctl break --force
			cflockctl --fo -> cflockctl --force
			cflockctl status --fo ->
			cflockctl status --js -> cflockctl status --json
			cflockctl check --js ->
			cflockctl status no-such --js -> cflockctl status no-such --json
			cflockctl no-such x ->
		EOF
	done
}

@test "what is added to --help later is completed as well" {
	export BIN=$work/bin
	mkdir "$BIN"
	cat >"$BIN/cflock" <<-'EOF'
		#!/bin/sh
		echo "Usage:
		 cflock [OPTION]... NAME [--] COMMAND [ARG]...
		 cflock [OPTION]... --attach PID NAME
		 cflock --release NAME

		Options:
		 -S, --server URL                 the lock service
		     --attach PID                 the lock ends with that process
		     --release                    it ends
		     --prefer consistency|speed   what matters
		     --log-dir DIR                where to log"
	EOF
	cat >"$BIN/cflockctl" <<-'EOF'
		#!/bin/sh
		echo "Usage:
		 cflockctl [OPTION]... fence FILE [--token N] -- COMMAND...  runs it if the token is not too low
		 cflockctl [OPTION]... doctor         what is wrong
		 cflockctl [OPTION]... compare FILE...
		            them

		Options:
		     --quick  not so well; not doctor, compare
		     --deep   doctor, compare: look at all"
	EOF
	chmod +x "$BIN"/*
	for shell in $SHELLS; do
		completes "$shell" <<-EOF
			cflock --att -> cflock --attach
			cflock --attach $$ -> cflock --attach $$
			cflock --prefer=co -> cflock --prefer=consistency
			cflock --log-dir some -> cflock --log-dir some.dir
			cflock --attach 1 x mktem ->
			cflock --attach=1 x mktem ->
			cflock --rel -> cflock --release
			cflock --release x mktem ->
			cflock x mktem -> cflock x mktemp
			cflockctl do -> cflockctl doctor
			cflockctl fe -> cflockctl fence
			cflockctl fence sec -> cflockctl fence secret.txt
			cflockctl fence f -- mktem -> cflockctl fence f -- mktemp
			cflockctl fence f -- timeout --for -> cflockctl fence f -- timeout --foreground
			cflockctl fence --de ->
			cflockctl doctor --de -> cflockctl doctor --deep
			cflockctl doctor --qu ->
			cflockctl compare --qu ->
			cflockctl fence --qu -> cflockctl fence --quick
			cflockctl doctor sec ->
			cflockctl compare sec -> cflockctl compare secret.txt
			cflockctl compare a b sec -> cflockctl compare a b secret.txt
		EOF
	done
}

@test "nothing that is typed is run" {
	for shell in $SHELLS; do
		complete "$shell" >/dev/null <<-'EOF'
			cflock --'$(touch ran)'=x '--$(touch ran)' -S '$(touch ran)' "$(touch ran)
			cflock -S "$(touch ran)" --password-file=`touch ran` dep
			cflock '`touch ran`' x$(touch ran)
			cflockctl "a[$(touch ran)]" --min-left '$(touch ran)' dep
			cflockctl status 'a[$(touch ran)]' --js
		EOF
		[ ! -e ran ] || fail "$shell runs it"
	done
}
