/* apppot-snap inspect and verify: what is in a changes file, and whether it is whole. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snap.h"

struct counts {
	uint64_t added, changed, deleted, touched, bytes, data;
	struct text *list;
	uint64_t listed;
	bool is_printed; /* what is in the list goes out at once */
};

static void put_list(struct counts *counts)
{
	if (!counts->is_printed)
		return;
	fwrite(counts->list->data, 1, counts->list->length, stdout);
	counts->list->length = 0;
}

static void count_touched(void *context, const char *path, int64_t mtime, uint32_t mtime_ns)
{
	struct counts *counts = context;
	counts->touched++;
	if (options.stat || counts->list == NULL)
		return;
	if (!options.json) {
		printf("T %" PRId64 ".%09u ", mtime, mtime_ns);
		struct text shown = {0};
		add_escaped(&shown, path);
		printf("%s\n", shown.data);
		free(shown.data);
		return;
	}
	add(counts->list, counts->listed++ > 0 ? ",{\"change\":\"T\",\"path\":" : "{\"change\":\"T\",\"path\":");
	add_json(counts->list, path);
	add(counts->list, "}");
	put_list(counts);
}

static void add_mode(struct text *text, char type, uint32_t mode)
{
	char shown[] = "-rwxrwxrwx";
	shown[0] = type == 'f' || type == 'h' ? '-' : type;
	for (int i = 0; i < 9; i++)
		if (!(mode & 1U << (8 - i)))
			shown[i + 1] = '-';
	if (mode & S_ISUID)
		shown[3] = shown[3] == 'x' ? 's' : 'S';
	if (mode & S_ISGID)
		shown[6] = shown[6] == 'x' ? 's' : 'S';
	if (mode & S_ISVTX)
		shown[9] = shown[9] == 'x' ? 't' : 'T';
	add(text, shown);
}

/* Attributes that are in `a` and not, or with another value, in `b`. */
static void add_xattr_changes(struct text *text, const char *a, const char *b, char sign)
{
	struct text pair = {0};
	while (*a != '\0' && strcmp(a, "-") != 0) {
		size_t length = strcspn(a, ",");
		const char *found = b;
		while (*found != '\0' && !(strncmp(found, a, length) == 0 && (found[length] == ',' || found[length] == '\0')))
			found += strcspn(found, ",") + (found[strcspn(found, ",")] == ',');
		if (*found == '\0') {
			pair.length = 0;
			add_bytes(&pair, a, strcspn(a, "="));
			addf(text, ", %cxattr %.200s", sign, pair.data);
		}
		a += length + (a[length] == ',');
	}
	free(pair.data);
}

static void add_was(struct text *text, const struct entry *entry)
{
	char type;
	unsigned mode, uid, gid;
	long long size, mtime;
	unsigned nanoseconds;
	int used = 0;
	size_t start = text->length;
	if (sscanf(entry->was.data, "%c %o %u %u %lld %lld.%u %n", &type, &mode, &uid, &gid, &size, &mtime, &nanoseconds,
		&used) != 7 || used == 0)
		return;
	char now = entry->type == 'h' ? 'f' : entry->type;
	if (type != now)
		addf(text, ", was %s", type == 'd' ? "a folder" : type == 'l' ? "a link" : type == 'f' ? "a file" : "special");
	else if (mode != entry->mode)
		addf(text, ", mode was %04o", mode);
	if (uid != entry->uid || gid != entry->gid)
		addf(text, ", owner was %u:%u", uid, gid);
	if (type == 'f' && entry->type == 'f' && size != entry->size)
		addf(text, ", size was %lld", size);
	if (entry->type != 'h') {
		add_xattr_changes(text, entry->xattrs.data, entry->was.data + used, '+');
		add_xattr_changes(text, entry->was.data + used, entry->xattrs.data, '-');
	}
	if (text->length > start)
		text->data[start] = ' ', text->data[start + 1] = '(', add(text, ")");
	(void)mtime;
}

static void show(const struct entry *entry)
{
	struct text text = {0};
	if (entry->type == 'w') {
		add(&text, "D ");
		add_escaped(&text, entry->path);
	} else if (entry->type == 'o') {
		add(&text, "D ");
		add_escaped(&text, entry->path);
		add(&text, "/* (all that the base has in it)");
	} else {
		addf(&text, "%c ", entry->change);
		add_mode(&text, entry->type, entry->mode);
		addf(&text, " %u:%u %" PRId64 " ", entry->uid, entry->gid, entry->size);
		add_escaped(&text, entry->path);
		if (entry->type == 'l' || entry->type == 'h') {
			add(&text, entry->type == 'l' ? " -> " : " = ");
			add_escaped(&text, entry->target);
		}
		if (entry->was.length > 0)
			add_was(&text, entry);
		else if (entry->type != 'h')
			add_xattr_changes(&text, entry->xattrs.data, "", '+');
	}
	printf("%s\n", text.data);
	free(text.data);
}

static void add_object(struct counts *counts, const struct entry *entry)
{
	struct text *list = counts->list;
	add(list, counts->listed++ > 0 ? ",\n" : "");
	addf(list, "{\"change\":\"%c\",\"path\":", entry->type == 'o' ? 'D' : entry->change);
	add_json(list, entry->path);
	if (entry->type == 'o')
		add(list, ",\"opaque\":true");
	if (entry->type != 'w' && entry->type != 'o') {
		addf(list, ",\"type\":\"%c\",\"mode\":\"%04o\",\"uid\":%u,\"gid\":%u,\"size\":%" PRId64 ",\"mtime\":\"%" PRId64 ".%09u\"",
			entry->type, entry->mode, entry->uid, entry->gid, entry->size, entry->mtime, entry->mtime_ns);
		if (entry->target[0] != '\0') {
			add(list, ",\"target\":");
			add_json(list, entry->target);
		}
		if (strcmp(entry->xattrs.data, "-") != 0) {
			add(list, ",\"xattrs\":");
			add_json(list, entry->xattrs.data);
		}
		if (entry->was.length > 0) {
			add(list, ",\"was\":");
			add_json(list, entry->was.data);
		}
	}
	add(list, "}");
	put_list(counts);
}

/* Bytes of content that a merge has to write: blocks of zeros become holes. */
static uint64_t data_in(struct archive *archive)
{
	static uint8_t buffer[1 << 16];
	static const uint8_t zeros[4096];
	uint64_t data = 0;
	for (size_t length = 1; length > 0;) {
		size_t used = 0;
		while (used < sizeof buffer && (length = get_content(archive, buffer + used, sizeof buffer - used)) > 0)
			used += length;
		for (size_t i = 0; i < used; i += sizeof zeros) {
			size_t part = used - i < sizeof zeros ? used - i : sizeof zeros;
			if (memcmp(buffer + i, zeros, part) != 0)
				data += sizeof zeros;
		}
	}
	return data;
}

static void read_all(struct archive *archive, struct counts *counts, const char *name)
{
	archive->touched = count_touched;
	archive->context = counts;
	open_archive(archive, name);
	while (next_entry(archive)) {
		const struct entry *entry = &archive->entry;
		counts->added += entry->change == 'A' && entry->type != 'o';
		counts->changed += entry->change == 'M';
		counts->deleted += entry->type == 'w' || entry->type == 'o';
		if (entry->type == 'f') {
			counts->bytes += (uint64_t)entry->size;
			counts->data += data_in(archive);
		}
		if (counts->list == NULL || options.stat || entry->change == 'P')
			continue;
		if (options.json)
			add_object(counts, entry);
		else
			show(entry);
	}
}

static const char *only_file(void)
{
	if (options.file_count != 1)
		die(USAGE, "apppot-snap --help", "%s needs one changes file", options.command);
	return options.files[0];
}

static void add_counts(struct text *text, const struct archive *archive, const struct counts *counts)
{
	addf(text, "{\"base\":\"%s\",\"tool\":", archive->base);
	add_json(text, archive->tool);
	addf(text, ",\"added\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"deleted\":%" PRIu64 ",\"touched\":%" PRIu64
		",\"bytes\":%" PRIu64 ",\"data\":%" PRIu64, counts->added, counts->changed, counts->deleted, counts->touched,
		counts->bytes, counts->data);
}

void command_inspect(void)
{
	struct archive *archive = allocate(sizeof *archive);
	struct text list = {0}, text = {0};
	struct stat stat_of;
	const char *name = only_file();
	if (options.json && !options.stat && stat(name, &stat_of) == 0 && S_ISREG(stat_of.st_mode)) {
		/* Read twice: the list of a million paths is held nowhere, and only one of a whole file is begun. */
		struct counts all = {0}, listed = {.list = &list, .is_printed = true};
		read_all(archive, &all, name);
		add_counts(&text, archive, &all);
		printf("%s,\"entries\":[", text.data);
		memset(archive, 0, sizeof *archive);
		read_all(archive, &listed, name);
		printf("]}\n");
		return;
	}
	struct counts counts = {.list = &list};
	read_all(archive, &counts, name);
	if (options.json) {
		add_counts(&text, archive, &counts);
		if (!options.stat) {
			add(&text, ",\"entries\":[");
			add_bytes(&text, list.data, list.length);
			add(&text, "]");
		}
		printf("%s}\n", text.data);
		return;
	}
	if (!options.stat)
		return;
	printf("base %s\n%" PRIu64 " added, %" PRIu64 " changed, %" PRIu64 " deleted, %" PRIu64 " only touched; %" PRIu64
		" bytes of content\n", archive->base, counts.added, counts.changed, counts.deleted, counts.touched, counts.bytes);
}

void command_verify(void)
{
	struct archive *archive = allocate(sizeof *archive);
	struct text text = {0};
	struct counts counts = {0};
	char id[DIGEST_TEXT] = "";
	const char *name = only_file();
	read_all(archive, &counts, name);
	if (options.base != NULL) {
		struct base base;
		open_base(&base, -1);
		memcpy(id, base.id, sizeof id);
		close_base(&base);
	} else {
		int root = open_root();
		if (!read_base_id(root, id))
			id[0] = '\0';
	}
	bool fits = strcmp(id, archive->base) == 0;
	if (!fits && id[0] != '\0' && (options.base != NULL || strcmp(options.root, "/") != 0))
		die(OTHER_BASE, "use the image that the changes were made in", "%s is whole and belongs to the base %s, not to %s",
			name, archive->base, id);
	if (options.json) {
		add_counts(&text, archive, &counts);
		printf("%s,\"whole\":true,\"fits\":%s}\n", text.data, fits ? "true" : "false");
	} else {
		printf("%s is whole and belongs to the base %s%s\n", name, archive->base, fits ? ", which is this one" : "");
	}
}
