/*
 * The whole of a terminal, to be drawn on again and again: the alternate screen,
 * no cursor, keys that are read one by one.
 *
 * Signals that would end the program only cut short what it waits for, so that
 * screen_leave() can come first.  Ctrl-Z gives the terminal back, too, and in the
 * background it is left alone.
 */
#ifndef CFLOCK_CTL_SCREEN_H
#define CFLOCK_CTL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

#include "signals.h"

struct screen {
	struct signals signals;
	struct termios given; /* of stdin */
	bool has_keys;
	bool is_entered;
	int out;    /* never blocks, where that can be had */
	int events; /* readable when screen_take() has something to tell */
};

/* True when stdout is a terminal that can do this. */
bool screen_is_possible(void);

/* Of the terminal that stdout is. */
void screen_size(int *rows, int *columns);

/* Takes the signals and the terminal over.  Returns 0 or a negative errno. */
int screen_open(struct screen *screen);

struct screen_news {
	bool quit;    /* by q */
	int signal;   /* that is to end the program; 0: none */
	bool changed; /* all of it is to be drawn anew */
};

/* Reads what has come, and stops when Ctrl-Z did. */
void screen_take(struct screen *screen, struct screen_news *news);

/*
 * Takes the terminal back, if it was left by Ctrl-Z and is ours again.  Returns
 * false while it is not.
 */
bool screen_is_ours(struct screen *screen);

/* Writes it, until there is something to take: the rest is left out then. */
void screen_put(struct screen *screen, const char *bytes, size_t length);

/* Gives the terminal back as it was. */
void screen_leave(struct screen *screen);

#endif
