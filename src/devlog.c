#include "config.h"

#include "devlog.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_PATH "/dev/log"

/* "user": cflock is run by anybody, mostly by cron. */
#define FACILITY 1

#define HEADER_MAX 128

static int log_socket = -1;
static pid_t sender;

int devlog_open(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	log_socket = fd;
	sender = getpid();
	/* Reads its files now: later localtime_r() has nothing to wait for. */
	tzset();
	return 0;
}

/* "Nov  7 09:05:01", in local time, as all who read it expect. */
static void format_time(char *buffer, size_t size)
{
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr",
					  "May", "Jun", "Jul", "Aug",
					  "Sep", "Oct", "Nov", "Dec" };
	time_t now = time(NULL);
	struct tm local;

	if (!localtime_r(&now, &local))
		memset(&local, 0, sizeof(local));
	snprintf(buffer, size, "%s %2d %02d:%02d:%02d",
		 months[(unsigned int)local.tm_mon % 12], local.tm_mday,
		 local.tm_hour, local.tm_min, local.tm_sec);
}

bool devlog_send(enum devlog_severity severity, const char *text, size_t length)
{
	static const struct sockaddr_un address = {
		.sun_family = AF_UNIX,
		.sun_path = SOCKET_PATH,
	};
	char datagram[HEADER_MAX + DEVLOG_TEXT_MAX], when[64];
	int used;

	if (log_socket < 0)
		return true;
	if (length > DEVLOG_TEXT_MAX)
		length = DEVLOG_TEXT_MAX;
	format_time(when, sizeof(when));
	used = snprintf(datagram, HEADER_MAX,
			"<%d>%s cflock[%d]: ", FACILITY << 3 | (int)severity,
			when, (int)sender);
	memcpy(datagram + used, text, length);
	/* Each time by its path: the daemon may have been restarted. */
	return sendto(log_socket, datagram, (size_t)used + length,
		      MSG_DONTWAIT | MSG_NOSIGNAL,
		      (const struct sockaddr *)&address, sizeof(address)) >= 0;
}
