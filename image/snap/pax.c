/* What the headers of a tar archive say: octal numbers and pax records (POSIX.1-2001, pax(1)). Nothing is trusted. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "raw.h"

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

uint64_t octal(const char *field, size_t size)
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

uint64_t decimal(const char *value, uint64_t most)
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

void take_text(char *to, const char *value, size_t length, const char *what)
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

bool take_global(struct archive *archive, const char *key, char *value, size_t length)
{
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
		archive->counted = true;
	} else if (strcmp(key, "APPPOT.sha256") == 0) {
		char digest[DIGEST_TEXT];
		struct sha256 copy = archive->before;
		sha256_text(&copy, digest);
		if (strcmp(value, digest) != 0)
			damaged("its digest is wrong");
		if (!archive->counted)
			damaged("it does not say how many entries it has");
		archive->ended = true;
	} else {
		return strcmp(key, "APPPOT.version") == 0;
	}
	return true;
}

void take_record(void *context, const char *key, char *value, size_t length)
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
	} else if (strcmp(key, "APPPOT.was") != 0 && strncmp(key, "APPPOT.", 7) == 0) {
		raw->is_whole |= take_global(raw->archive, key, value, length);
	} else if (strcmp(key, "APPPOT.was") == 0) {
		raw->entry->was.length = 0;
		add_bytes(&raw->entry->was, value, length);
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

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void join_xattrs(struct raw *raw, struct text *text)
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
