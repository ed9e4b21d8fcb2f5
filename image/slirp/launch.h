/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * slirp: supervisor and network of one AppPot guest.
 *
 * apppot-start replaces itself by this program. It prepares the file
 * descriptors that the kernel works on, starts the kernel where no signal of a
 * batch system can reach it, carries the job's streams, answers the guest's
 * network with libslirp, and turns whatever happens into one exit code, one
 * sentence and one outcome file.
 */
#ifndef APPPOT_LAUNCH_H
#define APPPOT_LAUNCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Exit code for everything that is AppPot's own fault or finding. */
#define EXIT_LAUNCHER 125
#define EXIT_TIMEOUT 124

/* The same signal twice within this time is one (ns): a batch system tells us and our parent, who tells us too. */
#define SAME_SIGNAL 200000000LL

/* Serial lines of the guest, by number: what travels on ttyS0, ttyS1, ... */
enum line { LINE_CONTROL, LINE_STDOUT, LINE_STDERR, LINE_TERMINAL, LINES };

/* A list of strings that grows; always NULL-terminated. */
struct strings {
	const char **item;
	size_t count;
};

void strings_add(struct strings *list, const char *text);
void strings_addf(struct strings *list, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A host folder that the guest may mount beside the job folder. */
struct bind {
	const char *source;
	const char *target;
	bool read_only;
};

/* A file of --changes. */
struct change {
	const char *path;
	bool layer;		/* mounted; else it is unpacked */
	char *base, *id;	/* of a layer */
	uint64_t bytes;		/* of the squashfs, or of the tar file */
	bool checked;		/* crc32c is known */
	uint32_t crc32c;
	int fd;
	int device;		/* ubdN */
};

/* A kernel has sixteen disks. */
#define MAX_CHANGES 12

enum disk_mode {
	DISK_DISCARD,	/* copy-on-write file that is gone afterwards */
	DISK_COW,	/* copy-on-write file that is kept */
	DISK_WRITE,	/* the image itself */
};

struct options {
	bool plain;
	const char *console;
	const char *run_base;
	const char *run_folder;	/* made by run_folder_make */
	const char *id;
	bool keep_run_folder;
	const char *outcome;
	const char *kernel;
	struct strings kernel_args;
	const char *image;
	const char *cow;
	enum disk_mode disk_mode;
	struct strings changes;
	struct change *change;	/* one for each; by changes_open */
	bool layered;		/* some are layers: the job waits for their check */
	bool unpacks;		/* some are tar files */
	int upper_device;
	const char *job_folder;
	struct bind *binds;
	size_t bind_count;
	const char *mem;
	int cpus;
	bool network;
	bool host_loopback;
	struct strings forwards;
	const char *legacy_slirp;
	bool pin;
	bool die_with_parent;
	bool no_stdin;
	bool legacy_kernel;
	bool full_boot;
	const char *scratch;
	const char *exec_folder;
	const char *ask;
	const char *crc32c;
	bool no_confine;
	bool shell;
	bool as_root;
	long grace_s;
	long time_s;
	long boot_timeout_s;
	struct strings env;
	struct strings default_env;	/* ours; env wins */
	const char *pwd;
	const char *program_name;
	int words;
	char **program;
	size_t program_words;
};

void parse_options(int argc, char **argv, struct options *options);

/* --- env.c: variables of the job --------------------------------------- */
/* NAME=VALUE, or NAME for a copy of ours; nothing when we have none. */
void env_add(struct strings *list, const char *word);
/* The same, a line each; empty lines and those with # are left out. */
void env_file(struct strings *list, const char *path);
/* Records "env=NAME=VALUE", NUL-terminated: values of any bytes. */
void env_list(struct strings *list, const char *path);

/* --- say.c: sentences for people ------------------------------------- */
extern const char *program_name;

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends before anything was started: a sentence, a hint (or NULL), code 125. */
void die(const char *code, const char *hint, const char *format, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
void *xcalloc(size_t count, size_t size);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int64_t now_ns(void);

/* --- io.c: descriptors ------------------------------------------------ */
/* Both ends are close-on-exec; the kernel's end is opened for it at start. */
void socket_pair(int type, int buffer_bytes, int pair[2]);
bool write_all(int fd, const void *data, size_t size);
/* Blocks these signals in all threads; from then on they come from the descriptor that it returns, see signalfd(2). */
int signals_open(const int *numbers, size_t count);
void set_inheritable(int fd);

/* --- net.c: the guest's network --------------------------------------- */
#define GUEST_MTU 9000

struct forward {
	uint16_t host_port;
	uint16_t guest_port;
};

struct network {
	bool host_loopback;
	struct forward *forwards;
	size_t forward_count;
};

/*
 * Starts libslirp in a thread of its own on one end of a packet socket pair,
 * and returns the other end, which is the kernel's. Ends the program with code
 * 125 when a port cannot be forwarded.
 */
int network_start(const struct network *network);

/* --- cpu.c: which processor a guest gets ------------------------------- */
/*
 * Chooses `count` of the processors that this process may run on, so that the
 * guests of one node do not meet on the same ones. False when there is no
 * choice (no more allowed than wanted).
 */
bool cpu_choose(int count, cpu_set_t *chosen);

/* --- kernel.c: starting the kernel ------------------------------------- */
/* A file or folder of the host that the kernel may open again by /proc/self/fd. */
struct kernel_file {
	int fd;
	bool read_only;
};

struct kernel {
	const char *path;
	struct strings args;	/* without the program's own name */
	struct kernel_file *files;
	size_t file_count;
	bool confine;
	const char *legacy_slirp;	/* helper that it starts itself, or NULL */
	int *fds;		/* descriptors that it inherits */
	size_t fd_count;
	int output;		/* its stdout and stderr */
	bool pin;
	cpu_set_t cpus;
};

/* Lets the kernel have `fd`, and returns it. */
int kernel_inherits(struct kernel *kernel, int fd);
/* The same for a file or folder, which it may then open. Returns `fd`. */
int kernel_opens(struct kernel *kernel, int fd, bool read_only);
/*
 * Starts the kernel in the current folder, in a session of its own, with the
 * signals blocked that batch systems send to every process of a job. It dies
 * with this process. Returns its process id; ends the program when it cannot
 * be executed.
 */
pid_t kernel_start(const struct kernel *kernel);
/* Ends the kernel and the processes that stand for the guest's. */
void kernel_kill(pid_t kernel);

/* --- confine.c ----------------------------------------------------------- */
/* Restricts the calling process, for good. False where the host cannot. */
bool confine_kernel(const struct kernel *kernel);

/* --- limits.c ------------------------------------------------------------ */
/* Ends with a sentence when a limit of this process is too low for such a guest. */
void require_limits(const struct options *options);

/* --- plan.c: words and descriptors for the kernel -------------------------- */
void kernel_words(const struct options *options, struct kernel *kernel, int job_disk);
/* Returns the descriptor, -1 without a job folder. */
int open_job_folder(const struct options *options, struct kernel *kernel);
void open_binds(const struct options *options, struct kernel *kernel);
void open_network(const struct options *options, struct kernel *kernel);

/* --- plain.c ------------------------------------------------------------ */
/* A kernel without a job: for build-image. Returns the exit code. */
int run_plain(const struct options *options);

/* --- outcome.c: how it ended --------------------------------------------- */
struct outcome {
	bool job_ended;		/* the guest reported the end of the job */
	int exit_code;		/* of the job, 0-255, when no signal ended it */
	int signal;		/* that ended the job, or 0 */
	const char *error;	/* code of the launcher's finding, or NULL */
	const char *message;
	const char *hint;
	int launcher_code;	/* exit code of such an end */
	int64_t boot_ns, wall_ns;
	long user_ms, system_ms, max_rss_kb, oom_kills;
	uint64_t stdout_bytes, stderr_bytes, terminal_bytes;
	char *kernel, *base;	/* that the guest runs, in its own words, or NULL */
};

extern struct outcome outcome;
/* Where outcome.json goes; it is written by outcome_finish and by die. */
void outcome_files(const char *run_folder, const char *extra);
/* Records the launcher's finding, if none is recorded yet. */
void outcome_error(int launcher_code, const char *code, const char *hint, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Keeps what the guest's "hello" says of itself. */
void outcome_guest(const char *hello);
/* Writes outcome.json, says what has to be said, returns the exit code. */
int outcome_finish(void);

/* --- folder.c: the run folder --------------------------------------------- */
const char *run_folder_make(const struct options *options);
void run_folder_remove(void);

/* --- disk.c: the guest's disks ---------------------------------------------- */
/*
 * Opens image and copy-on-write file and returns the kernel's words for them
 * ("ubd0=..."). Nothing appears in a folder for a disk that is discarded.
 */
char *disk_argument(const struct options *options, struct kernel *kernel);
/* A file without a name: nothing is left of it, however we end. */
int nameless_file(const char *folder, const char *name);
/* Ends when another guest has a lock on a file that this launch wants to write. */
void refuse_if_in_use(int fd, const char *path);
#define SUPERBLOCK_BYTES 1024
void read_superblock(int image, uint8_t superblock[SUPERBLOCK_BYTES]);
/* A sparse disk for the length of the job ("ubd2=..."). */
char *scratch_argument(const struct options *options, struct kernel *kernel);

/* --- changes.c: disks of --changes ------------------------------------------- */
/* Opens and checks every file as far as its size allows; ends on a damaged one. */
void changes_open(struct options *options);
/* Appends the kernel's words for the files and for the disk that takes the guest's writes. */
void changes_words(const struct options *options, struct kernel *kernel);

/* --- crc32c.c ------------------------------------------------------------------ */
/* Of the first `bytes` of a file; false when it cannot be read that far. */
bool crc32c_of(int fd, uint64_t bytes, uint32_t *crc);

/* --- check.c: layers are read whole before the job ------------------------------ */
enum check_result { CHECK_RUNS, CHECK_GOOD, CHECK_BAD };

/* In a thread, which tells `event` at its end. */
void check_start(const struct options *options, int event);
/* Records the finding when it is bad. */
enum check_result check_result(void);

/* --- upper.c: where a guest with layers writes -------------------------------- */
char *upper_argument(const struct options *options, struct kernel *kernel);
/* True for a file that upper_argument has made. */
bool is_upper(int fd);

/* --- spec.c: the job disk ---------------------------------------------------- */
#define SLOTS 5			/* the job, and four looks into the guest at once */
#define RING_BYTES (1 << 20)
#define EXEC_SPEC_BYTES (256 << 10)

/* What each of three descriptors is here, one letter each. */
enum { FD_TERMINAL = 't', FD_PIPE = 'p', FD_NULL = 'n', FD_CLOSED = 'c' };

struct job_disk {
	int fd;
	uint8_t *memory;
};

/* The records of the job, or (with `exec`) of a look into a running guest. */
void spec_write(const struct options *options, const char kinds[4], int job_folder, bool exec,
		char **text, size_t *length);
struct job_disk job_disk_make(const char *spec, size_t length, bool changes);
/* Puts the records of a look into the guest on the disk; false when they are too long. */
bool job_disk_put(struct job_disk *disk, int slot, const char *spec, size_t length);
uint8_t *job_disk_ring(const struct job_disk *disk, int slot);

/* --- terminal.c ---------------------------------------------------------------- */
/* To be called first: sees what each of the three is, and keeps the numbers of closed ones taken. */
void keep_descriptors(void);
void describe_descriptors(char kinds[4]);
bool terminal_size(unsigned int *rows, unsigned int *columns);
void terminal_raw(void);
void terminal_restore(void);

/* --- streams.c: bytes between descriptors here and lines of the guest ------------- */
struct output {
	struct streams *streams;
	enum line line;
	int from, to;
	bool started;
	pthread_t thread;
};

struct streams {
	int event;		/* eventfd: something below has changed */
	_Atomic uint64_t received[LINES];	/* bytes from the guest */
	_Atomic int closed[LINES];	/* errno of the write that failed */
	_Atomic uint64_t input_head;	/* bytes put into the ring */
	_Atomic uint64_t input_tail;	/* bytes that the guest has taken */
	_Atomic bool input_end;
	int wake_input;		/* eventfd: input_tail has moved */
	int stop;		/* eventfd: send what is there, then end */
	int input;		/* where standard input comes from */
	bool input_started;
	pthread_t input_thread;
	uint8_t *ring;
	struct output outputs[LINES];
};

/* Starts a thread for each stream of `fds`; `sockets` are our ends of the lines. */
void streams_start(struct streams *streams, const int sockets[LINES], const int fds[3],
		   const char kinds[4]);
/* Ends the threads when everything that has arrived is written. */
void streams_finish(struct streams *streams);

/* --- session.c: one program in the guest and its streams ------------------------------ */
enum stage { UNUSED, WAITING, UP, RUNNING, ENDED };

struct session {
	int slot;
	enum stage stage;
	int sockets[LINES];	/* our ends of its serial lines */
	int fds[3];
	char kinds[4];
	struct streams streams;
	char line[4096];	/* of the control line, as far as it has come */
	size_t line_size;
	uint64_t told_input;
	bool told_end, told_closed[LINES], bye_said;
	int exit_code, signal;
	uint64_t sent[LINES];	/* what the guest says it has sent */
	int client;		/* of a look into the guest; -1 for the job */
};

/* What the owner of a session has to know. */
struct session_events {
	void (*up)(struct session *session, const char *line);
	void (*started)(struct session *session);
	void (*ended)(struct session *session, const char *line);
	void (*failed)(struct session *session, const char *code, const char *message);
};

void session_open_lines(struct session *session, int slot, struct kernel *kernel, int theirs[LINES]);
void session_start(struct session *session, uint8_t *ring, int event);
void session_say(struct session *session, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void session_read(struct session *session, const struct session_events *events);
/* Tells the guest of new input and of readers that went away. */
void session_tell(struct session *session);
/* True when all that the guest has sent is here: it may go. */
bool session_complete(const struct session *session);
uint64_t value_of(const char *line, const char *key);

/* --- door.c: looks into a running guest --------------------------------------------------- */
/* Listens in the run folder; -1 where the file system has no sockets. */
int door_open(void);
/* The other side: asks the supervisor of the guest in `folder`. Returns the exit code. */
int door_exec(const char *folder, const struct options *options);
int door_ask(const char *folder, const char *question);

/* --- console.c ---------------------------------------------------------------------- */
void console_open(const char *run_folder);
void console_add(const char *text, size_t size);
/* What the console says about a kernel that ended too early. */
void console_diagnose(bool reached_init);

/* --- job.c ---------------------------------------------------------------- */
/* One job in one guest. Returns the exit code. */
int run_job(struct options *options);

#endif
