/* The state of a tree: its manifest, the digest that names it, and the base that later changes are relative to. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "snap.h"

struct writer {
	int root;
	FILE *file, *index;
	struct base *base;
	struct sha256 hash;
	struct text line, xattrs, target;
	uint64_t count, total;
	int64_t now;
};

static void write_line(void *context, const struct place *found)
{
	struct writer *writer = context;
	struct base *base = writer->base;
	struct place copy = *found, *place = &copy;
	if (place->folder < 0 && !place->meta.plain && !look(writer->root, place))
		return;
	struct line line;
	char digest[DIGEST_TEXT];
	line_from(&line, place);
	while (base != NULL && base->has_line && strcmp(base->line.path, place->path) < 0)
		next_line(base);
	bool known = base != NULL && base->has_line && strcmp(base->line.path, place->path) == 0;
	if (known && (place->is_mount || is_untouched(base, &place->meta))) {
		line = base->line;
	} else {
		read_xattrs(place, &writer->xattrs);
		line.xattrs = writer->xattrs.data;
		if (line.type == 'l') {
			read_target(place, &writer->target);
			line.target = writer->target.data;
		} else if (line.type == 'f') {
			if (!digest_file(place, digest) && (!look(writer->root, place) || !digest_file(place, digest)))
				return;
			line.digest = digest;
		}
	}
	line.group = group_of(place);
	writer->line.length = 0;
	add_line(&writer->line, &line);
	sha256_add(&writer->hash, writer->line.data, writer->line.length);
	if (writer->file != NULL && fwrite(writer->line.data, writer->line.length, 1, writer->file) != 1)
		die_errno("cannot write the manifest");
	if (writer->index != NULL) {
		/* A change in the same tick of the clock as the base would leave the ctime as it is: such paths are
		 * always looked at. */
		struct record record = {.inode = place->meta.inode, .ctime = place->meta.ctime,
			.ctime_ns = place->meta.ctime_ns, .known = place->meta.ctime < writer->now - 1};
		if (fwrite(&record, sizeof record, 1, writer->index) != 1)
			die_errno("cannot write the index");
	}
	progress(++writer->count, writer->total);
}

uint64_t write_state(int root, FILE *file, FILE *index, struct base *base, char id[DIGEST_TEXT])
{
	struct writer *writer = allocate(sizeof *writer);
	*writer = (struct writer){.root = root, .file = file, .index = index, .base = base, .now = time(NULL)};
	char header[INDEX_HEADER] = "";
	if (base != NULL) {
		next_line(base);
		writer->total = base->total;
	}
	/* The file system's own clock, not this machine's. */
	struct stat stat;
	if (index != NULL) {
		if (fwrite(header, sizeof header, 1, index) != 1 || fflush(index) != 0 || fstat(fileno(index), &stat) != 0)
			die_errno("cannot write the index");
		writer->now = stat.st_ctim.tv_sec;
	}
	sha256_start(&writer->hash);
	walk_disk(root, write_line, writer);
	sha256_text(&writer->hash, id);
	if (index != NULL) {
		snprintf(header, sizeof header, "APPPOT-INDEX 1 %s %" PRIu64 "\n", id, writer->count);
		if (fseek(index, 0, SEEK_SET) != 0 || fwrite(header, sizeof header, 1, index) != 1)
			die_errno("cannot write the index");
	}
	if ((file != NULL && fflush(file) != 0) || (index != NULL && fflush(index) != 0))
		die_errno("cannot write the manifest");
	uint64_t count = writer->count;
	free(writer->line.data);
	free(writer->xattrs.data);
	free(writer->target.data);
	free(writer);
	return count;
}

void command_manifest(void)
{
	char id[DIGEST_TEXT];
	int root = open_root();
	recover(root);
	read_excludes(root);
	write_state(root, stdout, NULL, NULL, id);
}

static FILE *staged(struct journal *journal, const char *path)
{
	const char *node = new_node(journal);
	int fd = openat(journal->stage, node, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	if (file == NULL || fchmod(fd, 0644) != 0)
		die_errno("cannot write /%s", path);
	will_place(journal, node, path);
	return file;
}

/* The line base_id= of /etc/apppot-release, when there is such a file. */
static void note_in_release(struct journal *journal, int root, const char *id)
{
	FILE *old = read_beneath(root, RELEASE_FILE);
	if (old == NULL)
		return;
	FILE *new = staged(journal, RELEASE_FILE);
	char *line = NULL;
	size_t size = 0;
	while (getline(&line, &size, old) >= 0)
		if (strncmp(line, "base_id=", 8) != 0)
			fputs(line, new);
	free(line);
	fclose(old);
	fprintf(new, "base_id=%s\n", id);
	if (fclose(new) != 0)
		die_errno("cannot write /%s", RELEASE_FILE);
}

/* Writing the new release file changes the time of its folder, which keeps what the manifest says. */
static void keep_time(struct journal *journal, int root, const char *path)
{
	struct stat stat;
	int fd = open_beneath(root, path, O_PATH);
	if (fd >= 0 && fstat(fd, &stat) == 0)
		will_set_time(journal, path, stat.st_mtim.tv_sec, (uint32_t)stat.st_mtim.tv_nsec);
	if (fd >= 0)
		close(fd);
}

void command_base(void)
{
	if (geteuid() != 0)
		die(FAILED, "use sudo apppot-snap base", "only root can read every file");
	int root = open_root();
	recover(root);
	read_excludes(root);
	make_folders(root, STORE);
	char id[DIGEST_TEXT];
	if (options.just_print) {
		write_state(root, NULL, NULL, NULL, id);
		printf("base %s\n", id);
		return;
	}
	struct journal journal;
	start_stage(&journal, root);
	FILE *manifest = staged(&journal, BASE_FILE), *index = staged(&journal, INDEX_FILE);
	uint64_t count = write_state(root, manifest, index, NULL, id);
	if (options.built)
		foretell(root, index);
	if (fclose(manifest) != 0 || fclose(index) != 0)
		die_errno("cannot write the base");
	FILE *file = staged(&journal, ID_FILE);
	fprintf(file, "%s\n", id);
	if (fclose(file) != 0)
		die_errno("cannot write the base");
	note_in_release(&journal, root, id);
	keep_time(&journal, root, "etc");
	commit(&journal);
	if (options.json)
		printf("{\"base\":\"%s\",\"paths\":%" PRIu64 "}\n", id, count);
	else
		printf("base %s\n", id);
}
