#include "config.h"

#include "tlsprogram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "helper.h"
#include "redis/tls.h"

/* From one program to the other; not for the command. */
#define COMM_VARIABLE "CFLOCK_TLS_COMM"

/* Copies of lists that are to be overwritten, NULL-terminated. */
static char **old_argv, **old_environ;

/* May hold a password: see credentials.h for the names of variables. */
static bool may_be_secret(const char *word)
{
	static const char *const names[] = {
		"CFLOCK_SERVER=", "CFLOCK_PASSWORD=", "REDISCLI_AUTH="
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strncmp(word, names[i], strlen(names[i])))
			return true;
	/* An argument is only overwritten, and good, if it holds a URL. */
	return strstr(word, "://");
}

static void forget(char **copy)
{
	char **word;

	for (word = copy; word && *word; word++)
		if (may_be_secret(*word)) {
			explicit_bzero(*word, strlen(*word));
			free(*word);
		}
	free(copy);
}

/* Has the room for one more. */
static char **copy_list(char **list)
{
	size_t count = 0, i;
	char **copy;

	while (list[count])
		count++;
	copy = calloc(count + 2, sizeof(*copy));
	for (i = 0; copy && i < count; i++) {
		copy[i] = may_be_secret(list[i]) ? strdup(list[i]) : list[i];
		if (!copy[i]) {
			forget(copy);
			return NULL;
		}
	}
	return copy;
}

static bool becomes_another(void)
{
	return TLSPROGRAM_IS_BUILT && !tls_is_there();
}

int tlsprogram_remember(char **argv)
{
	const char *comm = getenv(COMM_VARIABLE);

	if (becomes_another()) {
		old_argv = copy_list(argv);
		old_environ = copy_list(environ);
		if (!old_argv || !old_environ)
			return -ENOMEM;
	} else if (comm) {
		prctl(PR_SET_NAME, comm, 0, 0, 0);
		unsetenv(COMM_VARIABLE);
	}
	return 0;
}

bool tlsprogram_is_needed(const struct url_list *servers)
{
	int i;

	for (i = 0; i < servers->count; i++)
		if (servers->urls[i].is_tls)
			return becomes_another();
	return false;
}

static int become(const char *name)
{
	char comm[sizeof(COMM_VARIABLE) + 16] = COMM_VARIABLE "=";
	size_t count = 0;
	int err;

	prctl(PR_GET_NAME, comm + sizeof(COMM_VARIABLE), 0, 0, 0);
	while (old_environ[count])
		count++;
	old_environ[count] = comm;
	err = helper_exec(name, old_argv, old_environ);
	old_environ[count] = NULL;
	return err;
}

int tlsprogram_become(const char *name, const struct url_list *servers)
{
	int err = 0;

	if (tlsprogram_is_needed(servers))
		err = become(name);
	forget(old_argv);
	forget(old_environ);
	old_argv = old_environ = NULL;
	return err;
}
