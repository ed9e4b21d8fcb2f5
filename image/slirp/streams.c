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

static void tell(int eventfd)
{
	uint64_t one = 1;

	if (write(eventfd, &one, sizeof(one)) < 0)
		return;	/* the counter is full: it has been told already */
}

/* Waits until `fd` is ready; false when the streams are to stop and it is not. */
static bool wait_for(const struct streams *streams, int fd, short events)
{
	struct pollfd wait[] = { { .fd = fd, .events = events },
				 { .fd = streams->stop, .events = POLLIN } };

	while (poll(wait, 2, -1) < 0)
		;
	return wait[0].revents;
}

static void *pump_output(void *opaque)
{
	struct output *output = opaque;
	struct streams *streams = output->streams;
	char *buffer = xcalloc(1, CHUNK);

	while (wait_for(streams, output->from, POLLIN)) {
		ssize_t size = recv(output->from, buffer, CHUNK, MSG_DONTWAIT);

		if (size < 0 && (errno == EINTR || errno == EAGAIN))
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

/* Reads once into the free part of the ring, as far as it goes without wrapping. */
static ssize_t read_input(struct streams *streams)
{
	uint64_t at = streams->input_head % RING_BYTES;
	uint64_t room = RING_BYTES - (streams->input_head - streams->input_tail);

	if (room > RING_BYTES - at)
		room = RING_BYTES - at;
	if (room > CHUNK)
		room = CHUNK;
	return read(streams->input, streams->ring + at, room);
}

static bool wait_for_room(struct streams *streams)
{
	uint64_t count;

	while (streams->input_head - streams->input_tail >= RING_BYTES)
		if (!wait_for(streams, streams->wake_input, POLLIN) ||
		    read(streams->wake_input, &count, sizeof(count)) < 0)
			return false;
	return true;
}

static void *pump_input(void *opaque)
{
	struct streams *streams = opaque;

	while (wait_for_room(streams) && wait_for(streams, streams->input, POLLIN)) {
		ssize_t size = read_input(streams);

		if (size < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
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
	struct output *output = &streams->outputs[line];

	*output = (struct output){ .streams = streams, .line = line, .from = from, .to = to };
	start(&output->thread, pump_output, output);
	output->started = true;
}

void streams_start(struct streams *streams, const int sockets[LINES], const int fds[3],
		   const char kinds[4])
{
	streams->stop = eventfd(0, EFD_CLOEXEC);
	if (kinds[1] == FD_PIPE)
		start_output(streams, LINE_STDOUT, sockets[LINE_STDOUT], fds[1]);
	if (kinds[2] == FD_PIPE)
		start_output(streams, LINE_STDERR, sockets[LINE_STDERR], fds[2]);
	if (strchr(kinds, FD_TERMINAL)) {
		int to = kinds[1] == FD_TERMINAL ? fds[1] : kinds[2] == FD_TERMINAL ? fds[2] : fds[0];

		start_output(streams, LINE_TERMINAL, sockets[LINE_TERMINAL], to);
	}
	if (kinds[0] == FD_PIPE || kinds[0] == FD_TERMINAL) {
		streams->input = fds[0];
		start(&streams->input_thread, pump_input, streams);
		streams->input_started = true;
	}
}

void streams_finish(struct streams *streams)
{
	if (streams->stop <= 0)
		return;
	tell(streams->stop);
	for (int line = 0; line < LINES; line++) {
		struct output *output = &streams->outputs[line];

		if (output->started)
			pthread_join(output->thread, NULL);
		output->started = false;
	}
	if (streams->input_started)
		pthread_join(streams->input_thread, NULL);
	streams->input_started = false;
	close(streams->stop);
	streams->stop = -1;
}
