/*
 * cflock: runs a command under a lease on a named lock.
 *
 * From top to bottom, and no way around it:
 *   options; signals blocked; lease acquired, and the guardian forked while the
 *   answer is on its way; command started; renewals, by a thread; the tree of
 *   the command seen dead; lease released.
 * The only place that chooses an exit code.
 *
 * Caveats: a machine that is paused as a whole and resumed (a virtual machine
 * that is migrated, SIGSTOP to all) can notice nothing in between; the fencing
 * token is what covers that.  A set-user-id command may not be killed by the
 * user who started it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acquire.h"
#include "attached.h"
#include "door.h"
#include "exitcodes.h"
#include "guardian.h"
#include "holder.h"
#include "lease.h"
#include "log.h"
#include "options.h"
#include "renewer.h"
#include "signals.h"
#include "store.h"
#include "supervise.h"
#include "tree.h"
#include "waitshow.h"

/* A release that is not answered is not waited for longer than this. */
#define RELEASE_NS (2 * NS_PER_S)
#define RELEASE_LEAST_NS (100 * NS_PER_MS)
#define RELEASE_RETRY_MS 50

/* Ids of the leases that are held around a command; for nested cflocks. */
#define ANCESTORS_VARIABLE "CFLOCK_ANCESTORS"

#define ID_BYTES 16

struct run {
	struct options options;
	struct lease_policy policy;
	struct signals signals;
	struct tree tree;
	struct claim claim;
	struct grant grant;
	struct store *store;
	struct guardian_job job;
	struct guardian guardian;
	bool on_terminal;
	struct attached attached; /* with --attach */
};

/*
 * A standard descriptor that was closed when we were called must not become a
 * socket of ours, and is to be closed again in the command.
 */
static int keep_standard_descriptors(void)
{
	int fd;

	for (fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", O_RDWR | O_CLOEXEC) != fd)
			return -errno;
	return 0;
}

/* The command has them now.  Held by us, a pipe would not end with it. */
static void let_go_of_pipes(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

static bool has_terminal(void)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int make_id(char id[HOLDER_ID_MAX])
{
	unsigned char bytes[ID_BYTES];
	size_t i;

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -errno;
	for (i = 0; i < sizeof(bytes); i++)
		snprintf(id + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* Rounded up: the service must never forget the lease before we do. */
static int64_t whole_ms(int64_t ns)
{
	return (ns + NS_PER_MS - 1) / NS_PER_MS;
}

static int make_claim(struct run *run)
{
	const struct options *options = &run->options;
	const char *ancestors = getenv(ANCESTORS_VARIABLE);
	char id[HOLDER_ID_MAX];
	int err = make_id(id);

	if (err)
		return err;
	run->claim.name = options->name;
	run->claim.kind = options->slots    ? CLAIM_SLOTS
			  : options->shared ? CLAIM_SHARED
					    : CLAIM_EXCLUSIVE;
	run->claim.slots = options->slots;
	run->claim.ttl_ms = whole_ms(run->policy.ttl_ns);
	/* Rounded down: nobody may take over before we have given up. */
	run->claim.spare_ms =
		(run->policy.ttl_ns - run->policy.renew_by_ns) / NS_PER_MS;
	run->claim.may_wait = options->wait_ns != 0;
	run->claim.cooldown_ms = whole_ms(options->cooldown_ns);
	run->claim.retry_failed = options->retry_failed;
	run->claim.ancestors = ancestors ? ancestors : "";
	holder_describe_self(&run->claim.owner, id, options->command,
			     options->message);
	if (options->attach)
		holder_describe_process(&run->claim.owner, options->attach);
	return 0;
}

/*
 * What the command finds in its environment, but for the token, which the
 * guardian will add.  Returns 0 or a negative errno.
 */
static int export_claim(const struct run *run)
{
	const char *above = getenv(ANCESTORS_VARIABLE);
	char ttl[24], *ancestors;
	int err = 0;

	snprintf(ttl, sizeof(ttl), "%lld", (long long)run->claim.ttl_ms);
	if (asprintf(&ancestors, "%s%s%s", above ? above : "",
		     above && *above ? " " : "", run->claim.owner.id) < 0)
		return -ENOMEM;
	if (setenv("CFLOCK_NAME", run->claim.name, 1) ||
	    setenv("CFLOCK_TTL_MS", ttl, 1) ||
	    setenv("CFLOCK_ID", run->claim.owner.id, 1) ||
	    setenv(ANCESTORS_VARIABLE, ancestors, 1))
		err = -errno;
	free(ancestors);
	return err;
}

/*
 * With --attach.  eval of nothing would succeed, and the script go on without
 * the lock: what is to be eval'ed has to fail, or, where -E has declared that to
 * be no failure, to end the script.
 */
static void fail_script(int code)
{
	printf(code ? "(exit %d)\n" : "exit %d\n", code);
	fflush(stdout);
}

/* === the way out ======================================================== */

static int fail_os(const char *doing, int err)
{
	log_line(LOG_FATAL, "cannot %s: %s", doing, strerror(-err));
	return EXIT_OS_ERROR;
}

static int code_of_failed_acquire(struct run *run, int err,
				  const struct acquire_answer *answer)
{
	char text[REFUSAL_TEXT_MAX];

	refusal_format(&answer->refusal, text, sizeof(text));
	switch (err) {
	case -EBUSY:
		log_line(LOG_WARNING, "%s", text);
		if (run->options.attach && !run->options.conflict_exit_code)
			fail_script(0);
		return run->options.conflict_exit_code;
	case -EDEADLK:
		log_line(
			LOG_FATAL,
			"this lock is held already by a cflock that is waiting for "
			"this very command to end (%s): asking again would never return",
			text);
		return EXIT_BAD_USAGE;
	case -EINVAL:
		log_line(LOG_FATAL,
			 "%s: all users of a lock must agree on that", text);
		return EXIT_BAD_USAGE;
	case -EINTR:
		if (run->options.attach)
			fail_script(EXIT_SIGNAL_BASE + answer->signal);
		signals_die_of(answer->signal);
	case -EACCES:
		log_line(LOG_FATAL, "%s", store_error(run->store));
		return EXIT_DENIED;
	default:
		log_line(LOG_FATAL, "%s; the command was not started",
			 store_error(run->store));
		return EXIT_UNREACHABLE;
	}
}

/*
 * Only called when the tree of the command was seen dead, or never existed.
 * `store` is the one that is free to use, NULL when there is none.  `lift`: the
 * cooldown ends, too.  A failure is told at `level`, and returns false.
 */
static bool release(const struct run *run, struct store *store,
		    const struct lease *lease, bool lift, enum log_level level)
{
	int64_t limit_ns = lease_left_ns(lease, clock_now()), deadline_ns;
	char left[DURATION_TEXT_MAX];
	int result;

	/*
	 * What has run out needs no release; but a renewal that is still on its
	 * way may bring it back to life, so one is always sent behind it.
	 */
	if (limit_ns > RELEASE_NS)
		limit_ns = RELEASE_NS;
	if (limit_ns < RELEASE_LEAST_NS)
		limit_ns = RELEASE_LEAST_NS;
	deadline_ns = clock_boot_ns() + limit_ns;
	if (!store)
		store = store_clone(run->store, -1);
	if (!store)
		return false;
	do {
		result = store_release(store, &run->claim, lift, deadline_ns);
		if (result == STORE_DONE)
			return true;
		if (store_error_is_final(result))
			break;
		poll(NULL, 0, RELEASE_RETRY_MS);
	} while (clock_boot_ns() < deadline_ns);

	duration_format(lease_left_ns(lease, clock_now()), left, sizeof(left));
	log_line(level, "cannot release the lock, it ends by itself in %s: %s",
		 left, store_error(store));
	return false;
}

static bool has_succeeded(const struct outcome *outcome)
{
	return outcome->kind == OUTCOME_ENDED && WIFEXITED(outcome->status) &&
	       WEXITSTATUS(outcome->status) == 0;
}

static int code_of_outcome(const struct outcome *outcome)
{
	switch (outcome->kind) {
	case OUTCOME_ENDED:
		if (WIFEXITED(outcome->status))
			return WEXITSTATUS(outcome->status);
		/* A shell that runs us in a loop has to see that Ctrl-C ended it. */
		if (outcome->interrupted && WTERMSIG(outcome->status) == SIGINT)
			signals_die_of(SIGINT);
		return EXIT_SIGNAL_BASE + WTERMSIG(outcome->status);
	case OUTCOME_LOST:
		return EXIT_LEASE_LOST; /* said when the stopping began */
	case OUTCOME_UNGUARDED:
		log_line(
			LOG_FATAL,
			"the guardian process was killed; the command was stopped");
		return EXIT_LEASE_LOST;
	case OUTCOME_NOT_STARTED:
		if (outcome->status)
			return fail_os("start the command", -outcome->status);
		log_line(
			LOG_FATAL,
			"the lease was over before the command could be started");
		return EXIT_LEASE_LOST;
	}
	return EXIT_BUG;
}

static int print(const char *text)
{
	if (fputs(text, stdout) < 0 || fflush(stdout) != 0)
		return fail_os("write to standard output", -errno);
	return EXIT_SUCCESS;
}

/* === the run ============================================================ */

/*
 * With the lease granted: starts what guards and renews it, or says why not, and
 * releases it.  Returns 0 or an exit code.
 */
static int start_guarding(struct run *run, struct lease *lease,
			  struct supervision *supervision)
{
	int err, signal = 0;

	/* From here on a signal ends no request. */
	store_set_cancel_fd(run->store, -1);
	lease_grant(lease, &run->policy, run->grant.sent);
	supervision->renewer = renewer_new(run->store, &run->claim, &run->grant,
					   lease, &run->guardian);
	err = supervision->renewer ? 0 : -ENOMEM;
	if (!err && !run->guardian.pid)
		err = guardian_fork(&run->guardian, &run->job);
	/* What came before the guardian was there could not reach the command. */
	if (!err)
		signal = signals_take_deadly(&run->signals);
	if (!err && !signal)
		err = guardian_start(&run->guardian, lease, run->grant.token);
	if (!err && !signal)
		return 0;
	guardian_dismiss(&run->guardian);
	release(run, run->store, lease, true, LOG_WARNING);
	if (signal)
		signals_die_of(signal);
	return fail_os("start the guardian process", err);
}

/* Until the end of what runs under the lease.  Returns the exit code. */
static int supervise_and_release(struct run *run, struct lease *lease,
				 struct supervision *supervision)
{
	struct outcome outcome;
	bool lift, released;

	supervise(supervision, &outcome);
	lift = outcome.kind == OUTCOME_NOT_STARTED ||
	       (run->options.retry_failed && !has_succeeded(&outcome));
	/* Where the lease was lost, nobody expects a release to work. */
	released = release(
		run, renewer_stop(supervision->renewer, lease), lease, lift,
		outcome.kind == OUTCOME_LOST ? LOG_VERBOSE : LOG_WARNING);
	if (supervision->door)
		door_answer(supervision->door,
			    released && outcome.kind == OUTCOME_ENDED);
	return code_of_outcome(&outcome);
}

/* With the lease granted.  Returns the exit code. */
static int run_command(struct run *run)
{
	struct supervision supervision = {
		.guardian = &run->guardian,
		.signals = &run->signals,
		.tree = &run->tree,
		.on_terminal = run->on_terminal,
	};
	struct lease lease;
	int code = start_guarding(run, &lease, &supervision);

	if (code)
		return code;
	let_go_of_pipes();
	return supervise_and_release(run, &lease, &supervision);
}

/* === attached =========================================================== */

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
		"CFLOCK_PASSWORD_FILE", ANCESTORS_VARIABLE
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!getenv(names[i]))
			continue;
		printf("export %s=", names[i]);
		print_quoted(getenv(names[i]));
		putchar('\n');
	}
	printf("export CFLOCK_TOKEN='%s'\n", run->grant.token);
	return print("");
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
		.door = &door,
	};
	struct lease lease;
	int err, code;

	/* Out of reach of what is sent to the script's process group. */
	if (setsid() < 0 || chdir("/") < 0)
		log_line(LOG_VERBOSE, "cannot leave the session: %s",
			 strerror(errno));
	err = door_open(&door, run->claim.owner.id, run->claim.name);
	if (err) {
		lease_grant(&lease, &run->policy, run->grant.sent);
		release(run, run->store, &lease, true, LOG_WARNING);
		return fail_os("open a socket to be asked for the release",
			       err);
	}
	code = start_guarding(run, &lease, &supervision);
	if (code)
		return code;
	let_go_of_pipes();
	if (write(ready, "", 1) != 1)
		log_line(LOG_VERBOSE, "nobody waits for the lock any more");
	close(ready);
	return supervise_and_release(run, &lease, &supervision);
}

/* With the lease granted.  Returns the exit code, having printed the exports. */
static int attach(struct run *run)
{
	int ready[2], status = 0;
	pid_t holder = -1;
	char byte;

	if (pipe2(ready, O_CLOEXEC) == 0) {
		holder = fork();
		if (holder == 0) {
			close(ready[0]);
			_exit(hold_attached(run, ready[1]));
		}
	}
	if (holder < 0) {
		int err = -errno;
		struct lease lease;

		lease_grant(&lease, &run->policy, run->grant.sent);
		release(run, run->store, &lease, true, LOG_WARNING);
		return fail_os("start a process in the background", err);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1)
		return print_exports(run);
	while (waitpid(holder, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status)
							: EXIT_OS_ERROR;
}

static int watch_attached(struct run *run)
{
	pid_t pid = run->options.attach;
	int err = attached_open(&run->attached, pid);

	if (!err)
		err = signals_watch(&run->signals, run->attached.pidfd);
	switch (err) {
	case 0:
		run->job.attached = &run->attached;
		return 0;
	case -ESRCH:
		log_line(LOG_FATAL, "--attach: there is no process %d",
			 (int)pid);
		return EXIT_BAD_USAGE;
	case -EPERM:
		log_line(LOG_FATAL,
			 "--attach: process %d is another user's: it could "
			 "not be stopped if the lease were lost",
			 (int)pid);
		return EXIT_BAD_USAGE;
	case -ENOSYS:
		log_line(LOG_FATAL, "--attach: this kernel has no pidfds; it "
				    "takes Linux 5.3 or later");
		return EXIT_OS_ERROR;
	default:
		return fail_os("watch the process", err);
	}
}

/* --release: asks those who hold a lock that is attached to this script. */
static int release_attached(const char *name)
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
		return fail_os("ask for the release", err);
	}
}

static int acquire_and_run(struct run *run)
{
	struct acquire_request request = {
		.claim = &run->claim,
		.policy = &run->policy,
		.wait_ns = run->options.wait_ns,
		.signals = &run->signals,
		.job = run->options.attach ? NULL : &run->job,
		.guardian = &run->guardian,
	};
	struct acquire_answer answer = { .signal = 0 };
	struct instant begun = clock_now();
	int err;

	run->store = store_open(&run->options.server, run->signals.cancel_fd);
	if (!run->store)
		return fail_os("make room for a connection", -ENOMEM);
	err = acquire(run->store, &request, &answer);
	if (err)
		return code_of_failed_acquire(run, err, &answer);

	run->grant = answer.grant;
	log_line(LOG_VERBOSE, "granted after %.1f ms, token %s, ttl %lld ms",
		 (double)clock_elapsed_ns(begun, clock_now()) /
			 (double)NS_PER_MS,
		 run->grant.token, (long long)run->claim.ttl_ms);
	return run->options.attach ? attach(run) : run_command(run);
}

static int prepare_and_run(struct run *run)
{
	const struct options *options = &run->options;
	const char *why;
	int err;

	if (lease_policy_init(&run->policy, options->ttl_ns,
			      options->renew_by_percent, &why)) {
		log_line(LOG_FATAL, "the ttl and renew-by do not fit: %s", why);
		return EXIT_BAD_USAGE;
	}
	err = signals_init(&run->signals);
	if (err)
		return fail_os("take over the signals", err);
	if (options->attach) {
		int code = watch_attached(run);

		if (code)
			return code;
	}
	err = tree_open(&run->tree);
	if (err)
		return fail_os(
			"find child processes in /proc, which takes a mounted /proc and a "
			"kernel with CONFIG_PROC_CHILDREN",
			err);
	err = make_claim(run);
	if (err)
		return fail_os("get random bytes for an id", err);
	run->on_terminal = has_terminal();
	run->job.command = options->command;
	run->job.signals = &run->signals;
	run->job.stop_signal = options->stop_signal;
	run->job.own_group = !run->on_terminal;
	run->job.command_only = options->close;
	err = export_claim(run);
	if (err)
		return fail_os("set the command's environment", err);
	return acquire_and_run(run);
}

/* Also when the options are not right. */
static bool wants_to_attach(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strncmp(argv[i], "--at", 4))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static struct run run;
	char error[OPTIONS_ERROR_MAX];
	int action, code, err;
	bool attaching;

	err = keep_standard_descriptors();
	if (err)
		return fail_os("open /dev/null", err);

	attaching = wants_to_attach(argc, argv);
	action = options_read(argc, argv, &run.options, error);
	switch (action) {
	case OPTIONS_RUN:
		break;
	case OPTIONS_RELEASE:
		log_setup(LOG_WARNING, run.options.name);
		return release_attached(run.options.name);
	case OPTIONS_HELP:
		return print(options_usage());
	case OPTIONS_VERSION:
		return print("cflock " PACKAGE_VERSION "\n");
	default:
		log_line(LOG_FATAL, "%s", error);
		code = action == -EBADF ? EXIT_BAD_CONFIG : EXIT_BAD_USAGE;
		if (attaching)
			fail_script(code);
		return code;
	}

	run.job.title = argv[0];
	run.job.title_size =
		(size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
	/*
	 * No core, and no debugger of this user, is to find the password.  exec
	 * undoes it, so the command has what it would have had.
	 */
	if (run.options.server.has_password)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	log_setup(run.options.quiet     ? LOG_FATAL
		  : run.options.verbose ? LOG_VERBOSE
					: LOG_WARNING,
		  run.options.name);
	/* Not exit(): the renewing thread may be in the middle of anything. */
	code = prepare_and_run(&run);
	if (code && attaching)
		fail_script(code);
	_exit(code);
}
