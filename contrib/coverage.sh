#!/bin/sh
# coverage.sh FOLDER: builds the sources in FOLDER with gcc --coverage, runs all
# tests, and prints how many of the lines and branches they reached, by file and
# in all.  Fails as tests/coverage.py does.  ONLY='tests/line tests/basic': those.
set -u
unset MAKEFLAGS
cd "${1:?usage: coverage.sh FOLDER}" || exit 1

sh contrib/deps.sh coverage || exit 1
./configure -q --enable-coverage --disable-static-pie \
	CFLAGS='-g -O0' && make -s -j"$(nproc)" || exit 1

# Tests start cflock as other users as well: the counters are there already, and
# are anybody's.  Where they cannot be written all the same, no test is to see it.
find . -name '*.gcno' | sed 's/gcno$/gcda/' | xargs touch
find . -name '*.gcda' -exec chmod a+rw {} +
export GCOV_ERROR_FILE=/dev/null

if [ -n "${ONLY-}" ]; then
	make -k check TESTS="$ONLY" >check.log 2>&1
else
	make -k check >check.log 2>&1
	make -k check-topologies >check-topologies.log 2>&1
fi
grep -hE '^(# (PASS|FAIL|ERROR)|FAIL|ERROR)' check*.log

gcovr --root . --filter src/ --exclude src/redis/scripts.c \
	--json coverage.json || exit 1
exec python3 tests/coverage.py coverage.json tests/coverage.txt
