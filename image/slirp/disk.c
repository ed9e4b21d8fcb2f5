/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guest's disk. The kernel gets names of the form /proc/self/fd/N only:
 * blanks and commas in a path would end its ubd0= parameter early.
 */
#include "launch.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXT_MAGIC_OFFSET 0x438
#define COW_MAGIC 0x4f4f4f4d
#define COW_ALIGNMENT 4096

/* Version 3 header of a User-Mode Linux copy-on-write file, big-endian. */
struct cow_header {
	uint32_t magic;
	uint32_t version;
	uint32_t mtime;
	uint64_t size;
	uint32_t sector_size;
	uint32_t alignment;
	uint32_t format;
	char backing_file[4096];
} __attribute__((packed));

/*
 * Behind the header, in the padding before the bitmap: the superblock of the image
 * that the file belongs to. Copying or touching an image leaves its superblock as it
 * is; mounting it for writing, or another image, does not.
 */
#define MARK "APPPOTID"
#define SUPERBLOCK_OFFSET 1024

struct cow_mark {
	char magic[8];
	uint8_t superblock[SUPERBLOCK_BYTES];
};

void read_superblock(int image, uint8_t superblock[SUPERBLOCK_BYTES])
{
	if (pread(image, superblock, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET) != SUPERBLOCK_BYTES)
		die("image-unreadable", NULL, "cannot read the image: %s", strerror(errno));
}

static void read_mark(int image, struct cow_mark *mark)
{
	memcpy(mark->magic, MARK, sizeof(mark->magic));
	read_superblock(image, mark->superblock);
}

static int open_image(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
	uint8_t magic[2] = { 0 };
	struct stat status;

	if (fd < 0 && errno == ENOENT)
		die("image-missing", "Make one with \"apppot build-image\", or name one with --image.",
		    "there is no image %s", path);
	if (fd < 0)
		die("image-unreadable", flags == O_RDWR ?
		    "Without --write a read-only image is enough." : NULL,
		    "cannot open the image %s: %s", path, strerror(errno));
	if (fstat(fd, &status) < 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)))
		die("image-invalid", "An image is a raw disk image file.", "%s is not a file", path);
	if (pread(fd, magic, 2, EXT_MAGIC_OFFSET) != 2 || magic[0] != 0x53 || magic[1] != 0xef)
		die("image-invalid",
		    "An image is a raw ext4 file system, as \"apppot build-image\" makes it.",
		    "%s is not an AppPot image", path);
	return fd;
}

static void write_cow_header(int cow, int image, const char *name)
{
	struct cow_header *header = xcalloc(1, sizeof(*header));
	struct cow_mark mark;
	struct stat status;

	read_mark(image, &mark);
	fstat(image, &status);
	header->magic = htobe32(COW_MAGIC);
	header->version = htobe32(3);
	header->mtime = htobe32((uint32_t)status.st_mtime);
	header->size = htobe64(status.st_size);
	header->sector_size = htobe32(512);
	header->alignment = htobe32(COW_ALIGNMENT);
	strcpy(header->backing_file, name);
	if (pwrite(cow, header, sizeof(*header), 0) != sizeof(*header) ||
	    pwrite(cow, &mark, sizeof(mark), sizeof(*header)) != sizeof(mark) ||
	    /* The bitmap of what was written: all zero, and sparse. */
	    ftruncate(cow, 2 * COW_ALIGNMENT + (status.st_size / 512 + 7) / 8) < 0)
		die("no-space", "Is the disk full, or a quota reached?",
		    "cannot write the copy-on-write file: %s", strerror(errno));
	free(header);
}

int nameless_file(const char *folder, const char *name)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *path;

	if (fd >= 0)
		return fd;
	/* File systems without O_TMPFILE (NFS): a name for a moment. */
	path = xasprintf("%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		die("run-folder", NULL, "cannot make a disk file in %s: %s", folder,
		    strerror(errno));
	unlink(path);
	free(path);
	return fd;
}

void refuse_if_in_use(int fd, const char *path)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
		die("in-use", "End that guest first (\"apppot ps\", \"apppot stop\"), or use another file.",
		    "another guest (process %d) writes to %s", (int)lock.l_pid, path);
}

/*
 * A kept file goes with the image that it was made for, wherever that has been
 * copied: then path and time in its header are mended. With another image, or one
 * that was written to since, it would be a broken file system.
 */
static void match_cow(const struct options *options, int cow, int image, struct cow_header *header,
		      const char *backing)
{
	struct cow_mark mark, found;
	struct stat status;

	fstat(image, &status);
	read_mark(image, &mark);
	if (pread(cow, &found, sizeof(found), sizeof(*header)) == sizeof(found) &&
	    memcmp(found.magic, MARK, sizeof(found.magic)) == 0) {
		if (memcmp(found.superblock, mark.superblock, SUPERBLOCK_BYTES) != 0)
			die("cow-mismatch", "Use the image that the file was made with, or name another file.",
			    "the changes in %s belong to another image than %s, or to an earlier state of it",
			    options->cow, options->image);
	} else if (be64toh(header->size) != (uint64_t)status.st_size ||
		   be32toh(header->mtime) != (uint32_t)status.st_mtime) {
		/* Not of our making: size and time are all that it says. */
		die("cow-mismatch", "Use the image that the file was made with.",
		    "the copy-on-write file %s does not belong to %s", options->cow, options->image);
	}
	header->mtime = htobe32((uint32_t)status.st_mtime);
	memset(header->backing_file, 0, sizeof(header->backing_file));
	strcpy(header->backing_file, backing);
	if (pwrite(cow, header, sizeof(*header), 0) != sizeof(*header))
		die("no-space", NULL, "cannot write %s: %s", options->cow, strerror(errno));
}

static int open_cow(const struct options *options, int image, const char *backing)
{
	struct cow_header header;
	ssize_t size;
	int fd;

	/* With layers the image is only read, and the kept file takes the writes above them. */
	if (options->disk_mode == DISK_DISCARD || options->layered) {
		fd = nameless_file(options->run_folder, "cow");
		write_cow_header(fd, image, backing);
		return fd;
	}
	fd = open(options->cow, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die("cow-unwritable", NULL, "cannot open the copy-on-write file %s: %s",
		    options->cow, strerror(errno));
	refuse_if_in_use(fd, options->cow);
	if (is_upper(fd))
		die("cow-mismatch", "Give the same --changes, or name another file.",
		    "what %s holds was written on top of changes", options->cow);
	size = pread(fd, &header, sizeof(header), 0);
	if (size == 0) {
		write_cow_header(fd, image, backing);
		return fd;
	}
	if (size != sizeof(header) || be32toh(header.magic) != COW_MAGIC ||
	    be32toh(header.version) != 3)
		die("cow-invalid", "Name a new file, and it is made.",
		    "%s is not a copy-on-write file", options->cow);
	match_cow(options, fd, image, &header, backing);
	return fd;
}

char *disk_argument(const struct options *options, struct kernel *kernel)
{
	bool write = options->disk_mode == DISK_WRITE;
	int image = open_image(options->image, write ? O_RDWR : O_RDONLY);
	char *backing = xasprintf("/proc/self/fd/%d", kernel_opens(kernel, image, !write));
	int cow;

	if (write) {
		refuse_if_in_use(image, options->image);
		return xasprintf("ubd0=%s", backing);
	}
	cow = open_cow(options, image, backing);
	return xasprintf("ubd0=/proc/self/fd/%d,%s", kernel_opens(kernel, cow, false), backing);
}

char *scratch_argument(const struct options *options, struct kernel *kernel)
{
	int fd = nameless_file(options->run_folder, "scratch");
	char *end;
	unsigned long long size = strtoull(options->scratch, &end, 10);

	size <<= *end == 'T' ? 40 : *end == 'G' ? 30 : *end == 'K' ? 10 : 20;
	if (ftruncate(fd, size) < 0)
		die("no-space", NULL, "cannot make a scratch disk of %s: %s", options->scratch,
		    strerror(errno));
	/* The third disk, also when the guest counts from ubda. */
	return xasprintf("ubd2=/proc/self/fd/%d", kernel_opens(kernel, fd, false));
}
