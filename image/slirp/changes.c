/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Changes to the image (--changes): each file becomes a read-only disk of the guest.
 * A layer is mounted there, a tar file is unpacked before the job.
 *
 * A layer is a squashfs, padded to a multiple of 4096 bytes, and then one block:
 *
 *   APPPOT-LAYER 1\nbase=ID\nchanges=SHA256\nsize=BYTES\nsha256=HEX\ncrc32c=HEX\n\n
 *
 * size, sha256 and crc32c are of the bytes before the block, changes is the digest of
 * the changes file that the layer was made of.
 */
#include "launch.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define SQUASHFS_MAGIC 0x73717368
#define DIGEST_CHARACTERS 64
#define FIRST_DEVICE 3		/* behind the image, the job disk and the scratch disk */

/* Where squashfs keeps how long it is, and which version of its format it has. */
struct squashfs_head {
	uint32_t magic;
	uint8_t other[24];
	uint16_t major;
	uint16_t minor;
	uint64_t root_inode;
	uint64_t bytes_used;
} __attribute__((packed));

static void __attribute__((noreturn)) damaged(const struct change *change, const char *why)
{
	die("changes-damaged", "Copy or make the file again; \"apppot snap verify\" looks into it.",
	    "the changes file %s %s", change->path, why);
}

/* The value of a line "NAME=..." of the block, or NULL. */
static char *value_in(const char *text, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = text; *at && *at != '\n'; at = strchr(at, '\n') + 1) {
		const char *end = strchr(at, '\n');

		if (!end)
			return NULL;
		if (strncmp(at, name, length) == 0 && at[length] == '=')
			return strndup(at + length + 1, end - at - length - 1);
	}
	return NULL;
}

static bool is_digest(const char *text)
{
	return text && strlen(text) == DIGEST_CHARACTERS &&
	       strspn(text, "0123456789abcdef") == DIGEST_CHARACTERS;
}

static void read_layer(struct change *change, uint64_t file_bytes)
{
	struct squashfs_head head;
	char text[BLOCK + 1] = { 0 };
	char *number, *crc, *end = NULL;

	if (file_bytes < 2 * BLOCK || file_bytes % BLOCK != 0)
		damaged(change, "is truncated");
	if (pread(change->fd, &head, sizeof(head), 0) != sizeof(head) ||
	    pread(change->fd, text, BLOCK, file_bytes - BLOCK) != BLOCK)
		damaged(change, "cannot be read");
	if (strncmp(text, "APPPOT-LAYER 1\n", 15) != 0)
		damaged(change, "is truncated, or a squashfs that is no layer of AppPot");
	change->base = value_in(text, "base");
	change->id = value_in(text, "changes");
	number = value_in(text, "size");
	crc = value_in(text, "crc32c");
	change->bytes = number ? strtoull(number, &end, 10) : 0;
	if (!is_digest(change->base) || !is_digest(change->id) || !number || *end ||
	    change->bytes != file_bytes - BLOCK)
		damaged(change, "is damaged: its last block makes no sense");
	if (le16toh(head.major) != 4 || le64toh(head.bytes_used) > change->bytes)
		damaged(change, "is damaged: its file system does not fit its size");
	if (crc) {
		change->crc32c = strtoul(crc, &end, 16);
		if (strlen(crc) != 8 || *end)
			damaged(change, "is damaged: its last block makes no sense");
		change->checked = true;
	}
	free(number);
	free(crc);
}

/* Tells a layer from a tar file, plain or compressed by gzip or zstd. */
static bool is_layer(struct change *change, uint64_t file_bytes)
{
	uint8_t head[512] = { 0 };
	uint32_t magic;

	if (file_bytes < sizeof(magic) || pread(change->fd, head, sizeof(head), 0) < (ssize_t)sizeof(magic))
		damaged(change, file_bytes ? "is no changes file" : "is empty");
	memcpy(&magic, head, sizeof(magic));
	if (le32toh(magic) == SQUASHFS_MAGIC)
		return true;
	if (!(head[0] == 0x1f && head[1] == 0x8b) && le32toh(magic) != 0xfd2fb528 &&
	    memcmp(head + 257, "ustar", 5) != 0)
		damaged(change, "is no changes file: neither a layer nor a tar file");
	return false;
}

static void open_change(struct options *options, struct change *change)
{
	struct stat status;

	change->fd = open(change->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (change->fd < 0 || fstat(change->fd, &status) < 0)
		die("changes-missing", "Changes are made by \"apppot snap changes\".",
		    "cannot open the changes file %s: %s", change->path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		damaged(change, "is not a file");
	change->bytes = status.st_size;
	change->layer = is_layer(change, status.st_size);
	if (!change->layer) {
		options->unpacks = true;
		return;
	}
	read_layer(change, status.st_size);
	if (options->legacy_kernel)
		die("changes-kernel",
		    "Give the changes file itself, which is unpacked, or use AppPot's kernel (\"apppot runtime build\").",
		    "the kernel %s cannot mount layers such as %s", options->kernel, change->path);
	if (options->unpacks)
		die("usage", "Give layers first, or make a layer of each: \"apppot snap layer\".",
		    "the layer %s would come below the tar file before it", change->path);
	options->layered = true;
}

void changes_open(struct options *options)
{
	if (options->changes.count > MAX_CHANGES)
		die("usage", "Merge some of them: \"apppot snap merge\".",
		    "at most %d changes files go with one launch", MAX_CHANGES);
	if (options->changes.count && options->disk_mode == DISK_WRITE)
		die("usage", "To put changes into an image for good: \"apppot snap merge\".",
		    "--changes leaves the image as it is, and --write writes it: give one of them");
	options->change = xcalloc(options->changes.count + 1, sizeof(*options->change));
	for (size_t i = 0; i < options->changes.count; i++) {
		options->change[i].path = options->changes.item[i];
		options->change[i].device = FIRST_DEVICE + i;
		open_change(options, &options->change[i]);
	}
	if (options->layered)
		options->upper_device = FIRST_DEVICE + options->changes.count;
}

void changes_words(const struct options *options, struct kernel *kernel)
{
	for (size_t i = 0; i < options->changes.count; i++)
		strings_addf(&kernel->args, "ubd%dr=/proc/self/fd/%d", options->change[i].device,
			     kernel_opens(kernel, options->change[i].fd, true));
	if (options->layered)
		strings_add(&kernel->args, upper_argument(options, kernel));
}
