/* Where the files of an image will lie, foretold when its base is recorded: the image is made later. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snap.h"

/* An image is made from the tree by `mke2fs -d`: inodes are handed out in the order of the archive, that is folder by
 * folder with sorted names, and every ctime is 0. A number that proves wrong only costs reading that file. */
static int by_folder(const void *a, const void *b)
{
	const unsigned char *s = *(const unsigned char *const *)a, *t = *(const unsigned char *const *)b;
	while (*s != '\0' && *s == *t)
		s++, t++;
	return (*s == '/' ? 1 : *s == '\0' ? 0 : *s + 1) - (*t == '/' ? 1 : *t == '\0' ? 0 : *t + 1);
}

struct forecast {
	struct set numbers;
	FILE *index;
};
struct census {
	char **paths;
	size_t count, capacity;
};

static void write_record(void *context, const struct place *place)
{
	struct forecast *forecast = context;
	uint64_t *number = set_find(&forecast->numbers, place->path, strlen(place->path), false);
	struct record record = {.inode = number != NULL ? *number : 0, .known = number != NULL};
	if (fwrite(&record, sizeof record, 1, forecast->index) != 1)
		die_errno("cannot write the index");
}

static void count_path(void *context, const struct place *place)
{
	struct census *census = context;
	census->paths = grow(census->paths, census->count, &census->capacity, sizeof *census->paths);
	/* A further name of a file takes no inode; which of the names comes first says the order of the archive. */
	size_t length = strlen(place->path) + 1;
	char *entry = allocate(length + 16);
	memcpy(entry, place->path, length);
	uint64_t key[2] = {place->meta.device, place->meta.links > 1 && !S_ISDIR(place->meta.mode) ? place->meta.inode : 0};
	memcpy(entry + length, key, sizeof key);
	census->paths[census->count++] = entry;
}

void foretell(int root, FILE *index)
{
	struct census *census = allocate(sizeof *census);
	walk_all(true);
	walk(root, count_path, census);
	walk_all(false);
	qsort(census->paths, census->count, sizeof *census->paths, by_folder);
	struct forecast forecast = {.index = index};
	struct set groups = {0};
	uint64_t next = 12;
	for (size_t i = 0; i < census->count; i++) {
		const char *path = census->paths[i];
		uint64_t key[2], *number = set_find(&forecast.numbers, path, strlen(path), true);
		memcpy(key, path + strlen(path) + 1, sizeof key);
		if (strcmp(path, ".") == 0) {
			*number = 2;
		} else if (key[1] == 0) {
			*number = next++;
		} else {
			uint64_t *shared = set_find(&groups, key, sizeof key, true);
			if (*shared == 0)
				*shared = next++;
			*number = *shared;
		}
		free(census->paths[i]);
	}
	if (fseek(index, INDEX_HEADER, SEEK_SET) != 0)
		die_errno("cannot write the index");
	walk(root, write_record, &forecast);

}
