# What there is in the code is in --help, in the manual and in the completions,
# and nothing else is.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers
load helpers/completions

setup_file() {
	use_completions
}

setup() {
	work=$BATS_TEST_TMPDIR
}

# The rows of the option table, a line each: NAMES;ARGUMENT;PLACE, of those that
# --help shows; names with those of the aliases below.  From the code.
table_of_cflock() {
	sed -n '/^const struct opttable_row opttable/,/^};/p' "$top/src/opttable.c" |
		tr -d '\n\t' | sed 's/},/},\n/g' |
		sed -nE 's/^.*\{ ("([^"]*)"|NULL), (.[a-zA-Z].|OPT_[A-Z_]+), ("([^"]*)"|NULL), ([A-Z]+), [a-zA-Z_]+, *("[^"]*"|NULL) \},$/\2;\3;\5;\6;\7/p' |
		awk -F ';' '
			$4 != "ALIAS" && line && !hidden { print line }
			$4 != "ALIAS" {
				line = ""; hidden = $5 == "NULL"
				rest = ";" $3 ";" $4; names = ""
			}
			{
				if ($2 ~ /^\047/ && $2 != key) names = names " -" substr($2, 2, 1)
				if ($4 != "ALIAS") key = $2
				if ($1 != "") names = names " --" $1
				line = substr(names, 2) rest
			}
			END { if (!hidden) print line }'
}

# "OPTION" or "OPTION ARGUMENT", a line each, by --help of program $1.
options_in_help() {
	"$1" --help | sed -nE 's/^ +(-.*[^ ])  .*/\1/p' | sed 's/  .*//' |
		spread
}

# Lines "-s, --long ARGUMENT" or with blanks for commas: a line for each name.
spread() {
	awk '{
		gsub(",", " ")
		argument = $NF ~ /^-/ ? "" : " " $NF
		for (i = 1; i <= NF; i++)
			if ($i ~ /^-/)
				print $i argument
	}' | sort
}

# The same by the manual $1; arguments as "ARGUMENT".
options_in_manual() {
	sed -n '/^\.Sh OPTIONS/,/^\.El/p' "$top/man/$1.1" | grep '^\.It Fl' |
		sed 's/^\.It //; s/ Ns / /g; s/Fl Fl /--/g; s/Fl -/--/g; s/Fl /-/g; s/Ar .*/ARGUMENT/' |
		spread
}

# Those that shell $1 offers behind line $2.
options_in_completion() {
	printf '%s\n' "$2 -" "$2 --" | complete "$1" | tr ' ' '\n' |
		grep -e '^-.' | grep -vx -e -- | sort -u
}

# Lines "OPTION ARGUMENT" without arguments, or all with the same.
names_only() {
	sed 's/ .*//' | sort -u
}

arguments_alike() {
	sed 's/ .*/ ARGUMENT/'
}

# same WHAT FILE WHAT FILE: and not nearly empty.
same() {
	diff "$2" "$4" || fail "$1 (<) and $3 (>) differ"
	[ "$(wc -l <"$2")" -ge 9 ] || fail "$1: that is too little: $(cat "$2")"
}

@test "cflock: options in the code, --help, the manual and the completions" {
	table_of_cflock | sed 's/;/ /; s/;.*//' | spread >"$work/code"
	options_in_help "$CFLOCK" >"$work/help"
	same "the option table" "$work/code" "--help" "$work/help"

	arguments_alike <"$work/help" >"$work/help-alike"
	options_in_manual cflock >"$work/manual"
	same "--help" "$work/help-alike" "the manual" "$work/manual"

	names_only <"$work/help" >"$work/names"
	for shell in bash zsh fish; do
		{
			options_in_completion "$shell" cflock
			options_in_completion "$shell" "cflock x" | grep -xe -c -e --command
		} | sort >"$work/$shell"
		same "--help" "$work/names" "the completion of $shell" "$work/$shell"
	done
}

@test "cflock: each row of the table is understood here" {
	rows=$(grep -oE '^#define OPTTABLE_ROWS [0-9]+' "$top/src/opttable.h" | grep -oE '[0-9]+$')
	read_here=$(sed -n '/^const struct opttable_row opttable/,/^};/p' "$top/src/opttable.c" |
		grep -cE '^\{ ')
	[ "$rows" = "$read_here" ]
	hidden=$(sed -n '/^const struct opttable_row opttable/,/^};/p' "$top/src/opttable.c" |
		tr -d '\n\t' | sed 's/},/},\n/g' | grep -cE ', (ARGUMENT|SETTING), .*NULL \},$')
	aliases=$(grep -cE '^\{ .*, ALIAS, ' "$top/src/opttable.c")
	shown=$(table_of_cflock | wc -l)
	[ $((shown + hidden + aliases)) = "$rows" ]
}

@test "cflock: settings in the code and in the manual's ENVIRONMENT" {
	table_of_cflock | sed -n 's/;[^;]*;SETTING$//p' |
		sed -E 's/^(-. )*--([a-z-]+).*/\2/' | tr a-z- A-Z_ |
		sed 's/^/CFLOCK_/' | sort >"$work/settings"
	sed -n '/^\.Sh ENVIRONMENT/,/^\.El/p' "$top/man/cflock.1" |
		sed -n 's/^\.Ev //p' | sort >"$work/manual"
	same "the option table" "$work/settings" "the manual" "$work/manual"
}

# From the code.
verbs_in_code() {
	sed -n '/^} verbs\[\] = {/,/^};/p' "$top/src/ctl.c" |
		sed -nE 's/^\t\{ "([a-z-]+)", .*/\1/p' | sort
}

@test "cflockctl: verbs in the code, --help, the manual and the completions" {
	verbs_in_code >"$work/code"
	[ "$(wc -l <"$work/code")" -ge 4 ]
	"$CTL" --help | sed -nE 's/^ cflockctl \[OPTION\]\.\.\. ([a-z-]+).*/\1/p' |
		sort >"$work/help"
	diff "$work/code" "$work/help"
	sed -n '/^\.Sh SYNOPSIS/,/^\.Sh DESCRIPTION/p' "$top/man/cflockctl.1" |
		sed -nE 's/^\.Cm ([a-z-]+).*/\1/p' | sort -u >"$work/synopsis"
	diff "$work/code" "$work/synopsis"
	sed -n '/^\.Sh DESCRIPTION/,/^\.Sh OPTIONS/p' "$top/man/cflockctl.1" |
		sed -nE 's/^\.It Cm ([a-z-]+).*/\1/p' | sort -u >"$work/description"
	diff "$work/code" "$work/description"
	for shell in bash zsh fish; do
		complete "$shell" <<<"cflockctl " | tr ' ' '\n' | grep -vx cflockctl |
			sort >"$work/$shell"
		diff "$work/code" "$work/$shell"
	done
}

@test "cflockctl: options in the code, --help, the manual and the completions" {
	sed -n '/^static const struct option long_options/,/^};/p' "$top/src/ctl.c" |
		sed -nE 's/^\t\{ "([a-z-]+)", (no|required)_argument.*/--\1 \2/p' |
		sed 's/ no$//; s/ required$/ ARGUMENT/' | sort >"$work/code"
	options_in_help "$CTL" >"$work/help"
	arguments_alike <"$work/help" >"$work/help-alike"
	grep -e '^--' "$work/help-alike" >"$work/help-long"
	same "the code" "$work/code" "--help" "$work/help-long"
	options_in_manual cflockctl >"$work/manual"
	same "--help" "$work/help-alike" "the manual" "$work/manual"
	names_only <"$work/help" >"$work/names"
	for shell in bash zsh fish; do
		options_in_completion "$shell" cflockctl >"$work/$shell"
		same "--help" "$work/names" "the completion of $shell" "$work/$shell"
	done
}

# taken_by VERB: a line "VERB OPTION" for each long option that goes with it.
taken_by() {
	local option argument

	while read -r option argument; do
		run "$CTL" "$1" "$option" ${argument:+1} a b c </dev/null
		[[ $output == *"it does not take $option"* ]] || echo "$1 $option"
	done < <(options_in_help "$CTL" | grep -e '^--')
}

@test "cflockctl: a completion offers what a verb takes" {
	export CFLOCK_SERVER=unix:///nowhere
	verbs_in_code >"$work/verbs"
	while read -r verb; do
		taken_by "$verb"
	done <"$work/verbs" | sort >"$work/taken"
	grep -qx -e 'check --min-left' "$work/taken"
	run ! grep -x -e 'check --json' "$work/taken"
	for shell in bash zsh fish; do
		sed 's/.*/cflockctl & --/' "$work/verbs" | complete "$shell" |
			awk '{ for (i = 3; i <= NF; i++) print $2, $i }' |
			grep -v -e ' --$' | sort >"$work/$shell"
		same "what is taken" "$work/taken" "the completion of $shell" "$work/$shell"
	done
}
