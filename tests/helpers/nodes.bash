# Shared by the tests of sentinels and of clusters: servers on ports[], whose pid
# files are in $REDIS_DIR; by TLS where there is a folder $certs.

# The options with which a server listens on port $1.
listening_on() {
	if [ -z "${certs-}" ]; then
		echo "--port $1"
		return
	fi
	echo "--port 0 --tls-port $1 --tls-replication yes" \
		"--tls-ca-cert-file $certs/ca.crt --tls-auth-clients ${auth_clients-no}" \
		"--tls-cert-file $certs/server.crt --tls-key-file $certs/server.key"
}

# redis-cli, to one of them.
cli() {
	local tls=()

	[ -z "${certs-}" ] ||
		tls=(--tls --cacert "$certs/ca.crt" --cert "$certs/server.crt" --key "$certs/server.key")
	redis-cli "${tls[@]}" "$@"
}

kill_nodes() {
	local pidfile

	for pidfile in "$REDIS_DIR"/*.pid; do
		kill -KILL "$(cat "$pidfile")" 2>/dev/null || true
	done
}

# Alone, or it is written down; until $work/go is there.
export hold='
	trap "rmdir \"$work/in\"; trap - TERM; kill \$\$" TERM
	mkdir "$work/in" || echo "$0" >>"$work/overlaps"
	echo "$0" >>"$work/began"
	echo "$CFLOCK_TOKEN" >>"$work/tokens"
	until [ -e "$work/go" ]; do sleep 0.05; done
	rmdir "$work/in"'

# start TAG [OPTION]...: cflock around $hold, with the options always[], too; its
# pid in pid_of[TAG].
declare -gA pid_of
always=()
start() {
	local tag=$1

	shift
	in_background "$CFLOCK" "${always[@]}" "$@" "$name" bash -c "$hold" "$tag" 2>"$work/stderr-$tag"
	pids+=("$background")
	pid_of[$tag]=$background
}

has_begun() {
	grep -qx "$1" "$work/began"
}

tokens_grow() {
	sort -c -n -u "$work/tokens" || fail "tokens: $(cat "$work/tokens")"
}

# ended TAG: its exit code in $code.
ended() {
	code=0
	wait "${pid_of[$1]}" || code=$?
	[ ! -e "$work/overlaps" ] || fail "two at once: $(cat "$work/overlaps")"
}

ended_well() {
	ended "$1"
	[ "$code" = 0 ] || fail "$1 ended with $code: $(cat "$work/stderr-$1")"
}
