/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Variables of the job. Everybody on the machine can list the words that we were called with, and nobody else our
 * environment or a private file: values that are not to be seen come from there.
 */
#include "launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void env_add(struct strings *list, const char *word)
{
	const char *value = strchr(word, '=') ? NULL : getenv(word);

	if (strchr(word, '='))
		strings_add(list, word);
	else if (value)
		strings_add(list, xasprintf("%s=%s", word, value));
}

static void read_records(struct strings *list, const char *path, int end)
{
	FILE *file = fopen(path, "re");
	char *record = NULL;
	size_t room = 0;
	ssize_t length;

	if (!file)
		die("usage", NULL, "cannot read %s: %s", path, strerror(errno));
	while ((length = getdelim(&record, &room, end, file)) >= 0) {
		if (length && record[length - 1] == end)
			record[--length] = '\0';
		if (end == '\n') {
			if (*record == '=')
				die("usage", NULL, "%s: a line begins with \"=\"", path);
			if (*record && *record != '#')
				env_add(list, record);
		} else if (strncmp(record, "env=", 4) == 0 && strchr(record + 4, '=')) {
			strings_add(list, record + 4);
		}
		/* The list keeps what it was given. */
		record = NULL;
		room = 0;
	}
	free(record);
	fclose(file);
}

void env_file(struct strings *list, const char *path)
{
	read_records(list, path, '\n');
}

void env_list(struct strings *list, const char *path)
{
	read_records(list, path, '\0');
}
