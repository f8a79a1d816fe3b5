#!/bin/sh
# run-bats.sh FILE.bats: what `make check` calls.  A component that is missing
# fails the tests; it does not skip them.
for tool in bats redis-server redis-cli; do
	if ! command -v "$tool" >/dev/null; then
		echo "Bail out! $tool is missing: 'sh contrib/deps.sh test'" \
			"installs what the tests need"
		exit 1
	fi
done
# Without a terminal, as under cron; tests that want one make their own.
exec setsid --wait bats --tap "$1" </dev/null
