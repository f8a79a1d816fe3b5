# Shared by the tests of what goes to syslog: a socket for it, in the place of /dev/log.

# with_devlog HOW: a syslog socket for run_syslog; see helpers/devlog.py.
with_devlog() {
	local device

	mkdir -p "$work/dev"
	for device in null tty zero urandom; do
		: >"$work/dev/$device"
	done
	in_background python3 "$BATS_TEST_DIRNAME/helpers/devlog.py" "$work/dev/log" "$1" "$work/syslog"
	devlog=$background
	pids+=("$devlog")
	wait_until test -e "$work/syslog"
}

# in_dev COMMAND...: where /dev is $work/dev, in a mount namespace of its own; root,
# or in a user namespace.
in_dev() {
	local unshare=(unshare -m)

	[ "$(id -u)" = 0 ] || unshare=(unshare -rm)
	# Should it hang, that is a failure of one test.
	timeout -s KILL 60 "${unshare[@]}" sh -c '
		for device in null tty zero urandom; do
			mount --bind "/dev/$device" "$0/$device" || exit 98
		done
		mount --rbind "$0" /dev || exit 98
		exec "$@"' "$work/dev" "$@"
}
