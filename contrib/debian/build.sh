#!/bin/sh
# build.sh FOLDER: makes a Debian package of these sources, as they lie here, in
# a temporary folder, and leaves the .deb in FOLDER.  What it needs is told by
# dpkg-checkbuilddeps, a part of dpkg-dev.
set -eu
[ $# -eq 1 ] || { echo "usage: sh contrib/debian/build.sh FOLDER" >&2; exit 64; }
mkdir -p "$1"
to=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
dpkg-checkbuilddeps contrib/debian/control

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/copy" "$work/cflock"
tar cf - --exclude=.git . | tar xf - -C "$work/copy"

# Through a tarball, so that what it lacks is missed here.
cd "$work/copy"
./bootstrap >/dev/null
[ ! -e config.status ] || make -s distclean
./configure -q
make -s dist
tar xzf cflock-*.tar.gz -C "$work/cflock" --strip-components=1

# Unless it is told otherwise, without the unit tests: they are for who builds
# the package elsewhere; here there is "make check".
cd "$work/cflock"
cp -R contrib/debian .
DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS-nocheck} dpkg-buildpackage -us -uc -b
mv ../*.deb "$to"
