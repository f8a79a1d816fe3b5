#!/bin/sh
# put-file.sh FILE TARGET: makes FILE the file TARGET of another host, unless a
# run with a higher token has been there.  Exits with 80 when one has.
#
#   REMOTE='ssh store.example.net' \
#       cflock report sh put-file.sh report.html /srv/www/report.html
#
# REMOTE is a command, in words, that hands its last argument to a shell over
# there.  That host needs cflockctl (CFLOCKCTL, if it is elsewhere), and no
# settings.  TARGET.fence is what remembers the token.
#
# What to copy from it:
#  - ssh does not pass the environment on, so the token is an argument.
#  - A connection that breaks is an end of file to the far side.  What arrives
#    becomes TARGET only if it has its whole length.
#  - The fence is held until the rename: a newer run waits until then.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 FILE TARGET" >&2; exit 64; }
file=$1 target=$2

# For the shell over there.
quote() {
	printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}

over_there='cat >"$1.part" && test "$(wc -c <"$1.part")" -eq "$2" &&
	sync "$1.part" && mv "$1.part" "$1" || { echo "$1: did not arrive" >&2; exit 1; }'

# shellcheck disable=SC2086 # words
${REMOTE:?} "${CFLOCKCTL:-cflockctl} fence $(quote "$target.fence") \
--token $(quote "${CFLOCK_TOKEN:?}") -- sh -c $(quote "$over_there") sh \
$(quote "$target") $(quote "$(wc -c <"$file")")" <"$file"
