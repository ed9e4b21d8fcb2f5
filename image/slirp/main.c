/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Entry point: options, then a job or a bare kernel. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Prints the check sum of a whole file: for the one who makes a layer. */
static int print_crc32c(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	uint32_t crc;

	if (fd < 0 || fstat(fd, &status) < 0 || !crc32c_of(fd, status.st_size, &crc)) {
		say("cannot read %s: %s", path, strerror(errno));
		return 1;
	}
	printf("%08x\n", crc);
	return 0;
}

int main(int argc, char **argv)
{
	struct options options;
	pid_t parent = getppid();

	keep_descriptors();
	parse_options(argc, argv, &options);
	if (options.program_name)
		program_name = options.program_name;
	if (options.die_with_parent) {
		/* TERM and not KILL: the guest's disk may be the user's own image. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			return 128 + SIGTERM;
	}
	/* A reader that goes away is an event of the stream, not our end. */
	signal(SIGPIPE, SIG_IGN);
	if (options.crc32c)
		return print_crc32c(options.crc32c);
	if (options.exec_folder)
		return options.ask ? door_ask(options.exec_folder, options.ask) :
				     door_exec(options.exec_folder, &options);
	return options.plain ? run_plain(&options) : run_job(&options);
}
