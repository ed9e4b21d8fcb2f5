/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The job disk: a file in memory that the guest sees as a read-only disk. It
 * holds what the job is (any bytes, any length, which a kernel command line
 * cannot carry) and a ring for its standard input (a tty loses bulk input; a
 * disk does not).
 *
 *   bytes 0-7    "APPPOTJ1"
 *   bytes 8-15   length of the specification, little-endian
 *   bytes 16-23  offset of the ring, 24-31 its length
 *   byte 4096    the specification: records "name=value", each ended by NUL
 *   ring offset  the ring; byte n of standard input lies at n modulo length
 */
#include "launch.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define ROUND_UP(n) (((n) + PAGE - 1) / PAGE * PAGE)

static void record(FILE *spec, const char *name, const char *value)
{
	fprintf(spec, "%s=%s%c", name, value, 0);
}

static void number(FILE *spec, const char *name, unsigned long value)
{
	fprintf(spec, "%s=%lu%c", name, value, 0);
}

static void write_spec(FILE *spec, const struct options *options, const char kinds[4], int job_folder)
{
	unsigned int rows, columns;
	const char *term = getenv("TERM");

	record(spec, "supervised", "1");
	record(spec, "fds", kinds);
	number(spec, "uid", getuid());
	number(spec, "gid", getgid());
	if (options->pwd)
		record(spec, "pwd", options->pwd);
	if (options->shell)
		record(spec, "shell", "1");
	record(spec, "network", options->network ? "user" : "none");
	record(spec, "job", options->job_folder ? "1" : "0");
	if (options->legacy_kernel)
		fprintf(spec, "legacy=/proc/self/fd/%d%c", job_folder, 0);
	for (size_t i = 0; i < options->bind_count; i++) {
		number(spec, "bind", i);
		record(spec, "target", options->binds[i].target);
		record(spec, "mode", options->binds[i].read_only ? "ro" : "rw");
	}
	if (strchr(kinds, FD_TERMINAL)) {
		if (term && *term)
			record(spec, "term", term);
		if (terminal_size(&rows, &columns)) {
			number(spec, "rows", rows);
			number(spec, "columns", columns);
		}
	}
	number(spec, "cpus", options->cpus);
	for (size_t i = 0; i < options->default_env.count; i++)
		record(spec, "env", options->default_env.item[i]);
	for (size_t i = 0; i < options->env.count; i++)
		record(spec, "env", options->env.item[i]);
	for (size_t i = 0; i < options->program_words; i++)
		record(spec, "arg", options->program[i]);
}

struct job_disk job_disk_make(const struct options *options, const char kinds[4], int job_folder)
{
	struct job_disk disk;
	uint64_t header[4];
	char *text = NULL;
	size_t length = 0;
	uint64_t ring;
	FILE *spec = open_memstream(&text, &length);

	if (!spec)
		die("launch", NULL, "out of memory");
	write_spec(spec, options, kinds, job_folder);
	fclose(spec);
	ring = PAGE + ROUND_UP(length);
	memcpy(&header[0], "APPPOTJ1", 8);
	header[1] = htole64(length);
	header[2] = htole64(ring);
	header[3] = htole64(RING_BYTES);
	disk.fd = memfd_create("apppot-job", MFD_CLOEXEC);
	if (disk.fd < 0 || ftruncate(disk.fd, ring + RING_BYTES) < 0 ||
	    pwrite(disk.fd, header, sizeof(header), 0) != sizeof(header) ||
	    pwrite(disk.fd, text, length, PAGE) != (ssize_t)length)
		die("launch", NULL, "cannot make the job disk: %s", strerror(errno));
	disk.ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, disk.fd, ring);
	if (disk.ring == MAP_FAILED)
		die("launch", NULL, "cannot map the job disk: %s", strerror(errno));
	free(text);
	return disk;
}
