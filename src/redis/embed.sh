#!/bin/sh
# embed.sh COMMON.lua NAME.lua... >scripts.c: each NAME.lua, with COMMON.lua in
# front of it, byte for byte, as script_NAME.
set -eu

sha1() {
	if command -v sha1sum >/dev/null; then sha1sum
	elif command -v shasum >/dev/null; then shasum -a 1
	else openssl dgst -sha1 -r
	fi | sed -n 's/^\([0-9a-f]\{40\}\) .*/\1/p'
}

printf '/* Made by embed.sh: change the .lua files instead. */\n'
printf '#include "config.h"\n\n#include "redis/scripts.h"\n'
common=$1
shift
for file; do
	sum=$(cat "$common" "$file" | sha1)
	[ "$sum" ] || { echo "embed.sh: no sha1 of $file" >&2; exit 1; }
	printf '\nconst struct script script_%s = {\n' "$(basename "$file" .lua)"
	printf '\t.sha1 = "%s",\n\t.text =\n\t\t"' "$sum"
	# Byte by byte, as no escaping of whole lines is right for all of them.
	cat "$common" "$file" | od -An -v -tu1 | tr -s ' ' '\n' | awk 'NF {
		if ($1 == 10) printf "\\n\"\n\t\t\""
		else if ($1 < 32 || $1 > 126) printf "\\%03o", $1
		else printf index("\"\\?", sprintf("%c", $1 + 0)) ? "\\%c" : "%c", $1 + 0
	}'
	printf '",\n\t.length = %d,\n};\n' "$(cat "$common" "$file" | wc -c)"
done
