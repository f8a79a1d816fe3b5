#include "config.h"

#include "attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "door.h"
#include "exitcodes.h"
#include "log.h"
#include "tell.h"

/* 'text', for a shell. */
static void print_quoted(const char *text)
{
	putchar('\'');
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	putchar('\'');
}

/* What the script is to eval. */
static int print_exports(const struct run *run)
{
	static const char *const names[] = {
		"CFLOCK_NAME",          "CFLOCK_ID",
		"CFLOCK_TTL_MS",        "CFLOCK_SERVER",
		"CFLOCK_PASSWORD_FILE", "CFLOCK_TLS_CA_FILE",
		"CFLOCK_TLS_CA_DIR",    "CFLOCK_TLS_CERT",
		"CFLOCK_TLS_KEY",       "CFLOCK_TLS_SERVER_NAME",
		ANCESTORS_VARIABLE
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const char *value = getenv(names[i]);

		/* The script's own may have a password, which was taken out. */
		if (!strcmp(names[i], "CFLOCK_SERVER") &&
		    !run->options.has_server_argument)
			continue;
		if (!value)
			continue;
		printf("export %s=", names[i]);
		print_quoted(value);
		putchar('\n');
	}
	if (*run->grant.token)
		printf("export CFLOCK_TOKEN='%s'\n", run->grant.token);
	else
		puts("unset CFLOCK_TOKEN");
	if (ferror(stdout) || fflush(stdout) != 0)
		return run_fail_os("write to standard output", -errno);
	return EXIT_SUCCESS;
}

/* That of "$(cflock ... 2>&1)" ends, or the script would wait for ever. */
static void let_go_of_error_pipe(void)
{
	struct stat out, err;

	if (fstat(STDOUT_FILENO, &out) < 0 || fstat(STDERR_FILENO, &err) < 0 ||
	    out.st_dev != err.st_dev || out.st_ino != err.st_ino ||
	    (!S_ISFIFO(err.st_mode) && !S_ISSOCK(err.st_mode)))
		return;
	log_let_go();
	run_let_go_of(STDERR_FILENO);
}

/*
 * Should one of these leases be lost, all that carries its id is stopped; but we
 * and the guardian end with the script, and have a lease to release.  What ps(1)
 * shows of our environment is what is overwritten here.
 */
static void forget_ancestors(struct run *run)
{
	char *ids = (char *)run->claim.ancestors;

	memset(ids, 0, strlen(ids));
}

/*
 * In the background: holds the lock until the attached process has ended, or a
 * release is asked for.  Says by a byte into `ready` that all is in place.
 */
static int hold_attached(struct run *run, int ready)
{
	struct door door = { .fd = -1 };
	struct supervision supervision = {
		.guardian = &run->guardian,
		.signals = &run->signals,
		.tree = &run->tree,
		.attached = &run->attached,
		.ready = ready,
		.door = &door,
		.stop_signal = run->options.stop_signal,
	};
	int err, code;

	forget_ancestors(run);
	/* Nobody could continue us. */
	run->signals.never_stop = true;
	/* Out of reach of what is sent to the script's process group. */
	if (setsid() < 0 || chdir("/") < 0)
		log_line(LOG_VERBOSE, "cannot leave the session: %s",
			 strerror(errno));
	err = door_open(&door, run->claim.owner.id, run->claim.name);
	if (err) {
		run_call_off(run);
		return run_fail_os("open a socket to be asked for the release",
				   err);
	}
	let_go_of_error_pipe();
	run_let_go_of_pipes();
	code = run_start(run, &supervision);
	if (code)
		return code;
	return run_to_end(run, &supervision);
}

/* 0 when the lock is held; -1 when it is not, or a signal that is to end us. */
static int wait_until_held(const struct run *run, int ready)
{
	struct pollfd fds[] = {
		{ .fd = ready, .events = POLLIN },
		{ .fd = run->signals.cancel_fd, .events = POLLIN },
	};
	char byte;
	int number;

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents)
			return read(ready, &byte, 1) == 1 ? 0 : -1;
		number = signals_take_deadly(&run->signals);
		if (number)
			return number;
	}
}

int attach_hold(struct run *run)
{
	int ready[2], status = 0, number;
	pid_t holder = -1;

	if (pipe2(ready, O_CLOEXEC) == 0) {
		holder = fork();
		if (holder == 0) {
			close(ready[0]);
			_exit(hold_attached(run, ready[1]));
		}
	}
	if (holder < 0) {
		int err = -errno;

		run_call_off(run);
		return run_fail_os("start a process in the background", err);
	}
	close(ready[1]);
	number = wait_until_held(run, ready[0]);
	if (number == 0)
		return print_exports(run);
	close(ready[0]); /* the holder lets go, if it has not ended */
	while (waitpid(holder, &status, 0) < 0 && errno == EINTR)
		;
	if (number > 0) {
		attach_fail_script(EXIT_SIGNAL_BASE + number);
		signals_die_of(number);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status)
							: EXIT_OS_ERROR;
}

static int refuse(int code, const char *why)
{
	char text[256];

	snprintf(text, sizeof(text), "--attach: %s", why);
	return tell_not_started(code == EXIT_BAD_USAGE ? "usage" : "system",
				code, text);
}

int attach_watch(struct run *run)
{
	pid_t pid = run->options.attach;
	int err = attached_open(&run->attached, pid);

	if (!err)
		err = signals_watch(&run->signals, run->attached.pidfd);
	switch (err) {
	case 0:
		run->attached.id = run->claim.owner.id;
		run->job.attached = &run->attached;
		return 0;
	case -ESRCH:
		return refuse(EXIT_BAD_USAGE, "there is no such process");
	case -ENOTSUP:
		return refuse(EXIT_BAD_USAGE,
			      "the first process of a container could not be "
			      "stopped if the lease were lost; start it under "
			      "cflock, or under an init");
	case -EPERM:
		return refuse(EXIT_BAD_USAGE,
			      "the process is another user's: it could not be "
			      "stopped if the lease were lost");
	case -ENOSYS:
		return refuse(EXIT_OS_ERROR, "this kernel has no pidfds; it "
					     "takes Linux 5.3 or later");
	default:
		return run_fail_os("watch the process", err);
	}
}

int attach_release(const char *name)
{
	const char *ids = getenv(ANCESTORS_VARIABLE);
	char id[HOLDER_ID_MAX];
	int err = -ENOENT;
	size_t length;

	for (; err == -ENOENT && ids && *ids; ids += length) {
		ids += strspn(ids, " ");
		length = strcspn(ids, " ");
		if (!length || length >= sizeof(id))
			continue;
		snprintf(id, sizeof(id), "%.*s", (int)length, ids);
		err = door_knock(id, name);
	}
	switch (err) {
	case 0:
		return EXIT_SUCCESS;
	case -ENOENT:
		log_line(LOG_FATAL,
			 "--release: it is not attached to this script, or "
			 "was released before, or lost");
		return EXIT_CONFLICT;
	case -EACCES:
		log_line(LOG_FATAL, "--release: another user has attached it");
		return EXIT_DENIED;
	case -EIO:
		log_line(LOG_FATAL, "--release: the lock service could not be "
				    "told; the lease ends by itself");
		return EXIT_UNREACHABLE;
	default:
		return run_fail_os("ask for the release", err);
	}
}

void attach_fail_script(int code)
{
	printf(code ? "(exit %d)\n" : "exit %d\n", code);
	fflush(stdout);
}

void attach_expect_more(void)
{
	printf("false ||\n");
	fflush(stdout);
}

bool attach_is_wanted(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strncmp(argv[i], "--a", 3))
			return true;
	return false;
}
