/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What ends a job before its own end: signals from outside, the time limit, a guest that does not come up. */
#include "job.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* After KILL was asked for, the guest has this long to report the end. */
#define LAST_WORDS (5 * SECOND)

static void end_guest(void)
{
	job.kill_at = 0;
	if (job.session->stage == RUNNING) {
		session_say(job.session, "kill");
		job.abandon_at = now_ns() + LAST_WORDS;
	} else {
		end_kernel();
	}
}

/*
 * The job may run, and have shown something, before the word of its start has come:
 * then it gets the signal a moment later, and its grace. False before that.
 */
static bool pass_signal(int signal)
{
	if (job.session->stage == RUNNING)
		session_say(job.session, "signal %d", signal);
	else if (job.session->stage == UP)
		job.early_signals |= 1ULL << signal;
	else
		return false;
	return true;
}

static void ask_to_end(int signal)
{
	bool passed = pass_signal(signal);

	if (!job.kill_at && !job.abandon_at)
		job.kill_at = now_ns() + (passed ? job.options->grace_s * SECOND : 0);
}

void on_signal(int signal)
{
	int64_t now = now_ns();
	unsigned int rows, columns;

	if (signal == SIGCHLD || signal == SIGTTOU)
		return;
	if (signal == SIGWINCH) {
		if (job.session->stage == RUNNING && terminal_size(&rows, &columns))
			session_say(job.session, "winch %u %u", rows, columns);
		return;
	}
	if (signal == SIGCONT) {
		if (job.session->stage == RUNNING && job.session->kinds[0] == FD_TERMINAL)
			terminal_raw();
		return;
	}
	if (signal == job.last_signal && now - job.last_signal_at < SAME_SIGNAL)
		return;
	job.last_signal = signal;
	job.last_signal_at = now;
	if (signal == SIGUSR1 || signal == SIGUSR2 || signal == SIGQUIT) {
		/* The job's own business (checkpoint, dump): no end is asked for. */
		pass_signal(signal);
		return;
	}
	if (!job.first_signal)
		job.first_signal = signal;
	ask_to_end(signal);
}

void check_limits(void)
{
	int64_t now = now_ns();

	if (job.time_limit && now >= job.time_limit && job.session->stage == RUNNING) {
		job.time_limit = 0;
		job.timed_out = true;
		ask_to_end(SIGTERM);
	}
	if (job.boot_limit && now >= job.boot_limit) {
		outcome_error(EXIT_LAUNCHER, "boot-timeout", "Look at the console log in the run folder.",
			      "the guest was not up after %ld seconds", job.options->boot_timeout_s);
		end_kernel();
		job.boot_limit = 0;
	}
	if (job.kill_at && now >= job.kill_at)
		end_guest();
	if (job.abandon_at && now >= job.abandon_at) {
		job.abandon_at = 0;
		end_kernel();
	}
}

int until_next_limit(void)
{
	const int64_t limits[] = { job.time_limit, job.boot_limit, job.kill_at, job.abandon_at };
	int64_t next = 0;

	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
		if (limits[i] && (!next || limits[i] < next))
			next = limits[i];
	if (!next)
		return -1;
	next -= now_ns();
	return next <= 0 ? 0 : (int)(next / 1000000 > 60000 ? 60000 : next / 1000000 + 1);
}

void read_signals(int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info))
		on_signal(info.ssi_signo);
}
