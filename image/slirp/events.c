/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the guest says of the job, and what follows from it. */
#include "job.h"

#include <stdio.h>
#include <string.h>

/* A guest with layers waits here: no job on a damaged one. */
void maybe_let_go(void)
{
	if (!job.options->layered || job.session->stage != UP || job.let_go)
		return;
	switch (check_result()) {
	case CHECK_RUNS:
		return;
	case CHECK_BAD:
		end_kernel();
		break;
	case CHECK_GOOD:
		session_say(job.session, "go");
	}
	job.let_go = true;
}

static void guest_up(struct session *session, const char *line)
{
	(void)session;
	outcome_guest(line);
	job.boot_limit = 0;
}

static void job_started(struct session *session)
{
	for (int signal = 1; signal < 64; signal++)
		if (job.early_signals & 1ULL << signal)
			session_say(session, "signal %d", signal);
	job.early_signals = 0;
	job.job_started = now_ns();
	outcome.boot_ns = job.job_started - job.started;
	if (job.options->time_s)
		job.time_limit = job.job_started + job.options->time_s * SECOND;
	if (session->kinds[0] == FD_TERMINAL)
		terminal_raw();
}

static void job_ended(struct session *session, const char *line)
{
	outcome.job_ended = true;
	outcome.exit_code = session->exit_code;
	outcome.signal = session->signal;
	outcome.stdout_bytes = session->sent[LINE_STDOUT];
	outcome.stderr_bytes = session->sent[LINE_STDERR];
	outcome.user_ms = value_of(line, "utime");
	outcome.system_ms = value_of(line, "stime");
	outcome.max_rss_kb = value_of(line, "rss");
	outcome.oom_kills = value_of(line, "oom");
	outcome.wall_ns = now_ns() - job.job_started;
}

/* What to do about what only the guest can find. */
static const char *hint_for(const char *code)
{
	if (strcmp(code, "changes-base") == 0)
		return "Use the image that the changes were made with.";
	if (strcmp(code, "changes-damaged") == 0)
		return "Copy or make the file again; \"apppot snap verify\" looks into it.";
	if (strcmp(code, "changes-failed") == 0)
		return "The console log in the run folder says more.";
	return NULL;
}

static void job_failed(struct session *session, const char *code, const char *message)
{
	(void)session;
	outcome_error(EXIT_LAUNCHER, strdup(code), hint_for(code), "%s", message);
}

const struct session_events job_events = {
	.up = guest_up, .started = job_started, .ended = job_ended, .failed = job_failed,
};

static void ignore_session(struct session *session)
{
	(void)session;
}

static void ignore_line(struct session *session, const char *line)
{
	(void)session;
	(void)line;
}

static void look_failed(struct session *session, const char *code, const char *message)
{
	(void)code;
	(void)message;
	session->exit_code = EXIT_LAUNCHER;
	session->stage = ENDED;
}

const struct session_events look_events = {
	.up = ignore_line, .started = ignore_session, .ended = ignore_line, .failed = look_failed,
};

/* Everything that the guest sent has to be here before it may power off. */
void maybe_say_bye(void)
{
	struct session *session = job.session;

	if (session->bye_said || !session_complete(session))
		return;
	session->bye_said = true;
	session_say(session, "bye");
	/* A guest that cannot power off is not waited for. */
	job.abandon_at = now_ns() + 10 * SECOND;
	/* A disk that is thrown away needs no unmounting: the guest has synced the job's folders. */
	if (job.options->disk_mode == DISK_DISCARD)
		end_kernel();
}
