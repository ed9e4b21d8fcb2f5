/* What has to be read from a path beyond its stat: extended attributes, the target of a link, the digest of a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snap.h"

#define BUFFER (1 << 18)

bool is_known_xattr(const char *name)
{
	return strncmp(name, "user.", 5) == 0 || strcmp(name, "security.capability") == 0 ||
		strncmp(name, "system.posix_acl_", 17) == 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The calls for attributes know no folder descriptors: works in the folder itself. */
static void enter(int folder, const char *path)
{
	if (fchdir(folder) != 0)
		die_errno("cannot enter the folder of /%s", path);
}

static char *pair_of(const struct place *place, const char *name)
{
	static uint8_t value[65536];
	ssize_t length = lgetxattr(place->name, name, value, sizeof value);
	if (length < 0 && errno == ENODATA)
		return NULL;
	if (length < 0)
		die_errno("cannot read the attribute %s of /%s", name, place->path);
	struct text pair = {0};
	add_escaped(&pair, name);
	add(&pair, "=");
	for (ssize_t i = 0; i < length; i++) {
		char hex[2] = {"0123456789abcdef"[value[i] >> 4], "0123456789abcdef"[value[i] & 15]};
		add_bytes(&pair, hex, 2);
	}
	return pair.data;
}

void read_xattrs(const struct place *place, struct text *text)
{
	static char names[65536];
	text->length = 0;
	if (place->folder < 0 && place->meta.plain) {
		add(text, "-");
		return;
	}
	enter(place->folder, place->path);
	ssize_t length = llistxattr(place->name, names, sizeof names);
	if (length < 0 && errno != ENOTSUP && errno != ENOENT)
		die_errno("cannot list the attributes of /%s", place->path);
	char **pairs = NULL;
	size_t count = 0, capacity = 0;
	for (char *name = names; length > 0 && name < names + length; name += strlen(name) + 1) {
		char *pair = is_known_xattr(name) ? pair_of(place, name) : NULL;
		if (pair == NULL)
			continue;
		pairs = grow(pairs, count, &capacity, sizeof *pairs);
		pairs[count++] = pair;
	}
	if (count > 0)
		qsort(pairs, count, sizeof *pairs, by_text);
	for (size_t i = 0; i < count; i++) {
		add(text, i > 0 ? "," : "");
		add(text, pairs[i]);
		free(pairs[i]);
	}
	free(pairs);
	if (count == 0)
		add(text, "-");
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool next_xattr(const char **xattrs, struct text *name, struct text *value)
{
	const char *start = *xattrs;
	if (*start == '\0' || strcmp(start, "-") == 0)
		return false;
	const char *end = start + strcspn(start, ","), *middle = start + strcspn(start, "=");
	name->length = value->length = 0;
	add_bytes(value, "", 0);
	if (middle >= end)
		return false;
	add_bytes(name, start, (size_t)(middle - start));
	if (!unescape(name->data))
		return false;
	name->length = strlen(name->data);
	for (const char *c = middle + 1; c + 1 < end; c += 2) {
		int high = digit(c[0]), low = digit(c[1]);
		if (high < 0 || low < 0)
			return false;
		char byte = (char)(high << 4 | low);
		add_bytes(value, &byte, 1);
	}
	*xattrs = *end == ',' ? end + 1 : end;
	return true;
}

int write_xattrs(int folder, const char *name, const char *xattrs)
{
	static char names[65536];
	struct text key = {0}, value = {0};
	struct set wanted = {0};
	int result = fchdir(folder);
	while (result == 0 && next_xattr(&xattrs, &key, &value)) {
		result = lsetxattr(name, key.data, value.data, value.length, 0);
		set_add(&wanted, key.data);
	}
	ssize_t length = result == 0 ? llistxattr(name, names, sizeof names) : 0;
	for (char *old = names; length > 0 && old < names + length; old += strlen(old) + 1)
		if (is_known_xattr(old) && !set_has(&wanted, old) && lremovexattr(name, old) != 0 && errno != ENODATA)
			result = -1;
	free(key.data);
	free(value.data);
	free(wanted.slots);
	return result;
}

void read_target(const struct place *place, struct text *text)
{
	char target[LONGEST_PATH + 2];
	ssize_t length = readlinkat(place->folder, place->name, target, sizeof target - 1);
	if (length < 0)
		die_errno("cannot read the link /%s", place->path);
	text->length = 0;
	target[length] = '\0';
	add(text, target);
}

bool digest_file(const struct place *place, char digest[DIGEST_TEXT])
{
	static uint8_t *buffer;
	const uint8_t *content;
	struct sha256 hash;
	sha256_start(&hash);
	if (place->folder < 0) {
		bool done = ext4_content(&place->meta, &content);
		if (done) {
			sha256_add(&hash, content, (size_t)place->meta.size);
			sha256_text(&hash, digest);
		}
		return done;
	}
	if (buffer == NULL)
		buffer = allocate(BUFFER);
	int fd = openat(place->folder, place->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die_errno("cannot read /%s", place->path);
	ssize_t length;
	while ((length = read(fd, buffer, BUFFER)) > 0)
		sha256_add(&hash, buffer, (size_t)length);
	if (length < 0)
		die_errno("cannot read /%s", place->path);
	close(fd);
	sha256_text(&hash, digest);
	return true;
}
