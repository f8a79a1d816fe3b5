#include "config.h"

#include "waitshow.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "duration.h"
#include "log.h"

/* A shorter wait is not worth a line. */
#define SHOW_AFTER_NS NS_PER_S

#define COLUMNS_DEFAULT 80
#define CLEAR_TO_END "\033[K"

/* Room for the times and places in front of a refusal's text. */
#define LINE_MAX_BYTES (REFUSAL_TEXT_MAX + 256)

void waitshow_init(struct waitshow *show, int64_t begun_ns, int64_t end_ns)
{
	memset(show, 0, sizeof(*show));
	show->begun_ns = begun_ns;
	show->end_ns = end_ns;
	show->is_live = isatty(STDERR_FILENO) && log_is_shown(LOG_WARNING) &&
			!log_is_shown(LOG_VERBOSE);
}

/* "12:03:11 (in 36.8 s)" */
static void format_until(int64_t left_ms, char *buffer, size_t size)
{
	time_t at = (clock_wall_ms() + left_ms) / 1000;
	char clock[32] = "?", left[DURATION_TEXT_MAX];
	struct tm local;

	if (localtime_r(&at, &local))
		strftime(clock, sizeof(clock),
			 left_ms < 12 * 3600 * 1000 ? "%H:%M:%S"
						    : "%Y-%m-%d %H:%M:%S",
			 &local);
	duration_format(left_ms * NS_PER_MS, left, sizeof(left));
	snprintf(buffer, size, "%s (in %s)", clock, left);
}

/* "the lock service restarted 2 s ago and may have forgotten leases; ..." */
static void format_grace(const struct refusal *refusal, char *buffer,
			 size_t size)
{
	const char *value = refusal->holder.value;
	int64_t ago_ms = clock_wall_ms() - refusal->holder.since_ms;
	char until[64], ago[DURATION_TEXT_MAX];

	format_until(refusal->left_ms, until, sizeof(until));
	duration_format(ago_ms > 0 ? ago_ms * NS_PER_MS : 0, ago, sizeof(ago));
	snprintf(buffer, size,
		 "the lock service %s %s ago and may have forgotten leases; "
		 "new grants at %s",
		 strcmp(value, "restart") == 0 ? "restarted"
		 : strcmp(value, "flush") == 0 ? "was emptied"
					       : "failed over",
		 ago, until);
}

char *refusal_format(const struct refusal *refusal, char *buffer, size_t size)
{
	char holder[HOLDER_TEXT_MAX], until[64];
	long long others = refusal->holders - 1;

	holder_format(&refusal->holder, holder, sizeof(holder));
	switch (refusal->reason) {
	case REFUSAL_LINE:
		snprintf(buffer, size, "%s wait for it: %s",
			 refusal->holders ? "others" : "free, but others",
			 holder);
		break;
	case REFUSAL_TAKEN:
		format_until(refusal->left_ms, until, sizeof(until));
		snprintf(buffer, size,
			 "taken over, as it was not renewed; begins at %s",
			 until);
		break;
	case REFUSAL_COOLING:
		format_until(refusal->left_ms, until, sizeof(until));
		snprintf(buffer, size, "cooling down, may run again at %s",
			 until);
		break;
	case REFUSAL_KIND:
		if (strcmp(refusal->holder.value, "shared") == 0)
			snprintf(buffer, size, "others share it with -s");
		else
			snprintf(buffer, size, "others use it with --slots %s",
				 refusal->holder.value + strlen("slots:"));
		break;
	case REFUSAL_GRACE:
		format_grace(refusal, buffer, size);
		break;
	case REFUSAL_VOTES:
		snprintf(buffer, size,
			 "others want it at the same time, and "
			 "none has a majority of the servers");
		break;
	case REFUSAL_HELD:
	case REFUSAL_ANCESTOR:
		if (others > 0)
			snprintf(buffer, size, "held by %s; and %lld more",
				 holder, others);
		else
			snprintf(buffer, size, "held by %s", holder);
	}
	return buffer;
}

void refusal_describe(const struct refusal *refusal, struct event *event)
{
	static const char *const reasons[] = {
		[REFUSAL_HELD] = "held",         [REFUSAL_LINE] = "line",
		[REFUSAL_TAKEN] = "taken_over",  [REFUSAL_COOLING] = "cooling",
		[REFUSAL_ANCESTOR] = "ancestor", [REFUSAL_KIND] = "kind",
		[REFUSAL_GRACE] = "grace",       [REFUSAL_VOTES] = "votes",
	};
	const struct holder *holder = &refusal->holder;
	const char *who = refusal->reason == REFUSAL_LINE ? "first" : "holder";

	event_string(event, "reason", reasons[refusal->reason]);
	if (refusal->place) {
		event_number(event, "place", refusal->place);
		event_number(event, "waiting", refusal->waiting);
	}
	switch (refusal->reason) {
	case REFUSAL_KIND:
		event_string(event, "kind", holder->value);
		return;
	case REFUSAL_VOTES:
		return;
	case REFUSAL_GRACE:
		event_string(event, "cause", holder->value);
		/* fall through */
	case REFUSAL_TAKEN:
	case REFUSAL_COOLING:
		event_number(event, "left_ms", refusal->left_ms);
		return;
	case REFUSAL_HELD:
		if (refusal->left_ms >= 0)
			event_number(event, "left_ms", refusal->left_ms);
		if (refusal->holders > 1)
			event_number(event, "holders", refusal->holders);
		break;
	case REFUSAL_LINE:
	case REFUSAL_ANCESTOR:
		break;
	}
	event_holder(event, who, holder);
}

static int terminal_columns(void)
{
	struct winsize window;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) < 0 || !window.ws_col)
		return COLUMNS_DEFAULT;
	return window.ws_col;
}

/* In the background the line is the shell's. */
static bool is_in_foreground(void)
{
	return tcgetpgrp(STDERR_FILENO) == getpgrp();
}

/* Ctrl-S, or a terminal that is gone, must not keep us from waiting. */
static bool put(const char *text, size_t length)
{
	struct pollfd writable = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&writable, 1, 0) > 0 &&
	       write(STDERR_FILENO, text, length) > 0;
}

/* Cuts `text` so that the terminal does not break it.  What is not ASCII may
 * be twice as wide. */
static void cut_to_columns(char *text, int columns)
{
	int used = 0;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c & 0xc0) == 0x80) /* goes on with a character */
			continue;
		used += c < 0x80 ? 1 : 2;
		if (used >= columns) {
			*text = '\0';
			return;
		}
	}
}

/* "cflock: NAME: waiting 12 s (48 s left), 2nd of 5 in line: WHAT" */
static void show_line(struct waitshow *show, int64_t place, int64_t waiting,
		      const char *what, int64_t now_ns)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 16];
	char since[DURATION_TEXT_MAX], left[DURATION_TEXT_MAX + 16] = "";
	char place_text[64] = "";
	int n;

	if (now_ns - show->begun_ns < SHOW_AFTER_NS || !is_in_foreground())
		return;
	duration_format((now_ns - show->begun_ns) / NS_PER_S * NS_PER_S, since,
			sizeof(since));
	if (show->end_ns != INT64_MAX) {
		snprintf(left, sizeof(left), " (");
		duration_format(show->end_ns - now_ns, left + 2,
				sizeof(left) - 2);
		strcat(left, " left)");
	}
	if (place)
		snprintf(place_text, sizeof(place_text),
			 ", place %lld of %lld in line", (long long)place,
			 (long long)waiting);
	snprintf(text, sizeof(text), "cflock: %s: waiting for %s%s%s: %s",
		 log_name(), since, left, place_text, what);
	log_printable(text, text, sizeof(text));
	cut_to_columns(text, terminal_columns());
	n = snprintf(line, sizeof(line), "\r%s" CLEAR_TO_END, text);
	if (put(line, (size_t)n))
		show->is_shown = true;
}

void waitshow_update(struct waitshow *show, const struct refusal *refusal,
		     int64_t now_ns)
{
	const struct holder *holder = &refusal->holder;
	const char *id = *holder->id ? holder->id : holder->value;
	bool is_taken = refusal->reason == REFUSAL_TAKEN;
	char text[REFUSAL_TEXT_MAX];
	struct event event;

	if (show->is_live) {
		show_line(show, refusal->place, refusal->waiting,
			  refusal_format(refusal, text, sizeof(text)), now_ns);
		return;
	}
	if (!log_is_shown(LOG_VERBOSE) ||
	    (!*show->trouble && refusal->reason == show->reason &&
	     refusal->place == show->place && strcmp(id, show->holder) == 0))
		return;
	show->trouble[0] = '\0';
	show->reason = refusal->reason;
	show->place = refusal->place;
	snprintf(show->holder, sizeof(show->holder), "%s", id);
	event_begin(&event, LOG_VERBOSE, is_taken ? "taken_over" : "waiting");
	event_ms(&event, "waited_ms", now_ns - show->begun_ns);
	refusal_describe(refusal, &event);
	event_send(&event, "waiting, place %lld of %lld in line: %s",
		   (long long)refusal->place, (long long)refusal->waiting,
		   refusal_format(refusal, text, sizeof(text)));
}

void waitshow_trouble(struct waitshow *show, const char *why, int64_t now_ns)
{
	struct event event;

	if (show->is_live) {
		show_line(show, 0, 0, why, now_ns);
		return;
	}
	if (strcmp(why, show->trouble) == 0)
		return;
	snprintf(show->trouble, sizeof(show->trouble), "%s", why);
	event_begin(&event, LOG_NOTICE, "unreachable");
	event_ms(&event, "waited_ms", now_ns - show->begun_ns);
	event_string(&event, "cause", why);
	event_send(&event, "%s; trying again", why);
}

void waitshow_end(struct waitshow *show)
{
	static const char clear[] = "\r" CLEAR_TO_END;

	if (show->is_shown && is_in_foreground() &&
	    put(clear, sizeof(clear) - 1))
		show->is_shown = false;
}
