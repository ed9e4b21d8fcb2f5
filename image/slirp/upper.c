/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a guest with layers writes goes to a disk of its own, the upper half of an
 * overlay. The guest formats it, and only the blocks in use take room here.
 *
 * Behind the file system a last block says what it belongs to, since overlayfs does
 * not forgive other layers below:
 *
 *   bytes 0-15    "APPPOT-UPPER 1\n"
 *   1024 bytes    the superblock of the image (see disk.c)
 *   then          the digests of the changes, lowest first, a line each
 */
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define SMALLEST (512ULL << 20)
#define MAGIC "APPPOT-UPPER 1\n"

struct mark {
	char magic[16];
	uint8_t superblock[SUPERBLOCK_BYTES];
	char layers[BLOCK - 16 - SUPERBLOCK_BYTES];
};

_Static_assert(sizeof(struct mark) == BLOCK, "the mark fills its block");
_Static_assert(MAX_CHANGES * 65 < sizeof(((struct mark *)0)->layers), "every digest has room");

/* Of the image at `image`; returns the size of the image. */
static uint64_t expected_mark(const struct options *options, struct mark *mark)
{
	int image = open(options->image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;

	memset(mark, 0, sizeof(*mark));
	strcpy(mark->magic, MAGIC);
	if (image < 0 || fstat(image, &status) < 0)
		die("image-unreadable", NULL, "cannot open the image %s: %s", options->image,
		    strerror(errno));
	read_superblock(image, mark->superblock);
	close(image);
	for (size_t i = 0; i < options->changes.count; i++) {
		if (!options->change[i].layer)
			continue;
		strcat(mark->layers, options->change[i].id);
		strcat(mark->layers, "\n");
	}
	return status.st_size;
}

static void make(int fd, const struct mark *mark, uint64_t image_bytes)
{
	uint64_t bytes = image_bytes > SMALLEST ? image_bytes / BLOCK * BLOCK : SMALLEST;

	if (ftruncate(fd, bytes + BLOCK) < 0 || pwrite(fd, mark, BLOCK, bytes) != BLOCK)
		die("no-space", "Is the disk full, or a quota reached?",
		    "cannot make a disk for what the guest writes: %s", strerror(errno));
}

static void match(const char *path, int fd, off_t bytes, const struct mark *mark)
{
	struct mark found;

	if (bytes < BLOCK || pread(fd, &found, BLOCK, bytes - BLOCK) != BLOCK ||
	    memcmp(found.magic, MAGIC, sizeof(found.magic)) != 0)
		die("cow-mismatch", "Name a new file, and it is made.",
		    "%s was not made by a launch with --changes as layers", path);
	if (memcmp(found.superblock, mark->superblock, SUPERBLOCK_BYTES) != 0)
		die("cow-mismatch", "Use the image that the file was made with, or name another file.",
		    "what %s holds belongs to another image, or to an earlier state of it", path);
	if (memcmp(found.layers, mark->layers, sizeof(found.layers)) != 0)
		die("cow-mismatch", "Give the same --changes in the same order, or name another file.",
		    "what %s holds was written on top of other changes", path);
}

bool is_upper(int fd)
{
	char magic[16];
	struct stat status;

	return fstat(fd, &status) == 0 && status.st_size >= BLOCK &&
	       pread(fd, magic, sizeof(magic), status.st_size - BLOCK) == sizeof(magic) &&
	       memcmp(magic, MAGIC, sizeof(magic)) == 0;
}

char *upper_argument(const struct options *options, struct kernel *kernel)
{
	struct stat status;
	struct mark mark;
	uint64_t image_bytes = expected_mark(options, &mark);
	int fd;

	if (options->disk_mode != DISK_COW) {
		fd = nameless_file(options->run_folder, "upper");
		make(fd, &mark, image_bytes);
	} else {
		fd = open(options->cow, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || fstat(fd, &status) < 0)
			die("cow-unwritable", NULL, "cannot open %s for what the guest writes: %s",
			    options->cow, strerror(errno));
		refuse_if_in_use(fd, options->cow);
		if (status.st_size == 0)
			make(fd, &mark, image_bytes);
		else
			match(options->cow, fd, status.st_size, &mark);
	}
	return xasprintf("ubd%d=/proc/self/fd/%d", options->upper_device, kernel_opens(kernel, fd, false));
}
