/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the kernel is given: the words of its command line, and the descriptors that they name. */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void kernel_words(const struct options *options, struct kernel *kernel, int job_disk)
{
	strings_addf(&kernel->args, "mem=%s", options->mem);
	strings_add(&kernel->args, disk_argument(options, kernel));
	strings_addf(&kernel->args, "ubd1r=/proc/self/fd/%d", kernel_inherits(kernel, job_disk));
	if (options->scratch)
		strings_add(&kernel->args, scratch_argument(options, kernel));
	changes_words(options, kernel);
	strings_add(&kernel->args, "root=/dev/ubda");
	/* Below layers nothing is written. */
	strings_add(&kernel->args, options->layered ? "ro" : "rw");
	strings_add(&kernel->args, "rootfstype=ext4");
	strings_add(&kernel->args, "init=/usr/lib/apppot/apppot-init");
	strings_add(&kernel->args, "quiet");
	/* Built in for containers in the guest; by itself it would make an idle interface. */
	strings_add(&kernel->args, "dummy.numdummies=0");
	strings_add(&kernel->args, "panic=-1");
	/* Unknown words are harmless: an older kernel hands them to its first process. */
	strings_add(&kernel->args, "seccomp=auto");
	if (options->cpus > 1)
		strings_addf(&kernel->args, "ncpus=%d", options->cpus);
	/* sysvinit and systemd would check the root, which is mounted for writing by now, and stop. */
	if (options->full_boot)
		strings_add(&kernel->args, "fastboot");
	strings_add(&kernel->args, "uml_dir=.");
	strings_add(&kernel->args, "umid=guest");
	strings_add(&kernel->args, "con=null");
	strings_add(&kernel->args, "ssl=null");
	for (size_t i = 0; i < options->kernel_args.count; i++)
		strings_add(&kernel->args, options->kernel_args.item[i]);
}

static int open_folder(const char *path, const char *code, const char *what)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die(code, NULL, "cannot open the %s %s: %s", what, path, strerror(errno));
	return fd;
}

int open_job_folder(const struct options *options, struct kernel *kernel)
{
	int fd;

	if (!options->job_folder)
		return -1;
	fd = kernel_opens(kernel, open_folder(options->job_folder, "job-folder", "job folder"), false);
	/* An older kernel is told by the guest which folder to mount, and cannot be held to it. */
	if (!options->legacy_kernel)
		strings_addf(&kernel->args, "hostfs=/proc/self/fd/%d", fd);
	return fd;
}

void open_binds(const struct options *options, struct kernel *kernel)
{
	for (size_t i = 0; i < options->bind_count; i++) {
		const struct bind *bind = &options->binds[i];
		int fd = kernel_opens(kernel, open_folder(bind->source, "bind", "folder of --bind"),
				      bind->read_only);

		strings_addf(&kernel->args, "hostfs_bind=b%zu:%s=/proc/self/fd/%d", i,
			     bind->read_only ? "ro" : "rw", fd);
	}
}

void open_network(const struct options *options, struct kernel *kernel)
{
	struct network network = { .host_loopback = options->host_loopback };

	if (!options->network)
		return;
	for (size_t i = 0; i < options->forwards.count; i++) {
		unsigned int host, guest;

		if (sscanf(options->forwards.item[i], "%u:%u", &host, &guest) != 2 || host > 65535 ||
		    guest > 65535)
			die("usage", NULL, "-p takes HOST:GUEST port numbers, not \"%s\"",
			    options->forwards.item[i]);
		network.forwards = realloc(network.forwards,
					   (i + 1) * sizeof(*network.forwards));
		if (!network.forwards)
			die("launch", NULL, "out of memory");
		network.forwards[network.forward_count++] = (struct forward){ host, guest };
	}
	strings_addf(&kernel->args, "vec0:transport=fd,fd=%d,depth=128,mtu=%d",
		     kernel_inherits(kernel, network_start(&network)), GUEST_MTU);
	if (options->legacy_slirp)
		strings_addf(&kernel->args, "eth0=slirp,,%s", options->legacy_slirp);
}
