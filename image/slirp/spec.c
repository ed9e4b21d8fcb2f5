/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The job disk: a file in memory that the guest sees as a read-only disk. It
 * holds what the job is (any bytes, any length, which a kernel command line
 * cannot carry) and a ring for its standard input (a tty loses bulk input; a
 * disk does not).
 *
 *   bytes 0-7                "APPPOTJ1"; "APPPOTJ2" for a job with changes, which a guest from
 *                            before them would run without
 *   bytes 32 * (slot + 1)    four little-endian numbers of 8 bytes for each slot: offset
 *                            and length of its specification, offset and length of its ring
 *   a specification          records "name=value", each ended by NUL
 *   a ring                   byte n of standard input lies at n modulo length
 *
 * Slot 0 is the job; the others are looks into the running guest (apppot exec).
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

static void write_job(FILE *spec, const struct options *options, int job_folder)
{
	record(spec, "network", options->network ? "user" : "none");
	record(spec, "job", options->job_folder ? "1" : "0");
	if (options->legacy_kernel)
		fprintf(spec, "legacy=/proc/self/fd/%d%c", job_folder, 0);
	for (size_t i = 0; i < options->bind_count; i++) {
		number(spec, "bind", i);
		record(spec, "target", options->binds[i].target);
		record(spec, "mode", options->binds[i].read_only ? "ro" : "rw");
	}
	if (options->scratch)
		record(spec, "scratch", "1");
	for (size_t i = 0; i < options->changes.count; i++) {
		const struct change *change = &options->change[i];

		/* In the order of their application; the device comes first. */
		number(spec, "change", change->device);
		record(spec, "kind", change->layer ? "layer" : "tar");
		record(spec, "base", change->base ? change->base : "");
		number(spec, "bytes", change->bytes);
		record(spec, "path", change->path);
	}
	if (options->layered)
		number(spec, "upper", options->upper_device);
	if (options->disk_mode != DISK_DISCARD)
		record(spec, "kept", "1");
	if (options->full_boot)
		record(spec, "fullboot", "1");
}

static void write_spec(FILE *spec, const struct options *options, const char kinds[4])
{
	unsigned int rows, columns;
	const char *term = getenv("TERM");

	record(spec, "supervised", "1");
	record(spec, "fds", kinds);
	/* As root the job finds the system as it is: nobody in it takes our ids. */
	number(spec, "uid", options->as_root ? 0 : getuid());
	number(spec, "gid", options->as_root ? 0 : getgid());
	if (options->pwd)
		record(spec, "pwd", options->pwd);
	if (options->shell)
		record(spec, "shell", "1");
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

void spec_write(const struct options *options, const char kinds[4], int job_folder, bool exec,
		char **text, size_t *length)
{
	FILE *spec = open_memstream(text, length);

	if (!spec)
		die("launch", NULL, "out of memory");
	write_spec(spec, options, kinds);
	if (!exec)
		write_job(spec, options, job_folder);
	fclose(spec);
}

static uint64_t *slot_entry(const struct job_disk *disk, int slot)
{
	return (uint64_t *)(disk->memory + 32 * (slot + 1));
}

struct job_disk job_disk_make(const char *spec, size_t length, bool changes)
{
	struct job_disk disk;
	uint64_t at = PAGE;
	size_t size = PAGE + ROUND_UP(length) + SLOTS * RING_BYTES + (SLOTS - 1) * EXEC_SPEC_BYTES;

	disk.fd = memfd_create("apppot-job", MFD_CLOEXEC);
	if (disk.fd < 0 || ftruncate(disk.fd, size) < 0)
		die("launch", NULL, "cannot make the job disk: %s", strerror(errno));
	disk.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, disk.fd, 0);
	if (disk.memory == MAP_FAILED)
		die("launch", NULL, "cannot map the job disk: %s", strerror(errno));
	memcpy(disk.memory, changes ? "APPPOTJ2" : "APPPOTJ1", 8);
	for (int slot = 0; slot < SLOTS; slot++) {
		uint64_t *entry = slot_entry(&disk, slot);
		uint64_t room = slot == 0 ? ROUND_UP(length) : EXEC_SPEC_BYTES;

		entry[0] = htole64(at);
		entry[1] = htole64(slot == 0 ? length : 0);
		entry[2] = htole64(at + room);
		entry[3] = htole64(RING_BYTES);
		at += room + RING_BYTES;
	}
	memcpy(disk.memory + PAGE, spec, length);
	return disk;
}

bool job_disk_put(struct job_disk *disk, int slot, const char *spec, size_t length)
{
	uint64_t *entry = slot_entry(disk, slot);

	if (length > EXEC_SPEC_BYTES)
		return false;
	memcpy(disk->memory + le64toh(entry[0]), spec, length);
	entry[1] = htole64(length);
	return true;
}

uint8_t *job_disk_ring(const struct job_disk *disk, int slot)
{
	return disk->memory + le64toh(slot_entry(disk, slot)[2]);
}
