/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading sparse integer matrices in the SMS format of the Linbox project. */
#include "sms.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void fail(int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("rheinfall: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(code);
}

void *reallocate(void *old, size_t bytes)
{
	void *memory = realloc(old, bytes ? bytes : 1);

	if (!memory)
		fail(1, "no memory for %zu bytes", bytes);
	return memory;
}

void *allocate(size_t bytes)
{
	return reallocate(NULL, bytes);
}

void *allocate_zero(size_t count, size_t bytes)
{
	void *memory = calloc(count ? count : 1, bytes);

	if (!memory)
		fail(1, "no memory for %zu times %zu bytes", count, bytes);
	return memory;
}

/* The next number of a line. */
static int64_t number(char **text, const char *name, size_t line)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(*text, &end, 10);
	if (end == *text)
		fail(1, "%s: line %zu: a number was expected", name, line);
	if (errno == ERANGE)
		fail(1, "%s: line %zu: the number needs more than 64 bits", name, line);
	*text = end;
	return value;
}

static void line_ends(const char *text, const char *name, size_t line)
{
	while (isspace((unsigned char)*text))
		text++;
	if (*text)
		fail(1, "%s: line %zu: unexpected \"%.*s\"", name, line, (int)strcspn(text, "\r\n"), text);
}

static void read_header(char *text, const char *name, struct matrix *matrix)
{
	int64_t rows = number(&text, name, 1), columns = number(&text, name, 1);

	while (*text == ' ' || *text == '\t')
		text++;
	if (*text != 'M')
		fail(1, "%s: line 1: not an SMS matrix of integers, whose first line is \"ROWS COLUMNS M\"", name);
	line_ends(text + 1, name, 1);
	if (rows < 0 || columns < 0 || rows >= UINT32_MAX || columns >= UINT32_MAX)
		fail(1, "%s: line 1: impossible size %lld x %lld", name, (long long)rows, (long long)columns);
	matrix->rows = (uint32_t)rows;
	matrix->columns = (uint32_t)columns;
}

static int by_place(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;

	if (a->row != b->row)
		return a->row < b->row ? -1 : 1;
	return a->column < b->column ? -1 : a->column > b->column;
}

void read_sms(FILE *file, const char *name, struct matrix *matrix)
{
	size_t capacity = 0, room = 0, line = 1;
	char *text = NULL;
	int complete = 0;

	memset(matrix, 0, sizeof(*matrix));
	if (getline(&text, &room, file) < 0)
		fail(1, "%s: empty", name);
	read_header(text, name, matrix);
	while (!complete && getline(&text, &room, file) >= 0) {
		char *rest = text;
		int64_t row, column, value;

		line++;
		row = number(&rest, name, line);
		column = number(&rest, name, line);
		value = number(&rest, name, line);
		line_ends(rest, name, line);
		if (!row && !column && !value) {
			complete = 1;
			continue;
		}
		if (row < 1 || row > matrix->rows || column < 1 || column > matrix->columns)
			fail(1, "%s: line %zu: there is no entry (%lld, %lld)", name, line, (long long)row,
			     (long long)column);
		if (!value)
			continue;
		if (matrix->count == capacity) {
			capacity = capacity ? capacity * 2 : 1024;
			matrix->entries = reallocate(matrix->entries, capacity * sizeof(struct entry));
		}
		matrix->entries[matrix->count++] = (struct entry){
			.row = (uint32_t)(row - 1), .column = (uint32_t)(column - 1), .value = value};
	}
	free(text);
	if (!complete)
		fail(1, "%s: the closing line \"0 0 0\" is missing after line %zu", name, line);
	if (matrix->count)
		qsort(matrix->entries, matrix->count, sizeof(struct entry), by_place);
	for (size_t i = 1; i < matrix->count; i++)
		if (!by_place(&matrix->entries[i - 1], &matrix->entries[i]))
			fail(1, "%s: the entry (%u, %u) is there twice", name, matrix->entries[i].row + 1,
			     matrix->entries[i].column + 1);
}
