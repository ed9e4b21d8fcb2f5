/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

/* For the console log: the job's own streams carry the job's bytes only. */
void complain(const char *format, ...)
{
	va_list args;
	int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

	if (console < 0)
		return;
	va_start(args, format);
	dprintf(console, "apppot-guest: ");
	vdprintf(console, format, args);
	dprintf(console, "\n");
	va_end(args);
	close(console);
}

bool write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t written = write(fd, at, size);

		if (written >= 0) {
			at += written;
			size -= written;
		} else if (errno != EINTR) {
			return false;
		}
	}
	return true;
}

/* A serial line that carries bytes as they are. */
int open_line(int slot, int line, int flags)
{
	struct termios mode;
	char tty[32];
	int fd;

	snprintf(tty, sizeof(tty), "/dev/ttyS%d", LINES * slot + line);
	fd = open(tty, flags | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (tcgetattr(fd, &mode) == 0) {
		cfmakeraw(&mode);
		mode.c_cflag |= CLOCAL;
		tcsetattr(fd, TCSANOW, &mode);
	}
	return fd;
}
