/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The loop that serves a running guest, and what its end says. */
#include "job.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static bool copy_console(int from)
{
	char text[16384];
	ssize_t size = recv(from, text, sizeof(text), MSG_DONTWAIT);

	if (size > 0)
		console_add(text, size);
	return size > 0;
}

void tell_status(int client)
{
	char text[256];

	snprintf(text, sizeof(text), "stage %s\npid %d\nkernel %d\nseconds %lld",
		 job.session->stage == RUNNING ? "running" : job.session->stage == ENDED ? "ending" : "booting",
		 getpid(), job.kernel, (long long)((now_ns() - job.started) / SECOND));
	if (send(client, text, strlen(text) + 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

void stop_job(int client)
{
	(void)client;
	on_signal(SIGTERM);
}

static void serve_sessions(void)
{
	uint64_t count;

	if (read(job.event, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	session_read(job.session, &job_events);
	maybe_let_go();
	session_tell(job.session);
	for (int slot = 1; slot < SLOTS; slot++) {
		struct session *session = &job.sessions[slot];

		if (session->stage == UNUSED)
			continue;
		session_read(session, &look_events);
		session_tell(session);
		if (session->client >= 0)
			looks_client(&job.looks, session);
		looks_finish(session);
	}
}

enum { WAIT_SIGNALS, WAIT_CONSOLE, WAIT_OUTPUT, WAIT_EVENT, WAIT_DOOR, WAIT_SESSIONS };

static size_t fill_waits(struct pollfd *wait)
{
	size_t count = WAIT_SESSIONS;

	for (int slot = 0; slot < SLOTS; slot++) {
		const struct session *session = &job.sessions[slot];

		if (session->stage == UNUSED)
			continue;
		wait[count++] = (struct pollfd){ .fd = session->sockets[LINE_CONTROL], .events = POLLIN };
		if (session->client >= 0)
			wait[count++] = (struct pollfd){ .fd = session->client, .events = POLLIN };
	}
	return count;
}

void supervise(int signals)
{
	struct pollfd wait[WAIT_SESSIONS + 2 * SLOTS] = {
		[WAIT_SIGNALS] = { .fd = signals, .events = POLLIN },
		[WAIT_CONSOLE] = { .fd = job.console, .events = POLLIN },
		[WAIT_OUTPUT] = { .fd = job.output, .events = POLLIN },
		[WAIT_EVENT] = { .fd = job.event, .events = POLLIN },
		[WAIT_DOOR] = { .fd = job.looks.door, .events = POLLIN },
	};
	int status = 0;

	while (waitpid(job.kernel, &status, WNOHANG) == 0) {
		if (poll(wait, fill_waits(wait), until_next_limit()) < 0 && errno != EINTR)
			break;
		/* First how far the job is: what a signal means depends on it. */
		session_read(job.session, &job_events);
		read_signals(signals);
		for (int i = WAIT_CONSOLE; i <= WAIT_OUTPUT; i++)
			if (wait[i].fd >= 0 && wait[i].revents && !copy_console(wait[i].fd))
				wait[i].fd = -1;
		if (job.looks.door >= 0)
			looks_accept(&job.looks);
		serve_sessions();
		maybe_say_bye();
		check_limits();
	}
	if (!job.killed && WIFSIGNALED(status))
		job.kernel_signal = WTERMSIG(status);
	kernel_kill(job.kernel);
	session_read(job.session, &job_events);
	while (copy_console(job.console) || copy_console(job.output))
		;
}

void judge(void)
{
	static const char *const streams[] = { [LINE_STDOUT] = "standard output",
					       [LINE_STDERR] = "standard error" };

	/* Whatever else went wrong in the guest: this is why. */
	check_result();
	for (int line = LINE_STDOUT; line <= LINE_STDERR; line++) {
		int error = job.session->streams.closed[line];

		/* A reader that went away is the job's affair: it got SIGPIPE. */
		if (error && error != EPIPE)
			outcome_error(EXIT_LAUNCHER, "output-lost", "Is the disk full, or a quota reached?",
				      "cannot write the job's %s: %s", streams[line], strerror(error));
	}
	if (job.timed_out)
		outcome_error(EXIT_TIMEOUT, "time-limit", "Give the job more with --time.",
			      "the job was ended after its time limit of %ld seconds",
			      job.options->time_s);
	if (outcome.job_ended) {
		/* Killed after the grace that a signal started: the signal is the reason. */
		if (job.first_signal && outcome.signal == SIGKILL)
			outcome.signal = job.first_signal;
		return;
	}
	if (job.first_signal) {
		outcome.signal = job.first_signal;
		return;
	}
	if (job.kernel_signal == SIGKILL)
		outcome_error(EXIT_LAUNCHER, "host-killed",
			      "Out of memory on the host, or a batch system's limit: ask for more memory there, or give the guest less with --mem.",
			      "the host killed the guest");
	if (job.kernel_signal == SIGBUS)
		outcome_error(EXIT_LAUNCHER, "ram-space", "Free some memory, or ask for less with --mem.",
			      "there is no room for the guest's memory on the host");
	console_diagnose(job.session->stage >= UP);
}
