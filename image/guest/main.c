/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "guest.h"

#include <stdio.h>
#include <string.h>

#ifndef APPPOT_VERSION
#define APPPOT_VERSION "0"
#endif

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (strcmp(command, "prepare") == 0)
		return prepare();
	if (strcmp(command, "run") == 0)
		return run(argc - 2, argv + 2);
	if (strcmp(command, "fail") == 0 && argc == 4)
		return fail(argv[2], argv[3]);
	if (strcmp(command, "poweroff") == 0)
		return power_off();
	if (strcmp(command, "--version") == 0) {
		printf("apppot-guest (AppPot) %s\n", APPPOT_VERSION);
		return 0;
	}
	fputs("usage: apppot-guest prepare | run [ARG...] | fail CODE TEXT | poweroff\n", stderr);
	return 2;
}
