# Shared by the tests of what Redis answers: a command that leaves a stamp as
# long as it runs, or none if it was never started.

stamp_setup() {
	test_setup
	# Known to the server, so that the Nth reply is what a test means by it.
	for script in acquire renew release; do
		script_text "$script" | rcli -x script load
	done
}

# The command was not run, and nobody holds the lock.
not_run() {
	[ ! -e "$work/ran" ] || fail "the command was run"
	nothing_left "$name"
}

# In the background, a command that writes the time, in us, until it is stopped.
# With -v, as the cause of the last failed renewal need not be the first's.
stamping() {
	in_background "$CFLOCK" -v -t 1s "$name" bash -c '
		while :; do echo "${EPOCHREALTIME/[.,]/}" >>"$work/stamps"; sleep 0.01; done' \
		2>"$work/stderr"
	pids+=("$background")
	wait_until test -s "$work/stamps"
}

# lost_in_time EXPIRY_MS TEXT...: 79, the last stamp before the lease's expiry,
# and each TEXT in the message.
lost_in_time() {
	local expiry_ms=$1 code=0 last_us

	shift
	wait "$background" || code=$?
	stderr=$(cat "$work/stderr")
	[ "$code" = 79 ] || fail "exit code $code, not 79; stderr: $stderr"
	last_us=$(tail -n 1 "$work/stamps")
	[ "$last_us" -lt "$((expiry_ms * 1000))" ] ||
		fail "the command ran $((last_us / 1000 - expiry_ms)) ms after the end of the lease"
	says "the lease is lost" "$@"
}

# When the lease ends that nobody renews any more, or a little before.
expiry_ms() {
	local now left

	now=$(now_ms)
	left=$(rcli pttl "$key")
	# It has been given back already: the token is the time, in us, of its begin.
	[ "$left" -gt 0 ] || left=$(($(rcli get "$key:token") / 1000 + 1000 - now))
	echo $((now + left))
}
