# Shared by the tests of TLS: certificates in the folder $certs.

# make_ca NAME: $certs/NAME.crt and .key.
make_ca() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 \
		-subj "/CN=the CA $1" -keyout "$certs/$1.key" -out "$certs/$1.crt"
}

# make_cert NAME CA EXTENSION [COMMAND...]: signed under the clock of COMMAND.
make_cert() {
	local name=$1 ca=$2 extension=$3

	shift 3
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-subj "/CN=$name" -keyout "$certs/$name.key" -out "$certs/$name.csr"
	echo "$extension" >"$certs/$name.ext"
	"$@" openssl x509 -req -in "$certs/$name.csr" -CA "$certs/$ca.crt" \
		-CAkey "$certs/$ca.key" -CAcreateserial -days 2 \
		-extfile "$certs/$name.ext" -out "$certs/$name.crt"
}

# refused CODE TEXT... -- OPTION...: not run, with one line that says so.
refused() {
	local code=$1 texts words

	split_at_dashes "${@:2}"
	expect "$code" "$CFLOCK" "${words[@]}" "$name" touch "$work/ran"
	says "cflock: " "${texts[@]}"
	[ "${#stderr_lines[@]}" = 1 ]
	[ -z "$output" ]
	[ ! -e "$work/ran" ]
}
