/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Landlock around the kernel process (Linux 5.13 and later, no privilege needed).
 *
 * Code in the guest can take over the kernel process: that is how User-Mode Linux
 * works, and the guest belongs to the user. But an image may come from somebody
 * else. So the process is held to the files that this launch names, may listen and
 * connect nowhere (the network is the supervisor's), and may signal nobody outside.
 *
 * https://docs.kernel.org/userspace-api/landlock.html
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Not from <linux/landlock.h>: the headers of the build machine may be older than its kernel. */
#define SYS_CREATE_RULESET 444
#define SYS_ADD_RULE 445
#define SYS_RESTRICT_SELF 446
#define CREATE_RULESET_VERSION 1
#define RULE_PATH_BENEATH 1

#define FS_EXECUTE (1ULL << 0)
#define FS_WRITE_FILE (1ULL << 1)
#define FS_READ_FILE (1ULL << 2)
#define FS_READ_DIR (1ULL << 3)
#define FS_REFER (1ULL << 13)
#define FS_TRUNCATE (1ULL << 14)
#define FS_IOCTL_DEV (1ULL << 15)
#define NET_BIND_CONNECT_TCP 3ULL
#define SCOPE_ABSTRACT_UNIX_AND_SIGNAL 3ULL

#define FS_READ (FS_READ_FILE | FS_READ_DIR)
/* What a rule on something that is not a folder may grant. */
#define FS_OF_FILE (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

struct ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

struct path_beneath_attr {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

/* Everything that this version of Landlock can restrict in the file system. */
static uint64_t handled_fs(long version)
{
	uint64_t handled = (1ULL << 13) - 1;

	if (version >= 2)
		handled |= FS_REFER;
	if (version >= 3)
		handled |= FS_TRUNCATE;
	if (version >= 5)
		handled |= FS_IOCTL_DEV;
	return handled;
}

static void allow_fd(int ruleset, int fd, uint64_t access)
{
	struct path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return;
	if (!S_ISDIR(status.st_mode))
		rule.allowed_access &= FS_OF_FILE;
	syscall(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0);
}

static void allow(int ruleset, const char *path, uint64_t access)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	allow_fd(ruleset, fd, access);
	if (fd >= 0)
		close(fd);
}

bool confine_kernel(const struct kernel *kernel)
{
	/* A dynamic kernel of a distribution needs its libraries. */
	static const char *const programs[] = { "/lib", "/lib64", "/usr/lib", "/usr/lib64" };
	/* Memory without memfd, randomness, what the processor can do. */
	static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
					       "/dev/shm" };
	long version = syscall(SYS_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
	struct ruleset_attr attr = { 0 };
	uint64_t all;
	int ruleset;

	if (version < 1)
		return false;
	all = attr.handled_access_fs = handled_fs(version);
	/* The helper of an older kernel is its child, and needs the network itself. */
	if (version >= 4 && !kernel->legacy_slirp)
		attr.handled_access_net = NET_BIND_CONNECT_TCP;
	if (version >= 6)
		attr.scoped = SCOPE_ABSTRACT_UNIX_AND_SIGNAL;
	/* An older kernel knows a shorter structure, and the rest is zero then. */
	ruleset = syscall(SYS_CREATE_RULESET, &attr, version >= 6 ? 24 : version >= 4 ? 16 : 8, 0);
	if (ruleset < 0)
		return false;
	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++)
		allow(ruleset, programs[i], all & (FS_READ | FS_EXECUTE));
	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++)
		allow(ruleset, devices[i], all);
	allow(ruleset, "/proc", all & FS_READ);
	allow(ruleset, kernel->path, all & (FS_READ_FILE | FS_EXECUTE));
	if (kernel->legacy_slirp) {
		allow(ruleset, kernel->legacy_slirp, all & (FS_READ_FILE | FS_EXECUTE));
		allow(ruleset, "/bin/sh", all & (FS_READ_FILE | FS_EXECUTE));
		allow(ruleset, "/etc", all & FS_READ);
		allow(ruleset, "/run", all & FS_READ);
	}
	allow(ruleset, ".", all);
	for (size_t i = 0; i < kernel->file_count; i++)
		allow_fd(ruleset, kernel->files[i].fd,
			 kernel->files[i].read_only ? all & FS_READ : all);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_RESTRICT_SELF, ruleset, 0) < 0) {
		close(ruleset);
		return false;
	}
	close(ruleset);
	return true;
}
