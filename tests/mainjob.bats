# The main job on real input: a backup of some tens of MB of this machine's own
# files, started from two shells at once, with Redis frozen in the middle.

load helpers

TTL_MS=2000 # what backup-demo.sh asks for

setup_file() {
	use_redis
	export SOURCE=$REDIS_DIR/source
	mkdir "$SOURCE"
	# A copy: others may change the originals while it is compared.
	find /usr/share/doc /usr/include /usr/share /etc -xdev -type f \
		-readable -size -512k -printf '%s %p\n' 2>/dev/null |
		awk '{ sum += $1 } sum > 30e6 { exit } { sub(/^[0-9]* /, ""); print }' |
		tar -c -f - -T - 2>/dev/null | tar -x -f - -C "$SOURCE"
	[ "$(du -sm "$SOURCE" | cut -f 1)" -ge 20 ]
}

teardown_file() {
	drop_redis
}

setup() {
	thaw_redis
	TARGET=$(mktemp -d "$REDIS_DIR/target.XXXXXX")
	export CFLOCK PAUSE=0.2
}

# In a shell of its own, as from two hosts.  Its pid in $background.
start_backup() {
	background=
	in_background sh "$BATS_TEST_DIRNAME/../contrib/backup-demo.sh" \
		"$SOURCE" "$TARGET" 2>"$TARGET/stderr.$1"
}

partial_size() {
	cat "$TARGET"/.partial-* 2>/dev/null | wc -c
}

is_under_way() {
	[ "$(partial_size)" -gt 1000000 ]
}

journal() {
	tr '\n' ' ' <"$TARGET/journal"
}

# All below process $1, itself left out.
tree_below() {
	local child

	for child in $(pgrep -P "$1"); do
		echo "$child"
		tree_below "$child"
	done
}

any_alive() {
	local pid

	for pid in "$@"; do
		! is_alive "$pid" || return 0
	done
	return 1
}

# An archive that holds exactly what SOURCE does.
is_intact() {
	gzip -t "$1"
	gzip -dc "$1" | tar -d -f - -C "$SOURCE"
	[ "$(tar -t -z -f "$1" | wc -l)" = "$(find "$SOURCE" | wc -l)" ]
}

# Freezes Redis right behind a renewal of the lock, so that no other can slip
# in; $expiry_ms is the earliest instant at which it may forget the lease.
freeze_behind_renewal() {
	local left_ms before_ms

	while :; do
		before_ms=$(now_ms)
		left_ms=$(rcli pttl 'cflock:{backup}')
		if [ "$left_ms" -gt $((TTL_MS - 150)) ]; then
			freeze_redis
			[ $(($(now_ms) - before_ms)) -ge 150 ] || break
			thaw_redis
		fi
		sleep 0.005
	done
	expiry_ms=$((before_ms + left_ms))
}

@test "two backups at once run one after the other, and both are whole" {
	local most=0 count one two

	start_backup one
	one=$background
	start_backup two
	two=$background
	while is_alive "$one" || is_alive "$two"; do
		count=$(find "$TARGET" -name '.partial-*' | wc -l)
		[ "$count" -le "$most" ] || most=$count
		sleep 0.01
	done
	wait "$one"
	wait "$two"
	[ "$most" = 1 ]
	cat "$TARGET"/stderr.*
	[ ! -s "$TARGET/stderr.one" ] && [ ! -s "$TARGET/stderr.two" ]

	[[ $(journal) =~ ^begin\ ([0-9]+)\ end\ ([0-9]+)\ begin\ ([0-9]+)\ end\ ([0-9]+)\ $ ]]
	[ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ]
	[ "${BASH_REMATCH[3]}" = "${BASH_REMATCH[4]}" ]
	[ "${BASH_REMATCH[1]}" -lt "${BASH_REMATCH[3]}" ]
	is_intact "$TARGET/backup-${BASH_REMATCH[1]}.tar.gz"
	is_intact "$TARGET/backup-${BASH_REMATCH[3]}.tar.gz"
	nothing_left backup
}

@test "with Redis frozen in the middle, the first is stopped in time and the second completes" {
	local first second tree dead_ms expiry_ms code=0 token

	start_backup first
	first=$background
	wait_until is_under_way
	start_backup second
	second=$background
	read -r _ token <"$TARGET/journal"

	freeze_behind_renewal
	mapfile -t tree < <(tree_below "$(guardian_of "$first")")
	[ "${#tree[@]}" -ge 3 ] # the shell, tar and gzip
	while any_alive "${tree[@]}"; do sleep 0.005; done
	dead_ms=$(now_ms)
	echo "# the tree was dead $((expiry_ms - dead_ms)) ms before the lease could end" >&3
	[ "$dead_ms" -lt "$expiry_ms" ]
	wait "$first" || code=$?
	[ "$code" = 79 ]
	[ "$(grep -c 'lease is lost' "$TARGET/stderr.first")" = 1 ]

	# It has cleaned up, and the second has not begun.
	[ "$(journal)" = "begin $token end $token " ]
	[ -z "$(find "$TARGET" -name '.partial-*' -o -name '*.tar.gz')" ]

	thaw_redis
	wait "$second"
	[ "$(wc -l <"$TARGET/journal")" = 4 ]
	[ "$(find "$TARGET" -name '*.tar.gz' | wc -l)" = 1 ]
	is_intact "$TARGET"/backup-*.tar.gz
	nothing_left backup
}

@test "a backup whose cflock is killed cleans up, and the next one completes" {
	local first second tree

	start_backup first
	first=$background
	wait_until is_under_way
	mapfile -t tree < <(tree_below "$(guardian_of "$first")")
	kill -KILL "$first"
	while any_alive "${tree[@]}"; do sleep 0.005; done
	[ -z "$(find "$TARGET" -name '.partial-*' -o -name '*.tar.gz')" ]

	export PAUSE=0
	start_backup second
	second=$background
	wait "$second"
	is_intact "$TARGET"/backup-*.tar.gz
	nothing_left backup
}
