/* A small program for the compiler rows: sorts lines of its input by length. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
	char *text;
	size_t length;
};

static int by_length(const void *left, const void *right)
{
	const struct line *a = left, *b = right;

	return a->length < b->length ? -1 : a->length > b->length;
}

int main(void)
{
	struct line *lines = NULL;
	size_t count = 0, room = 0;
	char buffer[4096];

	while (fgets(buffer, sizeof(buffer), stdin)) {
		if (count == room) {
			room = room ? 2 * room : 16;
			lines = realloc(lines, room * sizeof(*lines));
			if (!lines)
				return 1;
		}
		lines[count].text = strdup(buffer);
		lines[count].length = strlen(buffer);
		count++;
	}
	if (count)
		qsort(lines, count, sizeof(*lines), by_length);
	for (size_t i = 0; i < count; i++)
		fputs(lines[i].text, stdout);
	return 0;
}
