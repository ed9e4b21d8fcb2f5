/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which processor a guest gets. A one-CPU guest hands over between its kernel
 * and its user process at every system call; on one processor that is a context
 * switch, across two it is an interrupt between them, four times slower
 * (bench/RESULTS.md). So it stays on one, but not all guests of a node on the same.
 */
#include "launch.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 64

/*
 * Takes seat `round` of a processor: an abstract socket name, which the system
 * frees when its holder dies however it dies, and which leaves no file. Anybody
 * may take a name; the worst that follows is a poorer choice.
 */
static bool take_seat(int cpu, int round)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int length;

	if (fd < 0)
		return false;
	length = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "apppot-cpu-%d-%d",
			  cpu, round);
	if (bind(fd, (struct sockaddr *)&address,
		 offsetof(struct sockaddr_un, sun_path) + 1 + length) == 0)
		return true;	/* kept open until this process ends */
	close(fd);
	return false;
}

bool cpu_choose(int count, cpu_set_t *chosen)
{
	cpu_set_t allowed;
	int found = 0;
	int start = sched_getcpu();

	CPU_ZERO(chosen);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0 || CPU_COUNT(&allowed) <= count)
		return false;
	/* Starting where we run now: the scheduler has put us on an idle one. */
	if (start < 0)
		start = 0;
	for (int round = 0; round < ROUNDS && found < count; round++) {
		for (int i = 0; i < CPU_SETSIZE && found < count; i++) {
			int cpu = (start + i) % CPU_SETSIZE;

			if (!CPU_ISSET(cpu, &allowed) || CPU_ISSET(cpu, chosen) ||
			    !take_seat(cpu, round))
				continue;
			CPU_SET(cpu, chosen);
			found++;
		}
	}
	return found == count;
}
