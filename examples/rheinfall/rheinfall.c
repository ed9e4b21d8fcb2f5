/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The exact rank of a sparse matrix of integers, by Riccardo Murri's "Rheinfall" elimination: rows wait at the column
 * of their first entry; at every column the sparsest row stays as the pivot, and clears that column from the others,
 * which fall to a later one. The rank is the number of pivots.
 *
 * Elimination is done modulo primes. The rank modulo a prime is never above the rank over the rationals, so the largest
 * one found is a lower bound. It is the rank itself when a larger minor cannot exist: when all rows or columns are
 * used, or when the product of the primes exceeds Hadamard's bound for a minor of one size more. Such a minor would be
 * divisible by every prime, and so be zero.
 */
#include "modular.h"
#include "sms.h"

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct term {
	uint64_t value;
	uint32_t column;
};

/* A row of the elimination: sorted terms, the first one in the column where the row waits. */
struct row {
	struct row *next;
	uint32_t count;
	struct term terms[];
};

static struct row *new_row(uint32_t capacity)
{
	struct row *row = allocate(sizeof(struct row) + capacity * sizeof(struct term));

	row->count = 0;
	return row;
}

static void wait_at_first(struct row **waiting, struct row *row)
{
	if (!row->count) {
		free(row);
		return;
	}
	row->next = waiting[row->terms[0].column];
	waiting[row->terms[0].column] = row;
}

/* The rows of the matrix modulo m, each waiting at its first column. */
static void distribute(const struct matrix *matrix, const struct modulus *m, struct row **waiting)
{
	for (size_t i = 0; i < matrix->count;) {
		size_t end = i;
		struct row *row;

		while (end < matrix->count && matrix->entries[end].row == matrix->entries[i].row)
			end++;
		row = new_row((uint32_t)(end - i));
		for (; i < end; i++) {
			uint64_t value = to_modular(m, matrix->entries[i].value);

			if (value)
				row->terms[row->count++] = (struct term){value, matrix->entries[i].column};
		}
		wait_at_first(waiting, row);
	}
}

/* ROW minus FACTOR times PIVOT, without their common first column. */
static struct row *clear(const struct row *row, const struct row *pivot, uint64_t factor, const struct modulus *m)
{
	struct row *result = new_row(row->count + pivot->count - 2);
	const struct term *a = row->terms + 1, *a_end = row->terms + row->count;
	const struct term *b = pivot->terms + 1, *b_end = pivot->terms + pivot->count;
	struct term *out = result->terms;

	while (a < a_end && b < b_end) {
		if (a->column < b->column) {
			*out++ = *a++;
		} else if (b->column < a->column) {
			*out++ = (struct term){subtract(m, 0, multiply(m, factor, b->value)), b->column};
			b++;
		} else {
			uint64_t value = subtract(m, a->value, multiply(m, factor, b->value));

			if (value)
				*out++ = (struct term){value, a->column};
			a++;
			b++;
		}
	}
	while (a < a_end)
		*out++ = *a++;
	for (; b < b_end; b++)
		*out++ = (struct term){subtract(m, 0, multiply(m, factor, b->value)), b->column};
	result->count = (uint32_t)(out - result->terms);
	return result;
}

static struct row *sparsest(struct row *first)
{
	struct row *best = first;

	for (struct row *row = first; row; row = row->next)
		if (row->count < best->count)
			best = row;
	return best;
}

static uint32_t rank_modulo(const struct matrix *matrix, uint64_t prime)
{
	struct row **waiting = allocate_zero(matrix->columns, sizeof(struct row *));
	struct modulus m;
	uint32_t rank = 0;

	modulus_set(&m, prime);
	distribute(matrix, &m, waiting);
	for (uint32_t column = 0; column < matrix->columns; column++) {
		struct row *pivot = sparsest(waiting[column]);
		uint64_t inverse;

		if (!pivot)
			continue;
		rank++;
		inverse = invert(&m, pivot->terms[0].value);
		for (struct row *row = waiting[column], *next; row; row = next) {
			next = row->next;
			if (row != pivot) {
				uint64_t factor = multiply(&m, row->terms[0].value, inverse);

				wait_at_first(waiting, clear(row, pivot, factor, &m));
				free(row);
			}
		}
		free(pivot);
	}
	free(waiting);
	return rank;
}

static int downwards(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return a < b ? 1 : a > b ? -1 : 0;
}

/* Bits that a minor of SIZE rows can have at most, from the squared lengths of the lines that it can be made of. */
static double hadamard(double *squares, uint32_t count, uint32_t size)
{
	double bits = 0;

	qsort(squares, count, sizeof(double), downwards);
	for (uint32_t i = 0; i < size && i < count && squares[i] > 0; i++)
		bits += log2(squares[i]) / 2;
	/* Far more than the sums of floating point numbers can lose. */
	return bits * (1 + 1e-9) + 1;
}

/* The same for the rows and for the columns of MATRIX; the smaller one holds. */
static double minor_bits(const struct matrix *matrix, uint32_t size)
{
	double *rows = allocate_zero(matrix->rows, sizeof(double));
	double *columns = allocate_zero(matrix->columns, sizeof(double));
	double by_rows, by_columns;

	for (size_t i = 0; i < matrix->count; i++) {
		double value = (double)matrix->entries[i].value;

		rows[matrix->entries[i].row] += value * value;
		columns[matrix->entries[i].column] += value * value;
	}
	by_rows = hadamard(rows, matrix->rows, size);
	by_columns = hadamard(columns, matrix->columns, size);
	free(rows);
	free(columns);
	return by_rows < by_columns ? by_rows : by_columns;
}

/* Rows and columns that hold anything: the rank is not above either. */
static uint32_t most_possible(const struct matrix *matrix)
{
	char *seen = allocate_zero(matrix->columns, 1);
	uint32_t rows = 0, columns = 0;

	for (size_t i = 0; i < matrix->count; i++) {
		rows += i == 0 || matrix->entries[i].row != matrix->entries[i - 1].row;
		columns += !seen[matrix->entries[i].column];
		seen[matrix->entries[i].column] = 1;
	}
	free(seen);
	return rows < columns ? rows : columns;
}

/* Prints the rank over the rationals, and what is proven about it. At most LIMIT primes, 0: as many as it takes. */
static void rational_rank(const struct matrix *matrix, uint64_t seed, unsigned long limit)
{
	uint32_t most = most_possible(matrix), rank = 0;
	double bits = 0, needed = 0;
	unsigned long primes = 0;
	uint64_t prime = (UINT64_C(1) << 61) + (random_number(&seed) >> 4);

	do {
		uint32_t found;

		/* Ascending, so never the same one twice; each is worth more than 61 bits. */
		prime = next_prime(prime + 2 + (random_number(&seed) >> 40));
		found = rank_modulo(matrix, prime);
		primes++;
		bits += 61;
		if (found > rank || primes == 1) {
			rank = found;
			needed = rank == most ? 0 : minor_bits(matrix, rank + 1);
		}
	} while (bits < needed && (!limit || primes < limit));

	printf("rank %u\n", rank);
	if (rank == most)
		printf("proven: every row or every column that is not zero is used\n");
	else if (bits >= needed)
		printf("proven: a larger minor has at most %.0f bits and is divisible by the product of %lu primes of 61 bits\n",
		       ceil(needed), primes);
	else
		printf("not proven: at least %u; %lu of %.0f primes agree\n", rank, primes, ceil(needed / 61));
}

static unsigned long long natural(const char *text, const char *option)
{
	char *end;
	unsigned long long value = strtoull(text ? text : "", &end, 10);

	if (!text || *end || end == text || text[0] == '-')
		fail(2, "%s takes a whole number", option);
	return value;
}

static void usage(FILE *out)
{
	fputs("usage: rheinfall [--primes N] [--seed N] [--modulo PRIME] FILE\n\n"
	      "Prints the rank of the sparse integer matrix in FILE (SMS format; - is standard input).\n\n"
	      "  --primes N      stop after N primes, proven or not (default: when it is proven)\n"
	      "  --seed N        chooses the primes (default: 1)\n"
	      "  --modulo PRIME  the rank modulo that one prime only\n\n"
	      "The time goes to standard error. Exit codes: 0 done, 1 bad matrix, 2 bad command line.\n",
	      out);
}

int main(int count, char **words)
{
	unsigned long long primes = 0, seed = 1, modulo = 0;
	const char *name = NULL;
	struct timespec start, end;
	struct matrix matrix;
	FILE *file;

	for (int i = 1; i < count; i++) {
		if (!strcmp(words[i], "--primes")) {
			primes = natural(words[++i], "--primes");
		} else if (!strcmp(words[i], "--seed")) {
			seed = natural(words[++i], "--seed");
		} else if (!strcmp(words[i], "--modulo")) {
			modulo = natural(words[++i], "--modulo");
			if (modulo < 3 || modulo >> 63 || !is_prime(modulo))
				fail(2, "--modulo takes an odd prime below 2^63");
		} else if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h")) {
			usage(stdout);
			return 0;
		} else if (name || (words[i][0] == '-' && words[i][1])) {
			usage(stderr);
			return 2;
		} else {
			name = words[i];
		}
	}
	if (!name) {
		usage(stderr);
		return 2;
	}
	/* Rows come and go: memory that was had once is kept, since every page asked for anew costs a page fault. */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 16 << 20);
	file = strcmp(name, "-") ? fopen(name, "r") : stdin;
	if (!file)
		fail(1, "%s: cannot be opened", name);
	read_sms(file, name, &matrix);
	printf("matrix %u x %u, %zu entries\n", matrix.rows, matrix.columns, matrix.count);
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (modulo)
		printf("rank modulo %llu: %u\n", modulo, rank_modulo(&matrix, modulo));
	else
		rational_rank(&matrix, seed, (unsigned long)primes);
	clock_gettime(CLOCK_MONOTONIC, &end);
	fprintf(stderr, "seconds %.3f\n",
		(double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	free(matrix.entries);
	return fflush(stdout) ? 1 : 0;
}
