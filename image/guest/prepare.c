/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a machine needs before anything runs on it. One process with system calls
 * and no fork: each program that is not started saves two milliseconds of start-up.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

static void mount_at(const char *type, const char *where, unsigned long flags, const char *data)
{
	mkdir(where, 0755);
	if (mount(type, where, type, flags, data) < 0 && errno != EBUSY)
		complain("cannot mount %s on %s: %m", type, where);
}

static void mount_devices(void)
{
	struct stat status;

	/* The kernel mounts /dev itself where it was configured to. */
	if (stat("/dev/ttyS0", &status) < 0)
		mount_at("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
}

static void mount_system(void)
{
	struct stat status;

	mount_at("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	mount_at("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666");
	mount_at("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_at("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
	mkdir("/run/lock", 01777);
	chmod("/run/lock", 01777);
	mkdir("/run/screen", 0777);
	chmod("/run/screen", 01777);
	if (stat("/sys/fs/cgroup", &status) == 0 &&
	    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		complain("no control groups: %m");
	if (symlink("/proc/self/fd", "/dev/fd") < 0 || symlink("fd/0", "/dev/stdin") < 0 ||
	    symlink("fd/1", "/dev/stdout") < 0 || symlink("fd/2", "/dev/stderr") < 0)
		complain("cannot link /dev/fd: %m");
	/* Ctrl-Alt-Del by mconsole: a signal to process 1, not a reset without a sync. */
	reboot(RB_DISABLE_CAD);
}

static void set_host_name(void)
{
	char name[65] = "apppot";
	FILE *file = fopen("/etc/hostname", "re");

	if (file) {
		if (fscanf(file, "%64s", name) != 1)
			strcpy(name, "apppot");
		fclose(file);
	}
	/* Without a name it is "(none)", which Open MPI refuses. */
	if (sethostname(name, strlen(name)) < 0)
		complain("cannot set the host name: %m");
}

static void allow_ping(void)
{
	int fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);

	/* ping without setuid, as on any desktop */
	if (fd >= 0) {
		write_all(fd, "0 2147483647", 12);
		close(fd);
	}
}

/* One word of sh: single quotes, and '\'' for a quote. */
static void shell_variable(FILE *file, const char *name, const char *value)
{
	fprintf(file, "apppot_%s='", name);
	for (; *value; value++) {
		if (*value == '\'')
			fputs("'\\''", file);
		else
			fputc(*value, file);
	}
	fputs("'\n", file);
}

/* What the launcher calls a changes file, for sentences: /run/apppot/changes-ubdX. */
static void write_path(const char *device, const char *path)
{
	char name[64];
	FILE *file;

	snprintf(name, sizeof(name), RUN_FOLDER "/changes-%s", device + strlen("/dev/"));
	file = fopen(name, "we");
	if (file) {
		fprintf(file, "%s\n", path);
		fclose(file);
	}
}

/* Tar files of --changes for apppot-init: "DEVICE:BYTES " of each; with layers, a mark for apppot-snap. */
static void write_changes(const struct spec *spec, FILE *file)
{
	const char *upper = spec_value(spec, "upper", NULL);
	const char *number = NULL;
	FILE *mark;

	fputs("apppot_tars='", file);
	while (spec->text && (number = spec_next(spec, "change", number))) {
		const char *kind = spec_next(spec, "kind", number);
		const char *bytes = spec_next(spec, "bytes", number);
		const char *path = spec_next(spec, "path", number);
		char device[DEVICE_NAME];

		if (kind && bytes && path && strcmp(kind, "tar") == 0) {
			fprintf(file, "%s:%s ", device_name(number, device), bytes);
			write_path(device, path);
		}
	}
	fputs("'\n", file);
	mark = upper ? fopen(RUN_FOLDER "/layered", "we") : NULL;
	if (mark) {
		fprintf(mark, "%s\n", upper);
		fclose(mark);
	}
}

static void write_variables(const struct spec *spec)
{
	static const char *const names[] = { "supervised", "fds", "user", "uid", "gid", "group", "shell",
					     "network", "job", "legacy", "term", "tmpdir", "scratch", "fullboot", "kept" };
	FILE *file;

	mkdir(RUN_FOLDER, 0755);
	file = fopen(RUN_FOLDER "/spec.sh", "we");
	if (!file)
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const char *value = spec_value(spec, names[i], NULL);

		if (value)
			shell_variable(file, names[i], value);
	}
	write_changes(spec, file);
	shell_variable(file, "arguments", spec->text && spec_next(spec, "arg", NULL) ? "1" : "0");
	fclose(file);
}

/* Makes the mount point and its parents; what exists stays as it is. */
static bool make_folder(const char *path)
{
	char *copy = strdup(path);
	struct stat status;
	bool is_folder;

	if (!copy)
		return false;
	for (char *at = copy + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		mkdir(copy, 0755);
		*at = '/';
	}
	mkdir(copy, 0755);
	is_folder = stat(copy, &status) == 0 && S_ISDIR(status.st_mode);
	free(copy);
	return is_folder;
}

static int mount_binds(const struct spec *spec)
{
	const char *bind = NULL;

	while ((bind = spec_next(spec, "bind", bind))) {
		const char *target = spec_next(spec, "target", bind);
		const char *mode = target ? spec_next(spec, "mode", target) : NULL;
		char data[64];

		if (!mode)
			break;
		snprintf(data, sizeof(data), "hostfs=@b%s", bind);
		if (!make_folder(target) ||
		    mount("none", target, "hostfs",
			  MS_NOSUID | MS_NODEV | (strcmp(mode, "ro") == 0 ? MS_RDONLY : 0), data) < 0) {
			complain("cannot bind on %s: %m", target);
			return fail("bind", "a folder of --bind cannot be mounted in the guest");
		}
	}
	return 0;
}

int prepare(void)
{
	struct spec spec;
	bool found;

	mount_devices();
	found = spec_read(&spec, 0);
	if (found && layers_enter(&spec) != 0)
		return 1;
	mount_system();
	set_host_name();
	network_up();
	allow_ping();
	/* Never a shell in place of a job that we do not understand. */
	if (!found && spec.disk >= 0)
		return fail("job-disk", "the guest cannot read its job: image and launcher are of different versions of AppPot");
	if (!found)
		spec.text = NULL;
	write_variables(&spec);
	if (!found)
		return 0;
	if (strcmp(spec_value(&spec, "job", "0"), "1") == 0) {
		const char *data = spec_value(&spec, "legacy", NULL);

		if (!make_folder("/home/user/job") ||
		    mount("none", "/home/user/job", "hostfs", MS_NOSUID | MS_NODEV, data) < 0) {
			complain("cannot mount the job folder: %m");
			return fail("job-folder", "the job folder cannot be mounted in the guest");
		}
	}
	return mount_binds(&spec);
}
