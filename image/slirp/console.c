/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guest's console: a log in the run folder, and what it says about a failed boot. */
#include "launch.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define LOG_LIMIT (16 << 20)	/* a guest that floods its console must not fill the disk */
#define TAIL 8192

static int log_file = -1;
static size_t logged;
static char tail[2 * TAIL + 1];
static size_t tail_size;

void console_open(const char *run_folder)
{
	char *path = xasprintf("%s/console.log", run_folder);

	log_file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

void console_add(const char *text, size_t size)
{
	if (log_file >= 0 && logged < LOG_LIMIT) {
		logged += size;
		write_all(log_file, text, size);
	}
	for (size_t i = 0; i < size; i++) {
		if (tail_size == sizeof(tail) - 1) {
			memmove(tail, tail + TAIL, TAIL);
			tail_size = TAIL;
		}
		/* Text for sentences: no NUL, and nothing that drives a terminal. */
		if ((text[i] >= ' ' && text[i] != 0x7f) || text[i] == '\n')
			tail[tail_size++] = text[i];
	}
	tail[tail_size] = '\0';
}

/* The last lines, for the person who has to find out. */
static const char *last_lines(int count)
{
	const char *at = tail + tail_size;

	while (at > tail && count > 0)
		if (*--at == '\n' && at + 1 < tail + tail_size)
			count--;
	return *at == '\n' ? at + 1 : at;
}

void console_diagnose(bool reached_init)
{
	static const struct {
		const char *text, *code, *sentence, *hint;
	} known[] = {
		{ "Unable to mount root fs", "image-invalid", "the image holds no file system that the kernel can read",
		  "Check it with e2fsck -n, or build it again with \"apppot build-image\"." },
		{ "Cannot open root device", "image-invalid", "the kernel could not open the image",
		  "Is another guest writing to it (--write)?" },
		{ "error -8", "image-architecture", "the image is for another processor architecture",
		  "AppPot runs x86-64 images." },
		{ "Requested init", "image-no-apppot", "the image has no AppPot inside",
		  "Install the package apppot in it, or build it with \"apppot build-image\"." },
		{ "Out of memory and no killable", "guest-memory", "the guest ran out of memory",
		  "Give it more with --mem." },
		{ "System is deadlocked on memory", "guest-memory", "the guest ran out of memory",
		  "Give it more with --mem." },
		{ "No space left on device", "ram-space", "there is no room for the guest's memory",
		  "Free some memory, or ask for less with --mem." },
		{ "just ran out of space", "ram-space", "there is no room for the guest's memory",
		  "Free some space in /dev/shm, or ask for less with --mem; AppPot's own kernel needs none there." },
		{ "must be not mounted noexec", "ram-noexec", "this kernel cannot use a /dev/shm that is mounted noexec",
		  "AppPot's own kernel can: \"apppot runtime build\"." },
		{ "Physical memory size", "memory-size", "the kernel refuses this amount of memory",
		  "Give at least 64M with --mem." },
		{ "panic", "kernel-panic", "the guest's kernel panicked", NULL },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (strstr(tail, known[i].text)) {
			outcome_error(EXIT_LAUNCHER, known[i].code, known[i].hint,
				      "%s; its last words were:\n%s", known[i].sentence, last_lines(8));
			return;
		}
	}
	outcome_error(EXIT_LAUNCHER, reached_init ? "guest-lost" : "boot-failed", NULL,
		      "the guest ended %s; its last words were:\n%s",
		      reached_init ? "before its job did" : "before it was up", last_lines(8));
}
