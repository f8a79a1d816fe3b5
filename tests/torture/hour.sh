#!/bin/sh
# hour.sh [CFLOCK]: an hour of torture over all topologies, and what it comes to.
# Fails when a property was violated, or when less was done than 20000 acquisitions
# and 2000 faults.
#
# SEED=N is of the first part, and grows by one for each; KEEP=FOLDER keeps logs and
# pictures; SCALE=PERCENT makes it shorter, and asks for less.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cflock=${1:-./cflock}
seed=${SEED:-1}
scale=${SCALE:-100}
keep=${KEEP-}
log=$(mktemp "${TMPDIR:-/tmp}/cflock-hour.XXXXXX")
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
violated=''

# part TOPOLOGY SECONDS [OPTION]...
part() {
	topology=$1
	seconds=$(($2 * scale / 100))
	shift 2
	code=0
	python3 -B "$here/torture.py" --cflock "$cflock" --topology "$topology" --seconds "$seconds" \
		--seed "$seed" --contenders 3 --storm 120 "$@" ${keep:+--keep "$keep/$topology-$seed"} \
		>"$log.part" 2>&1 || code=$?
	cat "$log.part"
	cat "$log.part" >>"$log"
	rm "$log.part"
	[ "$code" = 0 ] || violated="$violated $topology-$seed"
	seed=$((seed + 1))
}

part single 600
part sentinel 500
part sentinel 500 --option=--min-replicas=1 --groups process,server,net,clock,load,replica
part cluster 600
part quorum3 800
part quorum5 600
awk -v scale="$scale" -v violated="$violated" '
	/^[0-9]+ acquisitions/ { acquisitions += $1 }
	/^[0-9]+ nemeses: / { faults += $1 }
	/^[0-9]+ losses, / { losses += $1; takeovers += $3; stopped += $5 }
	END {
		printf "in all: %d acquisitions, %d faults, %d losses, %d takeovers, %d runs stopped\n",
			acquisitions, faults, losses, takeovers, stopped
		if (violated)
			print "violated:" violated
		exit violated || acquisitions < 200 * scale || faults < 20 * scale
	}' "$log"
