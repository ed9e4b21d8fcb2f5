/* Paths below the root of the tree: opened without ever following a link out of it, or at all. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snap.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef OPEN_TREE_CLOEXEC
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif

static bool alone;

bool root_is_alone(void)
{
	return alone;
}

int open_root(void)
{
	int plain = open(options.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (plain < 0)
		die_errno("cannot open the folder %s", options.root);
	/* A view of this file system alone: what is mounted on its folders hides nothing. Needs root and Linux 5.2. */
	int tree = (int)syscall(SYS_open_tree, plain, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return plain;
	int root = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) {
		close(tree);
		return plain;
	}
	/* `tree` stays open: closing it would take the view away. */
	close(plain);
	alone = true;
	return root;
}

size_t parent_length(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? 0 : (size_t)(slash - path);
}

/* Component by component, for kernels without openat2. */
static int walk_to(int root, const char *path, int flags)
{
	char part[NAME_MAX + 1];
	int folder = root;
	for (;;) {
		size_t length = strcspn(path, "/");
		if (length > NAME_MAX) {
			errno = ENAMETOOLONG;
			break;
		}
		memcpy(part, path, length);
		part[length] = '\0';
		bool last = path[length] == '\0';
		int next = openat(folder, part, last ? flags : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int error = errno;
		if (folder != root)
			close(folder);
		errno = error;
		if (next < 0 || last)
			return next;
		folder = next;
		path += length + 1;
	}
	if (folder != root)
		close(folder);
	return -1;
}

int open_beneath(int root, const char *path, int flags)
{
	static bool is_missing;
	struct open_how how = {.flags = (uint64_t)(flags | O_NOFOLLOW | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
	if (!is_missing) {
		int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
		if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
			return fd;
		is_missing = errno == ENOSYS;
	}
	return walk_to(root, path, flags | O_NOFOLLOW | O_CLOEXEC);
}

static int parent_fd = -1;
static char parent_path[LONGEST_PATH + 1];

void forget_parent(void)
{
	if (parent_fd >= 0)
		close(parent_fd);
	parent_fd = -1;
}

int parent_of(int root, const char *path, const char **name)
{
	size_t length = parent_length(path);
	*name = length > 0 ? path + length + 1 : path;
	if (length == 0)
		return root;
	if (length >= sizeof parent_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (parent_fd >= 0 && strncmp(parent_path, path, length) == 0 && parent_path[length] == '\0')
		return parent_fd;
	forget_parent();
	memcpy(parent_path, path, length);
	parent_path[length] = '\0';
	parent_fd = open_beneath(root, parent_path, O_RDONLY | O_DIRECTORY);
	return parent_fd;
}

FILE *read_beneath(int root, const char *path)
{
	int fd = open_beneath(root, path, O_RDONLY | O_NONBLOCK);
	return fd < 0 ? NULL : fdopen(fd, "r");
}

void make_folders(int root, const char *path)
{
	char part[LONGEST_PATH + 1];
	for (size_t i = 1;; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		const char *name;
		int folder = parent_of(root, part, &name);
		if (folder < 0 || (mkdirat(folder, name, 0755) != 0 && errno != EEXIST))
			die_errno("cannot make the folder /%s", part);
		if (path[i] == '\0')
			break;
	}
	forget_parent();
}

int remove_tree(int folder, const char *name)
{
	if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -1;
	if (unlinkat(folder, name, AT_REMOVEDIR) == 0)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -1;
	int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);
	if (list == NULL)
		return -1;
	int result = 0;
	for (struct dirent *entry; result == 0 && (entry = readdir(list)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			result = remove_tree(fd, entry->d_name);
	int error = errno;
	closedir(list);
	errno = error;
	return result != 0 ? result : unlinkat(folder, name, AT_REMOVEDIR);
}
