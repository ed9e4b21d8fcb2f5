/* Reads changes files. Nothing in them is trusted: an entry that is returned is whole, in order, inside of the tree,
 * below folders that the archive itself names, and of a kind that apppot-snap writes. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "raw.h"

#define LARGEST_HEADER (4 << 20)
#define MOST_ENTRIES 50000000

static char *read_records(struct archive *archive, const char *header, size_t *length)
{
	uint64_t size = octal(header + 124, 12);
	if (size > LARGEST_HEADER)
		damaged("a header of %" PRIu64 " bytes", size);
	size_t padded = (size + BLOCK - 1) / BLOCK * BLOCK;
	archive->records.length = 0;
	/* Room is made as the bytes come, not as a header promises. */
	for (size_t done = 0; done < padded; done += BLOCK) {
		char block[BLOCK];
		get_bytes(&archive->stream, block, BLOCK);
		add_bytes(&archive->records, block, BLOCK);
	}
	for (size_t i = size; i < padded; i++)
		if (archive->records.data[i] != '\0')
			damaged("a header is none");
	*length = size;
	return archive->records.data;
}

/* The path as we use it: no ./ before and no slash behind; of a whiteout what it deletes. */
static void take_path(struct entry *entry, char *path)
{
	size_t length = strlen(path);
	if (strncmp(path, "./", 2) == 0)
		memmove(path, path + 2, length - 1);
	length = strlen(path);
	bool slash = length > 0 && path[length - 1] == '/';
	if (slash)
		path[--length] = '\0';
	if (length == 0 && entry->type == 'd')
		memcpy(path, ".", 2);
	if (slash && entry->type != 'd')
		damaged("a path ends with a slash: %.200s", path);
	size_t parent = parent_length(path), start = parent > 0 ? parent + 1 : 0;
	memcpy(entry->path, path, strlen(path) + 1);
	if (strncmp(path + start, ".wh.", 4) == 0) {
		if (entry->type != 'f' || entry->size != 0)
			damaged("a mark of deletion that is none: %.200s", path);
		if (strcmp(path + start, ".wh..wh..opq") == 0) {
			entry->type = 'o';
			entry->path[parent] = '\0';
		} else {
			entry->type = 'w';
			entry->change = 'D';
			memmove(entry->path + start, path + start + 4, strlen(path + start + 4) + 1);
		}
	}
	const char *name = entry->path + (parent_length(entry->path) > 0 ? parent_length(entry->path) + 1 : 0);
	if (!is_clean(entry->path) || (strncmp(name, ".wh.", 4) == 0) || (strcmp(entry->path, ".") == 0 && entry->type != 'd'))
		damaged("a path that leads elsewhere: %.200s", path);
}

/* Strictly ascending order means no name twice, and parents first. */
static void check_order(struct archive *archive)
{
	const struct entry *entry = &archive->entry;
	/* At the end the root comes again, and nothing but the root. */
	archive->tail |= archive->entries > 0 && strcmp(entry->path, ".") == 0;
	if (archive->tail) {
		if (strcmp(entry->path, ".") != 0)
			damaged("something follows its end");
		return;
	}
	struct text name = {0};
	bool is_mark = entry->type == 'w' || entry->type == 'o';
	add(&name, entry->path);
	if (entry->type == 'o')
		add(&name, "/");
	if (archive->last.data != NULL &&
		compare_names(archive->last.data, archive->last_is_whiteout, name.data, is_mark) >= 0)
		damaged("its entries are not in order, or one is there twice: %.200s", entry->path);
	free(archive->last.data);
	archive->last = name;
	archive->last_is_whiteout = is_mark;
	if (entry->type == 'o' && !set_has(&archive->opaque, entry->path))
		damaged("a mark in a folder that is not opaque: %.200s", entry->path);
	if (entry->type != 'o' && strcmp(entry->path, ".") != 0) {
		size_t length = parent_length(entry->path);
		if (set_find(&archive->folders, length > 0 ? entry->path : ".", length > 0 ? length : 1, false) == NULL)
			damaged("a path below no folder of the archive: %.200s", entry->path);
	}
	if (entry->type == 'd') {
		set_add(&archive->folders, entry->path);
		if (entry->opaque)
			set_add(&archive->opaque, entry->path);
	}
	bool marked = entry->type == 'w';
	if (marked)
		set_add(&archive->deleted, entry->path);
	else if (entry->type != 'o' && archive->deleted.count > 0 && set_has(&archive->deleted, entry->path))
		damaged("a path is deleted and there: %.200s", entry->path);
	if (is_store(entry->path) || ((entry->type != 'd' || entry->opaque) && holds_store(entry->path)))
		damaged("it would change AppPot's own records: %.200s", entry->path);
}

/* The last digest is no part of what it covers: what stands beside it has to be what the first entry says. */
static void check_top(struct archive *archive)
{
	const struct entry *entry = &archive->entry;
	struct text facts = {0};
	addf(&facts, "%o %u %u %" PRId64 ".%09u ", entry->mode, entry->uid, entry->gid, entry->mtime, entry->mtime_ns);
	add(&facts, entry->xattrs.data);
	if (!archive->tail)
		archive->top = facts;
	else if (archive->top.data == NULL || strcmp(facts.data, archive->top.data) != 0)
		damaged("its end does not fit its beginning");
	if (archive->tail)
		free(facts.data);
}

static void finish_entry(struct archive *archive, struct raw *raw, const char *header)
{
	static const char types[] = "0f\0f1h2l3c4b5d6p";
	struct entry *entry = &archive->entry;
	entry->type = '\0';
	for (size_t i = 0; i < sizeof types - 1; i += 2)
		if (types[i] == header[156])
			entry->type = types[i + 1];
	if (entry->type == '\0')
		damaged("an entry of an unknown type");
	if (!raw->has_path)
		take_text(raw->path, header, strnlen(header, 100), "a path");
	if (!raw->has_target)
		take_text(raw->target, header + 157, strnlen(header + 157, 100), "the target of a link");
	uint64_t size = raw->has_size ? raw->size : octal(header + 124, 12);
	entry->size = (int64_t)size;
	entry->mode = (uint32_t)octal(header + 100, 8) & 07777;
	entry->uid = (uint32_t)(raw->has_uid ? raw->uid : octal(header + 108, 8));
	entry->gid = (uint32_t)(raw->has_gid ? raw->gid : octal(header + 116, 8));
	entry->mtime = raw->has_mtime ? raw->mtime : (int64_t)octal(header + 136, 12);
	entry->mtime_ns = raw->has_mtime ? raw->mtime_ns : 0;
	entry->major = (uint32_t)octal(header + 329, 8);
	entry->minor = (uint32_t)octal(header + 337, 8);
	if (size > INT64_MAX / 2 || (entry->type != 'f' && size != 0))
		damaged("an entry lies about its size");
	if (entry->major > 4095 || entry->minor > 1048575)
		damaged("a device number is too large");
	join_xattrs(raw, &entry->xattrs);
	entry->target[0] = '\0';
	if (entry->type == 'l' || entry->type == 'h') {
		size_t length = strlen(raw->target);
		if (length == 0 || length > LONGEST_PATH || (entry->type == 'h' && !is_clean(raw->target)))
			damaged("a link that leads nowhere: %.200s", raw->path);
		memcpy(entry->target, raw->target, length + 1);
	}
	take_path(entry, raw->path);
	check_order(archive);
	if (strcmp(entry->path, ".") == 0)
		check_top(archive);
	archive->left = entry->type == 'f' ? size : 0;
	archive->padding = (uint32_t)((BLOCK - archive->left % BLOCK) % BLOCK);
	if (!archive->tail && ++archive->entries > MOST_ENTRIES)
		damaged("too many entries");
}

static void check_header(const char *header)
{
	unsigned sum = 8 * ' ';
	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? 0 : (unsigned char)header[i];
	if (memcmp(header + 257, "ustar\0" "00", 8) != 0 || octal(header + 148, 8) != sum)
		damaged("a header is none");
}

/* The headers of one entry; false at the end of the archive. */
static bool next_header(struct archive *archive)
{
	char header[BLOCK];
	struct raw *raw = allocate(sizeof *raw);
	raw->entry = &archive->entry;
	raw->archive = archive;
	archive->entry.change = 'A';
	archive->entry.opaque = false;
	archive->entry.was.length = 0;
	archive->before = archive->stream.hash;
	get_bytes(&archive->stream, header, BLOCK);
	if (header[0] == '\0') {
		static const char zeros[BLOCK];
		if (memcmp(header, zeros, BLOCK) != 0)
			damaged("a header is none");
		if (!archive->ended)
			damaged("it is truncated");
		free(raw);
		return false;
	}
	check_header(header);
	if (archive->ended)
		damaged("something follows its end");
	if (header[156] == 'x') {
		size_t length;
		char *records = read_records(archive, header, &length);
		if (!each_record(records, length, take_record, raw))
			damaged("a header is none");
		get_bytes(&archive->stream, header, BLOCK);
		check_header(header);
	}
	finish_entry(archive, raw, header);
	if (raw->is_whole && strcmp(archive->entry.path, ".") != 0)
		damaged("records of the archive at %.200s", archive->entry.path);
	free(raw);
	return true;
}

void open_archive(struct archive *archive, const char *name)
{
	char first[BLOCK];
	open_input(&archive->stream, name);
	/* Looked at before it counts: what begins otherwise is no changes file, damaged or not. */
	if (!peek(&archive->stream, first, 262) || memcmp(first + 257, "ustar", 5) != 0 || first[156] != 'x')
		die(DAMAGED, "give a file that apppot-snap changes has written", "%s is no changes file, or it is truncated", name);
	archive->pending = next_header(archive);
	if (archive->base[0] == '\0')
		die(DAMAGED, "give a file that apppot-snap changes has written",
			"%s is no changes file: it does not say which base it belongs to", name);
}

size_t get_content(struct archive *archive, void *data, size_t length)
{
	size_t part = archive->left < length ? archive->left : length;
	if (part > 0)
		get_bytes(&archive->stream, data, part);
	archive->left -= part;
	if (archive->left == 0 && archive->padding > 0) {
		char padding[BLOCK];
		get_bytes(&archive->stream, padding, archive->padding);
		archive->padding = 0;
	}
	return part;
}

bool next_entry(struct archive *archive)
{
	static uint8_t skipped[65536];
	if (archive->pending) {
		archive->pending = false;
		return true;
	}
	do
		get_content(archive, skipped, sizeof skipped);
	while (archive->left > 0);
	while (next_header(archive))
		if (!archive->tail)
			return true;
	close_input(&archive->stream);
	return false;
}
