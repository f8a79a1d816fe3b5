#include "config.h"

#include "redis/info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *info_find(const char *info, const char *field)
{
	size_t length = strlen(field);

	while (info && (strncmp(info, field, length) || info[length] != ':')) {
		info = strchr(info, '\n');
		if (info)
			info++;
	}
	return info ? info + length + 1 : NULL;
}

bool info_text(const char *info, const char *field, char value[INFO_VALUE_MAX])
{
	const char *found = info_find(info, field);

	snprintf(value, INFO_VALUE_MAX, "%.*s",
		 found ? (int)strcspn(found, "\r\n") : 0, found ? found : "");
	return found != NULL;
}

long long info_number(const char *info, const char *field)
{
	const char *found = info_find(info, field);

	return found ? strtoll(found, NULL, 10) : -1;
}

bool info_is(const char *info, const char *field, const char *value)
{
	char text[INFO_VALUE_MAX];

	return info_text(info, field, text) && strcmp(text, value) == 0;
}
