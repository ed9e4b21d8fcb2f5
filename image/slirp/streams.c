/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The job's bytes, one thread a stream with plain blocking calls: a reader that
 * stops (a pager) must hold up its own stream only, and the flags of descriptors
 * that we share with the shell are not ours to change.
 */
#include "launch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (256 << 10)

struct output {
	struct streams *streams;
	enum line line;
	int from;
	int to;
};

static pthread_t output_threads[LINES];
static bool output_started[LINES];
static int output_sockets[LINES];

static void tell(int eventfd)
{
	uint64_t one = 1;

	if (write(eventfd, &one, sizeof(one)) < 0)
		return;	/* the counter is full: it has been told already */
}

static void *pump_output(void *opaque)
{
	struct output *output = opaque;
	struct streams *streams = output->streams;
	char *buffer = xcalloc(1, CHUNK);

	for (;;) {
		ssize_t size = read(output->from, buffer, CHUNK);

		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			break;
		/* Counted before it is written: the guest waits for the count only. */
		streams->received[output->line] += size;
		tell(streams->event);
		if (!streams->closed[output->line] && !write_all(output->to, buffer, size)) {
			streams->closed[output->line] = errno;
			tell(streams->event);
		}
	}
	free(buffer);
	return NULL;
}

static void wait_for_room(struct streams *streams)
{
	uint64_t count;

	while (streams->input_head - streams->input_tail >= RING_BYTES)
		if (read(streams->wake_input, &count, sizeof(count)) < 0)
			return;
}

static void *pump_input(void *opaque)
{
	struct streams *streams = opaque;

	for (;;) {
		uint64_t at = streams->input_head % RING_BYTES;
		uint64_t room;
		ssize_t size;

		wait_for_room(streams);
		room = RING_BYTES - (streams->input_head - streams->input_tail);
		if (room > RING_BYTES - at)
			room = RING_BYTES - at;
		if (room > CHUNK)
			room = CHUNK;
		size = read(STDIN_FILENO, streams->ring + at, room);
		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0 && errno == EAGAIN) {
			struct pollfd wait = { .fd = STDIN_FILENO, .events = POLLIN };

			poll(&wait, 1, -1);
			continue;
		}
		if (size <= 0)
			break;
		streams->input_head += size;
		tell(streams->event);
	}
	streams->input_end = true;
	tell(streams->event);
	return NULL;
}

static void start(pthread_t *thread, void *(*work)(void *), void *opaque)
{
	int error = pthread_create(thread, NULL, work, opaque);

	if (error)
		die("process-limit", "Raise \"ulimit -u\", or end some of your processes.",
		    "cannot start a thread: %s", strerror(error));
}

static void start_output(struct streams *streams, enum line line, int from, int to)
{
	struct output *output = xcalloc(1, sizeof(*output));

	*output = (struct output){ streams, line, from, to };
	output_sockets[line] = from;
	start(&output_threads[line], pump_output, output);
	output_started[line] = true;
}

void streams_start(struct streams *streams, const int sockets[LINES], const char kinds[4])
{
	pthread_t input;

	if (kinds[1] == FD_PIPE)
		start_output(streams, LINE_STDOUT, sockets[LINE_STDOUT], STDOUT_FILENO);
	if (kinds[2] == FD_PIPE)
		start_output(streams, LINE_STDERR, sockets[LINE_STDERR], STDERR_FILENO);
	if (strchr(kinds, FD_TERMINAL)) {
		int to = kinds[1] == FD_TERMINAL ? STDOUT_FILENO :
			 kinds[2] == FD_TERMINAL ? STDERR_FILENO : STDIN_FILENO;

		start_output(streams, LINE_TERMINAL, sockets[LINE_TERMINAL], to);
	}
	if (kinds[0] == FD_PIPE || kinds[0] == FD_TERMINAL) {
		start(&input, pump_input, streams);
		pthread_detach(input);
	}
}

void streams_finish(struct streams *streams)
{
	(void)streams;
	for (int line = 0; line < LINES; line++) {
		if (!output_started[line])
			continue;
		/* What has arrived is still read; then the thread sees the end. */
		shutdown(output_sockets[line], SHUT_RD);
		pthread_join(output_threads[line], NULL);
	}
}
