/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A kernel without a job protocol: its console, the network, its exit code. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static bool copy_console(int from, int to)
{
	char text[16384];
	ssize_t size = recv(from, text, sizeof(text), MSG_DONTWAIT);

	if (size > 0)
		write_all(to, text, size);
	return size > 0;
}

int run_plain(const struct options *options)
{
	struct kernel kernel = { .path = options->kernel, .args = options->kernel_args };
	int console[2], output[2];
	int log = STDERR_FILENO;
	struct pollfd wait[3];
	int received = 0;
	sigset_t signals;
	int status;
	pid_t pid;

	if (options->console) {
		log = open(options->console, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (log < 0)
			die("run-folder", NULL, "cannot write %s: %s", options->console,
			    strerror(errno));
	}
	socket_pair(SOCK_STREAM, 0, console);
	socket_pair(SOCK_STREAM, 0, output);
	kernel.output = output[1];
	strings_addf(&kernel.args, "con0=fd:%d", kernel_inherits(&kernel, console[1]));
	strings_add(&kernel.args, "con=null");
	strings_add(&kernel.args, "uml_dir=.");
	if (options->network) {
		struct network network = { .host_loopback = options->host_loopback };

		strings_addf(&kernel.args, "vec0:transport=fd,fd=%d,depth=128,mtu=%d",
			     kernel_inherits(&kernel, network_start(&network)), GUEST_MTU);
	}
	kernel.pin = options->pin && cpu_choose(1, &kernel.cpus);

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	wait[0] = (struct pollfd){ .fd = signalfd(-1, &signals, SFD_CLOEXEC), .events = POLLIN };
	wait[1] = (struct pollfd){ .fd = console[0], .events = POLLIN };
	wait[2] = (struct pollfd){ .fd = output[0], .events = POLLIN };
	pid = kernel_start(&kernel);
	close(console[1]);
	close(output[1]);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		struct signalfd_siginfo info;

		if (poll(wait, 3, -1) < 0)
			continue;
		for (int i = 1; i < 3; i++)
			if (wait[i].revents && !copy_console(wait[i].fd, log))
				wait[i].fd = -1;
		if (!wait[0].revents || read(wait[0].fd, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo != SIGCHLD) {
			received = info.ssi_signo;
			kernel_kill(pid);
		}
	}
	for (int i = 1; i < 3; i++)
		while (wait[i].fd >= 0 && copy_console(wait[i].fd, log))
			;
	kernel_kill(pid);
	if (received)
		return 128 + received;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
