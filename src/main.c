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
#include "attach.h"
#include "door.h"
#include "event.h"
#include "exitcodes.h"
#include "holder.h"
#include "release.h"
#include "renewer.h"
#include "run.h"
#include "stdfds.h"
#include "tell.h"
#include "tlsprogram.h"

#define ID_BYTES 16
#define TLS_PROGRAM "cflock-tls"

void run_let_go_of(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0) {
		close(fd);
		return;
	}
	dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
}

void run_let_go_of_pipes(void)
{
	run_let_go_of(STDIN_FILENO);
	run_let_go_of(STDOUT_FILENO);
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
	run->claim.no_grace = options->no_grace;
	run->claim.min_replicas = options->min_replicas;
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

/* === the way out ======================================================== */

int run_fail_os(const char *doing, int err)
{
	char text[256];

	snprintf(text, sizeof(text), "cannot %s: %s", doing, strerror(-err));
	return tell_not_started("system", EXIT_OS_ERROR, text);
}

static void die_of_signal(int number) __attribute__((noreturn));

/* Before the command was started. */
static void die_of_signal(int number)
{
	tell_signal(number, EXIT_SIGNAL_BASE + number);
	signals_die_of(number);
}

static int code_of_failed_acquire(const struct run *run, int err,
				  const struct acquire_answer *answer)
{
	const char *cause = store_error(run->store);

	switch (err) {
	case -EBUSY:
		if (run->options.attach && !run->options.conflict_exit_code)
			attach_fail_script(0);
		return tell_refusal(run->begun, run->options.conflict_exit_code,
				    LOG_WARNING, &answer->refusal);
	case -EDEADLK:
	case -EINVAL:
		return tell_refusal(run->begun, EXIT_BAD_USAGE, LOG_FATAL,
				    &answer->refusal);
	case -EINTR:
		if (run->options.attach)
			attach_fail_script(EXIT_SIGNAL_BASE + answer->signal);
		die_of_signal(answer->signal);
	case -EACCES:
		return tell_trouble(run->begun, EXIT_DENIED, "denied", cause,
				    "");
	default:
		return tell_trouble(run->begun, EXIT_UNREACHABLE, "unreachable",
				    cause, "; the command was not started");
	}
}

static bool has_succeeded(const struct outcome *outcome)
{
	return outcome->kind == OUTCOME_ENDED && WIFEXITED(outcome->status) &&
	       WEXITSTATUS(outcome->status) == 0;
}

/* A shell that runs us in a loop has to see that Ctrl-C ended it. */
static bool was_interrupted(const struct outcome *outcome)
{
	return outcome->kind == OUTCOME_ENDED && WIFSIGNALED(outcome->status) &&
	       outcome->interrupted && WTERMSIG(outcome->status) == SIGINT;
}

static int code_of_outcome(const struct outcome *outcome)
{
	switch (outcome->kind) {
	case OUTCOME_ENDED:
		if (WIFEXITED(outcome->status))
			return WEXITSTATUS(outcome->status);
		return EXIT_SIGNAL_BASE + WTERMSIG(outcome->status);
	case OUTCOME_LOST:
		return EXIT_LEASE_LOST; /* said when the stopping began */
	case OUTCOME_UNGUARDED:
		return tell_unguarded(EXIT_LEASE_LOST);
	case OUTCOME_NOT_STARTED:
		if (outcome->status)
			return run_fail_os("start the command",
					   -outcome->status);
		return tell_not_started(
			"too_late", EXIT_LEASE_LOST,
			"the lease was over before the command could be started");
	}
	return EXIT_BUG;
}

/* === the run ============================================================ */

void run_call_off(struct run *run)
{
	const struct release_request request = {
		.claim = &run->claim,
		.lease = &run->lease,
		.lift = true,
		.was_lost = !*run->grant.token,
	};

	guardian_dismiss(&run->guardian);
	store_set_cancel_fd(run->store, -1);
	release(run->store, &request);
}

int run_start(struct run *run, struct supervision *supervision)
{
	const struct renewer_request request = {
		.claim = &run->claim,
		.grant = &run->grant,
		.lease = &run->lease,
		.guardian = &run->guardian,
		.prefers_availability = run->options.prefers_availability,
	};
	int err, signal = 0;

	/* From here on a signal ends no request. */
	store_set_cancel_fd(run->store, -1);
	supervision->renewer = renewer_new(run->store, &request);
	err = supervision->renewer ? 0 : -ENOMEM;
	if (!err && !run->guardian.pid)
		err = guardian_fork(&run->guardian, &run->job);
	/* What came before the guardian was there could not reach the command. */
	if (!err)
		signal = signals_take_deadly(&run->signals);
	if (!err && !signal)
		err = guardian_start(&run->guardian, &run->lease,
				     run->grant.token);
	if (!err && !signal)
		return 0;
	run_call_off(run);
	if (signal)
		die_of_signal(signal);
	return run_fail_os("start the guardian process", err);
}

/*
 * What ran has ended: gives the lease back, or what there is of a claim.  True
 * when nothing is left of it.
 */
static bool give_back(struct run *run, struct store *store,
		      enum renewer_hold hold, const struct outcome *outcome)
{
	const struct release_request request = {
		.claim = &run->claim,
		.lease = &run->lease,
		.lift = outcome->kind == OUTCOME_NOT_STARTED ||
			(run->options.retry_failed && !has_succeeded(outcome)),
		.was_lost =
			outcome->kind == OUTCOME_LOST || hold != RENEWER_HELD,
	};

	/* A renewal is on its way in it.  (A claim is not left in the air.) */
	if (!store && !run->options.prefers_availability)
		store = store_clone(run->store, -1);
	if (!store)
		return false;
	/* To withdraw would end a cooldown as well. */
	if (hold == RENEWER_NONE && !run->claim.cooldown_ms) {
		store_withdraw(store, &run->claim,
			       clock_boot_ns() + ACQUIRE_WITHDRAW_NS);
		return true;
	}
	return release(store, &request);
}

/* What ran under the lease has ended; returns the exit code. */
static int finish(struct run *run, const struct supervision *supervision,
		  const struct outcome *outcome)
{
	struct summary summary = {
		.policy = &run->policy,
		.ran_ns = clock_elapsed_ns(run->granted, clock_now()),
		.waited_ns = clock_elapsed_ns(run->begun, run->granted),
	};
	enum renewer_hold hold;
	struct store *store = renewer_stop(supervision->renewer, &run->lease,
					   &hold, &summary.renewals);
	bool released = give_back(run, store, hold, outcome);

	if (supervision->door)
		door_answer(supervision->door,
			    released && outcome->kind == OUTCOME_ENDED);
	summary.exit_code = code_of_outcome(outcome);
	tell_summary(&summary);
	if (was_interrupted(outcome))
		signals_die_of(SIGINT);
	return summary.exit_code;
}

int run_to_end(struct run *run, struct supervision *supervision)
{
	struct outcome outcome;

	supervise(supervision, &outcome);
	return finish(run, supervision, &outcome);
}

/* With the lease granted, or without.  Returns the exit code. */
static int run_command(struct run *run)
{
	struct supervision supervision = {
		.guardian = &run->guardian,
		.signals = &run->signals,
		.tree = &run->tree,
		.on_terminal = run->on_terminal,
		.stop_signal = run->options.stop_signal,
	};
	int code = run_start(run, &supervision);

	if (code)
		return code;
	run_let_go_of_pipes();
	return run_to_end(run, &supervision);
}

static int acquire_and_run(struct run *run)
{
	struct acquire_request request = {
		.claim = &run->claim,
		.policy = &run->policy,
		.wait_ns = run->options.wait_ns,
		.prefers_availability = run->options.prefers_availability,
		.signals = &run->signals,
		.job = run->options.attach ? NULL : &run->job,
		.guardian = &run->guardian,
	};
	struct acquire_answer answer = { .signal = 0 };
	int err;

	run->begun = clock_now();
	run->store = store_open(&run->options.servers, run->signals.cancel_fd);
	if (!run->store)
		return run_fail_os("make room for a connection", -ENOMEM);
	err = acquire(run->store, &request, &answer);
	run->granted = clock_now();
	if (err && answer.may_do_without) {
		tell_start_without(run->begun, store_error(run->store));
		lease_do_without(&run->lease, &run->policy, run->granted);
		/* In the line, those who wait cannot keep it from us for ever. */
		run->claim.may_wait = true;
		return run->options.attach ? attach_hold(run)
					   : run_command(run);
	}
	if (err)
		return code_of_failed_acquire(run, err, &answer);

	run->grant = answer.grant;
	event_set_token(run->grant.token);
	tell_granted(clock_elapsed_ns(run->begun, run->granted), &run->claim,
		     &run->grant);
	if (*store_trouble(run->store))
		tell_minority(store_trouble(run->store));
	lease_grant(&run->lease, &run->policy, run->grant.sent);
	return run->options.attach ? attach_hold(run) : run_command(run);
}

static int prepare_and_run(struct run *run)
{
	const struct options *options = &run->options;
	char text[OPTIONS_ERROR_MAX];
	const char *why;
	int err, code;

	if (lease_policy_init(&run->policy, options->ttl_ns,
			      options->renew_by_percent, &why)) {
		snprintf(text, sizeof(text),
			 "the ttl and renew-by do not fit: %s", why);
		return tell_not_started("usage", EXIT_BAD_USAGE, text);
	}
	err = signals_init(&run->signals);
	if (err)
		return run_fail_os("take over the signals", err);
	code = options->attach ? attach_watch(run) : 0;
	if (code)
		return code;
	err = tree_open(&run->tree);
	if (err)
		return run_fail_os(
			"find child processes in /proc, which takes a mounted /proc and a "
			"kernel with CONFIG_PROC_CHILDREN",
			err);
	err = make_claim(run);
	if (err)
		return run_fail_os("get random bytes for an id", err);
	event_set_id(run->claim.owner.id);
	run->on_terminal = has_terminal();
	run->job.command = options->command;
	run->job.signals = &run->signals;
	run->job.stop_signal = options->stop_signal;
	run->job.own_group = !run->on_terminal;
	run->job.command_only = options->close;
	err = export_claim(run);
	if (err)
		return run_fail_os("set the command's environment", err);
	return acquire_and_run(run);
}

static int print(const char *text)
{
	if (fputs(text, stdout) < 0 || fflush(stdout) != 0)
		return run_fail_os("write to standard output", -errno);
	return EXIT_SUCCESS;
}

static void set_up_messages(const struct options *options)
{
	bool all = options->verbose || options->log_json;

	log_setup(options->quiet ? LOG_FATAL
		  : all          ? LOG_DETAIL
				 : LOG_WARNING,
		  options->name);
	if (options->log_json)
		event_use_json();
	/* Without a socket: none, as without a daemon. */
	if (options->syslog)
		log_open_syslog();
}

int main(int argc, char **argv)
{
	static struct run run;
	char error[OPTIONS_ERROR_MAX];
	int action, code, err;

	err = stdfds_keep();
	if (err) {
		if (attach_is_wanted(argc, argv))
			attach_fail_script(EXIT_OS_ERROR);
		return run_fail_os("open /dev/null", err);
	}
	err = tlsprogram_remember(argv);
	if (err)
		return run_fail_os("keep the arguments", err);

	action = options_read(argc, argv, &run.options, error);
	switch (action) {
	case OPTIONS_RUN:
		break;
	case OPTIONS_RELEASE:
		set_up_messages(&run.options);
		return attach_release(run.options.name);
	case OPTIONS_HELP:
		return print(options_usage());
	case OPTIONS_VERSION:
		return print("cflock " PACKAGE_VERSION "\n");
	default:
		set_up_messages(&run.options);
		code = action == -EBADF
			       ? tell_not_started("config", EXIT_BAD_CONFIG,
						  error)
			       : tell_not_started("usage", EXIT_BAD_USAGE,
						  error);
		if (attach_is_wanted(argc, argv))
			attach_fail_script(code);
		return code;
	}

	/* The loader may not find OpenSSL, and nobody is there to say so. */
	if (run.options.attach && tlsprogram_is_needed(&run.options.servers))
		attach_expect_more();
	err = tlsprogram_become(TLS_PROGRAM, &run.options.servers);
	if (err) {
		set_up_messages(&run.options);
		if (run.options.attach)
			attach_fail_script(EXIT_OS_ERROR);
		return run_fail_os(TLSPROGRAM_DOING(TLS_PROGRAM), err);
	}

	run.job.title = argv[0];
	run.job.title_size =
		(size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
	/*
	 * No core, and no debugger of this user, is to find password or key.  exec
	 * undoes it, so the command has what it would have had.
	 */
	if (options_have_secrets(&run.options))
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	/* In the background they would be kept from whoever waits for their end. */
	if (run.options.attach)
		stdfds_close_others();
	set_up_messages(&run.options);
	/* Not exit(): the renewing thread may be in the middle of anything. */
	code = prepare_and_run(&run);
	if (code && run.options.attach)
		attach_fail_script(code);
	_exit(code);
}
