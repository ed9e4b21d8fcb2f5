/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The door of a running guest: a socket in its run folder, which is private. A
 * caller sends one message, "exec", with the records of the program behind it and
 * its own three descriptors attached; the supervisor carries the streams itself and
 * answers with "exit CODE". Other messages: "signal N", "winch ROWS COLUMNS",
 * "stop", "status".
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DOOR "door"

int door_open(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = DOOR };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* Named from within the folder: a path of any length fits. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int knock(const char *folder)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = DOOR };
	int size = EXEC_SPEC_BYTES * 2;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (chdir(folder) < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("guest-gone", "\"apppot ps\" lists the guests that run.",
		    "no guest answers in %s: %s", folder, strerror(errno));
	return fd;
}

static bool send_with_descriptors(int door, const char *text, size_t length, const char kinds[4],
				  int input)
{
	char control[CMSG_SPACE(3 * sizeof(int))] = { 0 };
	struct iovec data = { (void *)text, length };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int fds[3];

	for (int fd = 0; fd < 3; fd++)
		fds[fd] = kinds[fd] == FD_CLOSED ? null : fd;
	if (input >= 0)
		fds[0] = input;
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(header), fds, sizeof(fds));
	return sendmsg(door, &message, MSG_NOSIGNAL) == (ssize_t)length;
}

static void pass_signal(int door, int number, const char kinds[4])
{
	static int last;
	static int64_t last_at;
	unsigned int rows, columns;
	int64_t now = now_ns();
	char text[64];

	if (number != SIGWINCH && number != SIGCONT) {
		/* Our parent passes on what the whole group got: once is meant. */
		if (number == last && now - last_at < SAME_SIGNAL)
			return;
		last = number;
		last_at = now;
	}
	if (number == SIGCONT) {
		if (kinds[0] == FD_TERMINAL)
			terminal_raw();
		return;
	}
	if (number != SIGWINCH)
		snprintf(text, sizeof(text), "signal %d", number);
	else if (terminal_size(&rows, &columns))
		snprintf(text, sizeof(text), "winch %u %u", rows, columns);
	else
		return;
	if (send(door, text, strlen(text) + 1, MSG_NOSIGNAL) < 0)
		return;
}

static int answer(const char *text)
{
	int code;

	terminal_restore();
	if (sscanf(text, "exit %d", &code) == 1)
		return code;
	die("exec", NULL, "%s", text);
}

/*
 * A terminal is read here and handed on by a pipe: the supervisor may be a
 * background job of the same terminal, which the system stops when it reads.
 */
static void pass_input(int to, struct pollfd *wait)
{
	char text[4096];
	ssize_t size;

	if (!wait->revents)
		return;
	size = read(STDIN_FILENO, text, sizeof(text));
	if (size > 0 && write_all(to, text, size))
		return;
	if (size < 0 && errno == EAGAIN)
		return;
	close(to);
	wait->fd = -1;
}

int door_exec(const char *folder, const struct options *options)
{
	static const int taken[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT };
	struct signalfd_siginfo info;
	struct pollfd wait[3] = { 0 };
	int input[2] = { -1, -1 };
	char kinds[4], reply[512];
	char *spec, *text;
	size_t length;

	describe_descriptors(kinds);
	spec_write(options, kinds, -1, true, &spec, &length);
	text = xcalloc(1, length + 5);
	memcpy(text, "exec", 5);
	memcpy(text + 5, spec, length);
	wait[0] = (struct pollfd){ .fd = signals_open(taken, sizeof(taken) / sizeof(*taken)), .events = POLLIN };
	wait[1] = (struct pollfd){ .fd = knock(folder), .events = POLLIN };
	if (kinds[0] == FD_TERMINAL && pipe2(input, O_CLOEXEC) < 0)
		die("launch", NULL, "cannot make a pipe: %s", strerror(errno));
	wait[2] = (struct pollfd){ .fd = input[1] < 0 ? -1 : STDIN_FILENO, .events = POLLIN };
	if (!send_with_descriptors(wait[1].fd, text, length + 5, kinds, input[0]))
		die("exec", "Put long lists into a file.", "the arguments are too long for a look into a guest");
	if (kinds[0] == FD_TERMINAL)
		terminal_raw();
	for (;;) {
		ssize_t size;

		if (poll(wait, 3, -1) < 0)
			continue;
		pass_input(input[1], &wait[2]);
		while (read(wait[0].fd, &info, sizeof(info)) == sizeof(info))
			pass_signal(wait[1].fd, info.ssi_signo, kinds);
		if (!wait[1].revents)
			continue;
		size = recv(wait[1].fd, reply, sizeof(reply) - 1, 0);
		if (size <= 0)
			return answer("the guest ended");
		reply[size] = '\0';
		return answer(reply);
	}
}

int door_ask(const char *folder, const char *question)
{
	int door = knock(folder);
	char reply[4096];
	ssize_t size;

	if (send(door, question, strlen(question) + 1, MSG_NOSIGNAL) < 0)
		die("guest-gone", NULL, "the guest does not answer");
	size = recv(door, reply, sizeof(reply) - 1, 0);
	if (size < 0)
		die("guest-gone", NULL, "the guest does not answer");
	reply[size] = '\0';
	if (size > 0)
		puts(reply);
	return 0;
}
