/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Layers: the image's root becomes the lowest of an overlay, the layers of --changes
 * lie above it, and what is written goes to a disk of its own. Called before anything
 * else is mounted; afterwards the overlay is the root of every process.
 *
 * https://docs.kernel.org/filesystems/overlayfs.html
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACE "/run/apppot-layers"
#define BASE_ID "/var/lib/apppot/base-id"
#define BLOCK 4096

const char *device_name(const char *number, char name[DEVICE_NAME])
{
	snprintf(name, DEVICE_NAME, "/dev/ubd%c", 'a' + atoi(number));
	return name;
}

void read_base(char base[BASE_SIZE])
{
	int fd = open(BASE_ID, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? 0 : read(fd, base, BASE_SIZE - 1);

	base[size > 0 ? size : 0] = '\0';
	base[strcspn(base, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

static int fail_about(const char *code, const char *path, const char *what)
{
	char *text;

	if (asprintf(&text, "the changes file %s %s", path, what) < 0)
		return 1;
	return fail(code, text);
}

/* Mounts the layer and adds it to the front of the list of lower folders. */
static int mount_layer(const struct spec *spec, const char *number, const char *image_base, char **lower)
{
	const char *base = spec_next(spec, "base", number);
	const char *path = spec_next(spec, "path", number);
	char where[64], device[DEVICE_NAME];
	char *longer;

	if (!base || !path)
		return fail("job-disk", "the description of the job makes no sense");
	if (strcmp(base, image_base) != 0) {
		char *text;

		if (asprintf(&text, *image_base ? "belongs to the base %s, and the image has the base %s" :
			     "belongs to the base %s, and the image has no recorded base%s", base, image_base) < 0)
			return 1;
		return fail_about("changes-base", path, text);
	}
	snprintf(where, sizeof(where), PLACE "/%s", number);
	mkdir(where, 0755);
	if (mount(device_name(number, device), where, "squashfs", MS_RDONLY | MS_NODEV, NULL) < 0) {
		complain("cannot mount %s: %m", device);
		return fail_about("changes-damaged", path, "is damaged: its file system cannot be mounted");
	}
	if (asprintf(&longer, "%s:%s", where, *lower) < 0)
		return 1;
	free(*lower);
	*lower = longer;
	return 0;
}

static bool has_file_system(int fd)
{
	uint8_t magic[2];

	return pread(fd, magic, 2, 0x438) == 2 && magic[0] == 0x53 && magic[1] == 0xef;
}

/* By mke2fs: an empty disk takes a few milliseconds, since it reads as zeros already. */
static bool format(const char *device, const char *blocks, bool journal)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);

		for (int fd = 0; fd < 3; fd++)
			dup2(console, fd);
		execl("/sbin/mke2fs", "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0",
		      "-O", journal ? "^resize_inode" : "^resize_inode,^has_journal", "-J", "size=4", "-E",
		      "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", device, blocks,
		      (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool mount_upper(const char *number, bool kept)
{
	char device[DEVICE_NAME], blocks[32];
	int fd = open(device_name(number, device), O_RDONLY | O_CLOEXEC);
	off_t bytes = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	bool done;

	if (bytes < 2 * BLOCK)
		return false;
	/* The last block is the launcher's. */
	snprintf(blocks, sizeof(blocks), "%lld", (long long)bytes / BLOCK - 1);
	done = has_file_system(fd) || format(device, blocks, kept);
	close(fd);
	mkdir(PLACE "/upper", 0755);
	return done && mount(device, PLACE "/upper", "ext4", MS_NOATIME, "noinit_itable") == 0 &&
	       (mkdir(PLACE "/upper/upper", 0755) == 0 || errno == EEXIST) &&
	       (mkdir(PLACE "/upper/work", 0755) == 0 || errno == EEXIST);
}

/* What must survive is flushed at power-off; a disk that is thrown away need never be. */
static bool mount_overlay(const char *lower, bool kept)
{
	char *data;

	mkdir(PLACE "/root", 0755);
	if (asprintf(&data, "lowerdir=%s,upperdir=" PLACE "/upper/upper,workdir=" PLACE "/upper/work,"
		     "redirect_dir=on,metacopy=off,xino=off,index=off%s", lower, kept ? "" : ",volatile") < 0)
		return false;
	if (mount("overlay", PLACE "/root", "overlay", 0, data) < 0)
		return false;
	free(data);
	return true;
}

/* pivot_root(2), NOTES: "." twice stacks the old root on the new one, and it can be taken off. */
static bool enter(void)
{
	return mount("/dev", PLACE "/root/dev", NULL, MS_MOVE, NULL) == 0 && chdir(PLACE "/root") == 0 &&
	       syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 && chdir("/") == 0;
}

int layers_enter(const struct spec *spec)
{
	const char *upper = spec_value(spec, "upper", NULL);
	bool kept = strcmp(spec_value(spec, "kept", "0"), "1") == 0;
	const char *number = NULL;
	char *lower = strdup("/");
	char base[BASE_SIZE];

	if (!upper)
		return 0;
	read_base(base);
	if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0 || mkdir(PLACE, 0700) < 0)
		return fail("changes-failed", "the guest cannot mount its layers");
	while ((number = spec_next(spec, "change", number))) {
		const char *kind = spec_next(spec, "kind", number);

		if (kind && strcmp(kind, "layer") == 0 && mount_layer(spec, number, base, &lower) != 0)
			return 1;
	}
	if (!mount_upper(upper, kept)) {
		complain("the disk for what the guest writes: %m");
		return fail("changes-failed", "the guest cannot format the disk above the layers");
	}
	if (!mount_overlay(lower, kept) || !enter()) {
		complain("overlay: %m");
		return fail("changes-failed", "the guest cannot make an overlay of its layers");
	}
	free(lower);
	return 0;
}
