/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading the job disk. */
#include "guest.h"

#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPEC_LIMIT (64 << 20)
#define PAGE 4096

/* Past the page cache: slots other than the first are written while the guest runs. */
static bool read_disk(int fd, uint64_t offset, char *to, size_t length)
{
	uint64_t start = offset / PAGE * PAGE;
	size_t room = (offset - start + length + PAGE - 1) / PAGE * PAGE;
	char *buffer;
	bool done;

	if (posix_memalign((void **)&buffer, PAGE, room ? room : PAGE))
		return false;
	done = pread(fd, buffer, room, start) >= (ssize_t)(offset - start + length);
	if (done)
		memcpy(to, buffer + (offset - start), length);
	free(buffer);
	return done;
}

bool spec_read(struct spec *spec, int slot)
{
	char page[PAGE];
	uint64_t entry[4];

	memset(spec, 0, sizeof(*spec));
	spec->disk = open(JOB_DISK, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (spec->disk < 0 || !read_disk(spec->disk, 0, page, PAGE) || (memcmp(page, "APPPOTJ1", 8) != 0 && memcmp(page, "APPPOTJ2", 8) != 0))
		return false;
	memcpy(entry, page + 32 * (slot + 1), sizeof(entry));
	spec->length = le64toh(entry[1]);
	spec->ring_offset = le64toh(entry[2]);
	spec->ring_bytes = le64toh(entry[3]);
	if (spec->length == 0 || spec->length > SPEC_LIMIT)
		return false;
	spec->text = malloc(spec->length + 1);
	if (!spec->text || !read_disk(spec->disk, le64toh(entry[0]), spec->text, spec->length))
		return false;
	spec->text[spec->length] = '\0';
	return true;
}

const char *spec_next(const struct spec *spec, const char *name, const char *from)
{
	size_t name_length = strlen(name);
	const char *at = from ? from + strlen(from) + 1 : spec->text;

	for (; at < spec->text + spec->length; at += strlen(at) + 1)
		if (strncmp(at, name, name_length) == 0 && at[name_length] == '=')
			return at + name_length + 1;
	return NULL;
}

const char *spec_value(const struct spec *spec, const char *name, const char *otherwise)
{
	const char *value = spec->text ? spec_next(spec, name, NULL) : NULL;

	return value ? value : otherwise;
}
