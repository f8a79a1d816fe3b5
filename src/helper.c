#include "config.h"

#include "helper.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* Puts `name` in place of what stands behind the last slash of `path`. */
static int replace_last(char *path, const char *name)
{
	char *last = strrchr(path, '/') + 1;
	size_t length = strlen(name);

	if (length >= (size_t)(path + PATH_MAX - last))
		return -ENAMETOOLONG;
	memcpy(last, name, length + 1);
	return 0;
}

int helper_exec(const char *name, char *const argv[], char *const envp[])
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	int err = 0;

	if (length > 0 && *path == '/') {
		path[length] = '\0';
		err = replace_last(path, name);
		if (!err)
			execve(path, argv, envp);
		err = err ? err : -errno;
	}
	strcpy(path, PKGLIBEXECDIR "/");
	if (replace_last(path, name))
		return -ENAMETOOLONG;
	execve(path, argv, envp);
	/* That of the one that is there, if one is. */
	return err && err != -ENOENT ? err : -errno;
}
