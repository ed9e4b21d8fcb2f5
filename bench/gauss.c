/* Gaussian elimination with partial pivoting, n = 1200, in double precision; prints the sum of the pivots' exponents and mantissas. */
#include <stdio.h>

enum { n = 1200 };
static double a[n][n];

int main(void)
{
	unsigned long long state = 42;
	double logarithm = 0;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < n; k++) {
			state = state * 6364136223846793005 + 1442695040888963407;
			a[i][k] = (double)(state >> 11) / 9007199254740992.0 - 0.5;
		}
	for (int i = 0; i < n; i++) {
		int pivot = i;

		for (int r = i + 1; r < n; r++)
			if (__builtin_fabs(a[r][i]) > __builtin_fabs(a[pivot][i]))
				pivot = r;
		for (int k = 0; pivot != i && k < n; k++) {
			double keep = a[i][k];

			a[i][k] = a[pivot][k];
			a[pivot][k] = keep;
		}
		/* frexp needs no libm: exponent and mantissa of every pivot */
		int exponent;
		double mantissa = __builtin_frexp(__builtin_fabs(a[i][i]), &exponent);

		logarithm += exponent + mantissa;
		for (int r = i + 1; r < n; r++) {
			double factor = a[r][i] / a[i][i];

			for (int k = i + 1; k < n; k++)
				a[r][k] -= factor * a[i][k];
		}
	}
	printf("%.9f\n", logarithm);
	return 0;
}
