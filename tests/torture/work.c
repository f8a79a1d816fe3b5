/*
 * work RUN SLOT NAME KIND MS FLAGS
 *
 * What the contenders of the torture chamber run under a lock.  All its files are
 * in $TORTURE_DIR; times are ns of CLOCK_MONOTONIC, which is one for all hosts.
 *
 *   events         what happens, a JSON object a line
 *   beats          SLOT times 8 bytes in: when this run was last seen alive
 *   NAME.witness   locked in the kernel for as long as any process of the run
 *                  lives: who finds it taken has caught two at once
 *   NAME.count     read, and after MS one more than that appended: what two do
 *                  at once, comes out twice
 *   NAME.fence     the same, for who has a token, and no lower one than all before
 *
 * KIND is "x", "s", or the number of slots.  FLAGS: "i" ignores SIGTERM, "d"
 * leaves a daemon behind that lives half as long again, "-" is nothing.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define BEAT_NS 4000000
#define LINE_MAX_LENGTH 256

struct work {
	const char *dir, *run, *name, *token;
	int events, beats;
	off_t slot;
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int open_file(const struct work *w, const char *suffix, int flags)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s%s", w->dir,
		 *suffix == '.' ? w->name : "", suffix);
	fd = open(path, flags | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		perror(path);
		_exit(71);
	}
	return fd;
}

/* In one piece: neither does it mix with others', nor is half of it written by
 * one that is killed. */
static void append(int fd, const char *line)
{
	if (write(fd, line, strlen(line)) < 0)
		_exit(71);
}

static void tell(const struct work *w, const char *event, const char *more)
{
	char line[LINE_MAX_LENGTH * 2];

	snprintf(line, sizeof(line),
		 "{\"t\":%" PRId64 ",\"e\":\"%s\",\"run\":\"%s\"%s}\n",
		 now_ns(), event, w->run, more);
	append(w->events, line);
}

/* The last line of a file, without its end; empty when it has none. */
static void read_last(int fd, char line[LINE_MAX_LENGTH])
{
	off_t size = lseek(fd, 0, SEEK_END);
	off_t from =
		size > LINE_MAX_LENGTH - 1 ? size - (LINE_MAX_LENGTH - 1) : 0;
	ssize_t length = pread(fd, line, LINE_MAX_LENGTH - 1, from);
	char *start;

	line[length > 0 ? length - 1 : 0] = '\0';
	start = strrchr(line, '\n');
	if (start)
		memmove(line, start + 1, strlen(start));
}

/* A shared lock on the witness, an exclusive one, or one of its seats. */
static int is_alone(const struct work *w, const char *kind)
{
	int seats = atoi(kind), i;
	int fd = open_file(w, ".witness", O_RDWR);

	if (flock(fd, (*kind == 'x' ? LOCK_EX : LOCK_SH) | LOCK_NB))
		return 0;
	for (i = 0; i < seats; i++) {
		char suffix[32];

		snprintf(suffix, sizeof(suffix), ".witness%d", i);
		fd = open_file(w, suffix, O_RDWR);
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 1;
		close(fd);
	}
	return seats == 0;
}

static void live(const struct work *w, int64_t until_ns)
{
	const struct timespec pause = { .tv_nsec = BEAT_NS };
	int64_t now;

	do {
		nanosleep(&pause, NULL);
		now = now_ns();
		if (pwrite(w->beats, &now, sizeof(now), w->slot) < 0)
			_exit(71);
	} while (now < until_ns);
}

static int64_t read_count(int fd)
{
	char line[LINE_MAX_LENGTH];

	read_last(fd, line);
	return strtoll(line, NULL, 10);
}

/*
 * The fenced resource: lines of "VALUE TOKEN RUN r|w".  With `value` NULL,
 * writes one more than was read, else registers the token and reads.  Returns 0
 * when a higher token has been there, or for a write another one.
 */
static int fence(const struct work *w, int fd, int64_t *value, int is_write)
{
	char line[LINE_MAX_LENGTH];
	int64_t highest, mine = strtoll(w->token, NULL, 10), last;
	char *end;
	int is_let_in;

	flock(fd, LOCK_EX);
	read_last(fd, line);
	last = strtoll(line, &end, 10);
	highest = strtoll(end, NULL, 10);
	is_let_in = is_write ? mine == highest : mine >= highest;
	if (is_let_in) {
		if (!is_write)
			*value = last;
		snprintf(line, sizeof(line), "%" PRId64 " %s %s %s\n",
			 *value + is_write, w->token, w->run,
			 is_write ? "w" : "r");
		append(fd, line);
	}
	flock(fd, LOCK_UN);
	if (!is_let_in)
		tell(w, "fenced",
		     is_write ? ",\"at\":\"write\"" : ",\"at\":\"start\"");
	return is_let_in;
}

static const char *find_token(void)
{
	static const char *const names[] = { "CFLOCK_TOKEN", "ETCD_LOCK_REV",
					     "TOKEN" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (getenv(names[i]))
			return getenv(names[i]);
	return "";
}

static void start_daemon(const struct work *w, int64_t until_ns)
{
	pid_t child = fork();

	if (child)
		return;
	setsid();
	live(w, until_ns);
	tell(w, "end", ",\"who\":\"daemon\"");
	_exit(0);
}

int main(int argc, char **argv)
{
	struct work w = { .dir = getenv("TORTURE_DIR") };
	int64_t start = now_ns(), until, count, fenced = 0;
	int is_exclusive, alone, count_fd, fence_fd = -1;
	char more[LINE_MAX_LENGTH];

	if (argc != 7 || !w.dir)
		return 64;
	w.run = argv[1];
	w.slot = (off_t)strtoll(argv[2], NULL, 10) * 8;
	w.name = argv[3];
	w.token = find_token();
	if (strchr(argv[6], 'i'))
		signal(SIGTERM, SIG_IGN);
	is_exclusive = argv[4][0] == 'x';
	w.events = open_file(&w, "events", O_WRONLY | O_APPEND);
	w.beats = open_file(&w, "beats", O_WRONLY);

	alone = is_alone(&w, argv[4]);
	snprintf(more, sizeof(more),
		 ",\"from\":%" PRId64
		 ",\"token\":\"%s\",\"alone\":%s,\"pid\":%d",
		 start, w.token, alone ? "true" : "false", (int)getpid());
	tell(&w, "start", more);

	until = start + strtoll(argv[5], NULL, 10) * 1000000;
	if (strchr(argv[6], 'd'))
		start_daemon(&w, until + (until - start) / 2);

	if (!is_exclusive) {
		live(&w, until);
		tell(&w, "end", "");
		return 0;
	}
	count_fd = open_file(&w, ".count", O_RDWR | O_APPEND);
	count = read_count(count_fd);
	if (*w.token) {
		fence_fd = open_file(&w, ".fence", O_RDWR | O_APPEND);
		if (!fence(&w, fence_fd, &fenced, 0))
			fence_fd = -1;
	}
	live(&w, until);
	snprintf(more, sizeof(more), "%" PRId64 " %s\n", count + 1, w.run);
	append(count_fd, more);
	if (fence_fd >= 0)
		fence(&w, fence_fd, &fenced, 1);
	tell(&w, "end", "");
	return 0;
}
