/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sentences for people, and the few helpers that every file needs. */
#include "launch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *program_name = "slirp";

void say(const char *format, ...)
{
	va_list args;
	char text[4096];
	int length;

	/* One write, so that two guests on one terminal do not mix words. */
	length = snprintf(text, sizeof(text), "%s: ", program_name);
	va_start(args, format);
	length += vsnprintf(text + length, sizeof(text) - length - 1, format, args);
	va_end(args);
	if (length > (int)sizeof(text) - 2)
		length = sizeof(text) - 2;
	text[length++] = '\n';
	if (write(STDERR_FILENO, text, length) < 0)
		return;
}

void *xcalloc(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory) {
		say("out of memory");
		_exit(EXIT_LAUNCHER);
	}
	return memory;
}

static char *format_text(const char *format, va_list args)
{
	char *text;

	if (vasprintf(&text, format, args) < 0) {
		say("out of memory");
		_exit(EXIT_LAUNCHER);
	}
	return text;
}

char *xasprintf(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_text(format, args);
	va_end(args);
	return text;
}

void strings_add(struct strings *list, const char *text)
{
	list->item = realloc(list->item, (list->count + 2) * sizeof(*list->item));
	if (!list->item) {
		say("out of memory");
		_exit(EXIT_LAUNCHER);
	}
	list->item[list->count++] = text;
	list->item[list->count] = NULL;
}

void strings_addf(struct strings *list, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	strings_add(list, format_text(format, args));
	va_end(args);
}

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
