/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One program in the guest: the job, or a look into it. Four serial lines, and a
 * control line that carries short lines of text, both ways:
 *
 *   guest: hello VERSION kernel=RELEASE base=ID | started | ack BYTES | error CODE TEXT
 *          end KEY=VALUE ... (code signal out err tty utime stime rss oom)
 *   host:  in BYTES | eof BYTES | closed 1|2|t | signal N | kill | winch ROWS COLUMNS | bye
 *          exec SLOT (to the job's session: look into the guest)
 *          go (after hello, when the job waits for the check of its layers)
 *
 * BYTES are totals since the start, so that nothing depends on a line before.
 */
#include "launch.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_BUFFER (1 << 20)

void session_open_lines(struct session *session, int slot, struct kernel *kernel, int theirs[LINES])
{
	session->slot = slot;
	session->client = -1;
	for (int line = 0; line < LINES; line++) {
		int pair[2];

		socket_pair(SOCK_STREAM, slot == 0 ? SOCKET_BUFFER : 0, pair);
		session->sockets[line] = pair[0];
		theirs[line] = pair[1];
		strings_addf(&kernel->args, "ssl%d=fd:%d", LINES * slot + line,
			     kernel_inherits(kernel, pair[1]));
	}
}

void session_start(struct session *session, uint8_t *ring, int event)
{
	session->stage = WAITING;
	session->streams.ring = ring;
	session->streams.event = event;
	session->streams.wake_input = eventfd(0, EFD_CLOEXEC);
	streams_start(&session->streams, session->sockets, session->fds, session->kinds);
}

void session_say(struct session *session, const char *format, ...)
{
	char text[128];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	text[length++] = '\n';
	/* Lines are short and few; one that does not fit means a guest that hangs. */
	if (send(session->sockets[LINE_CONTROL], text, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

uint64_t value_of(const char *line, const char *key)
{
	char pattern[32];
	const char *at;

	snprintf(pattern, sizeof(pattern), " %s=", key);
	at = strstr(line, pattern);
	return at ? strtoull(at + strlen(pattern), NULL, 10) : 0;
}

static void ended(struct session *session, const char *line, const struct session_events *events)
{
	session->stage = ENDED;
	session->exit_code = value_of(line, "code");
	session->signal = value_of(line, "signal");
	session->sent[LINE_STDOUT] = value_of(line, "out");
	session->sent[LINE_STDERR] = value_of(line, "err");
	session->sent[LINE_TERMINAL] = value_of(line, "tty");
	events->ended(session, line);
}

static void failed(struct session *session, char *text, const struct session_events *events)
{
	char *message = strchr(text, ' ');

	if (message)
		*message++ = '\0';
	events->failed(session, text, message ? message : text);
}

static void one_line(struct session *session, char *line, const struct session_events *events)
{
	if (strncmp(line, "hello ", 6) == 0) {
		session->stage = UP;
		events->up(session, line);
	} else if (strcmp(line, "started") == 0) {
		session->stage = RUNNING;
		events->started(session);
	} else if (strncmp(line, "ack ", 4) == 0) {
		uint64_t one = 1;

		session->streams.input_tail = strtoull(line + 4, NULL, 10);
		if (write(session->streams.wake_input, &one, sizeof(one)) < 0)
			return;
	} else if (strncmp(line, "end ", 4) == 0) {
		ended(session, line, events);
	} else if (strncmp(line, "error ", 6) == 0) {
		failed(session, line + 6, events);
	}
}

void session_read(struct session *session, const struct session_events *events)
{
	ssize_t size = recv(session->sockets[LINE_CONTROL], session->line + session->line_size,
			    sizeof(session->line) - 1 - session->line_size, MSG_DONTWAIT);
	char *end, *at = session->line;

	if (size <= 0)
		return;
	session->line_size += size;
	session->line[session->line_size] = '\0';
	while ((end = strchr(at, '\n'))) {
		*end = '\0';
		one_line(session, at, events);
		at = end + 1;
	}
	session->line_size -= at - session->line;
	memmove(session->line, at, session->line_size);
	if (session->line_size == sizeof(session->line) - 1)
		session->line_size = 0;	/* no line of ours is that long */
}

void session_tell(struct session *session)
{
	static const char names[LINES] = { [LINE_STDOUT] = '1', [LINE_STDERR] = '2',
					   [LINE_TERMINAL] = 't' };
	struct streams *streams = &session->streams;
	uint64_t head;

	if (session->stage != RUNNING)
		return;
	for (int line = LINE_STDOUT; line < LINES; line++) {
		if (streams->closed[line] && !session->told_closed[line]) {
			session->told_closed[line] = true;
			session_say(session, "closed %c", names[line]);
		}
	}
	head = streams->input_head;
	if (head != session->told_input) {
		session->told_input = head;
		session_say(session, "in %llu", (unsigned long long)head);
	}
	/* The order matters: after input_end the head moves no more. */
	if (streams->input_end && streams->input_head == head && !session->told_end) {
		session->told_end = true;
		session_say(session, "eof %llu", (unsigned long long)head);
	}
}

bool session_complete(const struct session *session)
{
	if (session->stage != ENDED)
		return false;
	for (int line = LINE_STDOUT; line < LINES; line++)
		if (session->streams.received[line] < session->sent[line])
			return false;
	return true;
}
