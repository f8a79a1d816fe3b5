#!/bin/sh
# embed.sh NAME.lua... >scripts.c: each file, byte for byte, as script_NAME.
set -eu

sha1() {
	if command -v sha1sum >/dev/null; then sha1sum <"$1"
	elif command -v shasum >/dev/null; then shasum -a 1 <"$1"
	else openssl dgst -sha1 -r <"$1"
	fi | sed -n 's/^\([0-9a-f]\{40\}\) .*/\1/p'
}

printf '/* Made by embed.sh: change the .lua files instead. */\n'
printf '#include "config.h"\n\n#include "redis/scripts.h"\n'
for file; do
	sum=$(sha1 "$file")
	[ "$sum" ] || { echo "embed.sh: no sha1 of $file" >&2; exit 1; }
	printf '\nconst struct script script_%s = {\n' "$(basename "$file" .lua)"
	printf '\t.sha1 = "%s",\n\t.text =\n\t\t"' "$sum"
	# Byte by byte, as no escaping of whole lines is right for all of them.
	od -An -v -tu1 "$file" | tr -s ' ' '\n' | awk 'NF {
		if ($1 == 10) printf "\\n\"\n\t\t\""
		else if ($1 < 32 || $1 > 126) printf "\\%03o", $1
		else printf index("\"\\?", sprintf("%c", $1 + 0)) ? "\\%c" : "%c", $1 + 0
	}'
	printf '",\n\t.length = %d,\n};\n' "$(wc -c <"$file")"
done
