/* Reads changes files. Nothing in them is trusted: an entry that is returned is whole, in order, inside of the tree,
 * below folders that the archive itself names, and of a kind that apppot-snap writes. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "snap.h"

#define LARGEST_HEADER (4 << 20)
#define MOST_ENTRIES 50000000

void damaged(const char *format, ...)
{
	char reason[600];
	va_list list;
	va_start(list, format);
	vsnprintf(reason, sizeof reason, format, list);
	va_end(list);
	die(DAMAGED, "fetch or make it again; nothing was changed", "the changes file is damaged: %s", reason);
}

bool each_record(char *data, size_t length, void (*found)(void *context, const char *key, char *value, size_t length),
	void *context)
{
	while (length > 0) {
		size_t size = 0, digits = 0;
		while (digits < length && digits < 8 && data[digits] >= '0' && data[digits] <= '9')
			size = size * 10 + (size_t)(data[digits++] - '0');
		if (digits == 0 || digits == length || data[digits] != ' ' || size > length || size < digits + 4 ||
			data[size - 1] != '\n')
			return false;
		char *key = data + digits + 1, *end = data + size - 1, *equal = memchr(key, '=', (size_t)(end - key));
		if (equal == NULL || equal == key || memchr(key, '\0', (size_t)(equal - key)) != NULL)
			return false;
		*equal = *end = '\0';
		found(context, key, equal + 1, (size_t)(end - equal - 1));
		data += size;
		length -= size;
	}
	return true;
}

static uint64_t octal(const char *field, size_t size)
{
	uint64_t value = 0;
	size_t i = 0;
	while (i < size && field[i] == ' ')
		i++;
	for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
		value = value * 8 + (uint64_t)(field[i] - '0');
	for (; i < size; i++)
		if (field[i] != ' ' && field[i] != '\0')
			damaged("a header holds no number");
	return value;
}

/* Facts of an entry as its two headers tell them, not yet checked together. */
struct raw {
	char path[LONGEST_PATH + 8], target[LONGEST_PATH + 8];
	bool has_path, has_target, has_size, has_mtime, has_uid, has_gid;
	uint64_t size, uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	struct entry *entry;
	char **pairs;
	size_t pair_count, pair_capacity;
};

static uint64_t decimal(const char *value, uint64_t most)
{
	uint64_t number = 0;
	if (*value == '\0')
		damaged("an empty number");
	for (; *value != '\0'; value++) {
		if (*value < '0' || *value > '9' || number > most / 10)
			damaged("a number is none or too large");
		number = number * 10 + (uint64_t)(*value - '0');
	}
	if (number > most)
		damaged("a number is too large");
	return number;
}

static void take_time(struct raw *raw, char *value)
{
	bool negative = *value == '-';
	char *point = strchr(value, '.');
	uint32_t part = 0, scale = 100000000;
	if (point != NULL) {
		*point = '\0';
		for (char *digit = point + 1; *digit != '\0'; digit++, scale /= 10) {
			if (*digit < '0' || *digit > '9' || scale == 0)
				damaged("a time is none");
			part += (uint32_t)(*digit - '0') * scale;
		}
	}
	int64_t seconds = (int64_t)decimal(value + negative, (uint64_t)1 << 55);
	raw->mtime = negative ? -seconds - (part > 0) : seconds;
	raw->mtime_ns = negative && part > 0 ? 1000000000 - part : part;
}

static void take_text(char *to, const char *value, size_t length, const char *what)
{
	if (length > LONGEST_PATH + 6 || memchr(value, '\0', length) != NULL)
		damaged("%s is too long or holds a zero", what);
	memcpy(to, value, length);
	to[length] = '\0';
}

static void take_xattr(struct raw *raw, const char *name, const char *value, size_t length)
{
	if (!is_known_xattr(name) || strlen(name) > 255 || length > 65536)
		damaged("it sets the attribute %.100s", name);
	struct text pair = {0};
	add_escaped(&pair, name);
	add(&pair, "=");
	for (size_t i = 0; i < length; i++) {
		uint8_t byte = (uint8_t)value[i];
		char hex[2] = {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
		add_bytes(&pair, hex, 2);
	}
	raw->pairs = grow(raw->pairs, raw->pair_count, &raw->pair_capacity, sizeof *raw->pairs);
	raw->pairs[raw->pair_count++] = pair.data;
}

static void take_record(void *context, const char *key, char *value, size_t length)
{
	struct raw *raw = context;
	if (strcmp(key, "path") == 0) {
		take_text(raw->path, value, length, "a path");
		raw->has_path = true;
	} else if (strcmp(key, "linkpath") == 0) {
		take_text(raw->target, value, length, "the target of a link");
		raw->has_target = true;
	} else if (strcmp(key, "size") == 0) {
		raw->size = decimal(value, INT64_MAX);
		raw->has_size = true;
	} else if (strcmp(key, "uid") == 0) {
		raw->uid = decimal(value, UINT32_MAX - 1);
		raw->has_uid = true;
	} else if (strcmp(key, "gid") == 0) {
		raw->gid = decimal(value, UINT32_MAX - 1);
		raw->has_gid = true;
	} else if (strcmp(key, "mtime") == 0) {
		take_time(raw, value);
		raw->has_mtime = true;
	} else if (strncmp(key, "SCHILY.xattr.", 13) == 0) {
		take_xattr(raw, key + 13, value, length);
	} else if (strcmp(key, "APPPOT.change") == 0 && length == 1 && (*value == 'M' || *value == 'P')) {
		raw->entry->change = *value;
	} else if (strcmp(key, "APPPOT.opaque") == 0) {
		raw->entry->opaque = true;
	} else if (strcmp(key, "APPPOT.was") == 0) {
		raw->entry->was.length = 0;
		add_bytes(&raw->entry->was, value, length);
	}
}

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
	*length = size;
	return archive->records.data;
}

static void take_touched(struct archive *archive, char *value)
{
	char *rest = value, *line;
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		long long seconds;
		unsigned nanoseconds;
		int used = 0;
		if (sscanf(line, "%lld.%9u %n", &seconds, &nanoseconds, &used) != 2 || used == 0 || nanoseconds > 999999999)
			damaged("the list of times");
		char *path = line + used;
		bool ok = unescape(path);
		if (!ok || !is_clean(path) || strcmp(path, ".") == 0)
			damaged("a path in the list of times");
		if (archive->touched != NULL)
			archive->touched(archive->context, path, seconds, nanoseconds);
	}
}

static void take_global(void *context, const char *key, char *value, size_t length)
{
	struct archive *archive = context;
	if (strcmp(key, "APPPOT.base") == 0 && archive->base[0] == '\0') {
		if (length != DIGEST_TEXT - 1 || strspn(value, "0123456789abcdef") != length)
			damaged("its base id is none");
		memcpy(archive->base, value, DIGEST_TEXT);
	} else if (strcmp(key, "APPPOT.version") == 0 && strcmp(value, "1") != 0) {
		die(FAILED, "use a newer apppot", "the changes file has the format %.20s, and this apppot-snap knows 1", value);
	} else if (strcmp(key, "APPPOT.tool") == 0) {
		snprintf(archive->tool, sizeof archive->tool, "%s", value);
	} else if (strcmp(key, "APPPOT.touched") == 0) {
		take_touched(archive, value);
	} else if (strcmp(key, "APPPOT.entries") == 0) {
		if (decimal(value, UINT64_MAX / 2) != archive->entries)
			damaged("it should have %.20s entries, and has %" PRIu64, value, archive->entries);
	} else if (strcmp(key, "APPPOT.sha256") == 0) {
		if (strcmp(value, archive->digest) != 0)
			damaged("its digest is wrong");
		archive->ended = true;
	}
}

bool is_clean(const char *path)
{
	if (strlen(path) > LONGEST_PATH)
		return false;
	if (strcmp(path, ".") == 0)
		return true;
	for (const char *part = path;; part++) {
		size_t length = strcspn(part, "/");
		if (length == 0 || length > NAME_MAX || (length == 1 && part[0] == '.') ||
			(length == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		part += length;
		if (*part == '\0')
			return true;
	}
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

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void join_xattrs(struct raw *raw, struct text *text)
{
	text->length = 0;
	if (raw->pair_count > 1)
		qsort(raw->pairs, raw->pair_count, sizeof *raw->pairs, by_text);
	for (size_t i = 0; i < raw->pair_count; i++) {
		if (i > 0 && strncmp(raw->pairs[i], raw->pairs[i - 1], strcspn(raw->pairs[i], "=") + 1) == 0)
			damaged("an attribute twice");
		add(text, i > 0 ? "," : "");
		add(text, raw->pairs[i]);
	}
	if (raw->pair_count == 0)
		add(text, "-");
	for (size_t i = 0; i < raw->pair_count; i++)
		free(raw->pairs[i]);
	free(raw->pairs);
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
	archive->left = entry->type == 'f' ? size : 0;
	archive->padding = (uint32_t)((BLOCK - archive->left % BLOCK) % BLOCK);
	if (++archive->entries > MOST_ENTRIES)
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

/* One header with what belongs to it; false at the end of the archive, or after a global header when asked. */
static bool next_header(struct archive *archive, bool stop_at_global)
{
	struct raw *raw = allocate(sizeof *raw);
	char header[BLOCK];
	raw->entry = &archive->entry;
	archive->entry.change = 'A';
	archive->entry.opaque = false;
	archive->entry.was.length = 0;
	for (bool extended = false;;) {
		struct sha256 before = archive->stream.hash;
		get_bytes(&archive->stream, header, BLOCK);
		if (header[0] == '\0') {
			static const char zeros[BLOCK];
			if (extended || memcmp(header, zeros, BLOCK) != 0)
				damaged("a header is none");
			if (!archive->ended)
				damaged("it is truncated");
			free(raw);
			return false;
		}
		check_header(header);
		if (archive->ended)
			damaged("something follows its end");
		size_t length;
		char *records;
		switch (header[156]) {
		case 'g':
			sha256_text(&before, archive->digest);
			records = read_records(archive, header, &length);
			if (extended || !each_record(records, length, take_global, archive))
				damaged("a header is none");
			if (stop_at_global) {
				free(raw);
				return false;
			}
			break;
		case 'x':
			records = read_records(archive, header, &length);
			if (extended || !each_record(records, length, take_record, raw))
				damaged("a header is none");
			extended = true;
			break;
		default:
			finish_entry(archive, raw, header);
			free(raw);
			return true;
		}
	}
}

void open_archive(struct archive *archive, const char *name)
{
	char first[BLOCK];
	open_input(&archive->stream, name);
	/* Looked at before it counts: what begins otherwise is no changes file, damaged or not. */
	if (!peek(&archive->stream, first, 262) || memcmp(first + 257, "ustar", 5) != 0 || first[156] != 'g')
		die(DAMAGED, "give a file that apppot-snap changes has written", "%s is no changes file, or it is truncated", name);
	next_header(archive, true);
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
	do
		get_content(archive, skipped, sizeof skipped);
	while (archive->left > 0);
	if (next_header(archive, false))
		return true;
	close_input(&archive->stream);
	return false;
}
