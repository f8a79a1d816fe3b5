# The packages in contrib/ go with what is built.  PACKAGES=1 builds Debian's, too.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers

setup() {
	top=${top_srcdir:-$BATS_TEST_DIRNAME/..}
	build=${top_builddir:-$BATS_TEST_DIRNAME/..}
	spec=$top/contrib/rpm/cflock.spec
	# This is not a part of the make that runs the tests.
	unset MAKEFLAGS MFLAGS MAKELEVEL
}

# Patterns of the paths in the spec's %files, and of the completions it finds.
paths_in_spec() {
	sed -n '/^%files/,/^%changelog/p' "$spec" | sed -n \
		-e 's|%{name}|cflock|' -e 's|%{_bindir}|/usr/bin|' \
		-e 's|%{_libexecdir}|/usr/libexec|' \
		-e 's|%{_mandir}|/usr/share/man|' -e 's|/$|/*|' -e '/^\//p'
}

completions_in_spec() {
	sed -n 's/^%global completions //p' "$spec" | tr ' ' '\n' |
		sed 's|.*|/usr/share/&/*|'
}

# matches PATH PATTERN...
matches() {
	local path=$1 pattern

	shift
	for pattern; do
		# shellcheck disable=SC2053 # a pattern
		[[ $path != $pattern ]] || return 0
	done
	return 1
}

@test "the packages have the version of configure.ac" {
	version=$(sed -n 's/^AC_INIT(\[cflock\], \[\([^]]*\)\].*/\1/p' "$top/configure.ac")
	[ -n "$version" ]
	debian=$(sed -n '1s/^cflock (\(.*\)-[^-]*).*/\1/p' "$top/contrib/debian/changelog")
	[ "$debian" = "$version" ] || fail "debian/changelog: $debian, not $version"
	fedora=$(sed -n 's/^Version: *//p' "$spec")
	[ "$fedora" = "$version" ] || fail "cflock.spec: $fedora, not $version"
	release=$(sed -n 's/^Release: *\([0-9.]*\).*/\1/p' "$spec")
	run sed -n '/^%changelog/{n;p;}' "$spec"
	[[ $output == *" - $version-$release" ]] ||
		fail "the spec's changelog is not of $version-$release: $output"
}

@test "what is installed stands in %files, and the other way round" {
	make -s -C "$build" install DESTDIR="$BATS_TEST_TMPDIR" \
		prefix=/usr exec_prefix=/usr sysconfdir=/etc
	mapfile -t patterns < <(paths_in_spec)
	mapfile -t completions < <(completions_in_spec)
	mapfile -t installed < <(cd "$BATS_TEST_TMPDIR" && find . ! -type d | cut -c 2-)
	[ "${#patterns[@]}" -ge 4 ] && [ "${#completions[@]}" -eq 3 ]
	[ "${#installed[@]}" -ge 5 ]
	for path in "${installed[@]}"; do
		matches "$path" "${patterns[@]}" "${completions[@]}" ||
			fail "not in the spec: $path"
	done
	for pattern in "${patterns[@]}"; do
		compgen -G "$BATS_TEST_TMPDIR$pattern" >/dev/null ||
			fail "only in the spec: $pattern"
	done
}

@test "Debian's examples are all that contrib has" {
	mapfile -t listed <"$top/contrib/debian/examples"
	for path in "${listed[@]}"; do
		[ -e "$top/$path" ] || fail "not there: $path"
	done
	for path in "$top"/contrib/*; do
		case ${path##*/} in
		check.sh | completions | coverage.sh | debian | deps.sh | docker | rpm | try.sh) ;;
		*) [[ " ${listed[*]} " == *" contrib/${path##*/} "* ]] ||
			fail "not listed: $path" ;;
		esac
	done
}

@test "a Debian package can be built, and lintian does not object" {
	[ -n "${PACKAGES-}" ] || skip "it takes a minute: PACKAGES=1 does it"
	for tool in dpkg-buildpackage dh lintian; do
		command -v "$tool" || skip "$tool is missing: dpkg-dev, debhelper, lintian"
	done
	sh "$top/contrib/debian/build.sh" "$BATS_TEST_TMPDIR/out"
	lintian --allow-root --fail-on error,warning "$BATS_TEST_TMPDIR"/out/*.deb
	dpkg-deb -x "$BATS_TEST_TMPDIR"/out/cflock_*.deb "$BATS_TEST_TMPDIR/root"
	"$BATS_TEST_TMPDIR/root/usr/bin/cflock" --version
	[ -x "$BATS_TEST_TMPDIR/root/usr/libexec/cflock/cflock-resolve" ]
	grep -q /etc/cflock.conf "$BATS_TEST_TMPDIR/root/usr/bin/cflock"
}
