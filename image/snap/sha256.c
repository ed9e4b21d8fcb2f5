/* SHA-256 (FIPS 180-4), by the processor's own instructions where it has them. */
#include <string.h>

#include "snap.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

typedef void transform(uint32_t state[8], const uint8_t *data, size_t blocks);

static inline uint32_t rotate(uint32_t value, int by)
{
	return value >> by | value << (32 - by);
}

static void transform_plain(uint32_t state[8], const uint8_t *data, size_t blocks)
{
	for (; blocks > 0; blocks--, data += 64) {
		uint32_t w[64], v[8];
		for (int i = 0; i < 16; i++)
			w[i] = (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 | (uint32_t)data[4 * i + 2] << 8 |
				data[4 * i + 3];
		for (int i = 16; i < 64; i++) {
			uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
			uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
			w[i] = w[i - 16] + s0 + w[i - 7] + s1;
		}
		memcpy(v, state, sizeof v);
		for (int i = 0; i < 64; i++) {
			uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
			uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + round_constants[i] + w[i];
			uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
			uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
			memmove(v + 1, v, 7 * sizeof *v);
			v[4] += t1;
			v[0] = t1 + t2;
		}
		for (int i = 0; i < 8; i++)
			state[i] += v[i];
	}
}

#if defined(__x86_64__)
/* Intel's SHA extensions: two rounds per instruction, the state kept as ABEF and CDGH (Intel SDM, SHA256RNDS2). */
__attribute__((target("sha,sse4.1,ssse3"))) static void transform_ni(uint32_t state[8], const uint8_t *data,
	size_t blocks)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
	__m128i dcba = _mm_loadu_si128((const __m128i *)&state[0]);
	__m128i hgfe = _mm_loadu_si128((const __m128i *)&state[4]);
	__m128i badc = _mm_shuffle_epi32(dcba, 0xb1), fehg = _mm_shuffle_epi32(hgfe, 0x1b);
	__m128i abef = _mm_alignr_epi8(badc, fehg, 8), cdgh = _mm_blend_epi16(fehg, badc, 0xf0);

	for (; blocks > 0; blocks--, data += 64) {
		__m128i w[4], old_abef = abef, old_cdgh = cdgh;
		for (int i = 0; i < 4; i++)
			w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data + 16 * i)), swap);
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			__m128i sum = _mm_add_epi32(w[i & 3], _mm_loadu_si128((const __m128i *)&round_constants[4 * i]));
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
			if (i < 12) {
				__m128i next = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
				next = _mm_add_epi32(next, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
				w[i & 3] = _mm_sha256msg2_epu32(next, w[(i + 3) & 3]);
			}
		}
		abef = _mm_add_epi32(abef, old_abef);
		cdgh = _mm_add_epi32(cdgh, old_cdgh);
	}
	__m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)&state[0], _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)&state[4], _mm_alignr_epi8(dchg, feba, 8));
}

static bool has_extensions(void)
{
	unsigned a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1U << 9) || !(c & 1U << 19))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1U << 29);
}
#endif

static transform *in_use;

static void choose(void)
{
	in_use = transform_plain;
#if defined(__x86_64__)
	if (!has_extensions())
		return;
	in_use = transform_ni;
	if (!sha256_works())
		in_use = transform_plain;
#endif
}

void sha256_plain(void)
{
	in_use = transform_plain;
}

void sha256_start(struct sha256 *hash)
{
	static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
		0x1f83d9ab, 0x5be0cd19};
	if (in_use == NULL)
		choose();
	memcpy(hash->state, start, sizeof start);
	hash->length = 0;
}

void sha256_add(struct sha256 *hash, const void *data, size_t length)
{
	const uint8_t *bytes = data;
	size_t used = hash->length % 64;
	hash->length += length;
	if (used > 0) {
		size_t part = length < 64 - used ? length : 64 - used;
		memcpy(hash->block + used, bytes, part);
		if (used + part < 64)
			return;
		in_use(hash->state, hash->block, 1);
		bytes += part;
		length -= part;
	}
	in_use(hash->state, bytes, length / 64);
	if (length % 64 > 0)
		memcpy(hash->block, bytes + length - length % 64, length % 64);
}

void sha256_text(struct sha256 *hash, char text[DIGEST_TEXT])
{
	uint64_t bits = hash->length * 8;
	uint8_t end[72] = {0x80};
	size_t padding = 64 - (hash->length + 8) % 64;
	for (int i = 0; i < 8; i++)
		end[padding + i] = (uint8_t)(bits >> (56 - 8 * i));
	sha256_add(hash, end, padding + 8);
	for (int i = 0; i < 8; i++)
		snprintf(text + 8 * i, 9, "%08x", hash->state[i]);
}

bool sha256_works(void)
{
	/* FIPS 180-4 examples, and one of several blocks. */
	static const struct {
		const char *data;
		unsigned times;
		const char *digest;
	} answers[] = {
		{"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"0123456789", 1000, "4c207598af7a20db0e3334dd044399a40e467cb81b37f7ba05a4f76dcbd8fd59"},
	};
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		struct sha256 hash;
		char text[DIGEST_TEXT];
		sha256_start(&hash);
		for (unsigned n = 0; n < answers[i].times; n++)
			sha256_add(&hash, answers[i].data, strlen(answers[i].data));
		sha256_text(&hash, text);
		if (strcmp(text, answers[i].digest) != 0)
			return false;
	}
	return true;
}
