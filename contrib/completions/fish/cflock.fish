# fish completion for cflock and cflockctl.
#
# Options and verbs are what the programs name in --help, so that none needs a
# line here.  What may stand for an argument goes by its name there: FILE, SIG,
# ...; see __cflock_value.

# Reads --help of program $argv[1] into lists that begin with its name:
#   __PROGRAM_rows   options: "NAMES<tab>ARGUMENT<tab>what it does"
#   __PROGRAM_specs  the same for argparse
#   __PROGRAM_verbs  "VERB<tab>what stands behind it<tab>what it does"
#   __PROGRAM_bare   options with which no command stands behind NAME
function __cflock_read_help
    set -l program $argv[1]
    for list in rows specs verbs bare
        set -g __"$program"_$list
    end
    command -sq $program
    or return
    set -l unexplained no
    for line in (command $program --help 2>/dev/null </dev/null | string trim)
        set -l halves (string split -m 1 '  ' -- $line | string trim)
        set -l words (string split ' ' -- (string replace -a ',' '' -- $halves[1]))
        if string match -qr '^cflockctl \[OPTION\]\.\.\. (?<verb>[a-z][^ ]*) *(?<synopsis>.*)' -- $halves[1]
            set -a __"$program"_verbs $verb\t"$synopsis"\t"$halves[2]"
            # What it does stands in the next line, but for short ones.
            test -z "$halves[2]"
            and set unexplained yes
            continue
        else if string match -qr '^cflock .*--(?<bare>[a-z-]+).* NAME$' -- $halves[1]
            set -a __"$program"_bare (string replace -a - _ -- $bare)
        else if string match -q -- '-*' $halves[1]
            set -l names (string match -- '-*' $words)
            set -l argument (string match -v -- '-*' $words)
            set -a __"$program"_rows "$names"\t"$argument"\t"$halves[2]"
            set -l takes
            test -n "$argument"
            and set takes =+
            for name in (string replace -r '^-+' '' -- $names)
                set -a __"$program"_specs $name"$takes"
            end
        else if test $unexplained = yes
            set __"$program"_verbs[-1] $__cflockctl_verbs[-1]$halves[1]
        end
        set unexplained no
    end
end

# Goes through the words before the cursor by the options of $argv[1]; with -s
# as $argv[2], those end at the first word that is none.  Fails when one is
# unknown.
#   __cflock_is_value  yes: the word at the cursor is the argument of an option
#   __cflock_operands  the words that are neither options nor their arguments
#   __cflock_service   the options that say where the locks are
#   __cflock_is_bare   no command stands behind NAME
function __cflock_parse
    set -l specs __"$argv[1]"_specs
    set -l bare __"$argv[1]"_bare
    set -l stop $argv[2..]
    set -l words (commandline -opc)
    set -e words[1]
    set -g __cflock_is_value no
    argparse $stop $$specs -- $words 2>/dev/null
    or set -g __cflock_is_value yes
    test $__cflock_is_value = yes
    and set -e words[-1]
    # Not within a block: what it sets would be local to that.
    argparse $stop $$specs -- $words 2>/dev/null
    or return
    set -g __cflock_operands $argv
    set -g __cflock_service
    for url in $_flag_S $_flag_server
        set -a __cflock_service --server $url
    end
    for file in $_flag_password_file
        set -a __cflock_service --password-file $file
    end
    for setting in ca_file ca_dir cert key server_name
        set -l value _flag_tls_$setting
        set -q $value
        and set -a __cflock_service --tls-(string replace _ - -- $setting) $$value
    end
    set -g __cflock_is_bare no
    for option in $$bare
        set -q _flag_$option
        and set -g __cflock_is_bare yes
    end
    return 0
end

# The word at the cursor, less the option that it begins with.
function __cflock_token
    commandline -ct | string replace -r '^(--[^=]*=|-[a-zA-Z]*S(?=unix:))' ''
end

# The names of locks, if the server answers at once: all that is dead or slow
# offers nothing.
function __cflock_locks
    set -l token (__cflock_token)
    set -l ctl cflockctl
    set -l program (commandline -opc)[1]
    string match -q '*/*' -- $program
    and set ctl (string replace -r '(ctl)?$' ctl -- $program)
    string match -qr '^([A-Za-z0-9._:/@+%][A-Za-z0-9._:/@+%-]*)?$' -- "$token"
    or return
    # The first line is a heading.
    timeout 0.2 $ctl $__cflock_service list -- "$token*" 2>/dev/null </dev/null |
        string replace -r ' .*' '' | tail -n +2
end

# What stands for $argv[1], as --help names it.
function __cflock_value
    set -l token (__cflock_token)
    switch $argv[1]
        case URL
            if set -l path (string replace -f unix:// '' -- $token)
                printf 'unix://%s\n' (__fish_complete_path $path | string replace -r '\t.*' '')
            else
                printf '%s\n' redis:// rediss:// unix:// redis+sentinel:// redis+cluster:// rediss+sentinel:// rediss+cluster://
            end
        case FILE
            __fish_complete_path $token
        case 'DIR*'
            __fish_complete_directories $token
        case SIG
            set -l names (kill -l | string split -n ' ' | string match -r '^[A-Z].*')
            set names (string match -vr '^(STOP|CONT|CHLD)$' -- $names)
            string match -q 'SIG*' -- $token
            and set names SIG$names
            printf '%s\n' $names
        case PID
            __fish_complete_pids
        case NAME GLOB
            __cflock_locks
        case COMMAND
            __cflock_subcommand
        case '*|*'
            string split '|' -- $argv[1]
    end
end

# The words $argv and that at the cursor, as a command line of its own.
function __cflock_subcommand
    # In place of a command, fish would run what is in brackets.
    not set -q argv[1]
    and string match -q '*(*' -- (commandline -ct)
    and return
    set -l line (string join ' ' -- (set -q argv[1]; and string escape -- $argv) (commandline -ct))
    complete --do-complete="$line"
end

# Does an option of cflock stand here, "before" or "after" NAME?
function __cflock_is
    __cflock_parse cflock -s
    or return
    switch $argv[1]
        case before
            test (count $__cflock_operands) = 0
        case after
            test (count $__cflock_operands) = 1 -a $__cflock_is_bare = no
    end
end

function __cflock_complete_operands
    __cflock_parse cflock -s
    and test $__cflock_is_value = no
    or return
    set -l behind $__cflock_operands[2..]
    if test (count $__cflock_operands) = 0
        __cflock_value NAME
    else if test $__cflock_is_bare = yes
        return
    else if test "$behind[1]" = --
        __cflock_subcommand $behind[2..]
    else if not set -q behind[1]
        string match -q -- '-*' (commandline -ct)
        or __cflock_subcommand
    else if not string match -q -- '-*' $behind[1]
        __cflock_subcommand $behind
    else if test (count $behind) = 1
        __cflock_value COMMAND
    end
end

# Does the verb that is there, if one is, stand in $argv?
function __cflockctl_is
    __cflock_parse cflockctl
    or return
    test (count $__cflock_operands) = 0
    or contains -- $__cflock_operands[1] $argv
end

function __cflockctl_complete_operands
    __cflock_parse cflockctl
    and test $__cflock_is_value = no
    or return
    if test (count $__cflock_operands) = 0
        string replace -r '\t.*\t' \t -- $__cflockctl_verbs
        return
    end
    set -l row (string match -r -- '^'(string escape --style=regex -- $__cflock_operands[1])'\t([^\t]*)' $__cflockctl_verbs)[2]
    set -l place 1
    # The synopsis less what is an option.
    for kind in (string replace -ar '\[-[^]]*\]|[][]| -- ' ' ' -- $row | string split -n ' ')
        set place (math $place + 1)
        switch $kind
            case 'COMMAND*'
                __cflock_subcommand $__cflock_operands[$place..]
                return
        end
        if test $place -gt (count $__cflock_operands)
            or string match -q '*...' -- $kind
            __cflock_value (string replace ... '' -- $kind)
            return
        end
    end
end

# Declares option row $argv[2] of program $argv[1], under condition $argv[3..].
function __cflock_declare
    set -l fields (string split \t -- $argv[2])
    set -l names
    for name in (string split ' ' -- $fields[1])
        switch $name
            case '--*'
                set -a names -l (string sub -s 3 -- $name)
            case '*'
                set -a names -s (string sub -s 2 -- $name)
        end
    end
    set -l value
    switch $fields[2]
        case ''
        case FILE
            set value -r -F
        case '*'
            set value -x -a "(__cflock_value '$fields[2]')"
    end
    complete -c $argv[1] $argv[3..] $names $value -d $fields[3]
end

__cflock_read_help cflock
complete -c cflock -f -a '(__cflock_complete_operands)'
complete -c cflock -n '__cflock_is after' -a -- -d 'What follows is the command'
for row in $__cflock_rows
    if string match -q '*'\t'after NAME: *' -- $row
        __cflock_declare cflock (string replace 'after NAME: ' '' -- $row) -n '__cflock_is after'
    else
        __cflock_declare cflock $row -n '__cflock_is before'
    end
end

# An option is for all verbs, unless a synopsis, or the beginning of its text
# ("check: ...", "status, list: ..."), gives it to some, or its end ("; not VERB")
# takes it from some.
__cflock_read_help cflockctl
complete -c cflockctl -f -a '(__cflockctl_complete_operands)'
for row in $__cflockctl_rows
    set -l fields (string split \t -- $row)
    set -l refusers (string match -r '; not (.*)$' -- $fields[3])
    set refusers (string split ', ' -- $refusers[2])
    set -l takers (string split ', ' -- (string replace -rf ': .*' '' -- $fields[3]))
    set -l verbs
    for verb in $__cflockctl_verbs
        set -l parts (string split \t -- $verb)
        if set -q refusers[1]
            contains -- $parts[1] $refusers
            or set -a verbs $parts[1]
        else if contains -- $parts[1] $takers
            set -a verbs $parts[1]
        else
            for name in (string split ' ' -- $fields[1])
                string match -qr -- '\['(string escape --style=regex -- $name)'[\] ]' $parts[2]
                and set -a verbs $parts[1]
            end
        end
    end
    if set -q verbs[1]
        __cflock_declare cflockctl $row -n "__cflockctl_is $verbs"
    else
        __cflock_declare cflockctl $row
    end
end
