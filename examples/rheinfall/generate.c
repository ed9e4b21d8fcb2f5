/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sparse integer matrices whose rank is known by construction, in the SMS format on standard output, with the rank on
 * standard error.
 *
 *   generate combinations SEED ROWS COLUMNS RANK ENTRIES
 *       RANK rows in echelon form, ENTRIES in each, and sums of multiples of them for the others, all in disorder
 *   generate simplex VERTICES DIMENSION
 *       the boundary matrix from faces of DIMENSION to faces of DIMENSION - 1 of a simplex: the complex is exact, so
 *       the rank is C(VERTICES - 1, DIMENSION)
 *   generate graph SEED VERTICES COMPONENTS EDGES
 *       vertices by edges of a directed graph: rank VERTICES - COMPONENTS
 */
#include "modular.h"
#include "sms.h"

#include <stdlib.h>
#include <string.h>

static uint32_t below(uint64_t *state, uint32_t limit)
{
	return (uint32_t)((unsigned __int128)random_number(state) * limit >> 64);
}

/* A random order of 0 .. COUNT-1 (Fisher and Yates). */
static uint32_t *disorder(uint64_t *state, uint32_t count)
{
	uint32_t *order = allocate(count * sizeof(uint32_t));

	for (uint32_t i = 0; i < count; i++) {
		uint32_t other = below(state, i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	return order;
}

static int64_t small(uint64_t *state)
{
	int64_t value = 1 + below(state, 9);

	return below(state, 2) ? value : -value;
}

static void combinations(uint64_t seed, uint32_t rows, uint32_t columns, uint32_t rank, uint32_t entries)
{
	uint32_t *row_order, *column_order;
	int64_t *base, *line;

	if (rank > rows || rank > columns || !rank || !entries)
		fail(2, "the rank must be above 0, and neither above the rows nor the columns");
	row_order = disorder(&seed, rows);
	column_order = disorder(&seed, columns);
	base = allocate_zero((size_t)rank * columns, sizeof(int64_t));
	line = allocate(columns * sizeof(int64_t));
	/* First entries at 0 .. rank-1 make the rows independent, whatever follows them. */
	for (uint32_t i = 0; i < rank; i++) {
		base[(size_t)i * columns + i] = small(&seed);
		for (uint32_t k = 1; k < entries && i + 1 < columns; k++)
			base[(size_t)i * columns + i + 1 + below(&seed, columns - i - 1)] = small(&seed);
	}
	printf("%u %u M\n", rows, columns);
	for (uint32_t i = 0; i < rows; i++) {
		if (i < rank) {
			memcpy(line, base + (size_t)i * columns, columns * sizeof(int64_t));
		} else {
			const int64_t *a = base + (size_t)below(&seed, rank) * columns;
			const int64_t *b = base + (size_t)below(&seed, rank) * columns;
			int64_t x = small(&seed), y = small(&seed);

			for (uint32_t k = 0; k < columns; k++)
				line[k] = x * a[k] + y * b[k];
		}
		for (uint32_t k = 0; k < columns; k++)
			if (line[k])
				printf("%u %u %lld\n", row_order[i] + 1, column_order[k] + 1, (long long)line[k]);
	}
	puts("0 0 0");
	fprintf(stderr, "rank %u\n", rank);
	free(row_order);
	free(column_order);
	free(base);
	free(line);
}

static uint64_t choose(uint64_t n, uint64_t k)
{
	uint64_t result = 1;

	for (uint64_t i = 1; i <= k; i++)
		result = result * (n - k + i) / i;
	return k > n ? 0 : result;
}

/* The place of a face among all faces of its size: its number in the combinatorial number system. */
static uint64_t place(const uint32_t *face, uint32_t size, uint32_t without)
{
	uint64_t result = 0;
	uint32_t seen = 0;

	for (uint32_t i = 0; i < size; i++)
		if (i != without)
			result += choose(face[i], ++seen);
	return result;
}

static void simplex(uint32_t vertices, uint32_t dimension)
{
	uint32_t size = dimension + 1, face[32];

	if (vertices > 30 || dimension < 1 || size > vertices)
		fail(2, "at most 30 vertices, and a dimension from 1 to one less than the vertices");
	printf("%llu %llu M\n", (unsigned long long)choose(vertices, dimension),
	       (unsigned long long)choose(vertices, size));
	for (uint32_t i = 0; i < size; i++)
		face[i] = i;
	for (;;) {
		uint32_t i = 0;

		for (uint32_t k = 0; k < size; k++)
			printf("%llu %llu %d\n", (unsigned long long)place(face, size, k) + 1,
			       (unsigned long long)place(face, size, size) + 1, k % 2 ? -1 : 1);
		/* The next face: the first vertex that can move does, and those before it start again. */
		while (i + 1 < size && face[i] + 1 == face[i + 1])
			i++;
		if (++face[i] == vertices)
			break;
		for (uint32_t k = 0; k < i; k++)
			face[k] = k;
	}
	puts("0 0 0");
	fprintf(stderr, "rank %llu\n", (unsigned long long)choose(vertices - 1, dimension));
}

static void graph(uint64_t seed, uint32_t vertices, uint32_t components, uint32_t edges)
{
	uint32_t *order;

	if (!components || components > vertices || edges < vertices - components)
		fail(2, "there must be 1 to VERTICES components, and at least VERTICES - COMPONENTS edges");
	if (components == vertices && edges)
		fail(2, "components of one vertex have no edges");
	order = disorder(&seed, vertices);
	printf("%u %u M\n", vertices, edges);
	/* Vertex v belongs to component v mod COMPONENTS; first the edges that hold each component together. */
	for (uint32_t edge = 0; edge < edges; edge++) {
		uint32_t to = components + edge, from;

		if (to < vertices) {
			from = to % components + components * below(&seed, to / components);
		} else {
			do {
				to = below(&seed, vertices);
				from = to % components;
				from += components * below(&seed, (vertices - from - 1) / components + 1);
			} while (from == to);
		}
		printf("%u %u -1\n%u %u 1\n", order[from] + 1, edge + 1, order[to] + 1, edge + 1);
	}
	puts("0 0 0");
	fprintf(stderr, "rank %u\n", vertices - components);
	free(order);
}

static uint32_t natural(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || text[0] == '-' || value > 1000000)
		fail(2, "\"%s\" is not a number from 0 to 1000000", text);
	return (uint32_t)value;
}

int main(int count, char **words)
{
	uint32_t n[5] = {0};

	for (int i = 2; i < count && i < 7; i++)
		n[i - 2] = natural(words[i]);
	if (count == 7 && !strcmp(words[1], "combinations"))
		combinations(n[0], n[1], n[2], n[3], n[4]);
	else if (count == 4 && !strcmp(words[1], "simplex"))
		simplex(n[0], n[1]);
	else if (count == 6 && !strcmp(words[1], "graph"))
		graph(n[0], n[1], n[2], n[3]);
	else
		fail(2, "usage: generate combinations SEED ROWS COLUMNS RANK ENTRIES | simplex VERTICES DIMENSION |"
			" graph SEED VERTICES COMPONENTS EDGES");
	return fflush(stdout) ? 1 : 0;
}
