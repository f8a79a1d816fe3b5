/* Options from the environment and files; passwords, and their wiping. */
#include "config.h"

#include "options_run.h"

#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file;

	unlink(path);
	file = fopen(path, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) ||
	    chmod(path, mode) < 0)
		printf("Bail out! cannot write %s\n", path);
}

static void test_environment(void)
{
	static const char *const on[] = { "1", "yes", "TRUE", "On" };
	static const char *const off[] = { "0", "no", "False", "oFF" };
	size_t i;

	setenv("CFLOCK_SERVER", "redis://envhost", 1);
	setenv("CFLOCK_TTL", "20", 1);
	setenv("CFLOCK_RENEW_BY", "50%", 1);
	setenv("CFLOCK_STOP_SIGNAL", "HUP", 1);
	setenv("CFLOCK_MESSAGE", "hello", 1);
	setenv("CFLOCK_CONFLICT_EXIT_CODE", "75", 1);
	setenv("CFLOCK_WAIT", "7", 1);
	is_good("j t");
	is_str(options.servers.urls[0].host, "envhost", "CFLOCK_SERVER");
	is_str(getenv("CFLOCK_SERVER"), "redis://envhost",
	       "a URL without a password stays");
	is_int(options.ttl_ns, 20 * S, "CFLOCK_TTL");
	is_int(options.renew_by_percent, 50, "CFLOCK_RENEW_BY");
	is_int(options.stop_signal, SIGHUP, "CFLOCK_STOP_SIGNAL");
	is_str(options.message, "hello", "CFLOCK_MESSAGE");
	is_int(options.conflict_exit_code, 75, "CFLOCK_CONFLICT_EXIT_CODE");
	is_int(options.wait_ns, 7 * S, "CFLOCK_WAIT");
	is_good("-n -t 30 -S redis://arg j t");
	ok(options.nonblock && !options.wait_ns, "-n over CFLOCK_WAIT");
	is_int(options.ttl_ns, 30 * S, "-t over CFLOCK_TTL");
	is_str(options.servers.urls[0].host, "arg", "-S over CFLOCK_SERVER");

	clean_environment();
	for (i = 0; i < 4; i++) {
		setenv("CFLOCK_CLOSE", on[i], 1);
		is_good("j t");
		ok(options.close, "CFLOCK_CLOSE=%s", on[i]);
		setenv("CFLOCK_CLOSE", off[i], 1);
		is_good("j t");
		ok(!options.close, "CFLOCK_CLOSE=%s", off[i]);
	}
	setenv("CFLOCK_CLOSE", "maybe", 1);
	is_bad("j t", -EBADF, "CFLOCK_CLOSE: 'maybe' is not yes or no");

	clean_environment();
	setenv("CFLOCK_NONBLOCK", "yes", 1);
	setenv("CFLOCK_QUIET", "1", 1);
	is_good("j t");
	ok(options.nonblock && !options.wait_ns && options.quiet,
	   "CFLOCK_NONBLOCK, CFLOCK_QUIET");
	is_good("-w 3 -v j t");
	ok(!options.nonblock && options.wait_ns == 3 * S, "-w over it");
	ok(!options.quiet && options.verbose, "-v over it");

	clean_environment();
	is_good("j t");
	ok(!options.log_json && !options.syslog, "text, on stderr, by default");
	setenv("CFLOCK_LOG_JSON", "1", 1);
	setenv("CFLOCK_SYSLOG", "1", 1);
	is_good("j t");
	ok(options.log_json && options.syslog, "CFLOCK_LOG_JSON and _SYSLOG");
	run("--bad j t");
	ok(options.log_json == true && options.syslog == true,
	   "... for an error, too");
	setenv("CFLOCK_LOG_JSON", "0", 1);
	setenv("CFLOCK_LOG", "json", 1);
	is_good("j t");
	ok(!options.log_json, "CFLOCK_LOG_JSON=0 over CFLOCK_LOG=json");
	unsetenv("CFLOCK_LOG_JSON");
	is_good("j t");
	ok(options.log_json, "CFLOCK_LOG=json");
	setenv("CFLOCK_LOG", "text", 1);
	is_good("j t");
	ok(!options.log_json, "CFLOCK_LOG=text");
	is_good("--log-json j t");
	ok(options.log_json, "--log-json over it");
	setenv("CFLOCK_LOG", "/var/log/cflock", 1);
	is_bad("j t", -EBADF,
	       "CFLOCK_LOG: '/var/log/cflock' is neither json nor text");

	clean_environment();
	setenv("CFLOCK_TTL", "", 1);
	setenv("CFLOCK_SERVER", "", 1);
	setenv("CFLOCK_TTL_MS", "x", 1);
	setenv("CFLOCK_NAME", "x", 1);
	setenv("CFLOCK_TOKEN", "x", 1);
	setenv("CFLOCK_ID", "x", 1);
	setenv("CFLOCK_WHATEVER", "x", 1);
	setenv("CFLOCK_TIMEOUT", "x", 1);
	setenv("CFLOCK_NB", "x", 1);
	setenv("CFLOCK_EXCLUSIVE", "x", 1);
	setenv("CFLOCK_COMMAND", "x", 1);
	is_good("j t");
	is_int(options.ttl_ns, 10 * S, "an empty variable is not set");

	clean_environment();
	setenv("CFLOCK_TTL", "5d", 1);
	is_bad("j t", -EBADF, "CFLOCK_TTL: '5d'");
	clean_environment();
	setenv("CFLOCK_SERVER", "redis://:hunter2@", 1);
	is_bad("j t", -EBADF, "CFLOCK_SERVER: ");
	ok(!strstr(getenv("CFLOCK_SERVER"), "hunter"), "wiped all the same");
	clean_environment();
	setenv("CFLOCK_SERVER", "rediss+cluster://:hunter2@h/1", 1);
	is_bad("j t", -EBADF, "CFLOCK_SERVER: nothing may follow");
	clean_environment();
	setenv("CFLOCK_MIN_REPLICAS", "two", 1);
	is_bad("j t", -EBADF, "CFLOCK_MIN_REPLICAS: 'two'");
	clean_environment();
}

static void test_files(void)
{
	char directory[PATH_MAX], path[PATH_MAX + 16];

	clearenv();
	is_good("j t");
	if (!getcwd(directory, sizeof(directory)))
		return;
	setenv("XDG_CONFIG_HOME", directory, 1);
	is_good("j t");

	write_file("sysconf/cflock.conf",
		   "# system\nttl = 11s\nwait=1\nmessage = from system\n"
		   "renew-by: 31\nserver = redis://:filesecret@sys/4\n",
		   0644);
	is_good("j t");
	is_int(options.ttl_ns, 11 * S, "ttl of the system's file");
	is_int(options.servers.urls[0].db, 4, "server of the system's file");
	is_str(options.servers.urls[0].password, "filesecret",
	       "and its password");

	write_file("cflock.conf",
		   "\xef\xbb\xbf ; mine\r\n[cflock]\r\n\tttl = 12s ; why\r\n"
		   "nonblock = on\r\nmessage=from me  \r\n",
		   0600);
	setenv("CFLOCK_MESSAGE", "from environment", 1);
	is_good("--renew-by 33 j t");
	is_int(options.ttl_ns, 12 * S, "file 2 over file 1");
	ok(options.nonblock && !options.wait_ns, "nonblock there over wait");
	is_str(options.message, "from environment", "environment over file 2");
	is_int(options.renew_by_percent, 33, "command line over file 1");
	unsetenv("CFLOCK_MESSAGE");
	is_good("-w 9 j t");
	is_str(options.message, "from me", "blanks around a value");
	ok(!options.nonblock && options.wait_ns == 9 * S, "-w over nonblock");
	setenv("CFLOCK_NONBLOCK", "no", 1);
	is_good("j t");
	ok(!options.nonblock && options.wait_ns == -1, "nonblock taken back");

	clearenv();
	setenv("HOME", directory, 1);
	if (mkdir(".config", 0700) < 0)
		printf("Bail out! cannot mkdir .config\n");
	is_int(rename("cflock.conf", ".config/cflock.conf"), 0, "moved");
	is_good("j t");
	is_int(options.ttl_ns, 12 * S, "$HOME/.config/cflock.conf");
	setenv("XDG_CONFIG_HOME", "relative", 1);
	is_good("j t");
	is_int(options.ttl_ns, 12 * S, "a relative XDG_CONFIG_HOME");

	snprintf(path, sizeof(path), "%s/only.conf", directory);
	setenv("CFLOCK_CONFIG", "only.conf", 1);
	is_bad("j t", -EBADF, "only.conf: No such file");
	setenv("CFLOCK_CONFIG", "/dev/null", 1);
	is_good("j t");
	is_int(options.ttl_ns, 10 * S, "CFLOCK_CONFIG=/dev/null");
	setenv("CFLOCK_CONFIG", "", 1);
	is_good("j t");
	is_int(options.ttl_ns, 10 * S, "CFLOCK_CONFIG is empty");
	setenv("CFLOCK_CONFIG", directory, 1);
	is_bad("j t", -EBADF, "Is a directory");
	setenv("CFLOCK_CONFIG", path, 1);
	write_file("only.conf", "ttl=13s", 0600);
	is_good("j t");
	is_int(options.ttl_ns, 13 * S, "CFLOCK_CONFIG, no newline at the end");
	ok(!*options.message, "instead of the other files");
	clean_environment();
}

/* A file of `text` must be refused with "only.conf:" and `part`. */
static void is_bad_file(const char *text, const char *part)
{
	write_file("only.conf", text, 0600);
	is_bad("j t", -EBADF, part);
}

static void test_bad_files(void)
{
	char text[1024];
	FILE *file;

	setenv("CFLOCK_CONFIG", "only.conf", 1);
	is_bad_file("\n\nttl = 5d\n", "only.conf:3: ttl: '5d' is not");
	is_bad_file("tll = 5\n", "only.conf:1: the key 'tll' is unknown");
	is_bad_file("timeout = 5\n", "'timeout' is unknown");
	is_bad_file("nb = yes\n", "'nb' is unknown");
	is_bad_file("exclusive = yes\n", "'exclusive' is unknown");
	is_bad_file("help = yes\n", "'help' is unknown");
	is_bad_file("TTL = 5\n", "'TTL' is unknown");
	is_bad_file("password = hunter2\n", "'password' is unknown");
	is_bad_file("[cflock]\n[other]\n", "only.conf:2: the section");
	is_bad_file("[Cflock]\nttl = 5\n", "only.conf:1: the section");
	is_bad_file("\xef\xbb\xbf[other]\nttl = 5\n", "the section");
	is_bad_file("ttl = 5\nnonsense\n", "only.conf:2: the line is not");
	is_bad_file("nonsense\nttl = x\n", "only.conf:1: the line is not");
	is_bad_file("ttl = x\nnonsense\n", "only.conf:1: ttl:");
	is_bad_file("ttl = 5s\n  6s\n", "only.conf:2: the line is not");
	is_bad_file("ttl =\n", "only.conf:1: ttl: '' is not");
	is_bad_file("close\n", "only.conf:1: the line is not");
	is_bad_file("slots = x\n", "only.conf:1: slots: 'x' is not a number");
	is_bad_file("min-replicas = two\n",
		    "only.conf:1: min-replicas: 'two' is not a number");
	is_bad_file("server = redis://:hunter2@:1\n", "only.conf:1: server: ");
	memset(text, 'm', sizeof(text));
	memcpy(text, "\nmessage=", 9);
	text[sizeof(text) - 1] = '\0';
	is_bad_file(text, "only.conf:2: the line is longer than");
	file = fopen("only.conf", "w");
	if (file) {
		fwrite("ttl=5\0s\n", 1, 8, file);
		fclose(file);
	}
	is_bad("j t", -EBADF, "only.conf:1: it holds a NUL byte");
	if (geteuid()) {
		write_file("only.conf", "", 0);
		is_bad("j t", -EBADF, "only.conf: Permission denied");
	}
	clean_environment();
}

static void restore(const char *variable, char *value)
{
	if (value)
		setenv(variable, value, 1);
	else
		unsetenv(variable);
	free(value);
}

static char *saved(const char *variable)
{
	const char *value = getenv(variable);

	return value ? strdup(value) : NULL;
}

/* Leaves the environment as it was: what an argument names is exported. */
static void is_password(const char *arguments, const char *password)
{
	char *server = saved("CFLOCK_SERVER");
	char *file = saved("CFLOCK_PASSWORD_FILE");
	bool good = is_good(arguments);

	restore("CFLOCK_SERVER", server);
	restore("CFLOCK_PASSWORD_FILE", file);
	if (!good)
		return;
	is_int(options.servers.urls[0].has_password, password != NULL,
	       "%s: there is %s password", arguments, password ? "a" : "no");
	is_str(options.servers.urls[0].password, password ? password : "",
	       "%s: the password", arguments);
}

static void test_credentials(void)
{
	static const char by_argument[] = "--password-file arg.pw j t";
	char text[1100];

	write_file("arg.pw", "fromarg\r\nmore\n", 0600);
	write_file("env.pw", "fromenvfile", 0640);
	setenv("REDISCLI_AUTH", "fromcli", 1);
	setenv("CFLOCK_PASSWORD", "fromenv", 1);
	setenv("CFLOCK_PASSWORD_FILE", "env.pw", 1);
	is_password("-S redis://u:fromurl@h --password-file arg.pw j t",
		    "fromurl");
	is_str(options.servers.urls[0].user, "u", "the user of the URL");
	ok(!getenv("REDISCLI_AUTH") && !getenv("CFLOCK_PASSWORD"),
	   "passwords are taken out of the environment");

	setenv("REDISCLI_AUTH", "fromcli", 1);
	setenv("CFLOCK_PASSWORD", "fromenv", 1);
	is_password(by_argument, "fromarg");
	setenv("REDISCLI_AUTH", "fromcli", 1);
	setenv("CFLOCK_PASSWORD", "fromenv", 1);
	is_password("j t", "fromenv");
	setenv("REDISCLI_AUTH", "fromcli", 1);
	setenv("CFLOCK_PASSWORD", "", 1);
	is_password("-S redis://u@h j t", "fromenvfile");
	is_str(options.servers.urls[0].user, "u", "the user of the URL, again");
	unsetenv("CFLOCK_PASSWORD_FILE");
	setenv("REDISCLI_AUTH", "fromcli", 1);
	is_password("j t", "fromcli");
	is_password("j t", NULL);
	is_password("-S redis://u:@h j t", "");
	is_bad("-S redis://hunter2@h j t", -EBADF, "there is no password");

	write_file("only.conf", "password-file = env.pw\n", 0600);
	setenv("CFLOCK_CONFIG", "only.conf", 1);
	setenv("REDISCLI_AUTH", "fromcli", 1);
	is_password("j t", "fromenvfile");
	setenv("CFLOCK_PASSWORD", "fromenv", 1);
	is_password("j t", "fromenv");
	clean_environment();

	write_file("arg.pw", "hunter2\n", 0604);
	is_bad(by_argument, -EBADF, "arg.pw: others can read it; chmod 600");
	write_file("arg.pw", "", 0600);
	is_bad(by_argument, -EBADF, "first line is empty");
	write_file("arg.pw", "\nhunter2\n", 0600);
	is_bad(by_argument, -EBADF, "first line is empty");
	write_file("arg.pw", "\r\nhunter2\n", 0600);
	is_bad(by_argument, -EBADF, "first line is empty");
	is_bad("--password-file none.pw j t", -EBADF, "No such file");
	is_bad("--password-file . j t", -EBADF, "not a regular file");
	is_bad("--password-file /dev/null j t", -EBADF, "not a regular file");
	if (!mkfifo("fifo", 0600))
		is_bad("--password-file fifo j t", -EBADF, "not a regular");

	memset(text, 'p', sizeof(text));
	text[1023] = '\0';
	write_file("arg.pw", text, 0600);
	is_password(by_argument, text);
	text[1023] = 'p';
	text[1024] = '\0';
	write_file("arg.pw", text, 0600);
	is_bad(by_argument, -EBADF, "longer than 1023 bytes");
	setenv("CFLOCK_PASSWORD", text, 1);
	is_bad("j t", -EBADF, "CFLOCK_PASSWORD: it is longer than 1023");
	text[1023] = '\0';
	setenv("CFLOCK_PASSWORD", text, 1);
	is_password("j t", text);
	clean_environment();
}

static bool holds(const char *memory, size_t size, const char *secret)
{
	return memmem(memory, size, secret, strlen(secret)) != NULL;
}

/* `arguments` end with `expected`; all secrets are out of the memory. */
static void test_wiping(const char *arguments, int expected)
{
	char password[] = "CFLOCK_PASSWORD=hunter2";
	char rediscli[] = "REDISCLI_AUTH=hunter2";
	char server[] = "CFLOCK_SERVER=redis://ann:hunter2@h:7/1";
	const char *exported;

	clean_environment();
	putenv(password);
	putenv(rediscli);
	putenv(server);
	is_int(run(arguments), expected, "'%s'", arguments);
	ok(!holds(password, sizeof(password), "hunter"), "CFLOCK_PASSWORD");
	ok(!holds(rediscli, sizeof(rediscli), "hunter"), "REDISCLI_AUTH");
	ok(!holds(server, sizeof(server), "hunter"), "CFLOCK_SERVER");
	ok(!getenv("CFLOCK_PASSWORD") && !getenv("REDISCLI_AUTH"), "unset");
	/* That of the command line, where that is right. */
	exported = getenv("CFLOCK_SERVER");
	ok(exported && (!strcmp(exported, "redis://ann@h:7/1") ||
			!strcmp(exported, "redis://u@h") ||
			!strcmp(exported, "redis://u@h redis://i") ||
			!strcmp(exported, "rediss+cluster://u@h") ||
			!strcmp(exported,
				"redis+sentinel://h/m?sentinel-password=")),
	   "the URL without its password: %s", exported);
	ok(!holds(line, sizeof(line), "hunter"), "the command line");
	clean_environment();
}

static void test_server_variable(const char *before, const char *after)
{
	setenv("CFLOCK_SERVER", before, 1);
	run("j t");
	is_str(getenv("CFLOCK_SERVER"), after, "CFLOCK_SERVER=%s", before);
	unsetenv("CFLOCK_SERVER");
}

static void test_secrets(void)
{
	memset(line, 0, sizeof(line));
	test_wiping("j t", OPTIONS_RUN);
	is_str(options.servers.urls[0].password, "hunter2",
	       "the password was read");
	test_wiping("-S redis://u:hunter2@h j t", OPTIONS_RUN);
	is_str(words[2], "redis://u:*******@h", "the rest of it stays");
	run("-S redis://u:hunter2@h j t");
	is_str(getenv("CFLOCK_SERVER"), "redis://u@h", "-S is exported");
	clean_environment();
	run("-S nonsense j t");
	ok(!getenv("CFLOCK_SERVER"), "not if it is wrong");
	test_wiping("-Sredis://u:hunter2@h j t", OPTIONS_RUN);
	test_wiping("-nSredis://u:hunter2@h j t", OPTIONS_RUN);
	test_wiping("--serv=redis://u:hunter2@h j t", OPTIONS_RUN);
	test_wiping("-S redis://u:hunter2@h/x j t", -EBADF);
	test_wiping("-S redis://u:hunter2 j t", -EBADF);
	test_wiping("-S u:hunter2@h j t", -EBADF);
	test_wiping("-S rediss+cluster://u:hunter2@h j t", OPTIONS_RUN);
	test_wiping("-S redis+sentinel://h/m?sentinel-password=hunter2 j t",
		    OPTIONS_RUN);
	test_wiping("-S redis+sentinel://h/m?password=hunter2 j t", -EBADF);
	test_wiping("-S redis://u:hunter2@h -S redis://:hunter2@i j t",
		    -EINVAL);
	test_wiping("-z -S redis://u:hunter2@h j t", -EINVAL);
	test_wiping("-S redis://u:hunter2@h", -EINVAL);
	test_wiping("-S redis://u:hunter2@h j", -EINVAL);
	test_wiping("--help --server=redis://u:hunter2@h", OPTIONS_HELP);

	is_good("-S redis://u:hunter2@h j t redis://u:hunter2@other");
	is_str(options.command[1], "redis://u:hunter2@other",
	       "the command's own arguments stay");

	test_server_variable("redis://:hunter2@h", "redis://h");
	test_server_variable("redis://u:@h", "redis://u@h");
	test_server_variable("redis://:@h/1", "redis://h/1");
	test_server_variable("unix://u:hunter2@/s?db=1", "unix://u@/s?db=1");
	test_server_variable("unix://:hunter2@/s", "unix:///s");
	test_server_variable(
		"redis+sentinel://u:hunter2@h,i/m?sentinel-password=hunter2&db=1",
		"redis+sentinel://u@h,i/m?sentinel-password=&db=1");
	test_server_variable(
		"redis+sentinel://:hunter2@h,i/m?sentinel-password=hunter2",
		"redis+sentinel://h,i/m?sentinel-password=");
	test_server_variable("redis+sentinel://h/m?sentinel-password=hunter2",
			     "redis+sentinel://h/m?sentinel-password=");
	test_server_variable("unix:///a:b@c", "unix:///a:b@c");
}

static int remove_one(const char *path, const struct stat *status, int flag,
		      struct FTW *ftw)
{
	(void)status;
	(void)flag;
	(void)ftw;
	return remove(path);
}

int main(void)
{
	char directory[] = "/tmp/cflock-settings-XXXXXX";

	if (!mkdtemp(directory) || chdir(directory) < 0 ||
	    mkdir("sysconf", 0700) < 0) {
		printf("Bail out! no temporary directory\n");
		return 1;
	}
	clean_environment();
	test_environment();
	test_files();
	test_bad_files();
	test_credentials();
	test_secrets();

	if (chdir("/") == 0)
		nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return done_testing();
}
