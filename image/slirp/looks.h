/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef APPPOT_LOOKS_H
#define APPPOT_LOOKS_H

#include "launch.h"

struct looks {
	int door;
	int event;
	struct job_disk *disk;
	struct session *sessions;	/* all slots; 0 is the job */
	void (*status)(int client);
	void (*stop)(int client);
};

void looks_accept(struct looks *looks);
/* The caller of a look has said something, or is gone. */
void looks_client(struct looks *looks, struct session *session);
/* Ends a look whose program has ended and whose bytes are all here. */
void looks_finish(struct session *session);
/* The guest is gone: so are the looks into it. */
void looks_end(struct looks *looks);

#endif
