# Beside helpers/line: one that holds the lock until it is told not to.

# hold TAG [OPTION]...: it holds the lock from now on, until let_go TAG.
hold() {
	local turns

	turns=$(wc -l <"$work/turns")
	touch "$work/stay-$1"
	start_waiter "$@"
	wait_until turns_taken $((turns + 1))
}

let_go() {
	rm "$work/stay-$1"
}
