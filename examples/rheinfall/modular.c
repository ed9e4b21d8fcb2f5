/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Arithmetic modulo primes of a machine word, and the primes. */
#include "modular.h"

void modulus_set(struct modulus *modulus, uint64_t p)
{
	uint64_t inverse = p; /* right in the lowest 3 bits; every step doubles them */

	for (int i = 0; i < 5; i++)
		inverse *= 2 - p * inverse;
	modulus->p = p;
	modulus->minus_inverse = -inverse;
	modulus->square = (uint64_t)(-(unsigned __int128)p % p);
}

uint64_t to_modular(const struct modulus *modulus, int64_t value)
{
	/* The magnitude as an unsigned number: the most negative one has no positive twin. */
	uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;
	uint64_t result = multiply(modulus, magnitude % modulus->p, modulus->square);

	return value < 0 && result ? modulus->p - result : result;
}

uint64_t invert(const struct modulus *modulus, uint64_t a)
{
	uint64_t result = to_modular(modulus, 1);

	/* Fermat: a^(p-2) */
	for (uint64_t exponent = modulus->p - 2; exponent; exponent >>= 1) {
		if (exponent & 1)
			result = multiply(modulus, result, a);
		a = multiply(modulus, a, a);
	}
	return result;
}

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus)
{
	uint64_t result = 1;

	for (base %= modulus; exponent; exponent >>= 1) {
		if (exponent & 1)
			result = (uint64_t)((unsigned __int128)result * base % modulus);
		base = (uint64_t)((unsigned __int128)base * base % modulus);
	}
	return result;
}

int is_prime(uint64_t number)
{
	/* These bases decide Miller and Rabin's test for all numbers below 2^64 (Sorenson and Webster 2015). */
	static const uint64_t bases[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37};
	uint64_t odd = number - 1;
	int twos = 0;

	if (number < 2)
		return 0;
	for (unsigned i = 0; i < sizeof(bases) / sizeof(*bases); i++)
		if (number % bases[i] == 0)
			return number == bases[i];
	for (; odd % 2 == 0; odd /= 2)
		twos++;
	for (unsigned i = 0; i < sizeof(bases) / sizeof(*bases); i++) {
		uint64_t x = power(bases[i], odd, number);
		int witness = x != 1 && x != number - 1;

		for (int k = 1; witness && k < twos; k++) {
			x = (uint64_t)((unsigned __int128)x * x % number);
			witness = x != number - 1;
		}
		if (witness)
			return 0;
	}
	return 1;
}

uint64_t next_prime(uint64_t start)
{
	start |= 1;
	while (!is_prime(start))
		start += 2;
	return start;
}

uint64_t random_number(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}
