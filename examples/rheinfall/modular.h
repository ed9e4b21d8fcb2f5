/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef RHEINFALL_MODULAR_H
#define RHEINFALL_MODULAR_H

#include <stdint.h>

/* Arithmetic modulo an odd number below 2^63, in Montgomery's form: x stands for x / 2^64. */
struct modulus {
	uint64_t p, minus_inverse, square; /* -1/p mod 2^64; 2^128 mod p */
};

void modulus_set(struct modulus *modulus, uint64_t p);

/* An odd prime from START upwards; exact for every number of 64 bits. */
uint64_t next_prime(uint64_t start);
int is_prime(uint64_t number);

/* The next number of a sequence that STATE starts (splitmix64, Steele, Lea and Flood 2014). */
uint64_t random_number(uint64_t *state);

static inline uint64_t multiply(const struct modulus *m, uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	uint64_t factor = (uint64_t)product * m->minus_inverse;
	uint64_t result = (uint64_t)((product + (unsigned __int128)factor * m->p) >> 64);

	return result >= m->p ? result - m->p : result;
}

static inline uint64_t subtract(const struct modulus *m, uint64_t a, uint64_t b)
{
	return a >= b ? a - b : a + m->p - b;
}

/* VALUE modulo p, in Montgomery's form. */
uint64_t to_modular(const struct modulus *modulus, int64_t value);

/* 1 / A for a prime modulus and A that is not zero. */
uint64_t invert(const struct modulus *modulus, uint64_t a);

#endif
