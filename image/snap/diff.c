/* What differs from the base: the walk and the base's manifest have the same order, so one pass over both tells.
 * Inode and ctime say where to look, the digest of the content decides. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snap.h"

struct differ {
	int root;
	struct changes *changes;
	struct base base;
	struct set gone, hidden; /* folders of the base that are none any more; mount points */
	struct text xattrs, target, was;
	uint64_t seen;
};

/* The character of an archive's order at a place; the mark of a whiteout is before all others. */
static int character(const char *path, size_t mark, size_t *i)
{
	size_t at = (*i)++;
	if (at == mark)
		return 1;
	return (unsigned char)path[at > mark ? at - 1 : at];
}

int compare_names(const char *a, bool a_is_whiteout, const char *b, bool b_is_whiteout)
{
	a = strcmp(a, ".") == 0 ? "" : a;
	b = strcmp(b, ".") == 0 ? "" : b;
	size_t a_parent = parent_length(a), b_parent = parent_length(b);
	size_t a_mark = a_is_whiteout ? (a_parent > 0 ? a_parent + 1 : 0) : SIZE_MAX;
	size_t b_mark = b_is_whiteout ? (b_parent > 0 ? b_parent + 1 : 0) : SIZE_MAX;
	for (size_t i = 0, j = 0;;) {
		int c = character(a, a_mark, &i), d = character(b, b_mark, &j);
		if (c != d)
			return c - d;
		if (c == 0)
			return b_is_whiteout - a_is_whiteout;
	}
}

struct change *add_change(struct changes *changes, char kind, const char *path)
{
	changes->list = grow(changes->list, changes->count, &changes->capacity, sizeof *changes->list);
	struct change *change = &changes->list[changes->count++];
	*change = (struct change){.kind = kind, .path = keep(path)};
	return change;
}

static bool parent_in(struct set *set, const char *path)
{
	size_t length = parent_length(path);
	return length > 0 && set_find(set, path, length, false) != NULL;
}

/* A path of the base that is not there any more. What is below a deleted folder goes with it. */
static void deleted(struct differ *differ)
{
	const struct line *line = &differ->base.line;
	if (parent_in(&differ->hidden, line->path)) {
		set_add(&differ->hidden, line->path);
		return;
	}
	bool implied = parent_in(&differ->gone, line->path);
	if (line->type == 'd')
		set_add(&differ->gone, line->path);
	/* The list of today may leave out what the base still had: no change of the system. Sockets never travel. */
	if (!implied && line->type != 's' && !is_excluded(line->path))
		add_change(differ->changes, 'D', line->path);
}

static bool is_same(const struct line *a, const struct line *b)
{
	return a->type == b->type && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
		((a->type != 'f' && a->type != 'l') || a->size == b->size) &&
		strcmp(a->target != NULL ? a->target : "", b->target != NULL ? b->target : "") == 0 &&
		((a->type != 'b' && a->type != 'c') || (a->major == b->major && a->minor == b->minor)) &&
		strcmp(a->xattrs, b->xattrs) == 0;
}

static void describe(struct text *text, const struct line *line)
{
	text->length = 0;
	addf(text, "%c %04o %u %u %lld %lld.%09u ", line->type, line->mode, line->uid, line->gid, (long long)line->size,
		(long long)line->mtime, line->mtime_ns);
	add(text, line->xattrs);
}

static void store(struct differ *differ, const struct place *place, char kind, const struct line *line,
	const struct line *old)
{
	struct change *change = add_change(differ->changes, kind, place->path);
	change->meta = place->meta;
	change->xattrs = strcmp(line->xattrs, "-") == 0 ? "-" : keep(line->xattrs);
	change->target = line->target != NULL ? keep(line->target) : NULL;
	change->group = line->group;
	change->base_group = old != NULL && old->group != NULL ? keep(old->group) : NULL;
	if (kind == 'M') {
		describe(&differ->was, old);
		change->was = keep(differ->was.data);
	}
}

static void compare(struct differ *differ, const struct place *place, const struct line *old)
{
	struct line line;
	char digest[DIGEST_TEXT];
	line_from(&line, place);
	line.group = group_of(place);
	bool linked = line.group != NULL || (old != NULL && old->group != NULL);
	if (old != NULL && is_untouched(&differ->base, &place->meta)) {
		line.xattrs = old->xattrs;
		line.target = old->target;
		if (linked)
			store(differ, place, 'U', &line, old);
		return;
	}
	read_xattrs(place, &differ->xattrs);
	line.xattrs = differ->xattrs.data;
	if (line.type == 'l') {
		read_target(place, &differ->target);
		line.target = differ->target.data;
	}
	char kind = old == NULL ? 'A' : is_same(&line, old) ? 'U' : 'M';
	if (kind == 'U' && line.type == 'f') {
		digest_file(place, digest);
		differ->changes->digested++;
		kind = old->digest != NULL && strcmp(digest, old->digest) == 0 ? 'U' : 'M';
	}
	if (kind == 'U' && (line.mtime != old->mtime || line.mtime_ns != old->mtime_ns))
		kind = line.type == 'f' && line.size > 0 ? 'T' : 'M';
	if (old != NULL && old->type == 'd' && line.type != 'd')
		set_add(&differ->gone, place->path);
	if (kind != 'U' || linked)
		store(differ, place, kind, &line, old);
}

static void visit(void *context, const struct place *found)
{
	struct differ *differ = context;
	struct base *base = &differ->base;
	struct place copy = *found, *place = &copy;
	while (base->has_line && strcmp(base->line.path, place->path) < 0) {
		deleted(differ);
		next_line(base);
	}
	bool known = base->has_line && strcmp(base->line.path, place->path) == 0;
	/* The disk may only say that nothing happened to a file of one name, or that a plain one is new; the kernel says all
	 * else. A path that is gone is missing when the next one comes. */
	bool is_clear = (S_ISDIR(place->meta.mode) || place->meta.links == 1) &&
		(known ? base->line.group == NULL && is_untouched(base, &place->meta) : place->meta.plain);
	if (place->folder < 0 && !is_clear && !look(differ->root, place))
		return;
	differ->changes->looked += place->folder >= 0;
	if (place->is_mount) {
		set_add(&differ->hidden, place->path);
	} else if (type_of(place->meta.mode) == 's') {
		differ->changes->skipped++;
		if (known && base->line.type != 's')
			deleted(differ);
		else if (options.verbose)
			warn("skipped a socket: /%s", place->path);
	} else {
		compare(differ, place, known ? &base->line : NULL);
	}
	if (known)
		next_line(base);
	differ->seen++;
	progress(differ->seen, base->total > differ->seen ? base->total : differ->seen);
}

static int by_name(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	return compare_names(x->path, x->kind == 'D' || x->kind == 'O', y->path, y->kind == 'D' || y->kind == 'O');
}

static void count_up(struct changes *changes)
{
	for (size_t i = 0; i < changes->count; i++) {
		const struct change *change = &changes->list[i];
		const char *name = change->path + parent_length(change->path);
		name += *name == '/';
		if (strncmp(name, ".wh.", 4) == 0 && change->kind != 'T')
			die(FAILED, "rename it: in a layer, names that begin with .wh. stand for deletions",
				"cannot put /%s into a changes file", change->path);
		changes->added += change->kind == 'A';
		changes->changed += change->kind == 'M';
		changes->deleted += change->kind == 'D';
		changes->touched += change->kind == 'T';
		if (S_ISREG(change->meta.mode) && (change->kind == 'A' || change->kind == 'M') &&
			(change->group == NULL || strcmp(change->group, change->path) == 0))
			changes->bytes += (uint64_t)change->meta.size;
	}
}

void find_changes(struct changes *changes, int root)
{
	struct differ *differ = allocate(sizeof *differ);
	differ->changes = changes;
	open_base(&differ->base, root);
	memcpy(changes->base, differ->base.id, sizeof changes->base);
	next_line(&differ->base);
	differ->root = root;
	walk_disk(root, visit, differ);
	while (differ->base.has_line) {
		deleted(differ);
		next_line(&differ->base);
	}
	if (changes->skipped > 0)
		warn("%llu sockets were left out: they live as long as their program", (unsigned long long)changes->skipped);
	join_links(changes);
	find_opaque(changes, root);
	add_parents(changes, root);
	if (changes->count > 0)
		qsort(changes->list, changes->count, sizeof *changes->list, by_name);
	count_up(changes);
	close_base(&differ->base);
	free(differ);
}
