/* From differences of single paths to what a layer needs: whole groups of hard links, opaque folders, parents. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snap.h"

/* Puts a pointer to `value` into the set at `key`, or compares it with the one there; false when they differ. */
static bool agree(struct set *set, const char *key, const char *value)
{
	uint64_t *known = set_find(set, key, strlen(key), true);
	if (*known == 0)
		*known = (uintptr_t)value;
	return strcmp((const char *)(uintptr_t)*known, value) == 0;
}

/* A group is written whole when one of its names is, and when it is not what a merge would find: names that shared no
 * inode in the base, or that shared it with one that has now another. */
void join_links(struct changes *changes)
{
	struct set now_of = {0}, base_of = {0}, split = {0}, write = {0};
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < changes->count; i++) {
			const struct change *change = &changes->list[i];
			if (change->kind == 'D' || (change->group == NULL && change->base_group == NULL))
				continue;
			const char *now = change->group != NULL ? change->group : change->path;
			const char *before = change->base_group != NULL ? change->base_group : change->path;
			if (pass == 0) {
				if (change->kind == 'A' || change->kind == 'M' || !agree(&base_of, now, before))
					set_add(&write, now);
				if (change->kind != 'A' && !agree(&now_of, before, now))
					set_add(&split, before);
			} else if (set_has(&split, before)) {
				set_add(&write, now);
			}
		}
	}
	size_t kept = 0;
	for (size_t i = 0; i < changes->count; i++) {
		struct change *change = &changes->list[i];
		const char *now = change->group != NULL ? change->group : change->path;
		if ((change->kind == 'U' || change->kind == 'T') && set_has(&write, now))
			change->kind = 'M';
		if (change->kind != 'U')
			changes->list[kept++] = *change;
	}
	changes->count = kept;
}

/* A folder of which nothing of the base is left is marked opaque: one mark for all its deletions. */
void find_opaque(struct changes *changes, int root)
{
	struct set children = {0}, opaque = {0};
	bool wanted = false;
	for (size_t i = 0; i < changes->count; i++) {
		const struct change *change = &changes->list[i];
		size_t length = change->kind == 'D' ? parent_length(change->path) : 0;
		if (length > 0)
			wanted |= ++*set_find(&children, change->path, length, true) > 1;
	}
	if (!wanted)
		return;
	/* Takes each child of the base off the count: what ends at zero lost them all. */
	struct base base;
	open_base(&base, root);
	struct set in_base = {0};
	while (next_line(&base)) {
		size_t length = parent_length(base.line.path);
		uint64_t *deleted = length > 0 ? set_find(&children, base.line.path, length, false) : NULL;
		if (deleted != NULL && *deleted > 1 && base.line.type != 's')
			++*set_find(&in_base, base.line.path, length, true);
	}
	close_base(&base);
	struct changes parents = {0};
	char parent[LONGEST_PATH + 1];
	size_t kept = 0, count = changes->count;
	for (size_t i = 0; i < count; i++) {
		size_t length = changes->list[i].kind == 'D' ? parent_length(changes->list[i].path) : 0;
		uint64_t *deleted = length > 0 ? set_find(&children, changes->list[i].path, length, false) : NULL;
		uint64_t *had = length > 0 ? set_find(&in_base, changes->list[i].path, length, false) : NULL;
		if (had != NULL && *had == *deleted) {
			memcpy(parent, changes->list[i].path, length);
			parent[length] = '\0';
			if (!excludes_below(parent)) {
				if (!set_has(&opaque, parent))
					add_change(&parents, 'P', parent);
				set_add(&opaque, parent);
				changes->deleted++;
				continue;
			}
		}
		changes->list[kept++] = changes->list[i];
	}
	changes->count = kept;
	struct set done = {0};
	for (size_t i = 0; i < kept; i++)
		if (changes->list[i].kind != 'D' && set_has(&opaque, changes->list[i].path)) {
			changes->list[i].opaque = true;
			set_add(&done, changes->list[i].path);
		}
	for (size_t i = 0; i < parents.count; i++)
		if (!set_has(&done, parents.list[i].path))
			add_change(changes, 'P', parents.list[i].path)->opaque = true;
	free(parents.list);
}

static void look_at(struct change *change, int root)
{
	static struct text xattrs;
	const char *name;
	struct stat stat;
	int folder = parent_of(root, change->path, &name);
	if (folder < 0 || fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) != 0)
		die_errno("cannot look at /%s", change->path);
	meta_from(&change->meta, &stat);
	struct place place = {change->path, folder, name, change->meta, false};
	read_xattrs(&place, &xattrs);
	change->xattrs = keep(xattrs.data);
}

/* An archive names the folders above each of its paths: a layer that is mounted shows them, and needs their facts. */
void add_parents(struct changes *changes, int root)
{
	struct set present = {0};
	size_t count = changes->count;
	struct text mark = {0};
	for (size_t i = 0; i < count; i++) {
		if (!changes->list[i].opaque)
			continue;
		mark.length = 0;
		add(&mark, changes->list[i].path);
		add(&mark, "/");
		add_change(changes, 'O', mark.data);
	}
	free(mark.data);
	char parent[LONGEST_PATH + 1];
	for (size_t i = 0; i < count; i++)
		if (changes->list[i].kind != 'D' && changes->list[i].kind != 'T') {
			set_add(&present, changes->list[i].path);
			if (changes->list[i].kind == 'P')
				look_at(&changes->list[i], root);
		}
	if (!set_has(&present, ".")) {
		set_add(&present, ".");
		look_at(add_change(changes, 'P', "."), root);
	}
	for (size_t i = 0; i < count; i++) {
		if (changes->list[i].kind == 'T')
			continue;
		memcpy(parent, changes->list[i].path, strlen(changes->list[i].path) + 1);
		while (strcmp(parent, ".") != 0) {
			size_t length = parent_length(parent);
			if (length == 0)
				memcpy(parent, ".", 2);
			else
				parent[length] = '\0';
			if (set_has(&present, parent))
				continue;
			set_add(&present, parent);
			look_at(add_change(changes, 'P', parent), root);
		}
	}
}
