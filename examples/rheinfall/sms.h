/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef RHEINFALL_SMS_H
#define RHEINFALL_SMS_H

#include <stdint.h>
#include <stdio.h>

/* One entry of a sparse matrix, with indices from 0. */
struct entry {
	uint32_t row, column;
	int64_t value;
};

/* A sparse matrix of integers: entries sorted by row, then column; none is zero, none is there twice. */
struct matrix {
	uint32_t rows, columns;
	size_t count;
	struct entry *entries;
};

/* Ends the program with code 1, or 2 for a wrong command line, and one sentence on standard error. */
_Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* malloc, calloc and realloc that never return NULL. */
void *allocate(size_t bytes);
void *allocate_zero(size_t count, size_t bytes);
void *reallocate(void *old, size_t bytes);

/*
 * Reads a matrix in the SMS format: "ROWS COLUMNS M", then "I J VALUE" lines with indices from 1, then "0 0 0".
 * What breaks the format ends the program with the number of the line.
 */
void read_sms(FILE *file, const char *name, struct matrix *matrix);

#endif
