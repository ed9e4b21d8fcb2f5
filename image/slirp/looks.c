/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The supervisor's side of the door: callers, and the sessions they ask for. */
#include "looks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_BYTES (EXEC_SPEC_BYTES + 64)

static void reply(int client, const char *text)
{
	if (send(client, text, strlen(text) + 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void forget(struct session *session)
{
	streams_finish(&session->streams);
	for (int fd = 0; fd < 3; fd++)
		close(session->fds[fd]);
	close(session->streams.wake_input);
	memset(&session->streams, 0, sizeof(session->streams));
	memset(session->told_closed, 0, sizeof(session->told_closed));
	session->told_input = session->line_size = 0;
	session->told_end = session->bye_said = false;
	memset(session->sent, 0, sizeof(session->sent));
	if (session->client >= 0)
		close(session->client);
	session->client = -1;
	session->stage = UNUSED;
}

/* Descriptors that came with a message; all or none. */
static bool take_descriptors(struct msghdr *message, int fds[3])
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);

	if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(3 * sizeof(int)))
		return false;
	memcpy(fds, CMSG_DATA(header), 3 * sizeof(int));
	return true;
}

/* The records name what the descriptors are: "fds=ttt". */
static bool read_kinds(const char *spec, size_t length, char kinds[4])
{
	for (const char *at = spec; at < spec + length; at += strlen(at) + 1) {
		if (strncmp(at, "fds=", 4) == 0 && strspn(at + 4, "tpnc") == 3) {
			memcpy(kinds, at + 4, 4);
			return true;
		}
	}
	return false;
}

static void start_look(struct looks *looks, int client, const char *spec, size_t length, const int fds[3])
{
	struct session *session = NULL;

	for (int slot = 1; slot < SLOTS && !session; slot++)
		if (looks->sessions[slot].stage == UNUSED)
			session = &looks->sessions[slot];
	if (!session || looks->sessions[0].stage != RUNNING) {
		reply(client, session ? "the guest has no running job" : "four programs look into the guest already");
		for (int fd = 0; fd < 3; fd++)
			close(fds[fd]);
		close(client);
		return;
	}
	if (!read_kinds(spec, length, session->kinds) ||
	    !job_disk_put(looks->disk, session->slot, spec, length)) {
		reply(client, "the request makes no sense");
		close(client);
		return;
	}
	memcpy(session->fds, fds, sizeof(session->fds));
	session->client = client;
	session_start(session, job_disk_ring(looks->disk, session->slot), looks->event);
	session_say(&looks->sessions[0], "exec %d", session->slot);
}

static void first_message(struct looks *looks, int client)
{
	static char text[MESSAGE_BYTES + 1];
	char control[CMSG_SPACE(3 * sizeof(int))];
	struct iovec data = { text, MESSAGE_BYTES };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	ssize_t size = recvmsg(client, &message, MSG_CMSG_CLOEXEC);
	int fds[3];

	if (size > 0)
		text[size] = '\0';
	if (size > 5 && strcmp(text, "exec") == 0 && take_descriptors(&message, fds)) {
		start_look(looks, client, text + 5, size - 5, fds);
		return;
	}
	if (size > 0 && strcmp(text, "status") == 0)
		looks->status(client);
	else if (size > 0 && strcmp(text, "stop") == 0)
		looks->stop(client);
	close(client);
}

void looks_accept(struct looks *looks)
{
	int client;

	while ((client = accept4(looks->door, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		first_message(looks, client);
}

void looks_client(struct looks *looks, struct session *session)
{
	char text[128];
	ssize_t size = recv(session->client, text, sizeof(text) - 1, MSG_DONTWAIT);

	(void)looks;
	if (size < 0 && errno == EAGAIN)
		return;
	if (size <= 0) {
		/* The caller is gone: its program in the guest goes too. */
		session_say(session, "kill");
		close(session->client);
		session->client = -1;
		return;
	}
	text[size] = '\0';
	if (strncmp(text, "signal ", 7) == 0 || strncmp(text, "winch ", 6) == 0)
		session_say(session, "%s", text);
}

void looks_finish(struct session *session)
{
	char text[64];

	if (!session_complete(session))
		return;
	session_say(session, "bye");
	snprintf(text, sizeof(text), "exit %d", session->signal ? 128 + session->signal : session->exit_code);
	/* First everything is written, then the caller may go on. */
	streams_finish(&session->streams);
	if (session->client >= 0)
		reply(session->client, text);
	forget(session);
}

void looks_end(struct looks *looks)
{
	for (int slot = 1; slot < SLOTS; slot++) {
		struct session *session = &looks->sessions[slot];

		if (session->stage == UNUSED)
			continue;
		if (session->client >= 0)
			reply(session->client, "the guest ended");
		forget(session);
	}
}
