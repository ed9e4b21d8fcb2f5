/* The bytes of an archive: through zstd or gzip as child processes, or plain; every byte goes into a digest. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snap.h"

#define BUFFER (1 << 18)

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), size = strlen(end);
	return length >= size && strcmp(text + length - size, end) == 0;
}

/* Starts a program between two descriptors; `other` is the end of the pipe that only we have. */
static pid_t start(char *const words[], int input, int output, int other)
{
	pid_t pid = fork();
	if (pid < 0)
		die_errno("cannot start %s", words[0]);
	if (pid > 0)
		return pid;
	close(other);
	dup2(input, 0);
	dup2(output, 1);
	signal(SIGPIPE, SIG_DFL);
	execvp(words[0], words);
	_exit(127);
}

static int wait_for(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void open_output(struct stream *stream, const char *name)
{
	static char *const zstd[] = {"zstd", "-q", "-T0", "-c", NULL}, *const gzip[] = {"gzip", "-n", "-c", NULL};
	*stream = (struct stream){.name = name, .buffer = allocate(BUFFER)};
	sha256_start(&stream->hash);
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(name, "-") == 0) {
		stream->fd = dup(1);
		return;
	}
	struct text part = {0};
	add(&part, name);
	add(&part, ".part");
	int file = open(part.data, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	struct stat stat;
	if (file < 0 || fstat(file, &stat) != 0)
		die_errno("cannot write %s", part.data);
	free(part.data);
	walk_ignores(stat.st_dev, stat.st_ino);
	char *const *words = ends_with(name, ".zst") ? zstd : ends_with(name, ".gz") || ends_with(name, ".tgz") ? gzip : NULL;
	stream->fd = file;
	if (words == NULL)
		return;
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		die_errno("cannot make a pipe");
	fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
	stream->tool = words[0];
	stream->child = start(words, ends[0], file, ends[1]);
	close(ends[0]);
	close(file);
	stream->fd = ends[1];
}

static void flush(struct stream *stream)
{
	sha256_add(&stream->hash, stream->buffer, stream->used);
	for (size_t done = 0; done < stream->used;) {
		ssize_t length = write(stream->fd, stream->buffer + done, stream->used - done);
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0 && errno == EPIPE && stream->child > 0 && wait_for(stream->child) == 127)
			die(FAILED, "install it, or write a name that ends in .tar", "cannot start %s", stream->tool);
		if (length < 0)
			die_errno("cannot write %s", stream->name);
		done += (size_t)length;
	}
	stream->used = 0;
}

void put_bytes(struct stream *stream, const void *data, size_t length)
{
	stream->position += length;
	while (length > 0) {
		size_t part = BUFFER - stream->used < length ? BUFFER - stream->used : length;
		memcpy(stream->buffer + stream->used, data, part);
		stream->used += part;
		data = (const uint8_t *)data + part;
		length -= part;
		if (stream->used == BUFFER)
			flush(stream);
	}
}

void output_digest(struct stream *stream, char digest[DIGEST_TEXT])
{
	flush(stream);
	struct sha256 copy = stream->hash;
	sha256_text(&copy, digest);
}

void close_output(struct stream *stream)
{
	flush(stream);
	bool piped = strcmp(stream->name, "-") == 0;
	struct text part = {0};
	add(&part, stream->name);
	add(&part, ".part");
	if (stream->child == 0 && !piped && fsync(stream->fd) != 0)
		die_errno("cannot write %s", stream->name);
	if (close(stream->fd) != 0)
		die_errno("cannot write %s", stream->name);
	if (stream->child > 0) {
		int code = wait_for(stream->child);
		if (code != 0)
			die(FAILED, code == 127 ? "install it, or write a name that ends in .tar" : "is the disk full?",
				"%s failed with code %d", stream->tool, code);
		int fd = open(part.data, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fsync(fd) != 0)
			die_errno("cannot write %s", stream->name);
		close(fd);
	}
	if (!piped && rename(part.data, stream->name) != 0)
		die_errno("cannot write %s", stream->name);
	free(part.data);
	free(stream->buffer);
}

/* Gives back what was read to find out the kind, then the rest: the child that does so is a plain copy. */
static int feed(struct stream *stream, int input, const uint8_t *start, size_t used)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0 || (stream->feeder = fork()) < 0)
		die_errno("cannot make a pipe");
	if (stream->feeder > 0) {
		close(ends[1]);
		close(input);
		return ends[0];
	}
	static uint8_t buffer[65536];
	signal(SIGPIPE, SIG_DFL);
	memcpy(buffer, start, used);
	for (ssize_t length = (ssize_t)used; length > 0; length = read(input, buffer, sizeof buffer))
		for (ssize_t done = 0, part; done < length; done += part)
			if ((part = write(ends[1], buffer + done, (size_t)(length - done))) <= 0)
				_exit(1);
	_exit(0);
}

void open_input(struct stream *stream, const char *name)
{
	static char *const zstd[] = {"zstd", "-q", "-d", "-c", "--memory=256MB", NULL}, *const gzip[] = {"gzip", "-d", "-c", NULL};
	static const uint8_t zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd}, gzip_magic[] = {0x1f, 0x8b};
	*stream = (struct stream){.name = name, .buffer = allocate(BUFFER)};
	sha256_start(&stream->hash);
	int input = strcmp(name, "-") == 0 ? dup(0) : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (input < 0)
		die_errno("cannot read %s", name);
	struct stat stat;
	if (fstat(input, &stat) == 0 && S_ISDIR(stat.st_mode))
		die(FAILED, "give the changes file itself", "%s is a folder", name);
	uint8_t magic[4];
	size_t used = 0;
	for (ssize_t length; used < sizeof magic && (length = read(input, magic + used, sizeof magic - used)) > 0;)
		used += (size_t)length;
	char *const *words = used == 4 && memcmp(magic, zstd_magic, 4) == 0 ? zstd
		: used >= 2 && memcmp(magic, gzip_magic, 2) == 0 ? gzip : NULL;
	stream->fd = input;
	if (words == NULL) {
		memcpy(stream->buffer, magic, used);
		stream->used = used;
		return;
	}
	if (lseek(input, 0, SEEK_SET) != 0)
		input = feed(stream, input, magic, used);
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		die_errno("cannot make a pipe");
	fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
	stream->tool = words[0];
	stream->child = start(words, input, ends[1], ends[0]);
	close(ends[1]);
	close(input);
	stream->fd = ends[0];
}

bool peek(struct stream *stream, void *data, size_t length)
{
	while (stream->used < length) {
		ssize_t got = read(stream->fd, stream->buffer + stream->used, BUFFER - stream->used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		stream->used += (size_t)got;
	}
	memcpy(data, stream->buffer, length);
	return true;
}

size_t get_some(struct stream *stream, void *data, size_t length)
{
	if (stream->start == stream->used) {
		ssize_t got;
		while ((got = read(stream->fd, stream->buffer, BUFFER)) < 0 && errno == EINTR)
			continue;
		if (got < 0)
			die_errno("cannot read %s", stream->name);
		stream->start = 0;
		stream->used = (size_t)got;
	}
	size_t part = stream->used - stream->start < length ? stream->used - stream->start : length;
	memcpy(data, stream->buffer + stream->start, part);
	sha256_add(&stream->hash, data, part);
	stream->start += part;
	stream->position += part;
	return part;
}

void get_bytes(struct stream *stream, void *data, size_t length)
{
	for (size_t done = 0; done < length;) {
		size_t part = get_some(stream, (uint8_t *)data + done, length - done);
		if (part == 0) {
			int code = stream->child > 0 ? wait_for(stream->child) : 0;
			stream->child = 0;
			if (code == 127)
				die(FAILED, "install it", "cannot start %s", stream->tool);
			damaged(code != 0 ? "its compression is damaged or truncated" : "it is truncated");
		}
		done += part;
	}
}

void close_input(struct stream *stream)
{
	uint8_t rest[BLOCK];
	/* The padding of a tar file; and whatever a compressor adds has to be checked by it. */
	for (uint64_t seen = 0; ; ) {
		size_t length = get_some(stream, rest, sizeof rest);
		if (length == 0)
			break;
		seen += length;
		for (size_t i = 0; i < length; i++)
			if (rest[i] != 0 || seen > 1 << 20)
				damaged("something follows its end");
	}
	close(stream->fd);
	if (stream->child > 0 && wait_for(stream->child) != 0)
		damaged("its compression is damaged or truncated");
	if (stream->feeder > 0)
		wait_for(stream->feeder);
	free(stream->buffer);
}
