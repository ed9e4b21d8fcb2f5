/* Messages, memory and texts. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "snap.h"

volatile sig_atomic_t interrupted;
static void (*failure_function)(void);

void on_failure(void (*function)(void))
{
	failure_function = function;
}

static const char *code_name(int code)
{
	switch (code) {
	case USAGE: return "usage";
	case OTHER_BASE: return "other-base";
	case DAMAGED: return "damaged";
	case NO_BASE: return "no-base";
	default: return "failed";
	}
}

static _Noreturn void end(int code, const char *message, const char *hint)
{
	void (*function)(void) = failure_function;
	failure_function = NULL;
	fprintf(stderr, "apppot-snap: %s\n", message);
	if (hint != NULL)
		fprintf(stderr, "hint: %s\n", hint);
	if (options.json) {
		struct text text = {0};
		add(&text, "{\"error\":{\"code\":\"");
		add(&text, code_name(code));
		add(&text, "\",\"message\":");
		add_json(&text, message);
		add(&text, ",\"hint\":");
		add_json(&text, hint != NULL ? hint : "");
		add(&text, "}}\n");
		bool piped = options.output != NULL && strcmp(options.output, "-") == 0;
		fputs(text.data, piped ? stderr : stdout);
		fflush(stdout);
	}
	if (function != NULL)
		function();
	_exit(code);
}

void die(int code, const char *hint, const char *format, ...)
{
	char *message;
	va_list list;
	va_start(list, format);
	if (vasprintf(&message, format, list) < 0)
		_exit(FAILED);
	va_end(list);
	end(code, message, hint);
}

void die_errno(const char *format, ...)
{
	int error = errno;
	char *message;
	va_list list;
	va_start(list, format);
	if (vasprintf(&message, format, list) < 0)
		_exit(FAILED);
	va_end(list);
	const char *hint = error == ENOSPC ? "the disk is full: nothing was changed by this command; make room and repeat it"
		: error == EACCES || error == EPERM ? "use sudo: only root can read and write everything"
						    : NULL;
	die(FAILED, hint, "%s: %s", message, strerror(error));
}

void warn(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	fputs("apppot-snap: ", stderr);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
}

void *allocate(size_t size)
{
	void *memory = calloc(1, size > 0 ? size : 1);
	if (memory == NULL)
		die(FAILED, "give the machine more memory", "out of memory");
	return memory;
}

void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity)
		return array;
	/* By a quarter: the largest arrays are what the program's memory consists of. */
	*capacity = *capacity < 64 ? 64 : *capacity + *capacity / 4;
	array = realloc(array, *capacity * size);
	if (array == NULL)
		die(FAILED, "give the machine more memory", "out of memory");
	return array;
}

char *keep(const char *text)
{
	static char *chunk;
	static size_t left;
	size_t length = strlen(text) + 1;
	if (length > left) {
		left = length > 1 << 18 ? length : 1 << 18;
		chunk = allocate(left);
	}
	char *copy = memcpy(chunk, text, length);
	chunk += length;
	left -= length;
	return copy;
}

void progress(uint64_t done, uint64_t total)
{
	if (interrupted)
		die(FAILED, NULL, "interrupted");
	progress_to_end(done, total);
}

void progress_to_end(uint64_t done, uint64_t total)
{
	static struct timespec last;
	struct timespec now;
	/* In a guest, asking for the time takes as long as looking at a file. */
	static unsigned calls;
	if (!options.progress || calls++ % 32 != 0)
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if ((now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < 100)
		return;
	last = now;
	fprintf(stderr, "progress %llu %llu\n", (unsigned long long)done, (unsigned long long)total);
}

void add_bytes(struct text *text, const void *data, size_t length)
{
	if (text->length + length + 1 > text->capacity) {
		text->capacity = (text->length + length + 1) * 3 / 2 + 32;
		text->data = realloc(text->data, text->capacity);
		if (text->data == NULL)
			die(FAILED, "give the machine more memory", "out of memory");
	}
	if (length > 0)
		memcpy(text->data + text->length, data, length);
	text->length += length;
	text->data[text->length] = '\0';
}

void add(struct text *text, const char *word)
{
	add_bytes(text, word, strlen(word));
}

void addf(struct text *text, const char *format, ...)
{
	char buffer[512];
	va_list list;
	va_start(list, format);
	int length = vsnprintf(buffer, sizeof buffer, format, list);
	va_end(list);
	add_bytes(text, buffer, (size_t)length < sizeof buffer ? (size_t)length : sizeof buffer - 1);
}

void add_escaped(struct text *text, const char *word)
{
	for (const unsigned char *c = (const unsigned char *)word; *c != '\0'; c++)
		if (*c < 33 || *c == '\\' || *c == ',' || *c == 127)
			addf(text, "\\%03o", *c);
		else
			add_bytes(text, c, 1);
	add_bytes(text, "", 0);
}

/* Length of a valid UTF-8 sequence (RFC 3629), 0 for any other byte. */
static size_t sequence(const unsigned char *c)
{
	size_t length = c[0] < 0x80 ? 1 : c[0] >= 0xc2 && c[0] < 0xe0 ? 2 : c[0] >= 0xe0 && c[0] < 0xf0 ? 3
		: c[0] >= 0xf0 && c[0] < 0xf5 ? 4 : 0;
	for (size_t i = 1; i < length; i++)
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf0 && c[1] < 0x90) ||
		(c[0] == 0xf4 && c[1] > 0x8f))
		return 0;
	return length;
}

void add_json(struct text *text, const char *word)
{
	add(text, "\"");
	for (const unsigned char *c = (const unsigned char *)word; *c != '\0';) {
		size_t length = sequence(c);
		if (length == 0)
			add(text, "\\ufffd");
		else if (*c == '"' || *c == '\\')
			addf(text, "\\%c", *c);
		else if (*c < 32)
			addf(text, "\\u%04x", *c);
		else
			add_bytes(text, c, length);
		c += length > 0 ? length : 1;
	}
	add(text, "\"");
}

bool unescape(char *text)
{
	char *to = text;
	for (char *from = text; *from != '\0'; to++) {
		if (*from != '\\') {
			*to = *from++;
			continue;
		}
		int value = 0;
		for (int i = 1; i <= 3; i++) {
			if (from[i] < '0' || from[i] > '7')
				return false;
			value = value * 8 + from[i] - '0';
		}
		if (value == 0 || value > 255)
			return false;
		*to = (char)value;
		from += 4;
	}
	*to = '\0';
	return true;
}
