/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * CRC-32C (Castagnoli), RFC 3720 appendix B.4: x86-64 processors have had an
 * instruction for it since 2008, so that a whole layer can be checked at each start.
 */
#include "launch.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK (256 << 10)
#define POLYNOMIAL 0x82f63b78	/* bit-reversed */

static uint32_t table[256];

static void fill_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? POLYNOMIAL : 0);
	}
}

static uint32_t add_by_table(uint32_t crc, const uint8_t *at, size_t size)
{
	while (size--)
		crc = table[(crc ^ *at++) & 0xff] ^ crc >> 8;
	return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2")))
static uint32_t add_by_instruction(uint32_t crc, const uint8_t *at, size_t size)
{
	uint64_t wide = crc, word;

	for (; size >= sizeof(word); size -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		wide = __builtin_ia32_crc32di(wide, word);
	}
	crc = wide;
	while (size--)
		crc = __builtin_ia32_crc32qi(crc, *at++);
	return crc;
}
#endif

typedef uint32_t add_function(uint32_t crc, const uint8_t *at, size_t size);

static add_function *choose_function(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

#ifdef __x86_64__
	__builtin_cpu_init();
	if (__builtin_cpu_supports("sse4.2"))
		return add_by_instruction;
#endif
	pthread_once(&once, fill_table);
	return add_by_table;
}

bool crc32c_of(int fd, uint64_t bytes, uint32_t *crc)
{
	add_function *add = choose_function();
	uint8_t *buffer = xcalloc(1, CHUNK);
	uint64_t at = 0;
	uint32_t value = ~0U;

	while (at < bytes) {
		size_t wanted = bytes - at > CHUNK ? CHUNK : bytes - at;
		ssize_t size = pread(fd, buffer, wanted, at);

		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			break;
		value = add(value, buffer, size);
		at += size;
	}
	free(buffer);
	*crc = ~value;
	return at == bytes;
}
