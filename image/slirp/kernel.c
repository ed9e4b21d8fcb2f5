/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Starting the kernel, where no signal but ours can reach it. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int kernel_inherits(struct kernel *kernel, int fd)
{
	kernel->fds = realloc(kernel->fds, (kernel->fd_count + 1) * sizeof(*kernel->fds));
	if (!kernel->fds)
		die("launch", NULL, "out of memory");
	kernel->fds[kernel->fd_count++] = fd;
	return fd;
}

int kernel_opens(struct kernel *kernel, int fd, bool read_only)
{
	kernel->files = realloc(kernel->files, (kernel->file_count + 1) * sizeof(*kernel->files));
	if (!kernel->files)
		die("launch", NULL, "out of memory");
	kernel->files[kernel->file_count++] = (struct kernel_file){ fd, read_only };
	return kernel_inherits(kernel, fd);
}

static void block_signals(void)
{
	/*
	 * A batch system signals every process of a job, and the kernel's own
	 * handlers for these end it on the spot, before any grace. They must be
	 * blocked, not ignored: the kernel installs handlers, but keeps the mask,
	 * and its helpers and stubs inherit it.
	 */
	static const int batch[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR2, SIGTSTP,
				     SIGTTIN, SIGTTOU, SIGXCPU, SIGPIPE };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(batch) / sizeof(*batch); i++)
		sigaddset(&set, batch[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

static void go_first(void)
{
	/*
	 * Where memory ends, the host's or the job's share of it, the guest goes
	 * before the programs that can say why. Its memory is in use until the last
	 * of its processes is gone, so one victim may not be enough: the next one
	 * would be the supervisor, or the batch system's. Anybody may raise the
	 * score (proc(5)); where that fails, it is as it was.
	 */
	char text[16] = "";
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	if (pread(fd, text, sizeof(text) - 1, 0) > 0) {
		long score = strtol(text, NULL, 10) + 100;
		int length = snprintf(text, sizeof(text), "%ld", score > 1000 ? 1000 : score);

		if (pwrite(fd, text, (size_t)length, 0) < 0)
			errno = 0;
	}
	close(fd);
}

static void become_kernel(const struct kernel *kernel, pid_t parent, int failed)
{
	struct rlimit no_core = { 0, 0 };
	const char **argv = xcalloc(kernel->args.count + 2, sizeof(*argv));
	int null = open("/dev/null", O_RDONLY);
	int error;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_LAUNCHER);
	/* The kernel signals its whole process group when it panics. */
	setsid();
	block_signals();
	setrlimit(RLIMIT_CORE, &no_core);
	go_first();
	if (kernel->pin)
		sched_setaffinity(0, sizeof(kernel->cpus), &kernel->cpus);
	dup2(null, STDIN_FILENO);
	dup2(kernel->output, STDOUT_FILENO);
	dup2(kernel->output, STDERR_FILENO);
	for (size_t i = 0; i < kernel->fd_count; i++)
		set_inheritable(kernel->fds[i]);
	/* The environment of a kernel becomes that of its first process. */
	clearenv();
	setenv("HOME", ".", 1);
	setenv("TMPDIR", "/dev/shm", 1);
	setenv("PATH", "/usr/bin:/bin", 1);
	if (kernel->confine)
		confine_kernel(kernel);
	argv[0] = "linux";
	memcpy(argv + 1, kernel->args.item, kernel->args.count * sizeof(*argv));
	execv(kernel->path, (char **)argv);
	error = errno;
	if (write(failed, &error, sizeof(error)) < 0)
		_exit(EXIT_LAUNCHER);
	_exit(EXIT_LAUNCHER);
}

pid_t kernel_start(const struct kernel *kernel)
{
	pid_t parent = getpid();
	int report[2];
	int error;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		die("launch", NULL, "cannot make a pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("process-limit", "Raise \"ulimit -u\", or end some of your processes.",
		    "cannot start a process: %s", strerror(errno));
	if (pid == 0)
		become_kernel(kernel, parent, report[1]);
	close(report[1]);
	if (read(report[0], &error, sizeof(error)) == sizeof(error)) {
		waitpid(pid, NULL, 0);
		if (error == ENOEXEC)
			die("kernel-invalid", "The kernel must be a User-Mode Linux for this machine (x86-64).",
			    "%s is no program of this machine", kernel->path);
		die("kernel-missing", error == EACCES ?
		    "Is the file executable, and its file system mounted without noexec?" :
		    "Build one with \"apppot runtime build\", or name one with --kernel.",
		    "cannot start the kernel %s: %s", kernel->path, strerror(error));
	}
	close(report[0]);
	return pid;
}

void kernel_kill(pid_t kernel)
{
	/*
	 * The whole group, also when the kernel itself is gone: without it the
	 * stubs of a ptrace kernel would run on as free processes of the host.
	 */
	kill(-kernel, SIGKILL);
}
