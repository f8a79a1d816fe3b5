#!/bin/sh
# mutants.sh [NAME]...: cflock with deliberate faults, mutants/NAME.patch, and other
# lockers, each of which the torture chamber is to catch.  Fails when it does not.
#
# In the folder of a build.  Each patch says what it breaks, and by what the chamber
# may be expected to see it; SEED=N and FLAGS="..." are for all of them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
seed=${SEED:-1}
missed=''

# try NAME ARGUMENT...: a row of the table.
try() {
	name=$1
	shift
	code=0
	# shellcheck disable=SC2086 # a list
	python3 -B "$here/torture.py" --seed "$seed" --keep "$dir/kept" "$@" ${FLAGS-} \
		>"$dir/$name.log" 2>&1 || code=$?
	caught=$(sed -n 's/^\(.*[^ ]\)  *VIOLATED \([0-9]* times\).*/\1 (\2)/p' \
		"$dir/$name.log" | paste -s -d ';' - | sed 's/;/; /g')
	if [ "$code" != 1 ] || [ -z "$caught" ]; then
		missed="$missed $name"
		caught='NOT CAUGHT'
		tail -n 40 "$dir/$name.log" >&2
	fi
	printf '%-18s %s\n' "$name" "$caught"
}

# build NAME: the sources with that patch, in $dir/NAME.
build() {
	mkdir "$dir/$1"
	(cd "$source" && tar -cf - --exclude=.git --exclude='*.o' --exclude='*.a' \
		--exclude=config.status --exclude=./Makefile .) | tar -xf - -C "$dir/$1"
	(
		cd "$dir/$1"
		rm -f config.h cflock cflock-resolve src/redis/scripts.c
		patch -s -p1 <"$here/mutants/$1.patch"
		./configure -q CFLAGS=-O1
		make -s cflock cflock-resolve
	) >"$dir/$1.log" 2>&1 || { cat "$dir/$1.log" >&2; exit 1; }
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/cflock-mutants.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

if [ $# = 0 ]; then
	set -- setnx redispy etcd
	for patch in "$here"/mutants/*.patch; do
		name=${patch##*/}
		set -- "$@" "${name%.patch}"
	done
fi
for mutant; do
	case $mutant in
	setnx | redispy | etcd)
		# Of etcd, nobody expects to survive the loss of its data.
		try "$mutant" --locker "$mutant" --seconds 45 \
			--nemesis kill-locker --nemesis stop-locker-long \
			--nemesis cut-long
		continue
		;;
	esac
	build "$mutant"
	eval "try '$mutant' --cflock '$dir/$mutant/cflock' $(
		sed -n 's/^chamber: //p' "$here/mutants/$mutant.patch")"
	rm -rf "${dir:?}/$mutant"
done
[ -z "$missed" ] || { echo "not caught:$missed" >&2; exit 1; }
