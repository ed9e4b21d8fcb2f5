/* Snapshots of a file system tree: what the files of apppot-snap share. */
#ifndef SNAP_H
#define SNAP_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

#define SNAP_VERSION "1.0.0"
#define STORE "var/lib/apppot"
#define BASE_FILE STORE "/apppot-snap.base"
#define INDEX_FILE STORE "/apppot-snap.index"
#define ID_FILE STORE "/base-id"
#define EXCLUDE_FILE STORE "/apppot-snap.exclude"
#define STAGE STORE "/snap-stage"
#define JOURNAL STORE "/snap-journal"
#define RELEASE_FILE "etc/apppot-release"

/* The longest path relative to the root, as the kernel's PATH_MAX without its final zero. */
#define LONGEST_PATH 4095
#define BLOCK 512
#define INDEX_HEADER 128
#define DIGEST_TEXT 65

enum { FAILED = 1, USAGE = 2, OTHER_BASE = 3, DAMAGED = 4, NO_BASE = 5 };

struct options {
	const char *command, *root, *exclude, *base, *output;
	bool verbose, just_print, json, progress, force, stat, suspect_all, built, still;
	int64_t epoch;
	char **files;
	int file_count;
};
extern struct options options;

/* ---- util.c */

/* Ends the program: message for the user, hint or NULL, exit code; runs what on_failure() was told. */
_Noreturn void die(int code, const char *hint, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* As die() with code 1, with errno's text after the message. */
_Noreturn void die_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void on_failure(void (*function)(void));
void *allocate(size_t size);
void *grow(void *array, size_t count, size_t *capacity, size_t size);
/* A copy that lives until the program ends. */
char *keep(const char *text);
/* Set by Ctrl-C. */
extern volatile sig_atomic_t interrupted;
/* One line `progress DONE TOTAL`, at most ten a second; a total of 0 is not known. Ends the program after Ctrl-C. */
void progress(uint64_t done, uint64_t total);
/* The same for what has to be finished. */
void progress_to_end(uint64_t done, uint64_t total);

/* Text that grows; length without the final zero. */
struct text {
	char *data;
	size_t length, capacity;
};
void add_bytes(struct text *text, const void *data, size_t length);
void add(struct text *text, const char *word);
void addf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Bytes below 33, backslash, comma and 127 become \ooo. */
void add_escaped(struct text *text, const char *word);
void add_json(struct text *text, const char *word);
/* Undoes add_escaped() in place; false when it is no such text. */
bool unescape(char *text);

/* ---- set.c: a set of texts with a number each */

struct set {
	struct set_slot *slots;
	size_t count, capacity;
};
/* Where the number of the key is, NULL when it is not in there; `make` puts it in with 0. The key is copied. */
uint64_t *set_find(struct set *set, const void *key, size_t length, bool make);
bool set_has(struct set *set, const char *key);
void set_add(struct set *set, const char *key);

/* ---- sha256.c (FIPS 180-4) */

struct sha256 {
	uint32_t state[8];
	uint64_t length;
	uint8_t block[64];
};
void sha256_start(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t length);
void sha256_text(struct sha256 *hash, char text[DIGEST_TEXT]);
/* Uses the portable code from now on. */
void sha256_plain(void);
/* Whether the known answers come out, with the code in use. */
bool sha256_works(void);

/* ---- exclude.c */

void read_excludes(int root);
bool is_excluded(const char *path);
/* Whether something below this folder could be excluded. */
bool excludes_below(const char *path);
/* AppPot's own records, and the folders that hold them: no archive may touch the first or remove the second. */
bool is_store(const char *path);
bool holds_store(const char *path);

/* ---- place.c: paths below the root, never through a link */

int open_root(void);
/* Whether open_root() gave a view of one file system, on which nothing is mounted. */
bool root_is_alone(void);
/* A descriptor (O_PATH) of a path below the root, -1 with errno; no component may be a link but the last. */
int open_beneath(int root, const char *path, int flags);
/* The folder of a path, kept open until the next call; `*name` is what to use in it. */
int parent_of(int root, const char *path, const char **name);
void forget_parent(void);
/* Opens a file for reading below the root, NULL with errno. */
FILE *read_beneath(int root, const char *path);
void make_folders(int root, const char *path);
/* Removes what is there, folder or not; nothing there is fine. */
int remove_tree(int folder, const char *name);
/* Length of the folder part of a path, 0 for one at the top. */
size_t parent_length(const char *path);

/* ---- walk.c */

/* What lstat says of a path, without what says nothing about content. */
struct meta {
	uint64_t inode, device;
	int64_t size, mtime, ctime;
	uint32_t mtime_ns, ctime_ns;
	uint32_t mode, uid, gid, links, major, minor;
	bool plain; /* from the disk: a file or folder without attributes, as the disk shows it */
};
struct place {
	const char *path;
	int folder; /* descriptor of the folder that holds it; -1 when only the disk was read, see look() */
	const char *name; /* in that folder */
	struct meta meta;
	bool is_mount; /* the root of another file system, which is not entered */
};
void meta_from(struct meta *meta, const struct stat *stat);
char type_of(uint32_t mode);
/* Every path below the root in the order of its bytes, "." for the root itself. */
void walk(int root, void (*visit)(void *context, const struct place *place), void *context);
/* The same from the disk where that is possible and not --suspect-all: places without a descriptor, with what can decide
 * whether a path is untouched (no device numbers). */
void walk_disk(int root, void (*visit)(void *context, const struct place *place), void *context);
/* Asks the kernel about such a place; false when it is not there any more. Valid until the next call. */
bool look(int root, struct place *place);
/* A file that the walk leaves out: the one that is being written. */
/* While on, excluded paths are visited too, but for what `image/build/pack.sh` does not pack. */
void walk_all(bool on);
void walk_ignores(uint64_t device, uint64_t inode);

/* ---- ext4.c: inodes and folders from the disk of the root's file system */

bool ext4_open(int root);
void ext4_close(void);
/* Where nothing else runs (APPPOT_SNAP_STILL), the content of a small plain file: no call for each file, and one read
 * brings many. False when the kernel has to be asked. Valid until the next call. */
bool ext4_content(const struct meta *meta, const uint8_t **data);
/* False when the inode is not in use, or the disk cannot be understood. */
bool ext4_look(uint64_t inode, struct meta *meta);
/* Calls back for each name in a folder; false when it cannot be understood, maybe after some calls. */
bool ext4_list(uint64_t folder, void (*found)(void *context, const char *name, uint64_t inode), void *context);

/* ---- facts.c: what has to be read from a path, beyond its meta */

/* The facts of a place without a descriptor are known only when it is plain.
 * Extended attributes as in a manifest: name=hex, sorted, separated by commas; "-" without any. */
void read_xattrs(const struct place *place, struct text *text);
void read_target(const struct place *place, struct text *text);
/* False when there is no descriptor, and the disk does not tell. */
bool digest_file(const struct place *place, char digest[DIGEST_TEXT]);
/* Attributes in a manifest's form to a folder's entry; each is also removed when it is not in the text. */
int write_xattrs(int folder, const char *name, const char *xattrs);
/* The next attribute of a manifest's form: name and value are put into the buffers; false at the end. */
bool next_xattr(const char **xattrs, struct text *name, struct text *value);
bool is_known_xattr(const char *name);

/* ---- manifest.c */

/* One line of a manifest; texts are NULL or "-" when there is none. */
struct line {
	char type;
	uint32_t mode, uid, gid, major, minor;
	int64_t size, mtime;
	uint32_t mtime_ns;
	const char *group, *target, *xattrs, *digest, *path;
};
void add_line(struct text *text, const struct line *line);
void line_from(struct line *line, const struct place *place);
/* First path of the inode when it has several names, else NULL. To be called in the order of the walk. */
const char *group_of(const struct place *place);

struct base {
	FILE *file, *index;
	char id[DIGEST_TEXT];
	char *buffer;
	size_t capacity;
	uint64_t lines, total;
	bool has_line;
	struct line line;
	struct record {
		uint64_t inode;
		int64_t ctime;
		uint32_t ctime_ns, known;
	} record;
};
/* Opens the base of --root or --base; ends the program with 5 when there is none. */
void open_base(struct base *base, int root);
/* The next line; false at the end. */
bool next_line(struct base *base);
void close_base(struct base *base);
/* Whether inode and times say that the content is the base's. */
bool is_untouched(const struct base *base, const struct meta *meta);
/* The recorded base id; false when there is none. */
bool read_base_id(int root, char id[DIGEST_TEXT]);

/* ---- state.c */

/* Writes the manifest of the tree to `file` (or nowhere) and tells its digest; `base` saves reading what it knows. */
uint64_t write_state(int root, FILE *file, FILE *index, struct base *base, char id[DIGEST_TEXT]);

/* ---- foretell.c */

/* Replaces the records of an index, for a tree from which an image will be made. */
void foretell(int root, FILE *index);

/* ---- diff.c */

struct change {
	char kind; /* A added, M modified, D deleted, O mark of an opaque folder (path with a slash behind), P unchanged folder of something, T only its time, U unchanged link */
	bool opaque; /* folder: nothing of the base's content is left */
	struct meta meta;
	const char *path, *xattrs, *target, *was;
	const char *group, *base_group;
};
struct changes {
	struct change *list;
	size_t count, capacity;
	char base[DIGEST_TEXT];
	uint64_t added, changed, deleted, touched, looked, digested, skipped, bytes;
};
/* All changes in the order of an archive. */
void find_changes(struct changes *changes, int root);
struct change *add_change(struct changes *changes, char kind, const char *path);
void join_links(struct changes *changes);
void add_parents(struct changes *changes, int root);
void find_opaque(struct changes *changes, int root);
/* The order of an archive: bytes, the root first, whiteouts before the other names of their folder. */
int compare_names(const char *a, bool a_is_whiteout, const char *b, bool b_is_whiteout);

/* ---- stream.c */

struct stream {
	int fd;
	pid_t child, feeder;
	struct sha256 hash;
	uint64_t position;
	uint8_t *buffer;
	size_t used, start;
	const char *name, *tool;
};
/* Compression is chosen by the name; "-" is standard output. */
void open_output(struct stream *stream, const char *name);
void put_bytes(struct stream *stream, const void *data, size_t length);
/* Of everything so far. */
void output_digest(struct stream *stream, char digest[DIGEST_TEXT]);
void close_output(struct stream *stream);
/* Compression is found by looking at the first bytes; "-" is standard input. */
void open_input(struct stream *stream, const char *name);
/* Exactly that many bytes, or the archive is truncated. */
void get_bytes(struct stream *stream, void *data, size_t length);
/* As many as there are, up to length. */
size_t get_some(struct stream *stream, void *data, size_t length);
/* Looks at the first bytes, which stay to be read; false when there are not so many. */
bool peek(struct stream *stream, void *data, size_t length);
void close_input(struct stream *stream);

/* ---- tar-write.c, tar-read.c */

struct entry {
	char type; /* f d l b c p; h: a further name of a file; w: a whiteout; o: an opaque mark */
	char change; /* A M P, or D for w */
	bool opaque;
	char path[LONGEST_PATH + 8]; /* of a whiteout the path that is deleted, of an opaque mark its folder */
	char target[LONGEST_PATH + 8];
	uint32_t mode, uid, gid, major, minor;
	int64_t size, mtime;
	uint32_t mtime_ns;
	struct text xattrs, was;
	const struct text *more; /* records of the whole archive, on entries of the root */
};
void add_record(struct text *text, const char *key, const void *value, size_t length);
void add_time(struct text *text, int64_t seconds, uint32_t nanoseconds);
/* Header of an entry; its content follows by put_bytes() and put_padding(). */
void put_entry(struct stream *stream, const struct entry *entry);
void put_padding(struct stream *stream, uint64_t size);
void put_end(struct stream *stream);
void finish_archive(struct stream *stream, struct entry *root, uint64_t entries);

struct archive {
	struct stream stream;
	char base[DIGEST_TEXT], tool[64];
	struct set folders, opaque, deleted;
	uint64_t entries, left; /* left: bytes of the current entry's content */
	uint32_t padding;
	bool counted, ended, pending, tail;
	struct text top; /* the facts of the root, which its entries at the end repeat */
	struct sha256 before; /* the digest of all before the current entry */
	struct entry entry;
	struct text records, last;
	bool last_is_whiteout;
	/* called for each file of which only the time differs */
	void (*touched)(void *context, const char *path, int64_t mtime, uint32_t mtime_ns);
	void *context;
};
/* Whether a path is relative, without empty parts, "." and "..". */
bool is_clean(const char *path);
/* Opens a changes file and reads as far as its base id. */
void open_archive(struct archive *archive, const char *name);
/* The next entry, checked; false at the end, when the digest has been checked too. */
bool next_entry(struct archive *archive);
/* Content of the current entry; 0 at its end. What is not read is skipped. */
size_t get_content(struct archive *archive, void *data, size_t length);
_Noreturn void damaged(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Looks at the records of a pax header: calls back for each. False when it is no such header. */
bool each_record(char *data, size_t length, void (*found)(void *context, const char *key, char *value, size_t length),
	void *context);

/* ---- journal.c */

struct journal {
	struct text text;
	int root, stage;
	uint64_t nodes;
	bool is_known, is_plain; /* of what is made in the stage */
	uint32_t mode, uid, gid;
};
/* Makes the folder in which a change is prepared; whatever ends the program before commit() removes it. */
void start_stage(struct journal *journal, int root);
/* A name in the stage that is not in use. */
const char *new_node(struct journal *journal);
void will_remove(struct journal *journal, const char *path);
void will_place(struct journal *journal, const char *node, const char *path);
void will_set(struct journal *journal, const struct line *line);
void will_set_time(struct journal *journal, const char *path, int64_t mtime, uint32_t mtime_ns);
/* Puts everything in place: from here on a crash is finished by recover(). */
void commit(struct journal *journal);
void drop_stage(struct journal *journal);
/* Finishes or undoes what a killed program left; true when there was something. */
bool recover(int root);
/* Mode, owner, attributes and time of an entry. */
int set_facts(int folder, const char *name, const struct line *line);
/* The same for a file in the stage that was just made and written; closes it. */
int set_new_facts(struct journal *journal, int fd, const char *node, const struct line *line);

/* ---- commands */

void command_manifest(void);
void command_base(void);
void command_changes(void);
void command_merge(void);
void command_recover(void);
void command_inspect(void);
void command_verify(void);
void command_layer_tar(void);

#endif
