/* Changes of a tree that happen whole or not at all: everything is prepared in a folder of the same file system, then
 * a journal says what goes where. Once the journal is there, what it says gets done, if need be by the next call. Each of
 * its lines can be done again.
 *
 *   D PATH             remove
 *   N NODE PATH        put a node of the stage in place of what is there
 *   S LINE             mode, owner, attributes and time of a folder: a manifest's line
 *   T TIME PATH        time alone */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snap.h"

/* Room that the folders may need when the nodes get their places, so that a full disk stops the command before. */
#define RESERVE "reserve"

static struct journal *open_journal;

static int remove_path(int root, const char *path)
{
	const char *name;
	int folder = parent_of(root, path, &name);
	if (folder < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	int result = remove_tree(folder, name);
	int error = errno;
	forget_parent();
	errno = error;
	return result;
}

static void clean_up(void)
{
	if (open_journal != NULL)
		drop_stage(open_journal);
}

void start_stage(struct journal *journal, int root)
{
	*journal = (struct journal){.root = root, .stage = -1};
	make_folders(root, STORE);
	const char *name;
	int store = parent_of(root, STAGE, &name);
	if (store < 0 || mkdirat(store, name, 0700) != 0)
		die_errno("cannot make the folder /%s", STAGE);
	journal->stage = open_beneath(root, STAGE, O_RDONLY | O_DIRECTORY);
	if (journal->stage < 0)
		die_errno("cannot open the folder /%s", STAGE);
	open_journal = journal;
	on_failure(clean_up);
}

void drop_stage(struct journal *journal)
{
	open_journal = NULL;
	on_failure(NULL);
	forget_parent();
	remove_path(journal->root, JOURNAL ".new");
	remove_path(journal->root, STAGE);
	free(journal->text.data);
}

const char *new_node(struct journal *journal)
{
	static char names[4][24];
	static unsigned turn;
	char *name = names[turn++ % 4];
	snprintf(name, 24, "%" PRIu64, ++journal->nodes);
	return name;
}

static void add_path(struct journal *journal, const char *path)
{
	add_escaped(&journal->text, path);
	add(&journal->text, "\n");
}

void will_remove(struct journal *journal, const char *path)
{
	add(&journal->text, "D ");
	add_path(journal, path);
}

void will_place(struct journal *journal, const char *node, const char *path)
{
	addf(&journal->text, "N %s ", node);
	add_path(journal, path);
}

void will_set(struct journal *journal, const struct line *line)
{
	add(&journal->text, "S ");
	add_line(&journal->text, line);
}

void will_set_time(struct journal *journal, const char *path, int64_t mtime, uint32_t mtime_ns)
{
	addf(&journal->text, "T %" PRId64 ".%09u ", mtime, mtime_ns);
	add_path(journal, path);
}

int set_facts(int folder, const char *name, const struct line *line)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {line->mtime, line->mtime_ns}};
	/* The owner first: a change of it takes setuid bits and capabilities away. */
	if (fchownat(folder, name, line->uid, line->gid, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (line->type != 'l' && fchmodat(folder, name, line->mode, 0) != 0)
		return -1;
	if (write_xattrs(folder, name, line->xattrs) != 0)
		return -1;
	return utimensat(folder, name, times, AT_SYMLINK_NOFOLLOW);
}

/* What is made in the stage: no attributes, an owner, a mode. Asked once, of the first file. */
static bool is_as_made(struct journal *journal, int fd, const struct line *line)
{
	struct stat stat;
	if (!journal->is_known) {
		journal->is_known = true;
		journal->is_plain = fstat(fd, &stat) == 0 && flistxattr(fd, NULL, 0) == 0;
		journal->mode = stat.st_mode & 07777;
		journal->uid = stat.st_uid;
		journal->gid = stat.st_gid;
	}
	return journal->is_plain && strcmp(line->xattrs, "-") == 0;
}

/* A million files: every call counts. */
int set_new_facts(struct journal *journal, int fd, const char *node, const struct line *line)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {line->mtime, line->mtime_ns}};
	if (!is_as_made(journal, fd, line))
		return close(fd) != 0 ? -1 : set_facts(journal->stage, node, line);
	bool is_owned = line->uid == journal->uid && line->gid == journal->gid;
	if (!is_owned && fchown(fd, line->uid, line->gid) != 0)
		return -1;
	if (line->mode != journal->mode && fchmod(fd, line->mode) != 0)
		return -1;
	return futimens(fd, times) != 0 ? -1 : close(fd);
}

static int place_node(int root, int stage, const char *node, const char *path)
{
	const char *name;
	struct stat new, old;
	int parent = parent_of(root, path, &name);
	/* Nearly always. Where a folder is in the way, or the node is in its place already, one has to look. */
	if (parent >= 0 && renameat(stage, node, parent, name) == 0)
		return 0;
	if (fstatat(stage, node, &new, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : -1;
	int folder = parent_of(root, path, &name);
	if (folder < 0)
		return -1;
	if (fstatat(folder, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && (S_ISDIR(old.st_mode) || S_ISDIR(new.st_mode))) {
		char trash[32];
		snprintf(trash, sizeof trash, "%s.old", node);
		/* An overlay may refuse to move a folder of a lower layer. */
		if (renameat(folder, name, stage, trash) != 0 && (errno != EXDEV || remove_tree(folder, name) != 0))
			return -1;
		int result = renameat(stage, node, folder, name), error = errno;
		/* The folder that was kept open may be the one that went. */
		forget_parent();
		errno = error;
		return result;
	}
	return renameat(stage, node, folder, name);
}

static int set_from(int root, char *text)
{
	char *fields[12], *rest = text, *end;
	for (int i = 0; i < 12; i++)
		if ((fields[i] = strsep(&rest, "\t")) == NULL)
			return -1;
	struct line line = {.type = *fields[0], .mode = (uint32_t)strtoul(fields[1], NULL, 8),
		.uid = (uint32_t)strtoul(fields[2], NULL, 10), .gid = (uint32_t)strtoul(fields[3], NULL, 10),
		.mtime = strtoll(fields[5], &end, 10), .xattrs = fields[9], .path = fields[11]};
	line.mtime_ns = *end == '.' ? (uint32_t)strtoul(end + 1, NULL, 10) : 0;
	if (!unescape(fields[11]))
		return -1;
	const char *name;
	int folder = parent_of(root, line.path, &name);
	return folder < 0 ? -1 : set_facts(folder, name, &line);
}

static int set_time(int root, char *text)
{
	char *path = strchr(text, ' '), *end;
	if (path == NULL || !unescape(path + 1))
		return -1;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = strtoll(text, &end, 10)}};
	times[1].tv_nsec = *end == '.' ? (long)strtoul(end + 1, NULL, 10) : 0;
	const char *name;
	int folder = parent_of(root, path + 1, &name);
	return folder < 0 ? -1 : utimensat(folder, name, times, AT_SYMLINK_NOFOLLOW);
}

static int do_line(int root, int stage, char *line)
{
	char *path;
	switch (line[0]) {
	case 'D':
		return unescape(line + 2) ? remove_path(root, line + 2) : -1;
	case 'N':
		path = strchr(line + 2, ' ');
		if (path == NULL || !unescape(path + 1))
			return -1;
		*path = '\0';
		return place_node(root, stage, line + 2, path + 1);
	case 'S':
		return set_from(root, line + 2);
	case 'T':
		return set_time(root, line + 2);
	default:
		return -1;
	}
}

/* Does what the journal says, then forgets it. */
static void finish(int root)
{
	FILE *file = read_beneath(root, JOURNAL);
	int stage = open_beneath(root, STAGE, O_RDONLY | O_DIRECTORY);
	if (file == NULL || stage < 0)
		die_errno("cannot read /%s", file == NULL ? JOURNAL : STAGE);
	unlinkat(stage, RESERVE, 0);
	char *line = NULL;
	size_t size = 0;
	struct stat status;
	uint64_t done = 0, total = fstat(fileno(file), &status) == 0 ? (uint64_t)status.st_size : 0;
	for (ssize_t length; (length = getline(&line, &size, file)) > 0;) {
		progress_to_end(done += (uint64_t)length, total);
		line[length - 1] = '\0';
		char *shown = strndup(line, 200);
		if (do_line(root, stage, line) != 0)
			die(FAILED, "make room or mend the disk, then: apppot-snap recover",
				"cannot finish the change (%s): %s", shown != NULL ? shown : "", strerror(errno));
		free(shown);
	}
	free(line);
	fclose(file);
	syncfs(root);
	const char *name;
	forget_parent();
	int store = parent_of(root, JOURNAL, &name);
	if (store < 0 || unlinkat(store, name, 0) != 0)
		die_errno("cannot remove /%s", JOURNAL);
	close(stage);
	remove_path(root, STAGE);
	forget_parent();
}

static void keep_room(struct journal *journal)
{
	static const char block[4096] = "room";
	uint64_t size = 65536 + journal->nodes * 512;
	int fd = openat(journal->stage, RESERVE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die_errno("cannot prepare the change");
	for (uint64_t done = 0; done < size; done += sizeof block)
		if (write(fd, block, sizeof block) != (ssize_t)sizeof block)
			die_errno("cannot prepare the change");
	close(fd);
}

void commit(struct journal *journal)
{
	static const char final[] = "snap-journal", name[] = "snap-journal.new";
	keep_room(journal);
	forget_parent();
	int store = open_beneath(journal->root, STORE, O_RDONLY | O_DIRECTORY);
	int fd = store < 0 ? -1 : openat(store, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	if (file == NULL || (journal->text.length > 0 && fwrite(journal->text.data, journal->text.length, 1, file) != 1) ||
		fflush(file) != 0 || fsync(fd) != 0)
		die_errno("cannot write the journal");
	fclose(file);
	/* All that is staged is on the disk before the journal counts. */
	if (syncfs(journal->root) != 0)
		die_errno("cannot write the change to the disk");
	if (renameat(store, name, store, final) != 0)
		die_errno("cannot write the journal");
	fsync(store);
	close(store);
	open_journal = NULL;
	on_failure(NULL);
	forget_parent();
	close(journal->stage);
	finish(journal->root);
	free(journal->text.data);
}

bool recover(int root)
{
	const char *name;
	/* Nothing to do for all but root, and nearly always. */
	int store = parent_of(root, STAGE, &name);
	if (store < 0 || faccessat(store, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
		forget_parent();
		return false;
	}
	if (geteuid() != 0)
		die(FAILED, "sudo apppot-snap recover", "a change of this system was interrupted and has to be finished first");
	if (faccessat(store, strrchr(JOURNAL, '/') + 1, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		warn("finishing a change that was interrupted");
		finish(root);
	} else {
		warn("removing what an interrupted change has left");
		struct journal journal = {.root = root};
		drop_stage(&journal);
	}
	forget_parent();
	return true;
}
