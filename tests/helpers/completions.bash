# What bash, zsh and fish make of a line: by the completions as `make install`
# lays them out, found by the shells themselves.

top=${top_srcdir:-$BATS_TEST_DIRNAME/..}
BASH_COMPLETION=/usr/share/bash-completion/bash_completion

# Lays out the files, and the programs: in setup_file.
use_completions() {
	local share=$BATS_FILE_TMPDIR/share from=$top/contrib/completions

	mkdir -p "$share/bash-completion" "$share/zsh" "$share/fish" "$BATS_FILE_TMPDIR/bin"
	cp -r "$from/bash" "$share/bash-completion/completions"
	cp -r "$from/zsh" "$share/zsh/site-functions"
	cp -r "$from/fish" "$share/fish/vendor_completions.d"
	ln -s "$(realpath "$CFLOCK")" "$(realpath "$CTL")" "$BATS_FILE_TMPDIR/bin"
	make_shell_files "$share"
}

make_shell_files() {
	cat >"$BATS_FILE_TMPDIR/bashrc" <<-EOF
		[ -n "\${WITHOUT_BASH_COMPLETION-}" ] || . $BASH_COMPLETION
		[ -z "\${WITHOUT_BASH_COMPLETION-}" ] || . "$1/bash-completion/completions/cflock"
		PS1='> '
		bind '"\C-xa": insert-completions'
		completed() {
			printf '%s\n' "\$READLINE_LINE" >"\$COMPLETED.new"
			mv "\$COMPLETED.new" "\$COMPLETED"
		}
		bind -x '"\C-xd": completed'
		PROMPT_COMMAND='PROMPT_COMMAND=; : >"\$COMPLETED"'
	EOF
	cat >"$BATS_FILE_TMPDIR/.zshrc" <<-EOF
		fpath=($1/zsh/site-functions \$fpath)
		autoload -Uz compinit && compinit -u -D
		PS1='> '
		zle -C all-matches complete-word _generic
		bindkey '^Xa' all-matches
		zstyle ':completion:all-matches::::' completer _all_matches _complete
		zstyle ':completion:all-matches:*' insert true
		completed() {
			print -r -- "\$BUFFER" >\$COMPLETED.new
			mv \$COMPLETED.new \$COMPLETED
		}
		zle -N completed
		bindkey '^Xd' completed
		bindkey '^U' kill-whole-line
		zle-line-init() { zle -D zle-line-init; : >\$COMPLETED }
		zle -N zle-line-init
	EOF
}

# In an environment in which the shells find all that, and nothing of the user's.
with_completions() {
	env PATH="${BIN:-$BATS_FILE_TMPDIR/bin}:$PATH" HOME="$BATS_FILE_TMPDIR" \
		XDG_DATA_DIRS="$BATS_FILE_TMPDIR/share:/usr/local/share:/usr/share" \
		XDG_CONFIG_HOME="$BATS_FILE_TMPDIR" XDG_DATA_HOME="$BATS_FILE_TMPDIR" \
		ZDOTDIR="$BATS_FILE_TMPDIR" COMPLETED="$BATS_TEST_TMPDIR/completed" \
		"$@" 3>&-
}

# complete SHELL: for each line of stdin, that with all that may stand at its
# end, as the shell inserts it, less blanks, = after an option, / after some.dir.
complete() {
	case $1 in
	bash)
		with_completions python3 "$BATS_TEST_DIRNAME/helpers/complete.py" \
			bash --noprofile --rcfile "$BATS_FILE_TMPDIR/bashrc" -i
		;;
	zsh)
		with_completions python3 "$BATS_TEST_DIRNAME/helpers/complete.py" \
			zsh -d -i
		;;
	fish) with_completions fish -c '
		while read line
			set -l start (date +%s%3N)
			set -l found (complete --do-complete="$line" |
				string replace -r "\t.*" "")
			set -l ms (math (date +%s%3N) - $start)
			# fish 4 tells of letters in between, too, here alone.
			set -l word (string match -r "[^ ]*\$" -- $line)
			set -l better (string match -- "$word*" $found)
			set -q better[1]
			and set found $better
			set -q found[1]
			or set found $word
			set -q TIMES
			and echo -n "$ms "
			echo (string replace -r "[^ ]*\$" "" -- $line)"$found"
		end' ;;
	esac | sed 's/ *$//; s/\(--[a-z-]*\)=$/\1/; s/\.dir\/$/.dir/'
}


# completes SHELL: each line of stdin is "TYPED -> WHAT IT BECOMES", or
# "TYPED ->" if nothing is to be offered.
completes() {
	sed 's/^[[:space:]]*//' >"$BATS_TEST_TMPDIR/table"
	sed 's/ ->.*//; s/_$//' "$BATS_TEST_TMPDIR/table" | complete "$1" >"$BATS_TEST_TMPDIR/is"
	sed 's/^\(.*\) ->$/\1 -> \1/; s/.* -> //; s/ *_*$//' "$BATS_TEST_TMPDIR/table" \
		>"$BATS_TEST_TMPDIR/should"
	diff "$BATS_TEST_TMPDIR/should" "$BATS_TEST_TMPDIR/is" || fail "$1: (<) should be, (>) is"
	[ -s "$BATS_TEST_TMPDIR/is" ]
}
