#!/bin/sh
# A backup as cron would start it, on several hosts at once: dumps SOURCE into
# TARGET/backup-TOKEN.tar.gz, under the lock "backup".
#
#   backup-demo.sh SOURCE TARGET      CFLOCK=cflock PAUSE=0
#
# The script puts itself under the lock.  Its lease of 2 s is short, for show;
# it is renewed for as long as the script runs.  PAUSE is in seconds, after
# each 2 MB, to make it last.
#
# What to copy from it:
#  - Output goes to a name of its own first, and is renamed when it is whole.
#    A run that is stopped, even by SIGKILL, leaves nothing that looks whole.
#  - The token is part of the name: it is higher than that of each run before,
#    so that no run can overwrite what a later one has written.
#  - When the lease is lost, SIGTERM goes to tar and gzip, too, so that the
#    shell is not kept waiting for them and can clean up in time.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 SOURCE TARGET" >&2; exit 64; }
source=$1 target=$2

if [ "${CFLOCK_NAME-}" != backup ]; then
	exec "${CFLOCK:-cflock}" --ttl 2s --wait 60 --message "dump of $source" \
		backup sh "$0" "$@"
fi

whole=$target/backup-$CFLOCK_TOKEN.tar.gz
partial=$target/.partial-$CFLOCK_TOKEN

clean_up() {
	rm -f "$partial"
	echo "end $CFLOCK_TOKEN" >>"$target/journal"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

echo "begin $CFLOCK_TOKEN" >>"$target/journal"
tar -c -f "$partial" -I 'gzip -1' -C "$source" --checkpoint=200 \
	--checkpoint-action="exec=sleep ${PAUSE:-0}" .
mv "$partial" "$whole"
