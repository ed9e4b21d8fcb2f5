/* What the reader of archives and its reader of headers share. */
#ifndef RAW_H
#define RAW_H

#include "snap.h"

/* Facts of an entry as its two headers tell them, not yet checked together. */
struct raw {
	char path[LONGEST_PATH + 8], target[LONGEST_PATH + 8];
	bool has_path, has_target, has_size, has_mtime, has_uid, has_gid;
	uint64_t size, uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	struct entry *entry;
	struct archive *archive;
	bool is_whole; /* has records of the whole archive */
	char **pairs;
	size_t pair_count, pair_capacity;
};

/* Numbers of a header; anything else ends the program as damaged(). */
uint64_t octal(const char *field, size_t size);
uint64_t decimal(const char *value, uint64_t most);
/* A path or target without zeros that fits. */
void take_text(char *to, const char *value, size_t length, const char *what);
/* A record of the whole archive; false when it is none. */
bool take_global(struct archive *archive, const char *key, char *value, size_t length);
/* For each_record(): one record of an entry's pax header; the context is a struct raw. */
void take_record(void *context, const char *key, char *value, size_t length);
/* The attributes in a manifest's form; frees what was collected. */
void join_xattrs(struct raw *raw, struct text *text);

#endif
