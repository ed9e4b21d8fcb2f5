/* The list of paths that stay out of every snapshot. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "snap.h"

/* Whatever the list says: AppPot's own records of the base, and what a command works in. */
static const char *const own[] = {BASE_FILE, BASE_FILE ".new", INDEX_FILE, ID_FILE, STAGE, JOURNAL, JOURNAL ".new"};

static char **patterns;
static size_t count, capacity;

void read_excludes(int root)
{
	FILE *file = options.exclude != NULL ? fopen(options.exclude, "re") : read_beneath(root, EXCLUDE_FILE);
	if (file == NULL && options.exclude == NULL && errno == ENOENT)
		return;
	if (file == NULL)
		die_errno("cannot read the exclude list %s", options.exclude != NULL ? options.exclude : "/" EXCLUDE_FILE);
	char *line = NULL;
	size_t size = 0;
	for (ssize_t length; (length = getline(&line, &size, file)) >= 0;) {
		if (length > 0 && line[length - 1] == '\n')
			line[length - 1] = '\0';
		const char *start = line + strspn(line, " \t\r\f\v");
		if (*start == '#' || *start == '\0')
			continue;
		/* A path with the slash that it has everywhere else is meant the same. */
		patterns = grow(patterns, count, &capacity, sizeof *patterns);
		patterns[count++] = keep(line + (line[0] == '/'));
	}
	free(line);
	fclose(file);
}

/* Whether the pattern matches the path or a folder above it. `*` matches slashes too, so the last star suffices. */
static bool matches(const char *pattern, const char *path)
{
	const char *star = NULL, *mark = NULL;
	for (;;) {
		if (*pattern == '\0' && (*path == '\0' || *path == '/'))
			return true;
		if (*pattern == '*') {
			star = ++pattern;
			mark = path;
		} else if (*path != '\0' && *pattern != '\0' && (*pattern == '?' || *pattern == *path)) {
			pattern++;
			path++;
		} else if (star != NULL && *mark != '\0') {
			pattern = star;
			path = ++mark;
		} else {
			return false;
		}
	}
}

bool is_store(const char *path)
{
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (matches(own[i], path))
			return true;
	return false;
}

bool holds_store(const char *path)
{
	size_t length = strlen(path);
	return strcmp(path, ".") == 0 || (strncmp(STORE, path, length) == 0 &&
		(STORE[length] == '/' || STORE[length] == '\0'));
}

bool is_excluded(const char *path)
{
	if (strcmp(path, ".") == 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (matches(patterns[i], path))
			return true;
	return is_store(path);
}

bool excludes_below(const char *path)
{
	size_t length = strlen(path);
	for (size_t i = 0; i < count; i++) {
		/* The part before the first wildcard and the path with a slash: is one the start of the other? */
		size_t literal = strcspn(patterns[i], "*?");
		size_t common = literal < length ? literal : length;
		if (strncmp(patterns[i], path, common) != 0)
			continue;
		if (literal <= length || patterns[i][length] == '/')
			return true;
	}
	return holds_store(path);
}
