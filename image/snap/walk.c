/* One pass over a tree in the order of the paths' bytes, with memory for one chain of folders only. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "snap.h"

struct node {
	char *name;
	struct meta meta;
	bool gone;
};
/* A folder stands twice in the list of its parent: its entry, and its content, whose paths begin with "name/". */
struct item {
	struct node *node;
	bool content;
};
struct walker {
	int root;
	void (*visit)(void *context, const struct place *place);
	void *context;
	char path[LONGEST_PATH + 2];
};

static uint64_t ignored_device, ignored_inode;
static bool all;

void walk_all(bool on)
{
	all = on;
}

static bool is_left_out(const char *path)
{
	if (!all)
		return is_excluded(path);
	return strncmp(path, "dev/", 4) == 0 || strcmp(path, "lost+found") == 0 || strcmp(path, STAGE) == 0 ||
		strncmp(path, STAGE "/", sizeof STAGE) == 0;
}

void walk_ignores(uint64_t device, uint64_t inode)
{
	ignored_device = device;
	ignored_inode = inode;
}

char type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return 'f';
	case S_IFDIR: return 'd';
	case S_IFLNK: return 'l';
	case S_IFBLK: return 'b';
	case S_IFCHR: return 'c';
	case S_IFIFO: return 'p';
	default: return 's';
	}
}

void meta_from(struct meta *meta, const struct stat *stat)
{
	*meta = (struct meta){
		.inode = stat->st_ino, .device = stat->st_dev, .size = stat->st_size,
		.mtime = stat->st_mtim.tv_sec, .mtime_ns = (uint32_t)stat->st_mtim.tv_nsec,
		.ctime = stat->st_ctim.tv_sec, .ctime_ns = (uint32_t)stat->st_ctim.tv_nsec,
		.mode = stat->st_mode, .uid = stat->st_uid, .gid = stat->st_gid, .links = (uint32_t)stat->st_nlink,
		.major = major(stat->st_rdev), .minor = minor(stat->st_rdev),
	};
}

static int by_inode(const void *a, const void *b)
{
	uint64_t x = ((const struct node *)a)->meta.inode, y = ((const struct node *)b)->meta.inode;
	return x < y ? -1 : x > y;
}

static int by_path(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	const unsigned char *s = (const unsigned char *)x->node->name, *t = (const unsigned char *)y->node->name;
	while (*s != '\0' && *s == *t)
		s++, t++;
	int c = *s != '\0' ? *s : x->content ? '/' : 0, d = *t != '\0' ? *t : y->content ? '/' : 0;
	return c - d;
}

/* What a folder holds, while it is being read. */
struct listing {
	struct walker *walker;
	size_t length;
	struct node *nodes;
	size_t count, capacity;
};

static void add_name(void *context, const char *name, uint64_t inode)
{
	struct listing *listing = context;
	struct walker *walker = listing->walker;
	size_t size = strlen(name);
	if (listing->length + size > LONGEST_PATH) {
		walker->path[60] = '\0';
		die(FAILED, "move or delete it", "a path is longer than %d characters: /%s...", LONGEST_PATH, walker->path);
	}
	memcpy(walker->path + listing->length, name, size + 1);
	if (is_left_out(walker->path))
		return;
	listing->nodes = grow(listing->nodes, listing->count, &listing->capacity, sizeof *listing->nodes);
	struct node *node = &listing->nodes[listing->count++];
	*node = (struct node){.name = strdup(name), .meta.inode = inode};
	if (node->name == NULL)
		die(FAILED, NULL, "out of memory");
}

static void drop_names(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->nodes[i].name);
	free(listing->nodes);
	listing->nodes = NULL;
	listing->count = listing->capacity = 0;
}

static void read_folder(struct listing *listing, int fd)
{
	int copy = dup(fd);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (list == NULL)
		die_errno("cannot read the folder /%.*s", (int)listing->length, listing->walker->path);
	rewinddir(list);
	errno = 0;
	for (struct dirent *entry; (entry = readdir(list)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			add_name(listing, entry->d_name, entry->d_ino);
	if (errno != 0)
		die_errno("cannot read the folder /%.*s", (int)listing->length, listing->walker->path);
	closedir(list);
}

/* The time of the folder with AppPot's own records tells of them alone: it is no part of a state, or a merge that is
 * killed while it makes or removes its journal could not leave the state that it found. */
static void hide_records(const char *path, struct meta *meta)
{
	if (strcmp(path, STORE) == 0)
		meta->mtime = meta->mtime_ns = 0;
}

/* Asks kernel (descriptor of the folder) or disk (-1); false when there is no such thing any more. */
static bool look_up(struct walker *walker, int fd, struct node *node, size_t length)
{
	struct stat stat;
	memcpy(walker->path + length, node->name, strlen(node->name) + 1);
	if (fd < 0 && !ext4_look(node->meta.inode, &node->meta))
		return false;
	if (fd >= 0) {
		if (fstatat(fd, node->name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
			if (errno == ENOENT)
				return false;
			die_errno("cannot look at /%s", walker->path);
		}
		meta_from(&node->meta, &stat);
	}
	hide_records(walker->path, &node->meta);
	return ignored_inode == 0 || node->meta.inode != ignored_inode || node->meta.device != ignored_device;
}

bool look(int root, struct place *place)
{
	struct stat stat;
	if (strcmp(place->path, ".") == 0)
		place->folder = root;
	else
		place->folder = parent_of(root, place->path, &place->name);
	if (place->folder < 0 || fstatat(place->folder, place->name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return false;
		die_errno("cannot look at /%s", place->path);
	}
	meta_from(&place->meta, &stat);
	hide_records(place->path, &place->meta);
	return true;
}

/* A folder by its descriptor, or from the disk when that is -1; path and length end with its slash. */
static void walk_folder(struct walker *walker, int fd, size_t length, const struct meta *folder)
{
	struct listing listing = {.walker = walker, .length = length};
	bool opened = false;
	if (fd < 0 && !ext4_list(folder->inode, add_name, &listing)) {
		/* The kernel knows better, for all that is below it. */
		drop_names(&listing);
		walker->path[length > 0 ? length - 1 : 0] = '\0';
		fd = length > 0 ? open_beneath(walker->root, walker->path, O_RDONLY | O_DIRECTORY) : dup(walker->root);
		if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
			return;
		if (fd < 0)
			die_errno("cannot read the folder /%s", walker->path);
		if (length > 0)
			walker->path[length - 1] = '/';
		opened = true;
	}
	if (fd >= 0)
		read_folder(&listing, fd);
	size_t count = listing.count, items_count = 0;
	struct node *nodes = listing.nodes;
	/* In the order of the disk's inode table: fewer jumps when nothing is cached. */
	if (count > 1)
		qsort(nodes, count, sizeof *nodes, by_inode);
	struct node top = {.name = ".", .meta = *folder};
	struct item *items = allocate((2 * count + 1) * sizeof *items);
	for (size_t i = 0; i < count; i++) {
		if (!look_up(walker, fd, &nodes[i], length))
			continue;
		items[items_count++] = (struct item){&nodes[i], false};
		if (S_ISDIR(nodes[i].meta.mode))
			items[items_count++] = (struct item){&nodes[i], true};
	}
	if (length == 0)
		items[items_count++] = (struct item){&top, false};
	if (items_count > 1)
		qsort(items, items_count, sizeof *items, by_path);

	for (size_t i = 0; i < items_count; i++) {
		const struct node *node = items[i].node;
		size_t size = strlen(node->name);
		/* On an overlay the device of a file is that of its layer; only folders tell mounts. */
		bool is_mount = S_ISDIR(node->meta.mode) && node->meta.device != folder->device;
		memcpy(walker->path + length, node->name, size + 1);
		if (!items[i].content) {
			struct place place = {walker->path, fd, node->name, node->meta, is_mount};
			walker->visit(walker->context, &place);
			continue;
		}
		if (is_mount)
			continue;
		int child = fd < 0 ? -1 : openat(fd, node->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child < 0 && fd >= 0 && errno == ENOENT)
			continue;
		if (child < 0 && fd >= 0)
			die_errno("cannot read the folder /%s", walker->path);
		memcpy(walker->path + length + size, "/", 2);
		walk_folder(walker, child, length + size + 1, &node->meta);
		if (child >= 0)
			close(child);
	}
	if (opened)
		close(fd);
	drop_names(&listing);
	free(items);
}

static void start_walk(int root, bool disk, void (*visit)(void *context, const struct place *place), void *context)
{
	struct rlimit limit;
	/* One descriptor for each level of folders. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < 8192 ? limit.rlim_max : 8192;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	struct walker *walker = allocate(sizeof *walker);
	walker->root = root;
	walker->visit = visit;
	walker->context = context;
	struct stat stat;
	struct meta meta;
	if (fstat(root, &stat) != 0)
		die_errno("cannot look at %s", options.root);
	meta_from(&meta, &stat);
	walk_folder(walker, disk ? -1 : root, 0, &meta);
	free(walker);
}

void walk(int root, void (*visit)(void *context, const struct place *place), void *context)
{
	start_walk(root, false, visit, context);
}

void walk_disk(int root, void (*visit)(void *context, const struct place *place), void *context)
{
	/* It stays open, for content; what an earlier walk has read is old. */
	ext4_close();
	start_walk(root, !options.suspect_all && ext4_open(root), visit, context);
}
