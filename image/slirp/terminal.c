/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the job's three descriptors are here, and the user's terminal. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static bool is_raw;

/* As they were when we started. */
static char given[4];

void keep_descriptors(void)
{
	for (int fd = 0; fd < 3; fd++) {
		struct stat status;

		if (fstat(fd, &status) < 0)
			given[fd] = FD_CLOSED;
		else if (isatty(fd))
			given[fd] = FD_TERMINAL;
		else if (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3))
			given[fd] = FD_NULL;
		else
			given[fd] = FD_PIPE;
		/* A closed one is taken, or the next file that we open would be the job's. */
		if (given[fd] == FD_CLOSED && open("/dev/null", O_RDWR) != fd)
			die("launch", NULL, "cannot open /dev/null: %s", strerror(errno));
	}
}

void describe_descriptors(char kinds[4])
{
	memcpy(kinds, given, sizeof(given));
}

bool terminal_size(unsigned int *rows, unsigned int *columns)
{
	struct winsize size;

	for (int fd = 0; fd < 3; fd++) {
		if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col) {
			*rows = size.ws_row;
			*columns = size.ws_col;
			return true;
		}
	}
	return false;
}

/* The guest's own terminal does the line editing and makes signals of Ctrl-C. */
void terminal_raw(void)
{
	struct termios raw;

	/* A background job must not touch the terminal: it would be stopped. */
	if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp())
		return;
	if (!is_raw && tcgetattr(STDIN_FILENO, &saved) < 0)
		return;
	raw = saved;
	cfmakeraw(&raw);
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0)
		is_raw = true;
}

void terminal_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	is_raw = false;
}
