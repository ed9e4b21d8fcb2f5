/* Writes tar archives in pax interchange format (POSIX.1-2001, pax(1)) as layers of the OCI image specification. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "snap.h"

void add_record(struct text *text, const char *key, const void *value, size_t length)
{
	/* The length counts itself. */
	size_t rest = strlen(key) + length + 3, total = rest;
	for (size_t next; (next = rest + (size_t)snprintf(NULL, 0, "%zu", total)) != total;)
		total = next;
	addf(text, "%zu ", total);
	add(text, key);
	add(text, "=");
	add_bytes(text, value, length);
	add(text, "\n");
}

void add_time(struct text *text, int64_t seconds, uint32_t nanoseconds)
{
	/* A decimal number: -1.5 is half a second before -1. */
	if (seconds < 0 && nanoseconds > 0) {
		seconds++;
		nanoseconds = 1000000000 - nanoseconds;
		add(text, seconds == 0 ? "-" : "");
	}
	addf(text, "%" PRId64, seconds);
	if (nanoseconds > 0) {
		addf(text, ".%09u", nanoseconds);
		while (text->data[text->length - 1] == '0')
			text->data[--text->length] = '\0';
	}
}

static void put_octal(char *field, size_t size, uint64_t value)
{
	/* A number that is too large stands in the pax header. */
	if (value >> (3 * (size - 1)) != 0)
		value = 0;
	snprintf(field, size, "%0*" PRIo64, (int)size - 1, value);
}

static void put_header(struct stream *stream, char type, const char *name, const struct entry *entry, uint64_t size)
{
	char block[BLOCK] = "";
	size_t length = strlen(name);
	memcpy(block, name, length < 100 ? length : 100);
	put_octal(block + 100, 8, entry != NULL ? entry->mode : 0644);
	put_octal(block + 108, 8, entry != NULL ? entry->uid : 0);
	put_octal(block + 116, 8, entry != NULL ? entry->gid : 0);
	put_octal(block + 124, 12, size);
	put_octal(block + 136, 12, entry != NULL && entry->mtime > 0 ? (uint64_t)entry->mtime : 0);
	memset(block + 148, ' ', 8);
	block[156] = type;
	if (entry != NULL && (type == '1' || type == '2')) {
		length = strlen(entry->target);
		memcpy(block + 157, entry->target, length < 100 ? length : 100);
	}
	memcpy(block + 257, "ustar\0" "00", 8);
	put_octal(block + 329, 8, entry != NULL ? entry->major : 0);
	put_octal(block + 337, 8, entry != NULL ? entry->minor : 0);
	unsigned sum = 0;
	for (size_t i = 0; i < BLOCK; i++)
		sum += (unsigned char)block[i];
	snprintf(block + 148, 8, "%06o", sum);
	block[155] = ' ';
	put_bytes(stream, block, BLOCK);
}

void put_padding(struct stream *stream, uint64_t size)
{
	static const char zeros[BLOCK];
	put_bytes(stream, zeros, (BLOCK - size % BLOCK) % BLOCK);
}

static void add_number(struct text *text, const char *key, uint64_t value)
{
	char number[24];
	add_record(text, key, number, (size_t)snprintf(number, sizeof number, "%" PRIu64, value));
}

static void add_xattrs(struct text *records, const char *xattrs)
{
	struct text name = {0}, value = {0}, key = {0};
	while (next_xattr(&xattrs, &name, &value)) {
		key.length = 0;
		add(&key, "SCHILY.xattr.");
		add(&key, name.data);
		add_record(records, key.data, value.data, value.length);
	}
	free(name.data);
	free(value.data);
	free(key.data);
}

/* The name of an entry in the archive: a slash after a folder, .wh. before a deleted name. */
static void add_name(struct text *name, const struct entry *entry)
{
	size_t parent = parent_length(entry->path);
	if (entry->type == 'w') {
		add_bytes(name, entry->path, parent > 0 ? parent + 1 : 0);
		add(name, ".wh.");
		add(name, entry->path + (parent > 0 ? parent + 1 : 0));
	} else {
		add(name, entry->path);
		add(name, entry->type == 'o' ? "/.wh..wh..opq" : entry->type == 'd' ? "/" : "");
	}
}

void put_entry(struct stream *stream, const struct entry *entry)
{
	static const char types[] = "f0d5l2b4c3p6h1w0o0"; /* ours, tar's */
	struct text name = {0}, records = {0}, time = {0};
	uint64_t size = entry->type == 'f' ? (uint64_t)entry->size : 0;
	add_name(&name, entry);
	if (name.length > 100)
		add_record(&records, "path", name.data, name.length);
	if (strlen(entry->target) > 100)
		add_record(&records, "linkpath", entry->target, strlen(entry->target));
	if (size >> 33 != 0)
		add_number(&records, "size", size);
	if (entry->uid >> 21 != 0)
		add_number(&records, "uid", entry->uid);
	if (entry->gid >> 21 != 0)
		add_number(&records, "gid", entry->gid);
	if (entry->mtime_ns != 0 || entry->mtime < 0 || entry->mtime >> 33 != 0) {
		add_time(&time, entry->mtime, entry->mtime_ns);
		add_record(&records, "mtime", time.data, time.length);
	}
	if (entry->xattrs.length > 0)
		add_xattrs(&records, entry->xattrs.data);
	if (entry->change == 'P' || entry->change == 'M')
		add_record(&records, "APPPOT.change", &entry->change, 1);
	if (entry->opaque)
		add_record(&records, "APPPOT.opaque", "1", 1);
	if (entry->was.length > 0)
		add_record(&records, "APPPOT.was", entry->was.data, entry->was.length);
	if (entry->more != NULL)
		add_bytes(&records, entry->more->data, entry->more->length);
	if (records.length > 0) {
		put_header(stream, 'x', "PaxHeaders/entry", NULL, records.length);
		put_bytes(stream, records.data, records.length);
		put_padding(stream, records.length);
	}
	const char *type = strchr(types, entry->type);
	put_header(stream, type[1], name.data, entry, size);
	free(name.data);
	free(records.data);
	free(time.data);
}

void put_end(struct stream *stream)
{
	static const char zeros[2 * BLOCK];
	put_bytes(stream, zeros, sizeof zeros);
}

/* The root once more proves that nothing is missing: how many entries there are, and the digest of all before it. */
void finish_archive(struct stream *stream, struct entry *root, uint64_t entries)
{
	struct text records = {0};
	char digest[DIGEST_TEXT];
	output_digest(stream, digest);
	add_number(&records, "APPPOT.entries", entries);
	add_record(&records, "APPPOT.sha256", digest, strlen(digest));
	root->more = &records;
	put_entry(stream, root);
	put_end(stream);
	free(records.data);
}
