/* Manifests: one line per path, sorted by the bytes of the paths, fields separated by tabs:
 *   type      f file, d folder, l link, b/c device, p pipe, s socket
 *   mode      octal, four digits
 *   uid gid   numbers
 *   size      bytes of a file, length of a link; - for everything else (the size of a folder depends on its file system)
 *   mtime     seconds.nanoseconds
 *   group     the first path (in this order) of the same inode when it has several names, else -
 *   target    of a link, else -
 *   device    major:minor in decimal, else -
 *   xattrs    name=hex, sorted, separated by commas, else -
 *   digest    SHA-256 of a file's content, else -
 *   path      relative to the root, "." for itself
 * In group, target, xattr names and path every byte below 33, the backslash, the comma and 127 are written as \ooo. No
 * inode number, no ctime and no atime: they say nothing about content, so the digest of a manifest names a state.
 *
 * Beside the base's manifest lies an index, which only says where to look: for each line inode and ctime. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "snap.h"

void add_line(struct text *text, const struct line *line)
{
	addf(text, "%c\t%04o\t%u\t%u\t", line->type, line->mode, line->uid, line->gid);
	if (line->type == 'f' || line->type == 'l')
		addf(text, "%" PRId64, line->size);
	else
		add(text, "-");
	addf(text, "\t%" PRId64 ".%09u\t", line->mtime, line->mtime_ns);
	if (line->group != NULL)
		add_escaped(text, line->group);
	else
		add(text, "-");
	add(text, "\t");
	if (line->target != NULL)
		add_escaped(text, line->target);
	else
		add(text, "-");
	if (line->type == 'b' || line->type == 'c')
		addf(text, "\t%u:%u\t", line->major, line->minor);
	else
		add(text, "\t-\t");
	add(text, line->xattrs != NULL ? line->xattrs : "-");
	add(text, "\t");
	add(text, line->digest != NULL ? line->digest : "-");
	add(text, "\t");
	add_escaped(text, line->path);
	add(text, "\n");
}

void line_from(struct line *line, const struct place *place)
{
	const struct meta *meta = &place->meta;
	*line = (struct line){.type = type_of(meta->mode), .mode = meta->mode & 07777, .uid = meta->uid, .gid = meta->gid,
		.major = meta->major, .minor = meta->minor, .size = meta->size, .mtime = meta->mtime,
		.mtime_ns = meta->mtime_ns, .path = place->path};
}

const char *group_of(const struct place *place)
{
	static struct set firsts;
	if (S_ISDIR(place->meta.mode) || place->meta.links < 2)
		return NULL;
	uint64_t key[2] = {place->meta.device, place->meta.inode};
	uint64_t *first = set_find(&firsts, key, sizeof key, true);
	if (*first == 0)
		*first = (uintptr_t)keep(place->path);
	return (const char *)(uintptr_t)*first;
}

bool read_base_id(int root, char id[DIGEST_TEXT])
{
	FILE *file = read_beneath(root, ID_FILE);
	size_t length = file == NULL ? 0 : fread(id, 1, DIGEST_TEXT - 1, file);
	if (file != NULL)
		fclose(file);
	id[length] = '\0';
	return length == DIGEST_TEXT - 1 && strspn(id, "0123456789abcdef") == length;
}

static void digest_base(struct base *base)
{
	struct sha256 hash;
	uint8_t buffer[16384];
	sha256_start(&hash);
	for (size_t length; (length = fread(buffer, 1, sizeof buffer, base->file)) > 0;)
		sha256_add(&hash, buffer, length);
	sha256_text(&hash, base->id);
	rewind(base->file);
}

void open_base(struct base *base, int root)
{
	memset(base, 0, sizeof *base);
	base->file = options.base != NULL ? fopen(options.base, "re") : read_beneath(root, BASE_FILE);
	if (base->file == NULL && options.base != NULL)
		die_errno("cannot read the base %s", options.base);
	struct stat stat;
	if (base->file == NULL || fstat(fileno(base->file), &stat) != 0 || stat.st_size == 0)
		die(NO_BASE, "record one with apppot-snap base", "no base is recorded in %s", options.root);
	setvbuf(base->file, NULL, _IOFBF, 1 << 16);
	char recorded[DIGEST_TEXT];
	digest_base(base);
	if (options.base == NULL && read_base_id(root, recorded) && strcmp(recorded, base->id) != 0)
		die(FAILED, "record the base anew with apppot-snap base",
			"the base's manifest has the digest %s, and its id is %s", base->id, recorded);
	/* What a layer brings has the layer's times and inodes; an inode of the overlay says nothing. */
	struct statfs system;
	bool is_overlay = fstatfs(root, &system) == 0 && system.f_type == OVERLAYFS_SUPER_MAGIC;
	if (is_overlay || options.suspect_all || (base->index = read_beneath(root, INDEX_FILE)) == NULL)
		return;
	char header[INDEX_HEADER] = "", id[DIGEST_TEXT];
	if (fread(header, sizeof header, 1, base->index) != 1 || header[INDEX_HEADER - 1] != '\0' ||
		sscanf(header, "APPPOT-INDEX 1 %64[0-9a-f] %" SCNu64, id, &base->total) != 2 || strcmp(id, base->id) != 0) {
		fclose(base->index);
		base->index = NULL;
	}
}

void close_base(struct base *base)
{
	fclose(base->file);
	if (base->index != NULL)
		fclose(base->index);
	free(base->buffer);
	base->buffer = NULL;
}

static _Noreturn void bad_line(const struct base *base)
{
	die(FAILED, "record the base anew with apppot-snap base", "line %" PRIu64 " of the base is no manifest line",
		base->lines);
}

static char *optional(char *field)
{
	return strcmp(field, "-") == 0 ? NULL : field;
}

bool next_line(struct base *base)
{
	base->has_line = false;
	ssize_t length = getline(&base->buffer, &base->capacity, base->file);
	if (length <= 0)
		return false;
	base->lines++;
	if (base->buffer[length - 1] != '\n')
		bad_line(base);
	base->buffer[length - 1] = '\0';
	char *fields[12], *rest = base->buffer;
	for (int i = 0; i < 12; i++)
		if ((fields[i] = strsep(&rest, "\t")) == NULL)
			bad_line(base);
	if (rest != NULL || !unescape(fields[6]) || !unescape(fields[7]) || !unescape(fields[11]))
		bad_line(base);
	struct line *line = &base->line;
	char *end;
	*line = (struct line){.type = fields[0][0], .mode = (uint32_t)strtoul(fields[1], NULL, 8),
		.uid = (uint32_t)strtoul(fields[2], NULL, 10), .gid = (uint32_t)strtoul(fields[3], NULL, 10),
		.size = strtoll(fields[4], NULL, 10), .mtime = strtoll(fields[5], &end, 10),
		.group = optional(fields[6]), .target = optional(fields[7]), .xattrs = fields[9],
		.digest = optional(fields[10]), .path = fields[11]};
	line->mtime_ns = *end == '.' ? (uint32_t)strtoul(end + 1, NULL, 10) : 0;
	sscanf(fields[8], "%u:%u", &line->major, &line->minor);
	if (base->index == NULL || fread(&base->record, sizeof base->record, 1, base->index) != 1)
		base->record.known = 0;
	return base->has_line = true;
}

bool is_untouched(const struct base *base, const struct meta *meta)
{
	const struct record *record = &base->record;
	const struct line *line = &base->line;
	return record->known && record->inode == meta->inode && record->ctime == meta->ctime &&
		record->ctime_ns == meta->ctime_ns && line->mtime == meta->mtime && line->mtime_ns == meta->mtime_ns &&
		line->type == type_of(meta->mode) && line->mode == (meta->mode & 07777) && line->uid == meta->uid &&
		line->gid == meta->gid && (line->type != 'f' || line->size == meta->size);
}
