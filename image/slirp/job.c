/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One job in one guest: start, signals, limits, end. */
#include "looks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND 1000000000LL
/* After KILL was asked for, the guest has this long to report the end. */
#define LAST_WORDS (5 * SECOND)

/* One launch is one process: what its callbacks need is here. */
static struct job {
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
} job;

static void end_kernel(void)
{
	job.killed = true;
	kernel_kill(job.kernel);
}

/* --- what the guest says ------------------------------------------------- */

/* A guest with layers waits here: no job on a damaged one. */
static void maybe_let_go(void)
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

static const struct session_events job_events = {
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

static const struct session_events look_events = {
	.up = ignore_line, .started = ignore_session, .ended = ignore_line, .failed = look_failed,
};

/* Everything that the guest sent has to be here before it may power off. */
static void maybe_say_bye(void)
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

/* --- signals and limits ------------------------------------------------------ */

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

static void on_signal(int signal)
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

static void check_limits(void)
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

static int until_next_limit(void)
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

/* --- the whole -------------------------------------------------------------------- */

static bool copy_console(int from)
{
	char text[16384];
	ssize_t size = recv(from, text, sizeof(text), MSG_DONTWAIT);

	if (size > 0)
		console_add(text, size);
	return size > 0;
}

static void read_signals(int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info))
		on_signal(info.ssi_signo);
}

/* Blocked in all threads, taken from a descriptor in the main loop. */
static int take_signals(void)
{
	static const int taken[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
				     SIGWINCH, SIGCONT, SIGXCPU, SIGTTOU };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
		sigaddset(&set, taken[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void status(int client)
{
	char text[256];

	snprintf(text, sizeof(text), "stage %s\npid %d\nkernel %d\nseconds %lld",
		 job.session->stage == RUNNING ? "running" : job.session->stage == ENDED ? "ending" : "booting",
		 getpid(), job.kernel, (long long)((now_ns() - job.started) / SECOND));
	if (send(client, text, strlen(text) + 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void stop(int client)
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

static void supervise(int signals)
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

static void judge(void)
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

static void open_lines(struct kernel *kernel, int theirs[LINES * SLOTS + 2])
{
	int pair[2];

	for (int slot = 0; slot < SLOTS; slot++)
		session_open_lines(&job.sessions[slot], slot, kernel, theirs + LINES * slot);
	socket_pair(SOCK_STREAM, 0, pair);
	job.console = pair[0];
	theirs[LINES * SLOTS] = pair[1];
	strings_addf(&kernel->args, "con0=fd:%d", kernel_inherits(kernel, pair[1]));
	socket_pair(SOCK_STREAM, 0, pair);
	job.output = pair[0];
	kernel->output = theirs[LINES * SLOTS + 1] = pair[1];
}

/* The kernel starts in another folder; what is not there is said when it starts. */
static const char *absolute(const char *path)
{
	char *real = realpath(path, NULL);

	return real ? real : path;
}

static void open_everything(const struct options *options, struct kernel *kernel)
{
	struct session *session = job.session;
	int job_folder = open_job_folder(options, kernel);
	size_t length;
	char *spec;

	require_limits(options);
	describe_descriptors(session->kinds);
	if (options->no_stdin && session->kinds[0] != FD_CLOSED)
		session->kinds[0] = FD_NULL;
	for (int fd = 0; fd < 3; fd++)
		session->fds[fd] = fd;
	spec_write(options, session->kinds, job_folder, false, &spec, &length);
	job.disk = job_disk_make(spec, length, options->changes.count > 0);
	kernel_words(options, kernel, job.disk.fd);
	open_binds(options, kernel);
	open_network(options, kernel);
}

int run_job(struct options *options)
{
	struct kernel kernel = { .path = absolute(options->kernel) };
	int theirs[LINES * SLOTS + 2];
	int signals;
	int code;

	job.options = options;
	job.started = now_ns();
	job.session = &job.sessions[0];
	signals = take_signals();
	/* The job folder may be another one, and we leave this one for the run folder. */
	if (options->outcome && options->outcome[0] != '/')
		options->outcome = xasprintf("%s/%s", absolute("."), options->outcome);
	outcome_files(NULL, options->outcome);
	options->run_folder = run_folder_make(options);
	outcome_files(options->run_folder, options->outcome);
	changes_open(options);
	open_everything(options, &kernel);
	open_lines(&kernel, theirs);
	kernel.confine = !options->no_confine;
	kernel.legacy_slirp = options->legacy_kernel ? options->legacy_slirp : NULL;
	kernel.pin = options->pin && cpu_choose(options->cpus, &kernel.cpus);
	console_open(options->run_folder);
	job.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (chdir(options->run_folder) < 0)
		die("run-folder", NULL, "cannot enter %s: %s", options->run_folder, strerror(errno));
	job.looks = (struct looks){ .door = door_open(), .event = job.event, .disk = &job.disk,
				    .sessions = job.sessions, .status = status, .stop = stop };
	job.kernel = kernel_start(&kernel);
	for (size_t i = 0; i < sizeof(theirs) / sizeof(*theirs); i++)
		close(theirs[i]);
	check_start(options, job.event);
	if (options->boot_timeout_s)
		job.boot_limit = job.started + options->boot_timeout_s * SECOND;
	session_start(job.session, job_disk_ring(&job.disk, 0), job.event);
	supervise(signals);
	looks_end(&job.looks);
	streams_finish(&job.session->streams);
	terminal_restore();
	if (outcome.boot_ns == 0)
		outcome.wall_ns = now_ns() - job.started;
	judge();
	code = outcome_finish();
	if (!options->keep_run_folder && !(outcome.error && code == EXIT_LAUNCHER))
		run_folder_remove();
	return code;
}
