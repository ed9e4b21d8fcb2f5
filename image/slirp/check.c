/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reads every layer whole while the guest starts, on another processor. The job
 * waits for the result: the guest asks for "go".
 */
#include "launch.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static struct {
	const struct options *options;
	int event;
	pthread_t thread;
	bool started;
	_Atomic bool done;
	_Atomic(const char *) damaged;	/* path of the first one that is */
} check;

static void *read_layers(void *unused)
{
	const struct options *options = check.options;
	uint64_t one = 1;

	(void)unused;
	for (size_t i = 0; i < options->changes.count && !check.damaged; i++) {
		const struct change *change = &options->change[i];
		uint32_t crc;

		if (change->checked && (!crc32c_of(change->fd, change->bytes, &crc) || crc != change->crc32c))
			check.damaged = change->path;
	}
	check.done = true;
	if (write(check.event, &one, sizeof(one)) < 0)
		return NULL;	/* the counter is full: it has been told already */
	return NULL;
}

void check_start(const struct options *options, int event)
{
	int error;

	if (!options->layered)
		return;
	check.options = options;
	check.event = event;
	error = pthread_create(&check.thread, NULL, read_layers, NULL);
	if (error)
		die("process-limit", "Raise \"ulimit -u\", or end some of your processes.",
		    "cannot start a thread: %s", strerror(error));
	check.started = true;
}

enum check_result check_result(void)
{
	if (!check.started)
		return CHECK_GOOD;
	if (!check.done)
		return CHECK_RUNS;
	if (!check.damaged)
		return CHECK_GOOD;
	outcome_error(EXIT_LAUNCHER, "changes-damaged",
		      "Copy or make the file again; \"apppot snap verify\" looks into it.",
		      "the changes file %s is damaged: its check sum is wrong", check.damaged);
	return CHECK_BAD;
}
