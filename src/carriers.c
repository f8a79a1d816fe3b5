#include "config.h"

#include "carriers.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "tree.h"

/* What the child writes of each. */
struct carrier {
	int64_t started_ns;
	pid_t pid;
};

struct text {
	char *bytes;
	size_t room;
};

/* === in the child ======================================================= */

static bool has_word(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (; *words; words += strcspn(words, " ")) {
		words += strspn(words, " ");
		if (strcspn(words, " ") == length &&
		    !strncmp(words, word, length))
			return true;
	}
	return false;
}

/* Returns the length, 0 when it may not be read; the text ends with '\0'. */
static size_t read_environment(pid_t pid, struct text *text)
{
	char path[32];
	size_t length = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while ((n = read(fd, text->bytes + length, text->room - length - 1)) >
	       0) {
		length += (size_t)n;
		if (length + 1 == text->room) {
			char *grown = realloc(text->bytes, 2 * text->room);

			if (!grown)
				break;
			text->bytes = grown;
			text->room *= 2;
		}
	}
	close(fd);
	text->bytes[length] = '\0';
	return length;
}

static bool carries(pid_t pid, const char *variable, const char *id,
		    struct text *text)
{
	size_t length = read_environment(pid, text), i;
	size_t name = strlen(variable);

	for (i = 0; i < length; i += strlen(text->bytes + i) + 1)
		if (!strncmp(text->bytes + i, variable, name) &&
		    text->bytes[i + name] == '=' &&
		    has_word(text->bytes + i + name + 1, id))
			return true;
	return false;
}

/* Writes the carriers into `fd`.  False when not all could be looked at. */
static bool look_at_all(const char *variable, const char *id, int fd)
{
	struct text text = { .room = 65536 };
	struct dirent *entry;
	DIR *all = opendir("/proc");
	bool done;

	text.bytes = malloc(text.room);
	done = all && text.bytes;
	while (done && (entry = readdir(all))) {
		struct carrier carrier = { .pid = atoi(entry->d_name) };
		int64_t still_ns;

		/* Before and after: its number may pass to another meanwhile. */
		if (isdigit((unsigned char)*entry->d_name) &&
		    tree_started_ns(carrier.pid, &carrier.started_ns) &&
		    carries(carrier.pid, variable, id, &text) &&
		    tree_started_ns(carrier.pid, &still_ns) &&
		    still_ns == carrier.started_ns &&
		    write(fd, &carrier, sizeof(carrier)) !=
			    (ssize_t)sizeof(carrier))
			done = false;
	}
	if (all)
		closedir(all);
	free(text.bytes);
	return done;
}

/* === in the caller ====================================================== */

/* Until the end of what the child writes: true; or until_ns. */
static bool read_carriers(int fd, int64_t until_ns, carriers_found_fn *found,
			  void *context)
{
	struct carrier carrier;

	for (;;) {
		struct pollfd readable = { .fd = fd, .events = POLLIN };
		int64_t left_ns = until_ns - clock_boot_ns();
		struct timespec timeout;
		ssize_t n;

		if (left_ns <= 0)
			return false;
		timeout = clock_timespec(left_ns);
		if (ppoll(&readable, 1, &timeout, NULL) <= 0)
			continue;
		n = read(fd, &carrier, sizeof(carrier));
		if (n == 0)
			return true;
		if (n == (ssize_t)sizeof(carrier))
			found(context, carrier.pid, carrier.started_ns);
		else if (n >= 0 || errno != EINTR)
			return false;
	}
}

bool carriers_find(const char *variable, const char *id, int64_t until_ns,
		   carriers_found_fn *found, void *context)
{
	struct sched_param parameters = { 0 };
	int policy = sched_getscheduler(0);
	pid_t self = getpid(), child;
	int ends[2], status = 0;
	bool ended;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		/* It is waited for: on a busy machine, too. */
		if (policy > 0 && sched_getparam(self, &parameters) == 0)
			sched_setscheduler(0, policy, &parameters);
		close(ends[0]);
		_exit(getppid() != self || !look_at_all(variable, id, ends[1]));
	}
	close(ends[1]);
	if (child < 0) {
		close(ends[0]);
		return false;
	}
	ended = read_carriers(ends[0], until_ns, found, context);
	close(ends[0]);
	if (!ended)
		kill(child, SIGKILL);
	/* Where it hangs, it may not die of that: not waited for. */
	while (waitpid(child, &status, ended ? 0 : WNOHANG) < 0 &&
	       errno == EINTR)
		;
	return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
