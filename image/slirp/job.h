/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One job in one guest: what the parts of the supervisor that follow it share. */
#ifndef APPPOT_JOB_H
#define APPPOT_JOB_H

#include "looks.h"

#define SECOND 1000000000LL

struct job {
	const struct options *options;
	struct session sessions[SLOTS];
	struct session *session;	/* the job's own, slot 0 */
	struct looks looks;
	struct job_disk disk;
	int event;
	int console, output;	/* our ends */
	pid_t kernel;
	int64_t started, job_started;
	int64_t time_limit, boot_limit, kill_at, abandon_at;
	int first_signal, last_signal;
	int64_t last_signal_at;
	uint64_t early_signals;	/* for a job of whose start we have not heard yet, one bit each */
	bool timed_out;
	bool let_go;		/* past the check of the layers */
	int kernel_signal;	/* that ended the kernel, when it was not ours */
	bool killed;		/* by us */
};
extern struct job job;

/* Ends the guest at once. */
void end_kernel(void);

/* What the guest says of the job. */
extern const struct session_events job_events;
/* What it says of a further program, started by a look into it. */
extern const struct session_events look_events;
/* Lets a guest with layers go on once they have been checked, or ends it. */
void maybe_let_go(void);
/* Lets the guest power off when everything that it sent is here. */
void maybe_say_bye(void);

/* Does what the signals ask for that have come. */
void read_signals(int fd);
void on_signal(int signal);
/* Ends what is over its time. */
void check_limits(void);
/* Milliseconds for poll(2), -1 for no limit. */
int until_next_limit(void);

/* Serves the guest until its kernel is gone. */
void supervise(int signals);
/* How the launch ended, for the outcome: error, signal or the job's own end. */
void judge(void);
/* For `apppot ps` and `apppot stop`, through the door of the run folder. */
void tell_status(int client);
void stop_job(int client);

#endif
