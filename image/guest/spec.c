/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading the job disk. */
#include "guest.h"

#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPEC_LIMIT (64 << 20)

bool spec_read(struct spec *spec)
{
	uint64_t header[4];

	memset(spec, 0, sizeof(*spec));
	spec->disk = open(JOB_DISK, O_RDONLY | O_CLOEXEC);
	if (spec->disk < 0)
		return false;
	if (pread(spec->disk, header, sizeof(header), 0) != sizeof(header) ||
	    memcmp(&header[0], "APPPOTJ1", 8) != 0)
		return false;
	spec->length = le64toh(header[1]);
	spec->ring_offset = le64toh(header[2]);
	spec->ring_bytes = le64toh(header[3]);
	if (spec->length > SPEC_LIMIT)
		return false;
	spec->text = malloc(spec->length + 1);
	if (!spec->text || pread(spec->disk, spec->text, spec->length, 4096) != (ssize_t)spec->length)
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
