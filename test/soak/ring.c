/* Two or more MPI ranks pass arrays around and add them up for a second; every sum is checked. */
#include <mpi.h>
#include <stdio.h>

#define WORDS 100000

int main(int argc, char **argv)
{
	static double mine[WORDS], sum[WORDS];
	double until;
	int rank, ranks, more = 1;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	until = MPI_Wtime() + 1;
	while (more) {
		for (int i = 0; i < WORDS; i++)
			mine[i] = i + rank;
		MPI_Allreduce(mine, sum, WORDS, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
		for (int i = 0; i < WORDS; i++) {
			if (sum[i] != (double)i * ranks + ranks * (ranks - 1) / 2.0) {
				fprintf(stderr, "rank %d: sum %d is %g\n", rank, i, sum[i]);
				MPI_Abort(MPI_COMM_WORLD, 1);
			}
		}
		more = MPI_Wtime() < until;
		MPI_Bcast(&more, 1, MPI_INT, 0, MPI_COMM_WORLD);
	}
	MPI_Finalize();
	return 0;
}
