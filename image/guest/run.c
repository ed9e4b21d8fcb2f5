/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The runner: starts the job as its user, carries its streams over the serial
 * lines, passes signals on, and reports the end over the control line (protocol:
 * image/slirp/job.c).
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int control = -1;

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void tell(const char *format, ...)
{
	char text[512];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	if (length > (int)sizeof(text) - 2)
		length = sizeof(text) - 2;
	text[length++] = '\n';
	write_all(control, text, length);
}

void tell_taken(uint64_t bytes)
{
	tell("ack %llu", (unsigned long long)bytes);
}

static long oom_kills(void)
{
	FILE *file = fopen("/proc/vmstat", "re");
	char name[64];
	long value, found = 0;

	while (file && fscanf(file, "%63s %ld", name, &value) == 2)
		if (strcmp(name, "oom_kill") == 0)
			found = value;
	if (file)
		fclose(file);
	return found;
}

/* --- what the launcher says ------------------------------------------------ */

static void job_signal(struct run *run, int number)
{
	if (run->pid > 0)
		kill(-run->pid, number);
}

/* A look into the guest: another runner, on lines of its own. */
static void look(const char *slot)
{
	char *const argv[] = { "apppot-guest", "run", "--slot", (char *)slot, NULL };
	pid_t pid = fork();

	if (pid < 0)
		complain("cannot start a look into the guest: %m");
	if (pid != 0)
		return;
	setsid();
	execv("/proc/self/exe", argv);
	_exit(125);
}

static void host_line(struct run *run, const char *line)
{
	struct winsize size = { 0 };

	if (strncmp(line, "in ", 3) == 0) {
		input_available(run, strtoull(line + 3, NULL, 10), false);
	} else if (strncmp(line, "eof ", 4) == 0) {
		input_available(run, strtoull(line + 4, NULL, 10), true);
	} else if (strncmp(line, "signal ", 7) == 0) {
		job_signal(run, atoi(line + 7));
	} else if (strcmp(line, "kill") == 0) {
		/* Of the job: everything but process 1 and this one. */
		if (run->slot == 0)
			kill(-1, SIGKILL);
		else
			job_signal(run, SIGKILL);
	} else if (strcmp(line, "closed 1") == 0) {
		output_close(&run->outputs[0]);
	} else if (strcmp(line, "closed 2") == 0) {
		output_close(&run->outputs[1]);
	} else if (strcmp(line, "closed t") == 0) {
		job_signal(run, SIGHUP);
	} else if (sscanf(line, "winch %hu %hu", &size.ws_row, &size.ws_col) == 2) {
		if (run->terminal >= 0)
			ioctl(run->terminal, TIOCSWINSZ, &size);
	} else if (strncmp(line, "exec ", 5) == 0) {
		look(line + 5);
	} else if (strcmp(line, "go") == 0) {
		run->go = true;
	} else if (strcmp(line, "bye") == 0) {
		run->bye = true;
	}
}

static void read_control(struct run *run)
{
	static char text[1024];
	static size_t have;
	ssize_t size = read(control, text + have, sizeof(text) - 1 - have);
	char *end, *at = text;

	if (size <= 0)
		return;
	have += size;
	text[have] = '\0';
	while ((end = strchr(at, '\n'))) {
		*end = '\0';
		host_line(run, at);
		at = end + 1;
	}
	have -= at - text;
	memmove(text, at, have);
	if (have == sizeof(text) - 1)
		have = 0;
}

/* --- the end -------------------------------------------------------------------- */

static bool reap(struct run *run)
{
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		if (pid != run->pid)
			continue;
		run->status = status;
		run->usage = usage;
		return true;
	}
	return false;
}

static long milliseconds(struct timeval time)
{
	return time.tv_sec * 1000 + time.tv_usec / 1000;
}

static void report_end(const struct run *run)
{
	int signal = WIFSIGNALED(run->status) ? WTERMSIG(run->status) : 0;
	int code = WIFEXITED(run->status) ? WEXITSTATUS(run->status) : 0;

	tell("end code=%d signal=%d out=%llu err=%llu tty=%llu utime=%ld stime=%ld rss=%ld oom=%ld", code,
	     signal, (unsigned long long)run->outputs[0].sent, (unsigned long long)run->outputs[1].sent,
	     (unsigned long long)run->outputs[2].sent, milliseconds(run->usage.ru_utime),
	     milliseconds(run->usage.ru_stime), run->usage.ru_maxrss, oom_kills() - run->oom_before);
}

/* Files of the job folder live in the guest's page cache until they are written back. */
static void sync_host_folders(void)
{
	FILE *mounts = fopen("/proc/mounts", "re");
	char *line = NULL;
	size_t room = 0;

	while (mounts && getline(&line, &room, mounts) > 0) {
		char *where = strchr(line, ' ');
		char *type = where ? strchr(where + 1, ' ') : NULL;

		if (!type || strncmp(type + 1, "hostfs ", 7) != 0)
			continue;
		*type = '\0';
		for (char *from = where + 1, *to = where + 1;; from++, to++) {
			unsigned int octal;

			/* /proc/mounts writes blanks as \040 */
			if (*from == '\\' && sscanf(from + 1, "%3o", &octal) == 1) {
				*to = octal;
				from += 3;
			} else {
				*to = *from;
			}
			if (!*to)
				break;
		}
		int fd = open(where + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0) {
			syncfs(fd);
			close(fd);
		}
	}
	if (mounts)
		fclose(mounts);
	free(line);
}

static void wait_for_bye(struct run *run)
{
	struct pollfd wait = { .fd = control, .events = POLLIN };

	/* Without a supervisor nobody answers: give the lines a moment to empty. */
	while (!run->bye && poll(&wait, 1, run->supervised ? -1 : 300) > 0)
		read_control(run);
}

static int serve(struct run *run)
{
	struct pollfd wait[] = { { .fd = run->signals, .events = POLLIN },
				 { .fd = control, .events = POLLIN } };
	struct signalfd_siginfo info;
	bool ended = false;

	while (!ended) {
		if (poll(wait, 2, -1) < 0)
			continue;
		if (wait[1].revents)
			read_control(run);
		if (wait[0].revents && read(run->signals, &info, sizeof(info)) > 0)
			ended = reap(run);
	}
	for (int i = 0; i < OUTPUTS; i++)
		output_finish(&run->outputs[i]);
	if (run->slot == 0)
		sync_host_folders();
	report_end(run);
	wait_for_bye(run);
	return 0;
}

/* What runs here, so that a result can be made again. */
static void introduce(void)
{
	struct utsname kernel = { .release = "unknown" };
	char base[BASE_SIZE];

	uname(&kernel);
	read_base(base);
	tell("hello %s kernel=%s base=%s", APPPOT_VERSION, kernel.release, base);
}

int fail(const char *code, const char *text)
{
	complain("%s: %s", code, text);
	control = open_line(0, LINE_CONTROL, O_RDWR);
	if (control >= 0) {
		tell("error %s %s", code, text);
		tcdrain(control);
	}
	return 1;
}

int run(int argc, char **argv)
{
	struct spec spec;
	struct run run = { .terminal = -1, .job_input = -1, .spec = &spec };
	sigset_t signals;

	if (argc > 1 && strcmp(argv[0], "--slot") == 0) {
		run.slot = atoi(argv[1]);
		argc -= 2;
		argv += 2;
	}
	if (!spec_read(&spec, run.slot))
		spec.text = NULL;
	run.supervised = strcmp(spec_value(&spec, "supervised", "0"), "1") == 0;
	control = open_line(run.slot, LINE_CONTROL, O_RDWR);
	if (control < 0)
		return 1;
	introduce();
	/* A job that ends before it has read all of its input is no reason to end here. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	run.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	/* With layers, the launcher reads them whole first; its signals wait as well. */
	while (run.slot == 0 && spec_value(&spec, "upper", NULL) && !run.go)
		read_control(&run);
	run.oom_before = oom_kills();
	if (!job_start(&run, argc, argv)) {
		tell("error guest-start %s", strerror(errno));
		return 1;
	}
	tell("started");
	/* Without a supervisor the whole of standard input is on the job disk already. */
	if (!run.supervised && run.job_input >= 0)
		input_available(&run, strtoull(spec_value(&spec, "input", "0"), NULL, 10), true);
	return serve(&run);
}
