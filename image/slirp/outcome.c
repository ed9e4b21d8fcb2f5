/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How it ended: one exit code, one sentence, one outcome.json. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct outcome outcome;
static const char *folder, *extra_file;

void outcome_files(const char *run_folder, const char *extra)
{
	folder = run_folder;
	extra_file = extra;
}

void outcome_error(int launcher_code, const char *code, const char *hint, const char *format, ...)
{
	va_list args;
	char *text;

	if (outcome.error)
		return;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	outcome.error = code;
	outcome.message = text ? text : code;
	outcome.hint = hint;
	outcome.launcher_code = launcher_code;
}

/* The value of " KEY=" in a line of the guest, or NULL: the guest is not believed to send sense. */
static char *word_of(const char *line, const char *key, const char *characters, size_t least, size_t most)
{
	char *pattern = xasprintf(" %s=", key);
	const char *at = strstr(line, pattern);
	size_t length = at ? strspn(at + strlen(pattern), characters) : 0;
	const char *from = at ? at + strlen(pattern) : NULL;

	free(pattern);
	if (!at || length < least || length > most || (from[length] && from[length] != ' '))
		return NULL;
	return strndup(from, length);
}

void outcome_guest(const char *hello)
{
	outcome.kernel = word_of(hello, "kernel", "0123456789abcdefghijklmnopqrstuvwxyz"
				 "ABCDEFGHIJKLMNOPQRSTUVWXYZ.+~_-", 1, 64);
	outcome.base = word_of(hello, "base", "0123456789abcdef", 64, 64);
}

/* RFC 8259 string; bytes that are no UTF-8 become U+FFFD, so the file always parses. */
static void json_string(FILE *file, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	fputc('"', file);
	while (*at) {
		int more = *at < 0x80 ? 0 : *at >= 0xc2 && *at < 0xe0 ? 1 :
			   *at >= 0xe0 && *at < 0xf0 ? 2 : *at >= 0xf0 && *at < 0xf5 ? 3 : -1;

		for (int i = 1; i <= more; i++)
			if ((at[i] & 0xc0) != 0x80)
				more = -1;
		if (more < 0) {
			fputs("\\ufffd", file);
			at++;
		} else if (*at < 0x20 || *at == '"' || *at == '\\' || *at == 0x7f) {
			fprintf(file, "\\u%04x", *at++);
		} else {
			fwrite(at, 1, more + 1, file);
			at += more + 1;
		}
	}
	fputc('"', file);
}

static void write_json(FILE *file, int code)
{
	bool launcher = outcome.error != NULL;

	fprintf(file, "{\n  \"version\": 1,\n  \"origin\": \"%s\",\n  \"exitCode\": %d,\n",
		launcher ? "launcher" : "job", code);
	fprintf(file, "  \"signal\": ");
	if (outcome.job_ended && outcome.signal)
		fprintf(file, "%d,\n", outcome.signal);
	else
		fprintf(file, "null,\n");
	if (launcher) {
		fprintf(file, "  \"error\": { \"code\": ");
		json_string(file, outcome.error);
		fprintf(file, ", \"message\": ");
		json_string(file, outcome.message);
		if (outcome.hint) {
			fprintf(file, ", \"hint\": ");
			json_string(file, outcome.hint);
		}
		fprintf(file, " },\n");
	}
	if (outcome.kernel)
		fprintf(file, "  \"kernelVersion\": \"%s\",\n", outcome.kernel);
	if (outcome.base)
		fprintf(file, "  \"baseId\": \"%s\",\n", outcome.base);
	fprintf(file,
		"  \"bootSeconds\": %.3f,\n  \"wallSeconds\": %.3f,\n  \"userSeconds\": %.3f,\n"
		"  \"systemSeconds\": %.3f,\n  \"maxRssKiB\": %ld,\n  \"oomKills\": %ld,\n"
		"  \"stdoutBytes\": %llu,\n  \"stderrBytes\": %llu\n}\n",
		outcome.boot_ns / 1e9, outcome.wall_ns / 1e9, outcome.user_ms / 1e3,
		outcome.system_ms / 1e3, outcome.max_rss_kb, outcome.oom_kills,
		(unsigned long long)outcome.stdout_bytes, (unsigned long long)outcome.stderr_bytes);
}

/* Written beside and renamed, so that a reader never sees half of it. */
static void write_file(const char *path, int code)
{
	char *temporary = xasprintf("%s.part", path);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (file) {
		write_json(file, code);
		if (fclose(file) == 0 && rename(temporary, path) == 0)
			return;
	}
	say("cannot write %s: %s", path, strerror(errno));
	unlink(temporary);
}

int outcome_finish(void)
{
	int code = outcome.error ? outcome.launcher_code :
		   outcome.signal ? 128 + outcome.signal : outcome.exit_code;

	if (folder) {
		char *path = xasprintf("%s/outcome.json", folder);

		write_file(path, code);
	}
	if (extra_file)
		write_file(extra_file, code);
	if (outcome.error) {
		say("%s", outcome.message);
		if (outcome.hint)
			say("hint: %s", outcome.hint);
	} else if (outcome.oom_kills && code) {
		say("the guest ran out of memory and ended %ld of its processes", outcome.oom_kills);
		say("hint: Give it more with --mem.");
	}
	return code;
}

void die(const char *code, const char *hint, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	outcome_error(EXIT_LAUNCHER, code, hint, "%s", text ? text : code);
	terminal_restore();
	exit(outcome_finish());
}
