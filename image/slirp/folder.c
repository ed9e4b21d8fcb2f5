/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The run folder: private, one per launch, gone afterwards unless somebody has to look into it. */
#include "launch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARENT ".apppot"

static const char *folder, *parent;

/* True when `name` can be part of a path: no slash, not hidden, nothing odd. */
static bool good_id(const char *name)
{
	size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return good && !name[good] && name[0] != '.' && name[0] != '-' && strlen(name) <= 64;
}

static bool make_numbered(const char *base)
{
	/* A process id is free here; on a shared file system another node may have had it. */
	for (int i = 0; i < 1000; i++) {
		char *path = i ? xasprintf("%s/%d-%d", base, getpid(), i) :
				 xasprintf("%s/%d", base, getpid());

		if (mkdir(path, 0700) == 0) {
			folder = path;
			return true;
		}
		free(path);
		if (errno != EEXIST)
			return false;
	}
	return false;
}

static void make_below(const char *base, const char *id)
{
	parent = xasprintf("%s/" PARENT, base);
	if (mkdir(parent, 0700) < 0 && errno != EEXIST)
		return;
	if (!id) {
		make_numbered(parent);
		return;
	}
	folder = xasprintf("%s/%s", parent, id);
	if (mkdir(folder, 0700) == 0)
		return;
	if (errno == EEXIST)
		die("id-taken", "Choose another --id; a folder left by a crash is removed by \"apppot clean\".",
		    "a guest called %s runs, or ran, in this folder", id);
	folder = NULL;
}

const char *run_folder_make(const struct options *options)
{
	const char *base = options->run_base ? options->run_base : options->job_folder;
	char *real = base ? realpath(base, NULL) : NULL;
	const char *temporary = getenv("TMPDIR");

	if (options->id && !good_id(options->id))
		die("usage", "Use letters, digits, dots, dashes and underscores.",
		    "--id cannot be \"%s\"", options->id);
	if (real)
		make_below(real, options->id);
	if (!folder) {
		/* A job folder that cannot be written: the run folder goes elsewhere. */
		char *path = xasprintf("%s/apppot-XXXXXX", temporary ? temporary : "/tmp");

		parent = NULL;
		folder = mkdtemp(path);
	}
	if (!folder)
		die("run-folder", "Start in a folder that you may write to.",
		    "cannot make a run folder in %s: %s", base ? base : "/tmp", strerror(errno));
	return folder;
}

/* Only the names that we and the kernel make: never a recursive removal. */
void run_folder_remove(void)
{
	static const char *const names[] = { "console.log", "outcome.json", "door", "guest/pid",
					     "guest/mconsole" };

	if (!folder || chdir("/") < 0)
		return;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlink(xasprintf("%s/%s", folder, names[i]));
	rmdir(xasprintf("%s/guest", folder));
	rmdir(folder);
	if (parent)
		rmdir(parent);
}
