# Shared by the tests that call cflock's scripts by hand, on the lock $key.

scripts_in=${top_srcdir:-$BATS_TEST_DIRNAME/..}/src/redis

# script_text NAME: as it is sent to Redis.
script_text() {
	cat "$scripts_in/common.lua" "$scripts_in/$1.lua"
}

# script NAME ARG...
script() {
	local text

	text=$(script_text "$1")
	shift
	rcli --raw eval "$text" 8 "$key" "$key:token" "$key:holders" "$key:line" \
		"$key:beats" "$key:waiters" "$key:cooldown" cflock:epoch "$@"
}

# acquire_as ID [TTL_MS [SPARE_MS [KIND [wait]]]]
acquire_as() {
	script acquire "$1" "${2:-60000}" "${3:-24000}" "${4:-exclusive}" "${5-}" \
		0 '' '' host 1 user command message
}

# renew_as ID TOKEN [TTL_MS]
renew_as() {
	script renew "$1" "$2" "${3:-60000}"
}

release_as() {
	script release "$1" ''
}
