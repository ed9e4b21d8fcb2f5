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

static void read_folder(DIR *list, struct walker *walker, size_t length, struct node **nodes, size_t *count)
{
	size_t capacity = 0;
	errno = 0;
	for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		size_t size = strlen(entry->d_name);
		if (length + size > LONGEST_PATH) {
			walker->path[60] = '\0';
			die(FAILED, "move or delete it", "a path is longer than %d characters: /%s...", LONGEST_PATH,
				walker->path);
		}
		memcpy(walker->path + length, entry->d_name, size + 1);
		if (is_left_out(walker->path))
			continue;
		*nodes = grow(*nodes, *count, &capacity, sizeof **nodes);
		struct node *node = &(*nodes)[(*count)++];
		*node = (struct node){.name = strdup(entry->d_name), .meta.inode = entry->d_ino};
		if (node->name == NULL)
			die(FAILED, NULL, "out of memory");
	}
	if (errno != 0)
		die_errno("cannot read the folder /%.*s", (int)length, walker->path);
}

static bool is_records(const struct walker *walker, size_t length, const char *name)
{
	static const char folder[] = "var/lib/";
	return length == sizeof folder - 1 && memcmp(walker->path, folder, length) == 0 && strcmp(name, "apppot") == 0;
}

static void walk_folder(struct walker *walker, int fd, size_t length, const struct meta *root)
{
	int copy = dup(fd);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (list == NULL)
		die_errno("cannot read the folder /%.*s", (int)length, walker->path);
	rewinddir(list);
	struct node *nodes = NULL;
	size_t count = 0, items_count = 0;
	read_folder(list, walker, length, &nodes, &count);
	closedir(list);
	walker->path[length] = '\0';

	uint64_t device = 0;
	struct stat stat;
	if (fstat(fd, &stat) == 0)
		device = stat.st_dev;
	/* In the order of the disk's inode table: fewer jumps when nothing is cached. */
	if (count > 1)
		qsort(nodes, count, sizeof *nodes, by_inode);
	struct node top = {.name = "."};
	struct item *items = allocate((2 * count + 1) * sizeof *items);
	for (size_t i = 0; i < count; i++) {
		if (fstatat(fd, nodes[i].name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
			if (errno != ENOENT)
				die_errno("cannot look at /%s%s", walker->path, nodes[i].name);
			continue;
		}
		if (stat.st_ino == ignored_inode && stat.st_dev == ignored_device && ignored_inode != 0)
			continue;
		meta_from(&nodes[i].meta, &stat);
		/* The time of the folder with AppPot's own records tells of them alone: it is no part of a state, or a merge
		 * that is killed while it makes or removes its journal could not leave the state that it found. */
		if (is_records(walker, length, nodes[i].name))
			nodes[i].meta.mtime = nodes[i].meta.mtime_ns = 0;
		items[items_count++] = (struct item){&nodes[i], false};
		if (S_ISDIR(stat.st_mode))
			items[items_count++] = (struct item){&nodes[i], true};
	}
	if (root != NULL) {
		top.meta = *root;
		items[items_count++] = (struct item){&top, false};
	}
	if (items_count > 1)
		qsort(items, items_count, sizeof *items, by_path);

	for (size_t i = 0; i < items_count; i++) {
		const struct node *node = items[i].node;
		size_t size = strlen(node->name);
		/* On an overlay the device of a file is that of its layer; only folders tell mounts. */
		bool is_mount = S_ISDIR(node->meta.mode) && node->meta.device != device;
		memcpy(walker->path + length, node->name, size + 1);
		if (!items[i].content) {
			struct place place = {walker->path, fd, node->name, node->meta, is_mount};
			walker->visit(walker->context, &place);
			continue;
		}
		if (is_mount)
			continue;
		int child = openat(fd, node->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child < 0 && errno == ENOENT)
			continue;
		if (child < 0)
			die_errno("cannot read the folder /%s", walker->path);
		memcpy(walker->path + length + size, "/", 2);
		walk_folder(walker, child, length + size + 1, NULL);
		close(child);
	}
	for (size_t i = 0; i < count; i++)
		free(nodes[i].name);
	free(nodes);
	free(items);
}

void walk(int root, void (*visit)(void *context, const struct place *place), void *context)
{
	struct rlimit limit;
	/* One descriptor for each level of folders. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < 8192 ? limit.rlim_max : 8192;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	struct walker *walker = allocate(sizeof *walker);
	walker->visit = visit;
	walker->context = context;
	struct stat stat;
	struct meta meta;
	if (fstat(root, &stat) != 0)
		die_errno("cannot look at %s", options.root);
	meta_from(&meta, &stat);
	walk_folder(walker, root, 0, &meta);
	free(walker);
}
