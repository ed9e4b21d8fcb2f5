/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One job in one guest: start, control line, signals, limits, end.
 *
 * The control line carries short lines of text, both ways:
 *   guest: hello VERSION | started | ack BYTES | error CODE TEXT
 *          end KEY=VALUE ... (code signal out err tty utime stime rss oom)
 *   host:  in BYTES | eof BYTES | closed LINE | signal N | kill | winch ROWS COLUMNS | bye
 * BYTES are totals since the start, so that a lost line could not shift anything.
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKET_BUFFER (1 << 20)
#define SECOND 1000000000LL
/* After KILL was asked for, the guest has this long to report the end. */
#define LAST_WORDS (5 * SECOND)
/* The same signal twice within this time is one: a batch system tells us and our parent, who tells us too. */
#define SAME_SIGNAL (SECOND / 5)

enum stage { BOOTING, GUEST_UP, JOB_RUNNING, JOB_ENDED, GONE };

struct job {
	const struct options *options;
	struct streams streams;
	int sockets[LINES];
	int console, output;	/* our ends */
	pid_t kernel;
	enum stage stage;
	char kinds[4];
	char line[4096];
	size_t line_size;
	int64_t started, job_started;
	int64_t time_limit, boot_limit, kill_at, abandon_at;
	int first_signal;
	int last_signal;
	int64_t last_signal_at;
	bool timed_out, bye_said;
	uint64_t told_input;
	bool told_end;
	bool told_closed[LINES];
};

static void send_line(struct job *job, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void send_line(struct job *job, const char *format, ...)
{
	char text[128];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	text[length++] = '\n';
	/* Lines are short and few; one that does not fit means a guest that hangs. */
	if (send(job->sockets[LINE_CONTROL], text, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

/* --- what the guest says ------------------------------------------------- */

static uint64_t value_of(const char *line, const char *key)
{
	char pattern[32];
	const char *at;

	snprintf(pattern, sizeof(pattern), " %s=", key);
	at = strstr(line, pattern);
	return at ? strtoull(at + strlen(pattern), NULL, 10) : 0;
}

static void job_ended(struct job *job, const char *line)
{
	job->stage = JOB_ENDED;
	outcome.job_ended = true;
	outcome.exit_code = value_of(line, "code");
	outcome.signal = value_of(line, "signal");
	outcome.stdout_bytes = value_of(line, "out");
	outcome.stderr_bytes = value_of(line, "err");
	outcome.terminal_bytes = value_of(line, "tty");
	outcome.user_ms = value_of(line, "utime");
	outcome.system_ms = value_of(line, "stime");
	outcome.max_rss_kb = value_of(line, "rss");
	outcome.oom_kills = value_of(line, "oom");
	outcome.wall_ns = now_ns() - job->job_started;
}

/* Everything that the guest sent has to be here before it may power off. */
static void maybe_say_bye(struct job *job)
{
	if (job->stage != JOB_ENDED || job->bye_said ||
	    job->streams.received[LINE_STDOUT] < outcome.stdout_bytes ||
	    job->streams.received[LINE_STDERR] < outcome.stderr_bytes ||
	    job->streams.received[LINE_TERMINAL] < outcome.terminal_bytes)
		return;
	job->bye_said = true;
	send_line(job, "bye");
	/* A guest that cannot power off is not waited for. */
	job->abandon_at = now_ns() + 10 * SECOND;
	/* A disk that is thrown away needs no unmounting: the guest has synced the job's folders. */
	if (job->options->disk_mode == DISK_DISCARD)
		kernel_kill(job->kernel);
}

static void guest_error(char *text)
{
	char *message = strchr(text, ' ');

	if (message)
		*message++ = '\0';
	outcome_error(EXIT_LAUNCHER, strdup(text), NULL, "%s", message ? message : text);
}

static void guest_line(struct job *job, char *line)
{
	if (strncmp(line, "hello ", 6) == 0) {
		job->stage = GUEST_UP;
		job->boot_limit = 0;
	} else if (strcmp(line, "started") == 0) {
		job->stage = JOB_RUNNING;
		job->job_started = now_ns();
		outcome.boot_ns = job->job_started - job->started;
		if (job->options->time_s)
			job->time_limit = job->job_started + job->options->time_s * SECOND;
		if (job->kinds[0] == FD_TERMINAL)
			terminal_raw();
	} else if (strncmp(line, "ack ", 4) == 0) {
		uint64_t one = 1;

		job->streams.input_tail = strtoull(line + 4, NULL, 10);
		if (write(job->streams.wake_input, &one, sizeof(one)) < 0)
			return;
	} else if (strncmp(line, "end ", 4) == 0) {
		job_ended(job, line);
	} else if (strncmp(line, "error ", 6) == 0) {
		guest_error(line + 6);
	}
}

static void read_control(struct job *job)
{
	ssize_t size = recv(job->sockets[LINE_CONTROL], job->line + job->line_size,
			    sizeof(job->line) - 1 - job->line_size, MSG_DONTWAIT);
	char *end, *at = job->line;

	if (size <= 0)
		return;
	job->line_size += size;
	job->line[job->line_size] = '\0';
	while ((end = strchr(at, '\n'))) {
		*end = '\0';
		guest_line(job, at);
		at = end + 1;
	}
	job->line_size -= at - job->line;
	memmove(job->line, at, job->line_size);
	if (job->line_size == sizeof(job->line) - 1)
		job->line_size = 0;	/* no line of ours is that long */
}

/* --- what the streams say -------------------------------------------------- */

static void tell_guest(struct job *job)
{
	static const char names[LINES] = { [LINE_STDOUT] = '1', [LINE_STDERR] = '2',
					   [LINE_TERMINAL] = 't' };
	uint64_t count, head;

	if (read(job->streams.event, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	if (job->stage != JOB_RUNNING)
		return;
	for (int line = LINE_STDOUT; line < LINES; line++) {
		if (job->streams.closed[line] && !job->told_closed[line]) {
			job->told_closed[line] = true;
			send_line(job, "closed %c", names[line]);
		}
	}
	head = job->streams.input_head;
	if (head != job->told_input) {
		job->told_input = head;
		send_line(job, "in %llu", (unsigned long long)head);
	}
	if (job->streams.input_end && !job->told_end) {
		job->told_end = true;
		send_line(job, "eof %llu", (unsigned long long)head);
	}
}

/* --- signals and limits ------------------------------------------------------ */

static void end_guest(struct job *job)
{
	job->kill_at = 0;
	if (job->stage == JOB_RUNNING) {
		send_line(job, "kill");
		job->abandon_at = now_ns() + LAST_WORDS;
	} else {
		kernel_kill(job->kernel);
	}
}

static void ask_to_end(struct job *job, int signal)
{
	if (job->stage == JOB_RUNNING)
		send_line(job, "signal %d", signal);
	if (!job->kill_at && !job->abandon_at)
		job->kill_at = now_ns() + (job->stage == JOB_RUNNING ? job->options->grace_s * SECOND : 0);
}

static void on_signal(struct job *job, int signal)
{
	int64_t now = now_ns();
	unsigned int rows, columns;

	if (signal == SIGCHLD)
		return;
	if (signal == SIGWINCH) {
		if (job->stage == JOB_RUNNING && terminal_size(&rows, &columns))
			send_line(job, "winch %u %u", rows, columns);
		return;
	}
	if (signal == SIGCONT) {
		if (job->stage == JOB_RUNNING && job->kinds[0] == FD_TERMINAL)
			terminal_raw();
		return;
	}
	if (signal == job->last_signal && now - job->last_signal_at < SAME_SIGNAL)
		return;
	job->last_signal = signal;
	job->last_signal_at = now;
	if (signal == SIGUSR1 || signal == SIGUSR2 || signal == SIGQUIT) {
		/* The job's own business (checkpoint, dump): no end is asked for. */
		if (job->stage == JOB_RUNNING)
			send_line(job, "signal %d", signal);
		return;
	}
	if (!job->first_signal)
		job->first_signal = signal;
	ask_to_end(job, signal);
}

static void check_limits(struct job *job)
{
	int64_t now = now_ns();

	if (job->time_limit && now >= job->time_limit && job->stage == JOB_RUNNING) {
		job->time_limit = 0;
		job->timed_out = true;
		ask_to_end(job, SIGTERM);
	}
	if (job->boot_limit && now >= job->boot_limit) {
		outcome_error(EXIT_LAUNCHER, "boot-timeout", "Look at the console log in the run folder.",
			      "the guest was not up after %ld seconds", job->options->boot_timeout_s);
		kernel_kill(job->kernel);
		job->boot_limit = 0;
	}
	if (job->kill_at && now >= job->kill_at)
		end_guest(job);
	if (job->abandon_at && now >= job->abandon_at) {
		job->abandon_at = 0;
		kernel_kill(job->kernel);
	}
}

static int until_next_limit(const struct job *job)
{
	const int64_t limits[] = { job->time_limit, job->boot_limit, job->kill_at, job->abandon_at };
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

static void read_signals(struct job *job, int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info))
		on_signal(job, info.ssi_signo);
}

/* Blocked in all threads, taken from a descriptor in the main loop. */
static int take_signals(void)
{
	static const int taken[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2,
				     SIGWINCH, SIGCONT, SIGXCPU };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
		sigaddset(&set, taken[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void supervise(struct job *job, int signals)
{
	struct pollfd wait[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = job->sockets[LINE_CONTROL], .events = POLLIN },
		{ .fd = job->console, .events = POLLIN },
		{ .fd = job->output, .events = POLLIN },
		{ .fd = job->streams.event, .events = POLLIN },
	};
	int status;

	while (waitpid(job->kernel, &status, WNOHANG) == 0) {
		if (poll(wait, 5, until_next_limit(job)) < 0 && errno != EINTR)
			break;
		read_signals(job, signals);
		read_control(job);
		for (int i = 2; i < 4; i++)
			if (wait[i].fd >= 0 && wait[i].revents && !copy_console(wait[i].fd))
				wait[i].fd = -1;
		tell_guest(job);
		maybe_say_bye(job);
		check_limits(job);
	}
	kernel_kill(job->kernel);
	read_control(job);
	while (copy_console(job->console) || copy_console(job->output))
		;
}

static void judge(struct job *job)
{
	static const char *const streams[] = { [LINE_STDOUT] = "standard output",
					       [LINE_STDERR] = "standard error" };

	for (int line = LINE_STDOUT; line <= LINE_STDERR; line++) {
		int error = job->streams.closed[line];

		/* A reader that went away is the job's affair: it got SIGPIPE. */
		if (error && error != EPIPE)
			outcome_error(EXIT_LAUNCHER, "output-lost", "Is the disk full, or a quota reached?",
				      "cannot write the job's %s: %s", streams[line], strerror(error));
	}
	if (job->timed_out)
		outcome_error(EXIT_TIMEOUT, "time-limit", "Give the job more with --time.",
			      "the job was ended after its time limit of %ld seconds",
			      job->options->time_s);
	if (outcome.job_ended) {
		/* Killed after the grace that a signal started: the signal is the reason. */
		if (job->first_signal && outcome.signal == SIGKILL)
			outcome.signal = job->first_signal;
		return;
	}
	if (job->first_signal) {
		outcome.signal = job->first_signal;
		return;
	}
	console_diagnose(job->stage >= GUEST_UP);
}

static void kernel_words(struct job *job, struct kernel *kernel, int job_disk)
{
	const struct options *options = job->options;

	strings_addf(&kernel->args, "mem=%s", options->mem);
	strings_add(&kernel->args, disk_argument(options, kernel));
	strings_addf(&kernel->args, "ubd1r=/proc/self/fd/%d", kernel_inherits(kernel, job_disk));
	strings_add(&kernel->args, "root=/dev/ubda");
	strings_add(&kernel->args, "rw");
	strings_add(&kernel->args, "rootfstype=ext4");
	strings_add(&kernel->args, "init=/usr/lib/apppot/apppot-init");
	strings_add(&kernel->args, "quiet");
	strings_add(&kernel->args, "panic=-1");
	/* Unknown words are harmless: an older kernel hands them to its first process. */
	strings_add(&kernel->args, "seccomp=auto");
	if (options->cpus > 1)
		strings_addf(&kernel->args, "ncpus=%d", options->cpus);
	strings_add(&kernel->args, "uml_dir=.");
	strings_add(&kernel->args, "umid=guest");
	strings_add(&kernel->args, "con=null");
	strings_add(&kernel->args, "ssl=null");
	for (size_t i = 0; i < options->kernel_args.count; i++)
		strings_add(&kernel->args, options->kernel_args.item[i]);
}

static int open_folder(const char *path, const char *code, const char *what)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die(code, NULL, "cannot open the %s %s: %s", what, path, strerror(errno));
	return fd;
}

static int open_job_folder(const struct options *options, struct kernel *kernel)
{
	int fd;

	if (!options->job_folder)
		return -1;
	fd = kernel_inherits(kernel, open_folder(options->job_folder, "job-folder", "job folder"));
	/* An older kernel is told by the guest which folder to mount, and cannot be held to it. */
	if (!options->legacy_kernel)
		strings_addf(&kernel->args, "hostfs=/proc/self/fd/%d", fd);
	return fd;
}

static void open_binds(const struct options *options, struct kernel *kernel)
{
	for (size_t i = 0; i < options->bind_count; i++) {
		const struct bind *bind = &options->binds[i];
		int fd = kernel_inherits(kernel, open_folder(bind->source, "bind", "folder of --bind"));

		strings_addf(&kernel->args, "hostfs_bind=b%zu:%s=/proc/self/fd/%d", i,
			     bind->read_only ? "ro" : "rw", fd);
	}
}

static void open_network(const struct options *options, struct kernel *kernel)
{
	struct network network = { .host_loopback = options->host_loopback };

	if (!options->network)
		return;
	for (size_t i = 0; i < options->forwards.count; i++) {
		unsigned int host, guest;

		if (sscanf(options->forwards.item[i], "%u:%u", &host, &guest) != 2 || host > 65535 ||
		    guest > 65535)
			die("usage", NULL, "-p takes HOST:GUEST port numbers, not \"%s\"",
			    options->forwards.item[i]);
		network.forwards = realloc(network.forwards,
					   (i + 1) * sizeof(*network.forwards));
		if (!network.forwards)
			die("launch", NULL, "out of memory");
		network.forwards[network.forward_count++] = (struct forward){ host, guest };
	}
	strings_addf(&kernel->args, "vec0:transport=fd,fd=%d,depth=128,mtu=%d",
		     kernel_inherits(kernel, network_start(&network)), GUEST_MTU);
	if (options->legacy_slirp)
		strings_addf(&kernel->args, "eth0=slirp,,%s", options->legacy_slirp);
}

static void open_lines(struct job *job, struct kernel *kernel, int theirs[LINES + 2])
{
	int pair[2];

	for (int line = 0; line < LINES; line++) {
		socket_pair(SOCK_STREAM, SOCKET_BUFFER, pair);
		job->sockets[line] = pair[0];
		theirs[line] = pair[1];
		strings_addf(&kernel->args, "ssl%d=fd:%d", line, kernel_inherits(kernel, pair[1]));
	}
	socket_pair(SOCK_STREAM, 0, pair);
	job->console = pair[0];
	theirs[LINES] = pair[1];
	strings_addf(&kernel->args, "con0=fd:%d", kernel_inherits(kernel, pair[1]));
	socket_pair(SOCK_STREAM, 0, pair);
	job->output = pair[0];
	kernel->output = theirs[LINES + 1] = pair[1];
}

/* The kernel starts in another folder; what is not there is said when it starts. */
static const char *absolute(const char *path)
{
	char *real = realpath(path, NULL);

	return real ? real : path;
}

int run_job(struct options *options)
{
	struct job job = { .options = options, .started = now_ns() };
	struct kernel kernel = { .path = absolute(options->kernel) };
	struct job_disk disk;
	int theirs[LINES + 2];
	int signals, job_folder;
	int code;

	signals = take_signals();
	outcome_files(NULL, options->outcome);
	options->run_folder = run_folder_make(options);
	outcome_files(options->run_folder, options->outcome);
	describe_descriptors(job.kinds);
	if (options->no_stdin && job.kinds[0] != FD_CLOSED)
		job.kinds[0] = FD_NULL;
	job_folder = open_job_folder(options, &kernel);
	disk = job_disk_make(options, job.kinds, job_folder);
	kernel_words(&job, &kernel, disk.fd);
	open_binds(options, &kernel);
	open_network(options, &kernel);
	open_lines(&job, &kernel, theirs);
	kernel.pin = options->pin && cpu_choose(options->cpus, &kernel.cpus);
	console_open(options->run_folder);
	job.streams.ring = disk.ring;
	job.streams.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	job.streams.wake_input = eventfd(0, EFD_CLOEXEC);
	if (chdir(options->run_folder) < 0)
		die("run-folder", NULL, "cannot enter %s: %s", options->run_folder, strerror(errno));
	job.kernel = kernel_start(&kernel);
	for (int i = 0; i < LINES + 2; i++)
		close(theirs[i]);
	if (options->boot_timeout_s)
		job.boot_limit = job.started + options->boot_timeout_s * SECOND;
	streams_start(&job.streams, job.sockets, job.kinds);
	supervise(&job, signals);
	streams_finish(&job.streams);
	terminal_restore();
	if (outcome.boot_ns == 0)
		outcome.wall_ns = now_ns() - job.started;
	judge(&job);
	code = outcome_finish();
	if (!options->keep_run_folder && !(outcome.error && code == EXIT_LAUNCHER))
		run_folder_remove();
	return code;
}
