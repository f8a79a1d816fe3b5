# The torture chamber itself (tests/torture) takes too long for this; but what judges
# its runs is tried here.

bats_require_minimum_version 1.5.0

@test "the chamber's checker sees each violation, in logs that are made up" {
	python3 -B "$BATS_TEST_DIRNAME/torture/test_checker.py" -q
}
