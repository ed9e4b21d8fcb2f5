/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef APPPOT_RUN_H
#define APPPOT_RUN_H

#include "guest.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/types.h>

#ifndef APPPOT_VERSION
#define APPPOT_VERSION "0"
#endif

/* One stream of the job on its way to a serial line. */
struct output {
	bool active;
	int from;		/* pipe or terminal of the job */
	int line;		/* serial line */
	int wake;		/* eventfd: one of the two below has changed */
	_Atomic bool ending;	/* the job is over: send what is there and stop */
	_Atomic bool closed;	/* nobody reads on the other side */
	uint64_t sent;
	pthread_t thread;
};

enum { OUTPUTS = 3 };		/* standard output, standard error, terminal */

struct run {
	const struct spec *spec;
	int slot;
	bool supervised;
	bool bye;
	bool go;		/* the layers below are whole */
	pid_t pid;
	int signals;
	int terminal;		/* our side of the job's terminal */
	int job_input;		/* where standard input goes: pipe or terminal */
	int status;
	struct rusage usage;
	long oom_before;
	struct output outputs[OUTPUTS];
};

/* --- job.c --- */
bool job_start(struct run *run, int argc, char **argv);

/* --- streams.c --- */
bool output_start(struct output *output, int from, int slot, int line);
/* The reader is gone: the job gets SIGPIPE at its next write. */
void output_close(struct output *output);
/* Sends what the job has written, then stops. */
void output_finish(struct output *output);
bool input_start(struct run *run);
/* Standard input is on the ring up to byte `head`. */
void input_available(struct run *run, uint64_t head, bool end);

void tell_taken(uint64_t bytes);

#endif
