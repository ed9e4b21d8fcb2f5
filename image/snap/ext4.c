/* Inodes, folders and small files of a mounted ext4, read from its disk: one read for hundreds of paths, where lstat(2) is a call for
 * each, and calls are what a guest is slow at. The kernel keeps both in the disk's page cache, which a read of the device
 * shows, also what is not yet written. Whatever is not exactly as expected is left to the caller, who asks the kernel.
 * Source: https://docs.kernel.org/filesystems/ext4/ */
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "snap.h"

#define CHUNK (64 << 10)
#define CHUNKS 256
#define DEEPEST 5
#define LONGEST_NAME 255

enum { FILETYPE = 0x2, KNOWN_FEATURES = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 };
enum { HAS_64BIT = 0x80 };
enum { EXTENTS = 0x80000, JOURNALED_DATA = 0x4000 };
enum { STRANGE_FLAGS = 0x800 | 0x10000000 | 0x40000000 /* encrypted, inline, case-folded */ };
enum { DEFAULT_MODE = 0x60, DEFAULT_JOURNALED_DATA = 0x20, XATTR_MAGIC = 0xea020000 };

/* What was read of the disk through a descriptor. */
struct cache {
	int fd;
	struct chunk {
		uint64_t number;
		bool valid;
		uint8_t *data;
	} chunks[CHUNKS];
};

static struct {
	struct cache meta, content; /* through the page cache; around it, where the content of files never is */
	uint64_t device;
	uint32_t block, inode_size, inodes_per_group, inodes, descriptor_size;
	uint64_t descriptors;
	time_t synced;
	bool journaled;
} disk = {.meta.fd = -1, .content.fd = -1};

/* Bytes of the disk, which lie in one chunk; NULL when they cannot be read. */
static const uint8_t *cached(struct cache *cache, uint64_t offset, uint32_t length)
{
	uint64_t number = offset / CHUNK;
	struct chunk *chunk = &cache->chunks[number % CHUNKS];
	if (offset % CHUNK + length > CHUNK)
		return NULL;
	if (!chunk->valid || chunk->number != number) {
		/* O_DIRECT wants whole pages. */
		if (chunk->data == NULL && posix_memalign((void **)&chunk->data, 4096, CHUNK) != 0)
			return NULL;
		chunk->valid = false;
		ssize_t got = pread(cache->fd, chunk->data, CHUNK, (off_t)(number * CHUNK));
		if (got < (ssize_t)(offset % CHUNK + length))
			return NULL;
		memset(chunk->data + got, 0, (size_t)(CHUNK - got));
		chunk->number = number;
		chunk->valid = true;
	}
	return chunk->data + offset % CHUNK;
}

static const uint8_t *at(uint64_t offset, uint32_t length)
{
	return cached(&disk.meta, offset, length);
}

static uint32_t u16(const uint8_t *bytes)
{
	return bytes[0] | (uint32_t)bytes[1] << 8;
}

static uint32_t u32(const uint8_t *bytes)
{
	return u16(bytes) | u16(bytes + 2) << 16;
}

static int open_device(uint64_t device, int flags)
{
	DIR *list = opendir("/dev");
	int result = -1;
	struct stat stat;
	for (struct dirent *entry; list != NULL && result < 0 && (entry = readdir(list)) != NULL;) {
		if (entry->d_type != DT_BLK || fstatat(dirfd(list), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0 ||
			!S_ISBLK(stat.st_mode) || stat.st_rdev != device)
			continue;
		result = openat(dirfd(list), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | flags);
	}
	if (list != NULL)
		closedir(list);
	return result;
}

static bool read_superblock(void)
{
	uint8_t super[1024];
	if (pread(disk.meta.fd, super, sizeof super, 1024) != sizeof super || u16(super + 0x38) != 0xef53)
		return false;
	uint32_t features = u32(super + 0x60), shift = u32(super + 0x18);
	disk.inodes = u32(super);
	disk.inode_size = u32(super + 0x4c) == 0 ? 128 : u16(super + 0x58);
	disk.inodes_per_group = u32(super + 0x28);
	disk.descriptor_size = features & HAS_64BIT ? u16(super + 0xfe) : 32;
	if ((features & FILETYPE) == 0 || (features & ~(uint32_t)KNOWN_FEATURES) != 0 || shift > 2 ||
		disk.inodes_per_group == 0 || disk.inode_size < 128 || disk.inode_size > 4096 ||
		(disk.inode_size & (disk.inode_size - 1)) != 0 || disk.descriptor_size < 32 || disk.descriptor_size > 1024 ||
		(disk.descriptor_size & (disk.descriptor_size - 1)) != 0)
		return false;
	disk.block = 1024u << shift;
	disk.descriptors = (uint64_t)disk.block * (u32(super + 0x14) + 1);
	disk.journaled = (u32(super + 0x100) & DEFAULT_MODE) == DEFAULT_JOURNALED_DATA;
	return true;
}

bool ext4_open(int root)
{
	struct statfs system;
	struct stat stat;
	/* Only a view without mounts, from open_root(), is what the disk shows. */
	if (!root_is_alone() || fstatfs(root, &system) != 0 || system.f_type != EXT4_SUPER_MAGIC ||
		fstat(root, &stat) != 0 || stat.st_ino != 2)
		return false;
	disk.meta.fd = open_device(stat.st_dev, 0);
	if (disk.meta.fd < 0)
		return false;
	disk.device = stat.st_dev;
	disk.synced = time(NULL);
	/* Times that a mount with lazytime holds back go to the inodes. */
	struct meta meta, known;
	meta_from(&known, &stat);
	if (syncfs(root) == 0 && read_superblock() && ext4_look(2, &meta) && meta.ctime == known.ctime &&
		meta.ctime_ns == known.ctime_ns && meta.mode == known.mode && meta.links == known.links) {
		if (options.still && !disk.journaled)
			disk.content.fd = open_device(stat.st_dev, O_DIRECT);
		return true;
	}
	ext4_close();
	return false;
}

static void drop(struct cache *cache)
{
	if (cache->fd >= 0)
		close(cache->fd);
	for (size_t i = 0; i < CHUNKS; i++)
		free(cache->chunks[i].data);
	*cache = (struct cache){.fd = -1};
}

void ext4_close(void)
{
	drop(&disk.meta);
	drop(&disk.content);
}

static const uint8_t *inode_at(uint64_t inode)
{
	if (inode == 0 || inode > disk.inodes)
		return NULL;
	uint64_t group = (inode - 1) / disk.inodes_per_group, index = (inode - 1) % disk.inodes_per_group;
	const uint8_t *descriptor = at(disk.descriptors + group * disk.descriptor_size, disk.descriptor_size);
	if (descriptor == NULL)
		return NULL;
	uint64_t table = u32(descriptor + 0x8);
	if (disk.descriptor_size >= 64)
		table |= (uint64_t)u32(descriptor + 0x28) << 32;
	return at(table * disk.block + index * disk.inode_size, disk.inode_size);
}

/* Seconds have 34 bits, the first 32 of them signed; nanoseconds are beside the other two. */
static void decode_time(const uint8_t *inode, uint32_t base, uint32_t extra, int64_t *seconds, uint32_t *nanoseconds)
{
	*seconds = (int32_t)u32(inode + base);
	*nanoseconds = 0;
	if (disk.inode_size <= 128 || extra + 4 > 128 + u16(inode + 0x80))
		return;
	*seconds += (int64_t)(u32(inode + extra) & 3) << 32;
	*nanoseconds = u32(inode + extra) >> 2;
}

/* In a block of their own, or behind the inode's fields. */
static bool has_xattrs(const uint8_t *inode)
{
	if (u32(inode + 0x68) != 0 || u16(inode + 0x76) != 0)
		return true;
	uint32_t end = disk.inode_size <= 128 ? 128 : 128 + u16(inode + 0x80);
	return end + 4 <= disk.inode_size && u32(inode + end) == XATTR_MAGIC;
}

bool ext4_look(uint64_t inode, struct meta *meta)
{
	const uint8_t *data = inode_at(inode);
	/* Not in use any more: deleted while we were looking. */
	if (data == NULL || u16(data + 0x1a) == 0 || u16(data) == 0)
		return false;
	*meta = (struct meta){
		.inode = inode, .device = disk.device, .mode = u16(data), .links = u16(data + 0x1a),
		.uid = u16(data + 0x2) | u16(data + 0x78) << 16, .gid = u16(data + 0x18) | u16(data + 0x7a) << 16,
		.size = (int64_t)(u32(data + 0x4) | (uint64_t)u32(data + 0x6c) << 32),
	};
	decode_time(data, 0xc, 0x84, &meta->ctime, &meta->ctime_ns);
	decode_time(data, 0x10, 0x88, &meta->mtime, &meta->mtime_ns);
	/* The size of a file that is being written comes to the disk later: the kernel knows it. */
	meta->plain = (S_ISREG(meta->mode) || S_ISDIR(meta->mode)) && !has_xattrs(data) &&
		(u32(data + 0x20) & STRANGE_FLAGS) == 0 && meta->ctime < disk.synced - 1;
	return meta->size >= 0;
}

/* The blocks of a small file are named in its inode; every one of them has to be there. */
bool ext4_content(const struct meta *meta, const uint8_t **data)
{
	static uint8_t *content;
	const uint8_t *inode = disk.content.fd < 0 || !meta->plain || meta->size > CHUNK ? NULL : inode_at(meta->inode);
	if (inode == NULL || u16(inode) != meta->mode || (u32(inode + 0x20) & (EXTENTS | JOURNALED_DATA)) != EXTENTS)
		return false;
	uint8_t node[60];
	memcpy(node, inode + 0x28, sizeof node);
	uint32_t count = u16(node + 2), blocks = (uint32_t)((meta->size + disk.block - 1) / disk.block), next = 0;
	if (u16(node) != 0xf30a || count > 4 || u16(node + 6) != 0)
		return false;
	if (content == NULL)
		content = allocate(CHUNK);
	for (uint32_t i = 0; i < count && next < blocks; i++) {
		const uint8_t *entry = node + 12 + 12 * i;
		uint64_t start = u32(entry + 8) | (uint64_t)u16(entry + 6) << 32;
		/* More than 32768 blocks: room that was not written to. */
		uint32_t length = u16(entry + 4);
		if (u32(entry) != next || length == 0 || length > 32768)
			return false;
		for (uint32_t j = 0; j < length && next < blocks; j++, next++) {
			const uint8_t *block = cached(&disk.content, (start + j) * disk.block, disk.block);
			if (block == NULL)
				return false;
			memcpy(content + (size_t)next * disk.block, block, disk.block);
		}
	}
	*data = content;
	return next == blocks;
}

/* The names in one block; false when it is no block of a folder. What a hashed folder has beside names hides in entries
 * without an inode, or behind the last name. */
static bool list_block(const uint8_t *block, void (*found)(void *context, const char *name, uint64_t inode), void *context)
{
	char name[LONGEST_NAME + 1];
	for (uint32_t i = 0; i < disk.block;) {
		uint32_t inode = u32(block + i), step = u16(block + i + 4), length = block[i + 6];
		if (step < 8 || step % 4 != 0 || step > disk.block - i || 8 + length > step)
			return false;
		memcpy(name, block + i + 8, length);
		name[length] = '\0';
		if (inode != 0 && strlen(name) != length)
			return false;
		if (inode != 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			found(context, name, inode);
		i += step;
	}
	return true;
}

/* The blocks below a node of an extent tree. Chunks may be replaced while one is being read: nodes are copied. */
static bool list_extents(const uint8_t *node, size_t size, int deepest, uint64_t blocks,
	void (*found)(void *context, const char *name, uint64_t inode), void *context)
{
	uint32_t count = u16(node + 2), depth = u16(node + 6);
	if (u16(node) != 0xf30a || 12 + 12 * (size_t)count > size || (int)depth > deepest)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *entry = node + 12 + 12 * i;
		if (depth > 0) {
			const uint8_t *child = at((u32(entry + 4) | (uint64_t)u16(entry + 8) << 32) * disk.block, disk.block);
			uint8_t *copy = child == NULL ? NULL : memcpy(allocate(disk.block), child, disk.block);
			bool good = copy != NULL && u16(copy + 6) == depth - 1 &&
				list_extents(copy, disk.block, (int)depth - 1, blocks, found, context);
			free(copy);
			if (!good)
				return false;
			continue;
		}
		uint32_t length = u16(entry + 4);
		uint64_t start = u32(entry + 8) | (uint64_t)u16(entry + 6) << 32;
		if (length == 0 || length > 32768)
			return false;
		for (uint32_t j = 0; j < length && u32(entry) + (uint64_t)j < blocks; j++) {
			const uint8_t *block = at((start + j) * disk.block, disk.block);
			if (block == NULL || !list_block(block, found, context))
				return false;
		}
	}
	return true;
}

bool ext4_list(uint64_t folder, void (*found)(void *context, const char *name, uint64_t inode), void *context)
{
	const uint8_t *data = inode_at(folder);
	if (data == NULL || !S_ISDIR(u16(data)) || (u32(data + 0x20) & EXTENTS) == 0 || (u32(data + 0x20) & STRANGE_FLAGS) != 0)
		return false;
	uint8_t node[60];
	memcpy(node, data + 0x28, sizeof node);
	uint64_t size = u32(data + 0x4) | (uint64_t)u32(data + 0x6c) << 32;
	return size % disk.block == 0 && list_extents(node, sizeof node, DEEPEST, size / disk.block, found, context);
}
