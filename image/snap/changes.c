/* apppot-snap changes: writes what differs from the base as a layer. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "snap.h"

/* Go's archive/tar, which every container tool uses, reads pax headers up to 1 MiB. */
#define LARGEST_HEADER (512 << 10)

static char part_name[LONGEST_PATH + 8];

static void remove_part(void)
{
	unlink(part_name);
}

static bool is_lead(const struct change *change)
{
	return change->group == NULL || strcmp(change->group, change->path) == 0;
}

static void copy_content(struct stream *stream, int root, const struct change *change, uint64_t *done, uint64_t total)
{
	static uint8_t *buffer;
	const uint8_t *content;
	if (ext4_content(&change->meta, &content)) {
		put_bytes(stream, content, (size_t)change->meta.size);
		put_padding(stream, (uint64_t)change->meta.size);
		progress(*done += (uint64_t)change->meta.size, total);
		return;
	}
	if (buffer == NULL)
		buffer = allocate(1 << 18);
	const char *name;
	int folder = parent_of(root, change->path, &name);
	int fd = folder < 0 ? -1 : openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die_errno("cannot read /%s", change->path);
	uint64_t left = (uint64_t)change->meta.size;
	while (left > 0) {
		ssize_t length = read(fd, buffer, left < 1 << 18 ? left : 1 << 18);
		if (length < 0)
			die_errno("cannot read /%s", change->path);
		if (length == 0)
			break;
		put_bytes(stream, buffer, (size_t)length);
		left -= (uint64_t)length;
		*done += (uint64_t)length;
		progress(*done, total);
	}
	struct stat stat;
	if (left > 0 || fstat(fd, &stat) != 0 || stat.st_size != change->meta.size ||
		stat.st_mtim.tv_sec != change->meta.mtime || (uint32_t)stat.st_mtim.tv_nsec != change->meta.mtime_ns ||
		stat.st_mode != change->meta.mode || stat.st_uid != change->meta.uid || stat.st_gid != change->meta.gid)
		die(FAILED, "stop the program that writes it, or add it to the exclude list, and repeat the command",
			"/%s changed while it was read", change->path);
	close(fd);
	put_padding(stream, (uint64_t)change->meta.size);
}

static void entry_of(struct entry *entry, const struct change *change)
{
	entry->xattrs.length = entry->was.length = 0;
	entry->target[0] = '\0';
	memcpy(entry->path, change->path, strlen(change->path) + 1);
	entry->change = change->kind;
	entry->opaque = change->opaque;
	entry->mode = change->meta.mode & 07777;
	entry->uid = change->meta.uid;
	entry->gid = change->meta.gid;
	entry->major = change->meta.major;
	entry->minor = change->meta.minor;
	entry->mtime = change->meta.mtime;
	entry->mtime_ns = change->meta.mtime_ns;
	entry->size = change->meta.size;
	if (change->kind == 'D' || change->kind == 'O') {
		entry->type = change->kind == 'D' ? 'w' : 'o';
		if (change->kind == 'O')
			entry->path[strlen(entry->path) - 1] = '\0';
		entry->mode = 0;
		return;
	}
	entry->type = is_lead(change) ? type_of(change->meta.mode) : 'h';
	const char *target = entry->type == 'h' ? change->group : change->target;
	if (target != NULL)
		memcpy(entry->target, target, strlen(target) + 1);
	if (entry->type != 'f' && entry->type != 'c' && entry->type != 'b')
		entry->size = 0;
	if (entry->type != 'b' && entry->type != 'c')
		entry->major = entry->minor = 0;
	if (entry->type != 'h' && strcmp(change->xattrs, "-") != 0)
		add(&entry->xattrs, change->xattrs);
	if (change->was != NULL)
		add(&entry->was, change->was);
}

/* A layer has no entry without content: of files of which only the time differs, entries of the root tell. */
static void put_touched(struct stream *stream, struct entry *top, const struct changes *changes)
{
	struct text lines = {0}, records = {0};
	top->more = &records;
	top->change = 'A';
	top->was.length = 0;
	for (size_t i = 0; i <= changes->count; i++) {
		const struct change *change = &changes->list[i];
		if (lines.length > 0 && (i == changes->count || lines.length > LARGEST_HEADER)) {
			records.length = 0;
			add_record(&records, "APPPOT.touched", lines.data, lines.length);
			put_entry(stream, top);
			lines.length = 0;
		}
		if (i == changes->count || change->kind != 'T')
			continue;
		addf(&lines, "%" PRId64 ".%09u ", change->meta.mtime, change->meta.mtime_ns);
		add_escaped(&lines, change->path);
		add(&lines, "\n");
	}
	free(lines.data);
	free(records.data);
}

/* The facts of the archive stand in records of its first entry, the root: a global header is no part of a layer. */
static void write_archive(struct stream *stream, int root, const struct changes *changes)
{
	static struct entry entry;
	struct text records = {0};
	add_record(&records, "APPPOT.version", "1", 1);
	add_record(&records, "APPPOT.base", changes->base, strlen(changes->base));
	add_record(&records, "APPPOT.tool", "apppot-snap " SNAP_VERSION, strlen("apppot-snap " SNAP_VERSION));
	uint64_t done = 0, entries = 0;
	for (size_t i = 0; i < changes->count; i++) {
		const struct change *change = &changes->list[i];
		if (change->kind == 'T')
			continue;
		entry_of(&entry, change);
		entry.more = entries == 0 ? &records : NULL;
		put_entry(stream, &entry);
		entries++;
		if (entry.type == 'f')
			copy_content(stream, root, change, &done, changes->bytes);
	}
	entry_of(&entry, &changes->list[0]);
	put_touched(stream, &entry, changes);
	finish_archive(stream, &entry, entries);
	free(records.data);
}

static void home_of(struct text *text, const char *user)
{
	FILE *file = fopen("/etc/passwd", "re");
	char line[1024];
	size_t length = strlen(user);
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		char *rest = line, *field = NULL;
		if (strncmp(line, user, length) != 0 || line[length] != ':')
			continue;
		for (int i = 0; i < 6; i++)
			field = strsep(&rest, ":");
		if (field != NULL)
			add(text, field);
		break;
	}
	if (file != NULL)
		fclose(file);
}

/* ~/job/apppot.YYYY-MM-DD.changes.tar.gz of the person who used sudo. */
static const char *default_output(void)
{
	struct text text = {0};
	const char *user = getenv("SUDO_USER"), *home = getenv("HOME");
	if (user != NULL && *user != '\0')
		home_of(&text, user);
	if (text.length == 0)
		add(&text, home != NULL ? home : ".");
	char day[64];
	time_t now = time(NULL);
	strftime(day, sizeof day, "/job/apppot.%Y-%m-%d.changes.tar.gz", localtime(&now));
	add(&text, day);
	return text.data;
}

static void list(const struct changes *changes, FILE *file)
{
	for (size_t i = 0; i < changes->count; i++) {
		const struct change *change = &changes->list[i];
		if (change->kind != 'P' && change->kind != 'O')
			fprintf(file, "%c /%s\n", change->kind, strcmp(change->path, ".") == 0 ? "" : change->path);
	}
}

static void summary(const struct changes *changes, const char *output, uint64_t written)
{
	FILE *file = output != NULL && strcmp(output, "-") == 0 ? stderr : stdout;
	if (options.json) {
		struct text text = {0};
		addf(&text, "{\"base\":\"%s\",\"added\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"deleted\":%" PRIu64, changes->base,
			changes->added, changes->changed, changes->deleted);
		addf(&text, ",\"touched\":%" PRIu64 ",\"skipped\":%" PRIu64 ",\"looked\":%" PRIu64 ",\"digested\":%" PRIu64,
			changes->touched, changes->skipped, changes->looked, changes->digested);
		addf(&text, ",\"bytes\":%" PRIu64 ",\"archiveBytes\":%" PRIu64 ",\"file\":", changes->bytes, written);
		if (output != NULL)
			add_json(&text, output);
		else
			add(&text, "null");
		add(&text, "}\n");
		fputs(text.data, file);
		return;
	}
	fprintf(file, "%" PRIu64 " added, %" PRIu64 " changed, %" PRIu64 " deleted, %" PRIu64 " only touched; %" PRIu64
		" bytes of content%s%s\n", changes->added, changes->changed, changes->deleted, changes->touched,
		changes->bytes, output != NULL ? " in " : "", output != NULL ? output : "");
}

void command_changes(void)
{
	struct changes changes = {0};
	struct stream stream;
	int root = open_root();
	recover(root);
	read_excludes(root);
	const char *output = options.just_print ? NULL : options.output != NULL ? options.output : default_output();
	if (output != NULL) {
		snprintf(part_name, sizeof part_name, "%s.part", output);
		if (strcmp(output, "-") != 0)
			on_failure(remove_part);
		open_output(&stream, output);
	}
	find_changes(&changes, root);
	if (options.verbose || options.just_print)
		list(&changes, options.json || (output != NULL && strcmp(output, "-") == 0) ? stderr : stdout);
	uint64_t written = 0;
	if (output != NULL) {
		write_archive(&stream, root, &changes);
		written = stream.position;
		close_output(&stream);
		on_failure(NULL);
	}
	summary(&changes, output, written);
}
