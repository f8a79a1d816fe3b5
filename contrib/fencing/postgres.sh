#!/bin/sh
# postgres.sh RESOURCE FILE: runs the SQL of FILE in one transaction, unless a
# run with a higher token has been there.  Exits with 80 when one has, and
# else as psql does.
#
#   PGDATABASE=reports cflock report sh postgres.sh report write-report.sql
#
# postgres.sql has to be there: psql -f postgres.sql
set -eu
[ $# -eq 2 ] || { echo "usage: $0 RESOURCE FILE" >&2; exit 64; }

# What psql says on stderr is kept until its end, to be looked at.
status=0
{
	said=$(psql -X -q -v ON_ERROR_STOP=1 -v resource="$1" \
		-v token="${CFLOCK_TOKEN:?}" --single-transaction \
		-f - -f "$2" 2>&1 >&3 <<-'END'
			SELECT cflock_fence(:'resource', :token) \g /dev/null
		END
	) || status=$?
} 3>&1
[ -z "$said" ] || printf '%s\n' "$said" >&2
case $said in
*"token $CFLOCK_TOKEN of $1 is fenced off"*) exit 80 ;;
esac
exit $status
