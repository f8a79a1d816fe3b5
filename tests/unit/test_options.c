/* Options on the command line, and --help. */
#include "config.h"

#include "options_run.h"

#include "exitcodes.h"

#include <signal.h>

static void test_defaults(void)
{
	is_good("job true");
	is_str(options.name, "job", "the name");
	is_str(options.command[0], "true", "the command");
	ok(!options.command[1], "the end of the command");
	is_str(options.servers.urls[0].host, "127.0.0.1", "default host");
	is_int(options.servers.urls[0].port, 6379, "default port");
	ok(!options.servers.urls[0].has_password &&
		   !options.servers.urls[0].has_user,
	   "no credentials by default");
	is_int(options.ttl_ns, 10 * S, "default ttl");
	is_int(options.renew_by_percent, 60, "default renew-by");
	is_int(options.wait_ns, -1, "waits without end");
	ok(!options.nonblock && !options.close && !options.quiet &&
		   !options.verbose,
	   "no flag is set");
	is_int(options.conflict_exit_code, EXIT_CONFLICT, "default -E");
	is_int(options.stop_signal, SIGTERM, "default stop-signal");
	is_str(options.message, "", "no message");
}

static void test_values(void)
{
	is_good("-x -e --exclusive -o -E 255 -S redis://h:1/2 -t 1.5s "
		"--renew-by 99% --stop-signal sigint --message a_b -w .5 j t");
	ok(options.close, "-o");
	is_int(options.conflict_exit_code, 255, "-E 255");
	is_str(options.servers.urls[0].host, "h", "-S");
	is_int(options.servers.urls[0].db, 2, "-S, database");
	is_int(options.ttl_ns, 3 * S / 2, "-t");
	is_int(options.renew_by_percent, 99, "--renew-by 99%%");
	is_int(options.stop_signal, SIGINT, "--stop-signal");
	is_str(options.message, "a b", "--message");
	is_int(options.wait_ns, S / 2, "-w .5");

	is_good("--close --conflict-exit-code=0 --server=unix:///s "
		"--ttl=200ms --renew-by=1 --stop-signal=9 --message= "
		"--wait=2m j t");
	is_int(options.conflict_exit_code, 0, "-E 0");
	is_str(options.servers.urls[0].path, "/s", "--server, unix");
	is_int(options.ttl_ns, S / 5, "the shortest ttl");
	is_int(options.stop_signal, SIGKILL, "--stop-signal=9");
	is_int(options.wait_ns, 120 * S, "--wait=2m");
	is_good("-t1h -E007 -oq --timeout 3 j t");
	is_int(options.ttl_ns, 3600 * S, "the longest ttl");
	is_int(options.conflict_exit_code, 7, "-E007 is decimal");
	ok(options.close && options.quiet, "letters in one word");
	is_int(options.wait_ns, 3 * S, "--timeout");
	is_good("--cooldown 5m --retry-failed j t");
	is_int(options.cooldown_ns, 300 * S, "--cooldown");
	ok(options.retry_failed, "--retry-failed");
	is_good("--min-replicas 1000 --min-replicas=2 j t");
	is_int(options.min_replicas, 2, "--min-replicas");
	is_good("-x -m 3 -s j t");
	ok(options.shared && !options.slots, "of -x, -m and -s, -s is last");
	is_good("-s -x -m 1000000 j t");
	ok(!options.shared && options.slots == 1000000, "... -m is last");
	is_good("-s -m 3 -e j t");
	ok(!options.shared && !options.slots, "... -e is last");
	is_good("--serv redis://h j t");
	is_str(options.servers.urls[0].host, "h", "an abbreviated option");
	is_good("--stop-signal RTMIN+3 j t");
	is_int(options.stop_signal, SIGRTMIN + 3, "RTMIN+3");
	is_good("--stop-signal sigRtMax-1 j t");
	is_int(options.stop_signal, SIGRTMAX - 1, "RTMAX-1");
	is_good("--stop-signal 64 j t");
}

static void test_order(void)
{
	is_good("-n j t");
	ok(options.nonblock, "-n");
	is_int(options.wait_ns, 0, "-n waits for nothing");
	is_good("--nb j t");
	ok(options.nonblock, "--nb");
	is_good("-w 5 -n j t");
	ok(options.nonblock && !options.wait_ns, "-w 5 -n: the later one");
	is_good("--nonblock -w 5 j t");
	ok(!options.nonblock && options.wait_ns == 5 * S,
	   "-n -w 5: the later one");
	is_good("-n -w 0 j t");
	ok(!options.nonblock && !options.wait_ns, "-w 0 is no -n");
	is_good("-w 1 -w 2 j t");
	is_int(options.wait_ns, 2 * S, "-w 1 -w 2: the later one");
	is_good("-q -v j t");
	ok(options.verbose && !options.quiet, "-q -v: the later one");
	is_good("-vq j t");
	ok(!options.verbose && options.quiet, "-v -q: the later one");
}

static void test_operands(void)
{
	static const char nul[1];

	is_good("-n -- j -- -c x");
	is_str(options.command[0], "-c", "-- before a command '-c'");
	is_good("j t -n -- -x");
	is_str(options.command[1], "-n", "options of the command are its own");
	is_str(options.command[2], "--", "so is its --");
	ok(!options.nonblock, "and none of ours");
	ok(options.command == words + 2, "the command is borrowed from argv");

	is_good("j -c echo_a");
	is_str(options.command[0], "/bin/sh", "-c without $SHELL");
	is_str(options.command[1], "-c", "-c");
	is_str(options.command[2], "echo a", "the shell command");
	ok(!options.command[3], "and its end");
	setenv("SHELL", "/bin/foosh", 1);
	is_good("j --command ''");
	is_str(options.command[0], "/bin/foosh", "--command with $SHELL");
	is_str(options.command[2], nul, "an empty shell command");
	setenv("SHELL", "", 1);
	is_good("j -c x");
	is_str(options.command[0], "/bin/sh", "-c with an empty $SHELL");
	clean_environment();

	is_bad("", -EINVAL, "NAME of the lock is missing");
	is_bad("-n", -EINVAL, "NAME of the lock is missing");
	is_bad("--", -EINVAL, "NAME of the lock is missing");
	is_bad("j", -EINVAL, "command after NAME is missing");
	is_bad("j --", -EINVAL, "command after -- is missing");
	is_bad("j -c", -EINVAL, "-c: it takes exactly one argument");
	is_bad("j -c a b", -EINVAL, "-c: it takes exactly one argument");
	is_bad("j --command a b", -EINVAL, "--command: it takes exactly");
	is_bad("j -n t", -EINVAL, "-n: options stand before NAME");
	is_bad("j --server=redis://:hunter2@h t", -EINVAL,
	       "--server: options stand before NAME");
	is_bad("j -Sredis://:hunter2@h t", -EINVAL, "-S: options stand before");
	is_bad("-c x j", -EINVAL, "after the NAME of the lock");
	is_bad("'' t", -EINVAL, "1 to 200 letters");
	is_bad("a_b t", -EINVAL, "1 to 200 letters");
	is_bad("redis://:hunter2@h*/0 t", -EINVAL, "1 to 200 letters");
}

static void test_names(void)
{
	char name[202];
	int c;

	memset(name, 'n', sizeof(name));
	name[200] = '\0';
	ok(name_is_valid(name), "a name of 200 bytes");
	name[200] = 'n';
	name[201] = '\0';
	ok(!name_is_valid(name), "a name of 201 bytes");
	ok(!name_is_valid(""), "an empty name");
	ok(name_is_valid("aZ09._-:/@+%"), "all that a name may hold");
	for (c = 1; c < 256; c++) {
		bool allowed = (c >= '0' && c <= '9') ||
			       (c >= 'a' && c <= 'z') ||
			       (c >= 'A' && c <= 'Z') || strchr("._-:/@+%", c);

		name[0] = (char)c;
		name[1] = '\0';
		if (name_is_valid(name) != allowed)
			break;
	}
	is_int(c, 256, "every byte is allowed or not as it should be");
}

static void test_bad_usage(void)
{
	char text[4096] = "--message ";

	is_bad("--min-replicas -1 j t", -EINVAL, "'-1' is not a number");
	is_bad("--min-replicas 1001 j t", -EINVAL, "not a number, 0 to 1000");
	is_bad("--min-replicas '' j t", -EINVAL, "not a number, 0 to 1000");
	is_bad("--slots 0 j t", -EINVAL, "'0' is not a number");
	is_bad("-m 1000001 j t", -EINVAL, "'1000001' is not a number");
	is_bad("--retry-failed j t", -EINVAL, "it needs --cooldown");
	is_bad("--cooldown 0 --retry-failed j t", -EINVAL, "it needs");
	is_bad("--cooldown 5m -s j t", -EINVAL, "neither with --shared");
	is_bad("--cooldown 5m -m 3 j t", -EINVAL, "nor with --slots");
	is_bad("-F j t", -EINVAL, "renew");
	is_bad("--no-fork j t", -EINVAL, "drop -F");
	is_bad("-u j", -EINVAL, "no descriptor");
	is_bad("--unlock j", -EINVAL, "ends when its command has ended");
	is_bad("-z j t", -EINVAL, "-z: there is no such option");
	is_bad("-nz j t", -EINVAL, "-z: there is no such option");
	is_bad("--foo=redis://:hunter2@h j t", -EINVAL, "--foo: there is no");
	is_bad("--no j t", -EINVAL, "--no: there is no such option, or");
	is_bad("-E", -EINVAL, "--conflict-exit-code: its argument N");
	is_bad("--ttl", -EINVAL, "--ttl: its argument DURATION");
	is_bad("--quiet=1 j t", -EINVAL, "--quiet: it takes no argument");
	is_bad("-E 256 j t", -EINVAL, "--conflict-exit-code: '256'");
	is_bad("-E -1 j t", -EINVAL, "0 to 255");
	is_bad("-E 600 j t", -EINVAL, "0 to 255");
	is_bad("-E 4294967296 j t", -EINVAL, "0 to 255");
	is_bad("-E 1x j t", -EINVAL, "0 to 255");
	is_bad("-E '' j t", -EINVAL, "0 to 255");
	is_bad("-E +1 j t", -EINVAL, "0 to 255");
	is_bad("-w 5x j t", -EINVAL, "--wait: '5x' is not a duration");
	is_bad("-w -1 j t", -EINVAL, "not a duration");
	is_bad("-w 1\n2 j t", -EINVAL, "'1?2' is not a duration");
	is_bad("--timeout 99999999999 j t", -EINVAL, "longer than ten years");
	is_bad("-w redis://:hunter2@h j t", -EINVAL, "not a duration");
	is_bad("-t 199ms j t", -EINVAL, "--ttl: it must be 200ms to 1h");
	is_bad("-t 3600.1 j t", -EINVAL, "--ttl: it must be 200ms to 1h");
	is_bad("-t 0 j t", -EINVAL, "200ms to 1h");
	is_bad("--renew-by 0 j t", -EINVAL, "1 to 99");
	is_bad("--renew-by 100% j t", -EINVAL, "1 to 99");
	is_bad("--renew-by % j t", -EINVAL, "1 to 99");
	is_bad("--renew-by 60%% j t", -EINVAL, "1 to 99");
	is_bad("--renew-by 6.5 j t", -EINVAL, "1 to 99");
	is_bad("--stop-signal STOP j t", -EINVAL, "cannot end a command");
	is_bad("--stop-signal 19 j t", -EINVAL, "cannot end a command");
	is_bad("--stop-signal sigcont j t", -EINVAL, "cannot end a command");
	is_bad("--stop-signal CLD j t", -EINVAL, "cannot end a command");
	is_bad("--stop-signal 0 j t", -EINVAL, "is not a signal");
	is_bad("--stop-signal 65 j t", -EINVAL, "is not a signal");
	is_bad("--stop-signal TERMS j t", -EINVAL, "is not a signal");
	is_bad("--stop-signal SIG j t", -EINVAL, "is not a signal");
	is_bad("--stop-signal RTMIN+31 j t", -EINVAL, "is not a signal");
	is_bad("--stop-signal RTMIN-1 j t", -EINVAL, "is not a signal");
	is_bad("--stop-signal '' j t", -EINVAL, "is not a signal");
	is_bad("--password-file '' j t", -EINVAL, "the file is empty");
	is_bad("-S redis://a -S redis://b j t", -EINVAL, "even number");
	is_bad("-S redis://a -S redis://b_redis://a:6379/1 j t", -EINVAL,
	       "given twice");
	is_good("-S redis://a -S redis://b_redis://c:1/2 j t");
	is_int(options.servers.count, 3, "three servers");
	is_str(options.servers.urls[2].host, "c", "the last of them");
	is_str(getenv("CFLOCK_SERVER"), "redis://a redis://b redis://c:1/2",
	       "... for the command");
	is_bad("-S rediss+cluster://u:hunter2@h/1 j t", -EBADF,
	       "nothing may follow the hosts");
	is_bad("--tls-ca-file '' j t", -EINVAL, "--tls-ca-file: it is empty");
	is_bad("--tls-server-name a/b j t", -EINVAL, "--tls-server-name: ");
	is_bad("-S redis://u:hunter2@h:0 j t", -EBADF, "--server: the port");
	is_bad("-S hunter2 j t", -EBADF, "expected redis://");

	strcpy(text, "--message ");
	memset(text + 10, 'm', 1025);
	strcpy(text + 10 + 1024, " j t");
	is_good(text);
	is_int((long long)strlen(options.message), 1024, "the longest message");
	strcpy(text + 10 + 1024, "m j t");
	is_int(run(text), -EINVAL, "a message that is too long");

	is_int(run("-h"), OPTIONS_HELP, "-h");
	is_int(run("--attach 5 j"), OPTIONS_RUN, "--attach");
	is_int(run("--release j"), OPTIONS_RELEASE, "--release");
	is_bad("--attach 0 j", -EINVAL, "'0' is not the number of a process");
	is_bad("--attach 1x j", -EINVAL, "is not the number of a process");
	is_bad("--attach 5 j t", -EINVAL, "it takes no command");
	is_bad("--release j t", -EINVAL, "it takes no command");
	is_bad("--attach 5 --cooldown 5m --retry-failed j", -EINVAL,
	       "--retry-failed");
	is_int(run("-n --help -z"), OPTIONS_HELP, "--help before an error");
	is_int(run("-z --help"), -EINVAL, "an error before --help");
	is_int(run("-V"), OPTIONS_VERSION, "-V");
	is_int(run("--version j t"), OPTIONS_VERSION, "--version");
	setenv("CFLOCK_TTL", "bad", 1);
	is_int(run("--help"), OPTIONS_HELP, "--help with a bad configuration");
	is_bad("-z", -EINVAL, "-z");
	clean_environment();
}

static void test_usage(void)
{
	static const char *const hidden[] = {
		"--unlock",
		"--no-fork",
	};
	const char *usage = options_usage();
	const char *start, *end;
	size_t i;

	ok(usage == options_usage(), "the usage is made once");
	for (i = 0; i < OPTTABLE_ROWS; i++) {
		char name[64];

		if (!opttable[i].help)
			continue;
		snprintf(name, sizeof(name), "--%s", opttable[i].name);
		ok(strstr(usage, name) != NULL, "usage: %s", name);
	}
	ok(strstr(usage, "-n, --nonblock, --nb"), "usage: aliases");
	for (i = 0; i < sizeof(hidden) / sizeof(*hidden); i++)
		ok(!strstr(usage, hidden[i]), "usage: no %s", hidden[i]);
	for (start = usage; (end = strchr(start, '\n')); start = end + 1) {
		const char *path = strstr(start, "/cflock.conf");

		/* How long that is, whoever configured us knows. */
		if (end - start > 80 && !(path && path < end))
			break;
	}
	is_str(start, "", "usage: 80 columns, and a newline at the end");
}

int main(void)
{
	clean_environment();
	test_defaults();
	test_values();
	test_order();
	test_operands();
	test_names();
	test_bad_usage();
	test_usage();
	return done_testing();
}
