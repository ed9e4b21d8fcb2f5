/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The job's bytes between its pipes or terminal and the outside. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#define CHUNK (64 << 10)
#define SECTOR 4096

static void *pump(void *opaque)
{
	struct output *output = opaque;
	struct pollfd wait[] = { { .fd = output->from, .events = POLLIN },
				 { .fd = output->wake, .events = POLLIN } };
	char *buffer = malloc(CHUNK);

	for (;;) {
		uint64_t count;
		ssize_t size;

		if (poll(wait, 2, -1) < 0)
			continue;
		if (wait[1].revents && read(output->wake, &count, sizeof(count)) < 0)
			break;
		if (output->closed && wait[0].fd >= 0) {
			/* No reader is left on the pipe: the job's next write gets SIGPIPE. */
			close(output->from);
			wait[0].fd = -1;
		}
		/*
		 * After the end of the job only what is there now counts: a process
		 * that it left behind may hold the pipe open for ever.
		 */
		if (output->ending && (wait[0].fd < 0 || poll(wait, 1, 0) <= 0))
			break;
		if (wait[0].fd < 0 || !wait[0].revents)
			continue;
		size = read(output->from, buffer, CHUNK);
		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0 || !write_all(output->line, buffer, size))
			break;
		output->sent += size;
		if (output->ending && write(output->wake, &(uint64_t){ 1 }, sizeof(uint64_t)) < 0)
			break;
	}
	free(buffer);
	return NULL;
}

static void wake(struct output *output)
{
	uint64_t one = 1;

	if (write(output->wake, &one, sizeof(one)) < 0)
		complain("cannot wake a stream: %m");
}

bool output_start(struct output *output, int from, int slot, int line)
{
	output->from = from;
	output->line = open_line(slot, line, O_WRONLY);
	output->wake = eventfd(0, EFD_CLOEXEC);
	if (output->line < 0 || output->wake < 0)
		return false;
	output->active = pthread_create(&output->thread, NULL, pump, output) == 0;
	return output->active;
}

void output_close(struct output *output)
{
	if (!output->active || output->closed)
		return;
	output->closed = true;
	wake(output);
}

void output_finish(struct output *output)
{
	if (!output->active)
		return;
	output->ending = true;
	wake(output);
	pthread_join(output->thread, NULL);
	tcdrain(output->line);
}

/* --- standard input --------------------------------------------------------- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t head;
	bool end;
	int disk;
	uint64_t offset, bytes;
	int to;
	bool is_terminal;
} input = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* Waits for more than `tail` bytes; returns how far the ring is filled, `tail` at the end. */
static uint64_t wait_for_input(uint64_t tail)
{
	uint64_t head;

	pthread_mutex_lock(&input.lock);
	while (input.head == tail && !input.end)
		pthread_cond_wait(&input.changed, &input.lock);
	head = input.head;
	pthread_mutex_unlock(&input.lock);
	return head;
}

static void *pump_input(void *opaque)
{
	uint64_t tail = 0, head;
	char *buffer;

	(void)opaque;
	if (posix_memalign((void **)&buffer, SECTOR, CHUNK + SECTOR))
		return NULL;
	while ((head = wait_for_input(tail)) > tail) {
		uint64_t at = tail % input.bytes;
		uint64_t aligned = at / SECTOR * SECTOR;
		uint64_t size = head - tail;
		uint64_t length;

		if (size > input.bytes - at)
			size = input.bytes - at;
		if (size > CHUNK - (at - aligned))
			size = CHUNK - (at - aligned);
		length = (at - aligned + size + SECTOR - 1) / SECTOR * SECTOR;
		/* O_DIRECT: what was read earlier from the same place must not come again. */
		if (pread(input.disk, buffer, length, input.offset + aligned) < (ssize_t)(at - aligned + size))
			break;
		if (!write_all(input.to, buffer + (at - aligned), size))
			break;
		tail += size;
		tell_taken(tail);
	}
	/* A terminal stays open: the job's other streams may be on it. */
	if (!input.is_terminal)
		close(input.to);
	free(buffer);
	return NULL;
}

bool input_start(struct run *run)
{
	pthread_t thread;

	input.disk = run->spec->disk;
	input.offset = run->spec->ring_offset;
	input.bytes = run->spec->ring_bytes;
	input.to = run->job_input;
	input.is_terminal = run->job_input == run->terminal;
	return pthread_create(&thread, NULL, pump_input, NULL) == 0 && pthread_detach(thread) == 0;
}

void input_available(struct run *run, uint64_t head, bool end)
{
	(void)run;
	pthread_mutex_lock(&input.lock);
	input.head = head;
	input.end = end;
	pthread_cond_signal(&input.changed);
	pthread_mutex_unlock(&input.lock);
}
