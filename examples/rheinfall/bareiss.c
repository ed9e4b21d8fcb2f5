/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The second method: the rank over the integers by Bareiss' fraction-free elimination of the dense matrix, with
 * integers of any length. Shares nothing with rheinfall.c but the reader. For matrices of a few hundred rows.
 *
 * E. H. Bareiss, Sylvester's identity and multistep integer-preserving Gaussian elimination, Math. Comp. 22 (1968).
 */
#include "sms.h"

#include <stdlib.h>
#include <string.h>

/* An integer: sign and magnitude, lowest word first, no leading zero words; zero has no words. */
struct integer {
	int negative;
	uint32_t count;
	uint64_t *words;
};

static void set_count(struct integer *x, uint32_t count)
{
	while (count && !x->words[count - 1])
		count--;
	x->count = count;
}

static struct integer product(const struct integer *a, const struct integer *b)
{
	struct integer result = {a->negative != b->negative, 0, allocate_zero(a->count + b->count, 8)};

	for (uint32_t i = 0; i < a->count; i++) {
		uint64_t carry = 0;

		for (uint32_t k = 0; k < b->count; k++) {
			unsigned __int128 sum = (unsigned __int128)a->words[i] * b->words[k] + result.words[i + k];

			sum += carry;
			result.words[i + k] = (uint64_t)sum;
			carry = (uint64_t)(sum >> 64);
		}
		result.words[i + b->count] = carry;
	}
	set_count(&result, a->count + b->count);
	return result;
}

static int compare(const struct integer *a, const struct integer *b)
{
	if (a->count != b->count)
		return a->count < b->count ? -1 : 1;
	for (uint32_t i = a->count; i--;)
		if (a->words[i] != b->words[i])
			return a->words[i] < b->words[i] ? -1 : 1;
	return 0;
}

/* A - B */
static struct integer difference(const struct integer *a, const struct integer *b)
{
	int add = a->negative != b->negative, swap = !add && compare(a, b) < 0;
	const struct integer *large = swap || (add && a->count < b->count) ? b : a;
	const struct integer *other = large == a ? b : a;
	struct integer result = {swap ? !b->negative : a->negative, 0, allocate_zero(large->count + 1, 8)};
	unsigned carry = 0;

	for (uint32_t i = 0; i < large->count; i++) {
		uint64_t x = large->words[i], y = i < other->count ? other->words[i] : 0;
		unsigned __int128 sum =
			add ? (unsigned __int128)x + y + carry : (unsigned __int128)x - y - carry;

		result.words[i] = (uint64_t)sum;
		carry = (uint64_t)(sum >> 64) & 1;
	}
	result.words[large->count] = carry;
	set_count(&result, large->count + 1);
	return result;
}

/* X / 2^bits, for bits below 64 that are zero in X. */
static void shift_down(struct integer *x, int bits)
{
	if (!bits)
		return;
	for (uint32_t i = 0; i < x->count; i++)
		x->words[i] = x->words[i] >> bits | (i + 1 < x->count ? x->words[i + 1] << (64 - bits) : 0);
	set_count(x, x->count);
}

/*
 * A becomes A / B, which must leave no remainder: from the lowest word upwards, each word of the quotient being the
 * lowest word of what is left, divided by B's lowest word modulo 2^64 (Jebelean 1993).
 */
static void divide(struct integer *a, const struct integer *b)
{
	struct integer odd = {0, b->count, allocate(b->count * 8 + 8)};
	uint32_t zeros = 0, length;
	uint64_t inverse;
	int bits;

	while (!b->words[zeros])
		zeros++;
	odd.count -= zeros;
	memcpy(odd.words, b->words + zeros, odd.count * 8);
	bits = __builtin_ctzll(odd.words[0]);
	shift_down(&odd, bits);
	if (a->count) {
		memmove(a->words, a->words + zeros, (a->count - zeros) * 8);
		a->count -= zeros;
		shift_down(a, bits);
	}
	inverse = odd.words[0];
	for (int i = 0; i < 5; i++)
		inverse *= 2 - odd.words[0] * inverse;
	length = a->count ? a->count - odd.count + 1 : 0;
	for (uint32_t i = 0; i < length; i++) {
		uint64_t word = a->words[i] * inverse, borrow = 0;

		for (uint32_t k = 0; i + k < a->count && (k < odd.count || borrow); k++) {
			unsigned __int128 part =
				(unsigned __int128)word * (k < odd.count ? odd.words[k] : 0) + borrow;
			uint64_t low = (uint64_t)part;

			borrow = (uint64_t)(part >> 64) + (a->words[i + k] < low);
			a->words[i + k] -= low;
		}
		a->words[i] = word;
	}
	a->negative = a->negative != b->negative;
	set_count(a, length);
	free(odd.words);
}

static struct integer *dense(const struct matrix *matrix)
{
	struct integer *table = allocate_zero((size_t)matrix->rows * matrix->columns, sizeof(struct integer));

	for (size_t i = 0; i < matrix->count; i++) {
		const struct entry *entry = &matrix->entries[i];
		struct integer *x = &table[(size_t)entry->row * matrix->columns + entry->column];

		x->negative = entry->value < 0;
		x->words = allocate(8);
		x->words[0] = x->negative ? -(uint64_t)entry->value : (uint64_t)entry->value;
		x->count = 1;
	}
	return table;
}

/* X becomes (PIVOT * X - ABOVE * LEFT) / LAST */
static void step(struct integer *x, const struct integer *pivot, const struct integer *above,
		 const struct integer *left, const struct integer *last)
{
	struct integer first = product(pivot, x), second = product(above, left);
	struct integer result = difference(&first, &second);

	free(first.words);
	free(second.words);
	free(x->words);
	divide(&result, last);
	*x = result;
}

static uint32_t rank_of(struct integer *table, uint32_t rows, uint32_t columns)
{
	uint64_t one_word = 1;
	struct integer one = {0, 1, &one_word};
	const struct integer *last = &one;
	uint32_t rank = 0;

	for (uint32_t column = 0; column < columns && rank < rows; column++) {
		struct integer *top = table + (size_t)rank * columns;
		uint32_t found = rank;

		while (found < rows && !table[(size_t)found * columns + column].count)
			found++;
		if (found == rows)
			continue;
		for (uint32_t k = 0; found != rank && k < columns; k++) {
			struct integer keep = top[k];

			top[k] = table[(size_t)found * columns + k];
			table[(size_t)found * columns + k] = keep;
		}
		for (uint32_t i = rank + 1; i < rows; i++) {
			struct integer *row = table + (size_t)i * columns;

			for (uint32_t k = column + 1; k < columns; k++)
				step(&row[k], &top[column], &top[k], &row[column], last);
			row[column].count = 0;
		}
		last = &top[column];
		rank++;
	}
	return rank;
}

int main(int count, char **words)
{
	FILE *file = count != 2 ? NULL : strcmp(words[1], "-") ? fopen(words[1], "r") : stdin;
	struct matrix matrix;
	struct integer *table;

	if (count != 2)
		fail(2, "usage: bareiss FILE (- is standard input)");
	if (!file)
		fail(1, "%s: cannot be opened", words[1]);
	read_sms(file, words[1], &matrix);
	if ((uint64_t)matrix.rows * matrix.columns > 4000000)
		fail(1, "%s: %u x %u is too large for the dense method", words[1], matrix.rows, matrix.columns);
	table = dense(&matrix);
	printf("rank %u\n", rank_of(table, matrix.rows, matrix.columns));
	for (size_t i = 0; i < (size_t)matrix.rows * matrix.columns; i++)
		free(table[i].words);
	free(table);
	free(matrix.entries);
	return fflush(stdout) ? 1 : 0;
}
