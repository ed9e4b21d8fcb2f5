/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Limits of ours (ulimit, a batch system) that no guest of this size can live with: said before one is started. */
#include "launch.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MB (1ULL << 20)
/* Beside the guest's memory: the kernel itself, its page tables, and the largest program in the guest once more. */
#define KERNEL_SPACE (192 * MB)

/* Bytes of an amount as the kernel's mem= has it. */
static unsigned long long bytes_of(const char *text)
{
	char *unit;
	unsigned long long amount = strtoull(text, &unit, 10);

	switch (*unit) {
	case 'K': case 'k': return amount << 10;
	case 'M': case 'm': return amount << 20;
	case 'G': case 'g': return amount << 30;
	}
	return amount;
}

void require_limits(const struct options *options)
{
	unsigned long long memory = bytes_of(options->mem), largest = memory;
	struct rlimit limit;
	struct stat image;

	/* What grows too large is then a failed write, which has an end with words. */
	signal(SIGXFSZ, SIG_IGN);
	if (stat(options->image, &image) == 0 && largest < (unsigned long long)image.st_size + MB)
		largest = image.st_size + MB;
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < largest)
		die("file-limit", "Raise \"ulimit -f\", or use a smaller image and less memory.",
		    "files may not be larger than %llu MB here, and this guest needs %llu MB (its memory and its disk are files)",
		    (unsigned long long)limit.rlim_cur / MB, largest / MB + 1);
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    limit.rlim_cur < memory + KERNEL_SPACE)
		die("address-limit", "Raise \"ulimit -v\", or give the guest less with --mem.",
		    "a process may have %llu MB of address space here, and a guest with %llu MB of memory needs %llu MB",
		    (unsigned long long)limit.rlim_cur / MB, memory / MB, (memory + KERNEL_SPACE) / MB);
}
