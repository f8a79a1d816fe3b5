#!/bin/sh
# deps.sh build|check|test|bench|torture|coverage: installs what a build lacks here;
# or "make check", too; or all of contrib/check.sh; or what the benchmarks compare
# with; or the torture chamber does; or "make coverage".
# Debian and Ubuntu: by apt-get (through sudo when not root).  Elsewhere: says
# what to install, and exits with 1 when something is missing.
set -eu
PATH=$PATH:/usr/sbin:/sbin

# What shows that it is there (a command; pc: a pkg-config module; file:; a
# function of this script), then the packages of Debian, Fedora, Alpine and
# Homebrew.
build='
gcc              gcc              gcc                   build-base         gcc
file:/usr/include/stdio.h libc6-dev glibc-devel         musl-dev           -
make             make             make                  make               make
autoconf         autoconf         autoconf              autoconf           autoconf
automake         automake         automake              automake           automake
pkg-config       pkg-config       pkgconf-pkg-config    pkgconf            pkgconf
pc:hiredis       libhiredis-dev   hiredis-devel         hiredis-dev        hiredis
pc:inih          libinih-dev      inih-devel            inih-dev           inih
pc:json-c        libjson-c-dev    json-c-devel          json-c-dev         json-c
pc:openssl       libssl-dev       openssl-devel         openssl-dev        openssl
redis-server     redis-server     /usr/bin/redis-server redis              redis
redis-cli        redis-tools      /usr/bin/redis-cli    redis              redis
'
check='
bash             bash             bash                  bash               bash
dash             dash             dash                  dash               dash
zsh              zsh              zsh                   zsh                zsh
bats             bats             bats                  bats               bats-core
zsh              zsh              zsh                   zsh                zsh
fish             fish             fish                  fish               fish
file:/usr/share/bash-completion/bash_completion bash-completion bash-completion bash-completion bash-completion@2
strace           strace           strace                strace             -
ps               procps           procps-ng             procps-ng          -
ip               iproute2         iproute               iproute2           -
nft              nftables         nftables              nftables           -
python3          python3          python3               python3            python3
openssl          openssl          openssl               openssl            openssl
script           util-linux       util-linux            util-linux-misc    -
faketime         faketime         libfaketime           libfaketime        libfaketime
flock            util-linux       util-linux            flock              -
'
test='
clang            clang            clang                 clang              llvm
has_fuzzer       libclang-rt-dev  compiler-rt           compiler-rt        llvm
clang-format     clang-format     clang-tools-extra     clang-extra-tools  llvm
clang-tidy       clang-tidy       clang-tools-extra     clang-extra-tools  llvm
cppcheck         cppcheck         cppcheck              cppcheck           cppcheck
mandoc           mandoc           mandoc                mandoc             mandoc
shellcheck       shellcheck       ShellCheck            shellcheck         shellcheck
valgrind         valgrind         valgrind              valgrind           -
spin             spin             -                     -                  spin
'

bench='
etcd             etcd-server      etcd                  etcd               etcd
etcdctl          etcd-client      etcd                  etcd-ctl           etcd
flock            util-linux       util-linux            flock              -
pgrep            procps           procps-ng             procps-ng          -
python3          python3          python3               python3            python3
has_redispy      python3-redis    python3-redis         py3-redis          -
strace           strace           strace                strace             -
valgrind         valgrind         valgrind              valgrind           -
'

torture='
bash             bash             bash                  bash               bash
ip               iproute2         iproute               iproute2           -
nsenter          util-linux       util-linux            util-linux-misc    -
python3          python3          python3               python3            python3
has_redispy      python3-redis    python3-redis         py3-redis          -
'

coverage='
gcovr            gcovr            gcovr                 gcovr              gcovr
'

has_redispy() {
	/usr/bin/python3 -c 'import redis'
}

has_fuzzer() {
	echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
		clang -fsanitize=fuzzer,address,undefined -x c - -o /dev/null
}

is_there() {
	case $1 in
	pc:*) pkg-config --exists "${1#pc:}" ;;
	file:*) [ -e "${1#file:}" ] ;;
	has_*) $1 ;;
	*) command -v "$1" ;;
	esac >/dev/null 2>&1
}

# The packages of column $1 that are missing, each once.
missing() {
	echo "$wanted" | while read -r probe names; do
		[ -z "$probe" ] || is_there "$probe" ||
			echo "$names" | awk -v n="$1" '$n != "-" { print $n }'
	done | sort -u | xargs
}

apt_get() {
	# RUNLEVEL: keeps sysvinit from starting the server that is installed.
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
		apt-get -qq -o Dpkg::Use-Pty=0 --no-install-recommends "$@"
}

# Says what to install, by $1 (column) and $2 (command), and ends.
tell() {
	packages=$(missing "$1")
	[ -n "$packages" ] || exit 0
	echo "deps.sh: something is missing; to install it:" >&2
	echo "  $2 $packages" >&2
	exit 1
}

case ${1-} in
build) wanted=$build ;;
check) wanted=$build$check ;;
test) wanted=$build$check$test ;;
bench) wanted=$build$bench ;;
torture) wanted=$build$bench$torture ;;
coverage) wanted=$build$check$coverage ;;
*) echo "usage: sh contrib/deps.sh build|check|test|bench|torture|coverage" >&2; exit 64 ;;
esac

if [ "$(uname)" = Darwin ]; then
	echo "deps.sh: cflock itself needs Linux (signalfd, subreapers):" \
		"build it in a virtual machine or a container" >&2
	tell 4 'brew install'
elif command -v apt-get >/dev/null; then
	packages=$(missing 1)
	[ -n "$packages" ] || exit 0
	echo "deps.sh: installing $packages"
elif command -v dnf >/dev/null; then
	tell 2 'sudo dnf install'
elif command -v apk >/dev/null; then
	tell 3 'sudo apk add'
else
	echo "deps.sh: an unknown system; the names are Debian's" >&2
	tell 1 'install'
fi

sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo

install() {
	apt_get update
	# Up to Ubuntu 22.04 it is a part of what clang brings.
	apt-cache show libclang-rt-dev >/dev/null 2>&1 ||
		packages=$(echo " $packages " | sed 's/ libclang-rt-dev / /')
	# shellcheck disable=SC2086 # a list
	apt_get install $packages >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM

install || { sleep 5; install; } || exit 1
packages=$(missing 1)
[ -z "$packages" ] || { echo "deps.sh: still missing: $packages" >&2; exit 1; }
