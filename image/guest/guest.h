/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * apppot-guest: what the first process of the guest cannot do in shell. A static
 * binary in the Debian package apppot; apppot-init calls it.
 *
 *   apppot-guest prepare       mounts, network, job disk -> /run/apppot/
 *   apppot-guest run [--slot N] [ARG...]  the job (or a look into the guest), its streams, its outcome
 *   apppot-guest fail CODE TEXT  tells the launcher why there will be no job
 *   apppot-guest poweroff      syncs and switches the machine off
 */
#ifndef APPPOT_GUEST_H
#define APPPOT_GUEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOB_DISK "/dev/ubdb"
#define SLOTS 5
/* Each slot has four serial lines: control, standard output, standard error, terminal. */
#define LINES 4
enum { LINE_CONTROL, LINE_STDOUT, LINE_STDERR, LINE_TERMINAL };
#define RUN_FOLDER "/run/apppot"

/* What the launcher wrote on the job disk (image/slirp/spec.c has the format). */
struct spec {
	char *text;
	size_t length;
	uint64_t ring_offset;
	uint64_t ring_bytes;
	int disk;
};

/* Slot 0 is the job. False when there is no job disk: another virtual machine, or an old launcher. */
bool spec_read(struct spec *spec, int slot);
/* The next record called `name` after `from` (NULL: from the start), its value. */
const char *spec_next(const struct spec *spec, const char *name, const char *from);
const char *spec_value(const struct spec *spec, const char *name, const char *otherwise);

/* /dev/ubdN as the guest calls it. */
#define DEVICE_NAME 16
const char *device_name(const char *number, char name[DEVICE_NAME]);
/* Makes the job's layers the root, if it has any. 0, or 1 when that has failed and been told. */
int layers_enter(const struct spec *spec);
/* The base that the image was recorded as; empty without one. */
#define BASE_SIZE 128
void read_base(char base[BASE_SIZE]);

int prepare(void);
int run(int argc, char **argv);
int fail(const char *code, const char *text);
int power_off(void);
void network_up(void);

int open_line(int slot, int line, int flags);
bool write_all(int fd, const void *data, size_t size);
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
