#!/bin/sh
# run.sh [ROW]...: builds cflock and runs its tests on other Debians with other
# servers, one row of the README's matrix after the other; all, if none is
# named.  --list: their names.  Exits with 0 only if every test of each passed.
#
# Needs root, debootstrap and 1 GB a row.  A row lives in a folder of its own
# below COMPAT_DIR (/var/tmp/cflock-compat), is made where it is not there, and
# stays for the next time; so do its logs, in COMPAT_DIR/ROW/cflock.  It has
# mounts and processes of its own, which end when it does.
#
# COMPAT_MIRROR=URL: of Debian; else that of this machine's apt.
# JOBS=N: tests at once.  TESTS='tests/basic.bats ...': only these.
set -eu
umask 022
PATH=$PATH:/usr/sbin:/sbin
top=$(cd "$(dirname "$0")/../.." && pwd)
dir=${COMPAT_DIR:-/var/tmp/cflock-compat}
child=''

# The row, its release, where the server comes from, and the server's packages.
table='
debian12-redis   bookworm  bookworm            redis-server redis-tools
debian12-valkey  bookworm  bookworm-backports  valkey-server valkey-tools
debian12-redict  bookworm  bookworm-backports  redict-server redict-tools
debian13-redis   trixie    trixie              redis-server redis-tools
debian13-valkey  trixie    trixie              valkey-server valkey-tools
'
rows=$(echo "$table" | awk '{ print $1 }' | xargs)

fail() {
	echo "run.sh: $*" >&2
	exit 1
}

case ${1-} in
--list) echo "$rows" | tr ' ' '\n'; exit 0 ;;
-*) echo "usage: sh tests/compat/run.sh [--list] [ROW]..." >&2; exit 64 ;;
esac
# shellcheck disable=SC2086 # words
[ $# -gt 0 ] || set -- $rows
for row; do
	case " $rows " in *" $row "*) ;; *) fail "no such row: $row" ;; esac
done
[ "$(id -u)" -eq 0 ] || fail "only root can make a row's system (chroot)"
command -v debootstrap >/dev/null || fail "debootstrap is missing"

mirror=${COMPAT_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' \
	'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)}
[ -n "$mirror" ] || fail "apt here knows no mirror of Debian: set COMPAT_MIRROR"

mkdir -p "$dir"
# Programs that root runs: nobody else may have put them there.
if [ -L "$dir" ] || [ ! -O "$dir" ]; then
	fail "$dir is not ours"
fi
chmod 755 "$dir"
dir=$(cd "$dir" && pwd)

# With it ends its process 1, hence all of its processes, hence its mounts.
trap '[ -z "$child" ] || kill -KILL "$child" 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM

# apart SCRIPT ARGUMENT...: by a shell with mounts and processes of its own.  A
# shell's background has SIGINT ignored, which no test expects.
apart() {
	env --default-signal=INT,QUIT unshare --mount --propagation private \
		--pid --fork --kill-child --mount-proc sh -euc "$@" </dev/null &
	child=$!
	wait "$child" && apart=0 || apart=$?
	child=''
	return "$apart"
}

# base RELEASE: the least that all of its rows begin with.
base() {
	[ ! -e "$dir/base-$1" ] || return 0
	echo "== debootstrap $1"
	rm -rf "$dir/new"
	apart 'exec debootstrap --variant=minbase --include=ca-certificates "$@"' \
		sh "$1" "$dir/new" "$mirror" >"$dir/debootstrap.log" 2>&1 ||
		{ tail -n 20 "$dir/debootstrap.log" >&2; return 1; }
	mv "$dir/new" "$dir/base-$1"
}

# folder ROW RELEASE SOURCE: the folder $root of the row, made where it is not there.
folder() {
	root=$dir/$1
	[ ! -e "$root" ] || return 0
	base "$2" && rm -rf "$dir/new" && cp -a "$dir/base-$2" "$dir/new" || return 1
	{
		echo "deb $mirror $2 main"
		[ "$2" = "$3" ] || echo "deb $mirror $3 main"
	} >"$dir/new/etc/apt/sources.list"
	# No package is to start a server.
	printf '#!/bin/sh\nexit 101\n' >"$dir/new/usr/sbin/policy-rc.d"
	chmod 755 "$dir/new/usr/sbin/policy-rc.d" && mv "$dir/new" "$root"
}

# sources: this tree, as it is now, in $root.
sources() {
	cp -L /etc/resolv.conf /etc/hosts "$root/etc" &&
		rm -rf "$root/cflock" && mkdir -p "$root/cflock/src" &&
		(cd "$top" && tar cf - --exclude=.git .) | tar xf - -C "$root/cflock/src"
}

# run_row ROW RELEASE SOURCE PACKAGE...: by row.sh, in its folder.
run_row() {
	folder "$1" "$2" "$3" && sources || return 1
	shift 2
	# Not exec: process 1 is to be a shell, which waits for orphans.
	apart '
		root=$1
		shift
		# A mount point, as unshare(1) wants the root to be one.
		mount --rbind "$root" "$root"
		mount -t proc proc "$root/proc"
		mount -t sysfs -o ro sysfs "$root/sys"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		chroot "$root" env -i HOME=/root LANG=C.UTF-8 "TERM=${TERM-dumb}" \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			"http_proxy=${http_proxy-}" "https_proxy=${https_proxy-}" \
			"JOBS=${JOBS-}" "TESTS=${TESTS-}" \
			sh /cflock/src/tests/compat/row.sh "$@"
	' sh "$root" "$@" >"$root/cflock/log" 2>&1
}

result=0 lines=''
for row; do
	# shellcheck disable=SC2046 # words
	set -- $(echo "$table" | grep "^$row ")
	echo "== $row"
	begun=$(date +%s)
	run_row "$@" && status=0 || status=$?
	out=$dir/$row/cflock
	line="$row: $(cat "$out/result" 2>/dev/null || echo "did not get to the tests"),"
	line="$line $((($(date +%s) - begun) / 60)) min"
	echo "   $line"
	lines="$lines$line
"
	[ "$status" -ne 0 ] || continue
	result=1
	grep -hE '^(not ok|FAIL|ERROR|Bail out)' "$out/log" >&2 || tail -n 30 "$out/log" >&2
	echo "   $out/log tells more" >&2
done
echo
printf %s "$lines"
exit "$result"
