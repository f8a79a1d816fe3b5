#!/bin/sh
# redis-set.sh KEY [REDIS-CLI-OPTION]...: makes stdin the value of KEY (a hash,
# see redis-set.lua), unless a run with a higher token has been there.  Exits
# with 80 when one has.
#
#   cflock config sh -c 'make-config | sh redis-set.sh config -h redis1'
#   redis-cli -h redis1 HGET config value
set -eu
[ $# -ge 1 ] || { echo "usage: $0 KEY [REDIS-CLI-OPTION]..." >&2; exit 64; }
key=$1
shift

# -x makes stdin the last argument.
script=$(cat "$(dirname "$0")/redis-set.lua")
reply=$(redis-cli "$@" -x EVAL "$script" 1 "$key" "${CFLOCK_TOKEN:?}")
case $reply in
OK) exit 0 ;;
FENCED*) status=80 ;;
*) status=1 ;;
esac
echo "redis-set.sh: $key: $reply" >&2
exit $status
