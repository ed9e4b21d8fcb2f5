/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Entry point: options, then a job or a bare kernel. */
#include "launch.h"

#include <signal.h>
#include <string.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

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
	if (options.exec_folder)
		return options.ask ? door_ask(options.exec_folder, options.ask) :
				     door_exec(options.exec_folder, &options);
	return options.plain ? run_plain(&options) : run_job(&options);
}
