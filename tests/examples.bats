# The examples in contrib/ do what they are there for.

# shellcheck disable=SC2154 # what `run` and the helpers set
bats_require_minimum_version 1.5.0
load helpers

top=${top_srcdir:-$BATS_TEST_DIRNAME/..}
contrib=$top/contrib

setup_file() {
	use_redis
}

teardown_file() {
	drop_redis
}

setup() {
	test_setup
	mkdir "$work/bin"
	ln -s "$(realpath "$CFLOCK")" "$work/bin/cflock"
	PATH=$work/bin:$PATH
	: >"$work/ran"
	# Names in examples are not those of this test.
	empty_redis
}

teardown() {
	test_teardown
}

# stub NAME...: programs that note their arguments and the lock that they run
# under in $work/ran, and exit with $STUB_CODE.
stub() {
	for program; do
		cat >"$work/bin/$program" <<-'EOF'
			#!/bin/sh
			echo "${0##*/}${1:+ $*} under $CFLOCK_NAME" >>"$work/ran"
			exit ${STUB_CODE-0}
		EOF
		chmod +x "$work/bin/$program"
	done
}

# ran LINE...: just these, since the last time.
ran() {
	diff <(printf '%s\n' "$@") "$work/ran"
	: >"$work/ran"
}

ran_nothing() {
	[ ! -s "$work/ran" ] || fail "ran: $(cat "$work/ran")"
}

# held NAME: by another client.
held() {
	rcli set "cflock:{$1}" other >/dev/null
}

has_yaml() {
	python3 -c 'import yaml' 2>/dev/null
}

# yaml FILE EXPRESSION: of Python, with the document as `it`; a list is written
# with a NUL behind each.
yaml() {
	python3 - "$@" <<-'EOF'
		import sys, yaml
		it = yaml.safe_load(open(sys.argv[1]))
		value = eval(sys.argv[2])
		if isinstance(value, list):
		    sys.stdout.write("".join(v + "\0" for v in value))
		else:
		    print(value)
	EOF
}

# Cron

# jobs: the lines of the file that are jobs, by what cron takes as such.
jobs() {
	grep -vE '^[[:space:]]*(#|$)|^[A-Z_]+=' "$contrib/cron.d/cflock-jobs"
}

# commands: what cron hands to the shell.
commands() {
	jobs | sed -E 's/^(@[a-z]+|([^ ]+ +){4}[^ ]+) +[a-z-]+ +//; s/\\%/%/g'
}

# field TEXT LOW HIGH: is it one of a crontab?
field() {
	local part number

	for part in ${1//,/ }; do
		[[ $part =~ ^(\*|[0-9]+(-[0-9]+)?)(/[0-9]+)?$ ]] || return 1
		for number in $(grep -oE '^[0-9]+|-[0-9]+' <<<"$part" | tr -d -); do
			[[ $number -ge $2 && $number -le $3 ]] || return 1
		done
	done
}

@test "cron.d: each line is one that cron takes" {
	[[ $(basename "$contrib"/cron.d/cflock*) =~ ^[A-Za-z0-9_-]+$ ]]
	set -f
	[ "$(jobs | wc -l)" -ge 4 ]
	grep -q '^MAILTO=' "$contrib/cron.d/cflock-jobs"
	[ -z "$(tail -c 1 "$contrib/cron.d/cflock-jobs")" ]
	while IFS= read -r line; do
		# shellcheck disable=SC2086 # words
		set -- $line
		if [[ $1 == @* ]]; then
			[[ $1 =~ ^@(hourly|daily|weekly|monthly)$ ]] || fail "$line"
			shift
		else
			field "$1" 0 59 && field "$2" 0 23 && field "$3" 1 31 &&
				field "$4" 1 12 && field "$5" 0 7 || fail "$line"
			shift 5
		fi
		[[ $1 =~ ^[a-z_][a-z0-9_-]*$ ]] || fail "no user: $line"
		[ "$2" = cflock ] || fail "no cflock: $line"
		[[ ! $line =~ [^\\]% ]] || fail "% ends the command: $line"
	done < <(jobs)
	while IFS= read -r line; do
		sh -n -c "$line"
	done < <(commands)
}

@test "cron.d: each job runs its command; others are silent, or say what counts" {
	stub make-reports send-invoices back-up-this-host make-export
	while IFS= read -r line; do
		line=${line//\/srv/$work}
		expect 0 sh -c "$line"
		is_silent
	done < <(commands)
	ran "make-reports under reports" "send-invoices under invoices" \
		"back-up-this-host under backup-server" "make-export under export"
	[ -e "$work/export.gz" ]

	for lock in reports invoices backup-server export; do
		held "$lock"
	done
	while IFS= read -r line; do
		line=${line//\/srv/$work}
		case $line in
		*'-E 0'*)
			expect 0 sh -c "$line"
			is_silent
			;;
		*)
			expect 1 sh -c "${line/-w 2h/-w 0.2}"
			says "held by"
			;;
		esac
	done < <(commands)
	ran_nothing

	export CFLOCK_SERVER=unix:///nowhere
	while IFS= read -r line; do
		expect 69 sh -c "${line/-w 2h/-w 0.2}"
		says "cannot connect"
	done < <(commands)
	ran_nothing
}

@test "cron.d: a job with a cooldown runs once, but again if it failed" {
	stub send-invoices
	line=$(commands | grep -e --cooldown)
	STUB_CODE=3 expect 3 sh -c "$line"
	expect 0 sh -c "$line"
	expect 0 sh -c "$line"
	is_silent
	ran "send-invoices under invoices" "send-invoices under invoices"
}

# Systemd

# setting NAME: of the service.
setting() {
	sed -n "s/^$1=//p" "$contrib/systemd/reports.service"
}

# The command of the service, as it would be here.
exec_start() {
	setting ExecStart | sed 's#/usr/bin/##; s#/usr/local/bin/##'
}

@test "systemd: the units are what systemd takes, where it is installed" {
	for unit in reports.service reports.timer; do
		sed "s#/usr/bin/cflock#$work/bin/cflock#; s#/usr/local/bin/make-reports#$work/bin/make-reports#" \
			"$contrib/systemd/$unit" >"$work/$unit"
		[[ $(cat "$work/$unit") == \[Unit\]* ]]
	done
	stub make-reports
	command -v systemd-analyze >/dev/null || return 0
	cd "$work"
	expect 0 env -u CFLOCK_SERVER systemd-analyze verify --man=no ./reports.service ./reports.timer
	[[ $stderr != *reports* ]] || fail "$stderr"
}

@test "systemd: what the service exits with is a success when others hold the lock" {
	stub make-reports
	line=$(exec_start)
	expect 0 sh -c "$line"
	ran "make-reports under reports"
	held reports
	run --separate-stderr sh -c "$line"
	[[ " $(setting SuccessExitStatus) " == *" $status "* ]]
	[ "$status" != 0 ]
	says "held by"
	ran_nothing
	CFLOCK_SERVER=unix:///nowhere run --separate-stderr sh -c "$line"
	[[ " $(setting SuccessExitStatus) " != *" $status "* ]]
}

@test "systemd: SIGTERM to cflock alone ends the job, once, and gives the lock back" {
	[ "$(setting KillMode)" = mixed ]
	cat >"$work/bin/make-reports" <<-'EOF'
		#!/bin/sh
		trap 'echo TERM >>"$work/ran"; trap - TERM; kill -TERM $$' TERM
		echo up >>"$work/ran"
		while :; do sleep 0.01; done
	EOF
	chmod +x "$work/bin/make-reports"
	in_background setsid sh -c "exec $(exec_start)"
	wait_until grep -q up "$work/ran"
	kill -TERM "$background"
	code=0
	wait "$background" || code=$?
	[[ " $(setting SuccessExitStatus) " == *" $code "* ]] || fail "exit code $code"
	ran up TERM
	nothing_left reports
}

# Ansible

@test "ansible: the deploy runs under the lock, and 75 is no failure" {
	# Without a parser, at least this.
	run ! grep -q $'\t' "$contrib/ansible/deploy.yml"
	has_yaml || return 0
	stub deploy-web
	mapfile -t -d '' argv < <(yaml "$contrib/ansible/deploy.yml" \
		"it[0]['tasks'][0]['ansible.builtin.command']['argv']")
	[ "${argv[0]}" = cflock ]
	argv=("${argv[@]//'{{ version }}'/1.4}")
	expect 0 "${argv[@]}"
	is_silent
	ran "deploy-web 1.4 under deploy/web"

	held deploy/web
	expect 75 "${argv[@]/10m/0.2}"
	says "held by"
	ran_nothing
	failed_when=$(yaml "$contrib/ansible/deploy.yml" "it[0]['tasks'][0]['failed_when']")
	[ "$failed_when" = "deploy.rc not in [0, 75]" ]
}

# GitLab

@test "gitlab: the script deploys under the lock, and 75 may happen" {
	file=$contrib/gitlab/deploy.gitlab-ci.yml
	run ! grep -q $'\t' "$file"
	has_yaml || return 0
	stub deploy.sh
	cd "$work/bin"
	export CI_PIPELINE_ID=17 GITLAB_USER_LOGIN=ann CI_ENVIRONMENT_NAME=production \
		CI_COMMIT_SHORT_SHA=abc123
	mapfile -t -d '' script < <(yaml "$file" "it['deploy']['script']")
	[ ${#script[@]} = 1 ]
	CFLOCK_TTL=$(yaml "$file" "it['deploy']['variables']['CFLOCK_TTL']") \
		expect 0 sh -c "${script[0]}"
	ran "deploy.sh abc123 under deploy/production"

	held deploy/production
	expect 75 sh -c "${script[0]/20m/0.2}"
	says "held by"
	ran_nothing
	[ "$(yaml "$file" "it['deploy']['allow_failure']['exit_codes'][0]")" = 75 ]
}

# Logrotate

@test "logrotate: postrotate takes its lock; by logrotate itself, where it is installed" {
	stub restart-app
	conf=$work/shared.conf
	mkdir "$work/log"
	sed "s#/srv/shared#$work#" "$contrib/logrotate/shared-logs" >"$conf"
	sed -n '/postrotate/,/endscript/p' "$conf" | sed '1d; $d' >"$work/postrotate"
	expect 0 sh -e "$work/postrotate"
	is_silent
	ran "restart-app under restart/app"

	command -v logrotate >/dev/null || return 0
	echo something >"$work/log/app.log"
	chmod 755 "$work" "$work/log"
	chmod 644 "$conf"
	expect 0 logrotate -d "$conf"
	[[ $stderr != *error* ]] || fail "$stderr"
	# The call of the README.
	line=$(sed -n 's/^ *10 4 \* \* \* root //p' "$contrib/logrotate/README" |
		sed "s#/srv/shared#$work#; s#/etc/logrotate-shared.conf#--force $conf#")
	expect 0 sh -c "$line"
	[ -e "$work/log/app.log.1" ]
	ran "restart-app under restart/app"
	# Another host, whose clock is behind.
	echo more >"$work/log/app.log"
	expect 0 sh -c "$line"
	ran_nothing
}
