/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Descriptors: socket pairs to the kernel, signals, whole writes. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

void socket_pair(int type, int buffer_bytes, int pair[2])
{
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
		die("launch", NULL, "cannot make a socket pair: %s", strerror(errno));
	for (int i = 0; i < 2 && buffer_bytes; i++) {
		/* A smaller buffer than wished is slower, not wrong. */
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
		setsockopt(pair[i], SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
	}
}

int signals_open(const int *numbers, size_t count)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void set_inheritable(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

/*
 * Writes everything, also to a descriptor that somebody else made non-blocking:
 * the flag belongs to the open file, which is shared with the shell and others,
 * and is not ours to change.
 */
bool write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t written = write(fd, at, size);

		if (written >= 0) {
			at += written;
			size -= written;
		} else if (errno == EAGAIN) {
			struct pollfd wait = { .fd = fd, .events = POLLOUT };

			poll(&wait, 1, -1);
		} else if (errno != EINTR) {
			return false;
		}
	}
	return true;
}
