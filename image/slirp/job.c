/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One job in one guest, from what it needs to its outcome. */
#include "job.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* One launch is one process: what its callbacks need is here. */
struct job job;

void end_kernel(void)
{
	job.killed = true;
	kernel_kill(job.kernel);
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
	static const int taken[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
				     SIGWINCH, SIGCONT, SIGXCPU, SIGTTOU };
	struct kernel kernel = { .path = absolute(options->kernel) };
	int theirs[LINES * SLOTS + 2];
	int signals;
	int code;

	job.options = options;
	job.started = now_ns();
	job.session = &job.sessions[0];
	signals = signals_open(taken, sizeof(taken) / sizeof(*taken));
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
				    .sessions = job.sessions, .status = tell_status, .stop = stop_job };
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
