/* apppot-snap merge: makes the tree what it was when the changes file was written. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "snap.h"

struct merger {
	int root;
	struct archive archive;
	struct journal journal;
	struct set nodes; /* files of the archive by path: their node, for further names */
	struct set fresh; /* folders below which nothing of the tree counts */
	struct set named; /* what the archive has in opaque folders */
	struct text settings; /* folders' facts: last of all, for a change below a folder changes its time */
	struct changes opaque;
	uint64_t added, changed, deleted, touched, bytes;
	bool forced;
};

static void check_base(struct merger *merger, const char *name)
{
	char id[DIGEST_TEXT] = "", state[DIGEST_TEXT];
	const char *wanted = merger->archive.base;
	if (read_base_id(merger->root, id) && strcmp(id, wanted) == 0)
		return;
	if (id[0] != '\0') {
		/* A state on top of the base that became a base itself somewhere else: the content tells. */
		struct base base;
		open_base(&base, merger->root);
		write_state(merger->root, NULL, NULL, &base, state);
		close_base(&base);
		if (strcmp(state, wanted) == 0)
			return;
	}
	if (options.force) {
		warn("%s belongs to the base %s, and this system has %s; --force goes on", name, wanted,
			id[0] != '\0' ? id : "none");
		merger->forced = true;
		return;
	}
	if (id[0] == '\0')
		die(NO_BASE, "apppot-snap base records one; --force merges all the same",
			"%s belongs to the base %s, and no base is recorded in %s", name, wanted, options.root);
	die(OTHER_BASE, "use the image that the changes were made in; --force merges all the same",
		"%s belongs to the base %s, and this system has the base %s", name, wanted, id);
}

static void line_of(struct line *line, const struct entry *entry)
{
	*line = (struct line){.type = entry->type, .mode = entry->mode, .uid = entry->uid, .gid = entry->gid,
		.mtime = entry->mtime, .mtime_ns = entry->mtime_ns, .xattrs = entry->xattrs.data, .path = entry->path};
}

static bool is_zero(const char *data, size_t length)
{
	return length > 0 && data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* Blocks of zeros become holes. Returns the file's descriptor. */
static int write_content(struct merger *merger, const char *node)
{
	static char *buffer;
	if (buffer == NULL)
		buffer = allocate(1 << 18);
	int fd = openat(merger->journal.stage, node, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		die_errno("cannot write /%s", merger->archive.entry.path);
	off_t position = 0, end = 0;
	for (size_t length; (length = get_content(&merger->archive, buffer, 1 << 18)) > 0; position += (off_t)length) {
		merger->bytes += length;
		for (size_t done = 0, part; done < length; done += part) {
			part = length - done < 4096 ? length - done : 4096;
			if (is_zero(buffer + done, part))
				continue;
			/* As many blocks as follow without a hole in one call. */
			while (done + part < length) {
				size_t next = length - done - part < 4096 ? length - done - part : 4096;
				if (is_zero(buffer + done + part, next))
					break;
				part += next;
			}
			for (size_t sent = 0; sent < part;) {
				ssize_t wrote = pwrite(fd, buffer + done + sent, part - sent, position + (off_t)(done + sent));
				if (wrote < 0 && errno != EINTR)
					die_errno("cannot write /%s", merger->archive.entry.path);
				sent += wrote > 0 ? (size_t)wrote : 0;
			}
			end = position + (off_t)(done + part);
		}
	}
	if (end < position && ftruncate(fd, position) != 0)
		die_errno("cannot write /%s", merger->archive.entry.path);
	return fd;
}

/* Makes the entry in the stage, with all its facts. */
static void stage_node(struct merger *merger, const char *node)
{
	const struct entry *entry = &merger->archive.entry;
	int stage = merger->journal.stage, result = 0;
	struct line line;
	line_of(&line, entry);
	switch (entry->type) {
	case 'f':
		result = set_new_facts(&merger->journal, write_content(merger, node), node, &line);
		*set_find(&merger->nodes, entry->path, strlen(entry->path), true) = merger->journal.nodes;
		if (result != 0)
			die_errno("cannot write /%s", entry->path);
		return;
	case 'd':
		result = mkdirat(stage, node, 0700);
		break;
	case 'l':
		result = symlinkat(entry->target, stage, node);
		break;
	case 'h': {
		uint64_t *first = set_find(&merger->nodes, entry->target, strlen(entry->target), false);
		char name[24];
		if (first == NULL)
			damaged("a hard link to a file that it does not hold: %.200s", entry->path);
		snprintf(name, sizeof name, "%" PRIu64, *first);
		if (linkat(stage, name, stage, node, 0) != 0)
			die_errno("cannot link /%s", entry->path);
		return;
	}
	default:
		result = mknodat(stage, node, 0600 | (entry->type == 'p' ? S_IFIFO : entry->type == 'b' ? S_IFBLK : S_IFCHR),
			makedev(entry->major, entry->minor));
	}
	if (result != 0 || set_facts(stage, node, &line) != 0)
		die_errno("cannot write /%s", entry->path);
}

/* Whether the folder above is new, so that what the tree has there does not count. */
static bool is_below_fresh(struct merger *merger, const char *path)
{
	size_t length = parent_length(path);
	return length > 0 && set_find(&merger->fresh, path, length, false) != NULL;
}

/* A folder that is there stays; only its facts change. Of one that the archive merely passes only the time is kept. */
static bool is_folder_in_tree(struct merger *merger, struct line *line)
{
	const char *name = line->path;
	struct stat stat;
	int folder = strcmp(name, ".") == 0 ? merger->root : parent_of(merger->root, line->path, &name);
	if (folder < 0 && errno != ENOENT)
		damaged("a path below a link of this system: %.200s", line->path);
	if (folder < 0 || fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(stat.st_mode))
		return false;
	if (merger->archive.entry.change == 'P' && merger->forced) {
		static struct text xattrs;
		struct place place = {line->path, folder, name, {0}, false};
		read_xattrs(&place, &xattrs);
		line->mode = stat.st_mode & 07777;
		line->uid = stat.st_uid;
		line->gid = stat.st_gid;
		line->mtime = stat.st_mtim.tv_sec;
		line->mtime_ns = (uint32_t)stat.st_mtim.tv_nsec;
		line->xattrs = xattrs.data;
	}
	return true;
}

static void stage_entry(struct merger *merger)
{
	struct entry *entry = &merger->archive.entry;
	struct line line;
	line_of(&line, entry);
	bool fresh = is_below_fresh(merger, entry->path);
	merger->added += entry->change == 'A' && entry->type != 'o';
	merger->changed += entry->change == 'M';
	if (merger->opaque.count > 0 && entry->type != 'o')
		set_add(&merger->named, entry->path);
	if (entry->type == 'w') {
		merger->deleted++;
		if (!fresh)
			will_remove(&merger->journal, entry->path);
		return;
	}
	if (entry->type == 'o')
		return;
	if (entry->type == 'd') {
		bool there = !fresh && is_folder_in_tree(merger, &line);
		if (!there || entry->opaque)
			set_add(&merger->fresh, entry->path);
		if (there && entry->opaque)
			add_change(&merger->opaque, 'P', entry->path);
		add(&merger->settings, "S ");
		add_line(&merger->settings, &line);
		if (there)
			return;
	}
	const char *node = new_node(&merger->journal);
	stage_node(merger, node);
	will_place(&merger->journal, node, entry->path);
}

/* What the tree has in an opaque folder and the archive has not, goes. */
static void empty_opaque(struct merger *merger)
{
	struct text path = {0};
	for (size_t i = 0; i < merger->opaque.count; i++) {
		int fd = open_beneath(merger->root, merger->opaque.list[i].path, O_RDONLY | O_DIRECTORY);
		DIR *list = fd < 0 ? NULL : fdopendir(fd);
		if (list == NULL)
			die_errno("cannot read the folder /%s", merger->opaque.list[i].path);
		for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
			path.length = 0;
			add(&path, merger->opaque.list[i].path);
			add(&path, "/");
			add(&path, entry->d_name);
			if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || set_has(&merger->named, path.data))
				continue;
			merger->deleted++;
			will_remove(&merger->journal, path.data);
		}
		closedir(list);
	}
	free(path.data);
}

static void touch(void *context, const char *path, int64_t mtime, uint32_t mtime_ns)
{
	struct merger *merger = context;
	const char *name;
	struct stat stat;
	int folder = parent_of(merger->root, path, &name);
	merger->touched++;
	/* On another base, by --force, the file may be missing. */
	if (folder >= 0 && fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(stat.st_mode))
		addf(&merger->settings, "T %" PRId64 ".%09u ", mtime, mtime_ns), add_escaped(&merger->settings, path),
			add(&merger->settings, "\n");
}

static struct text results;

static void report(const struct merger *merger, const char *name)
{
	if (!options.json) {
		printf("%s: %" PRIu64 " added, %" PRIu64 " changed, %" PRIu64 " deleted, %" PRIu64 " only touched; %" PRIu64
			" bytes of content\n", name, merger->added, merger->changed, merger->deleted, merger->touched, merger->bytes);
		return;
	}
	add(&results, results.length > 0 ? ",{\"file\":" : "{\"file\":");
	add_json(&results, name);
	addf(&results, ",\"base\":\"%s\",\"added\":%" PRIu64 ",\"changed\":%" PRIu64, merger->archive.base, merger->added,
		merger->changed);
	addf(&results, ",\"deleted\":%" PRIu64 ",\"touched\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", merger->deleted,
		merger->touched, merger->bytes);
}

static void merge_file(int root, const char *name)
{
	struct merger *merger = allocate(sizeof *merger);
	merger->root = root;
	merger->archive.touched = touch;
	merger->archive.context = merger;
	open_archive(&merger->archive, name);
	check_base(merger, name);
	start_stage(&merger->journal, root);
	while (next_entry(&merger->archive)) {
		stage_entry(merger);
		if (options.verbose && merger->archive.entry.change != 'P')
			fprintf(stderr, "%c /%s\n", merger->archive.entry.change, merger->archive.entry.path);
		progress(merger->archive.entries, 0);
	}
	empty_opaque(merger);
	if (merger->settings.length > 0)
		add_bytes(&merger->journal.text, merger->settings.data, merger->settings.length);
	if (options.just_print)
		drop_stage(&merger->journal);
	else
		commit(&merger->journal);
	report(merger, name);
}

void command_merge(void)
{
	if (options.file_count == 0)
		die(USAGE, "apppot-snap merge FILE...", "merge needs a changes file");
	if (geteuid() != 0)
		die(FAILED, "use sudo apppot-snap merge", "only root can restore owners and devices");
	int root = open_root();
	recover(root);
	read_excludes(root);
	for (int i = 0; i < options.file_count; i++)
		merge_file(root, options.files[i]);
	if (options.json)
		printf("{\"files\":[%s]}\n", results.data);
}

void command_recover(void)
{
	int root = open_root();
	bool done = recover(root);
	if (options.json)
		printf("{\"recovered\":%s}\n", done ? "true" : "false");
}
