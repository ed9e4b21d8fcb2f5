/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The end of the machine: everything on disk, then off. */
#include "guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

/* The disk above the layers: only the overlay shows it, so it gets a place of its own to be closed at. */
static void close_upper(void)
{
	char number[8] = "", device[DEVICE_NAME];
	int fd = open(RUN_FOLDER "/layered", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (read(fd, number, sizeof(number) - 1) > 0 && mkdir(RUN_FOLDER "/upper", 0700) == 0 &&
	    mount(device_name(number, device), RUN_FOLDER "/upper", "ext4", MS_NOATIME, NULL) == 0)
		mount(NULL, RUN_FOLDER "/upper", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	close(fd);
}

int power_off(void)
{
	kill(-1, SIGKILL);
	sync();
	/* Read-only, so that the file system is marked clean. */
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0) {
		int trigger = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

		/* A file deleted but still open forbids it; the kernel's emergency way does not ask. */
		if (trigger >= 0 && write(trigger, "u", 1) == 1)
			sync();
	}
	close_upper();
	reboot(RB_POWER_OFF);
	return 1;
}
