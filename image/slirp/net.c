/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The guest's network: libslirp on one end of a packet socket pair, the
 * kernel's vector device on the other. A thread of its own, so that bulk
 * traffic never delays the job's streams or a signal.
 */
#include "launch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libslirp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET_MAX 65536
#define SOCKET_BUFFER (4 << 20)

struct timer {
	struct timer *next;
	SlirpTimerCb callback;
	void *opaque;
	int64_t expires_ms;	/* -1: not armed */
};

struct net {
	Slirp *slirp;
	int socket;
	struct timer *timers;
	struct pollfd *fds;
	size_t fd_count, fd_room;
};

static ssize_t send_packet(const void *packet, size_t size, void *opaque)
{
	struct net *net = opaque;

	/* A full queue drops the packet, as a wire would; TCP repeats it. */
	return send(net->socket, packet, size, MSG_DONTWAIT);
}

static void guest_error(const char *message, void *opaque)
{
	(void)opaque;
	(void)message;	/* the guest's own malformed packets are its own matter */
}

static int64_t clock_ns(void *opaque)
{
	(void)opaque;
	return now_ns();
}

static void *timer_new(SlirpTimerCb callback, void *callback_opaque, void *opaque)
{
	struct net *net = opaque;
	struct timer *timer = xcalloc(1, sizeof(*timer));

	*timer = (struct timer){ net->timers, callback, callback_opaque, -1 };
	net->timers = timer;
	return timer;
}

static void timer_free(void *old, void *opaque)
{
	struct net *net = opaque;

	for (struct timer **at = &net->timers; *at; at = &(*at)->next) {
		if (*at == old) {
			*at = (*at)->next;
			free(old);
			return;
		}
	}
}

static void timer_mod(void *timer, int64_t expires_ms, void *opaque)
{
	(void)opaque;
	((struct timer *)timer)->expires_ms = expires_ms;
}

static void ignore_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;	/* every round asks for all descriptors anew */
}

static void notify(void *opaque)
{
	(void)opaque;	/* one thread: it is awake when it is told to wake up */
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = ignore_fd,
	.unregister_poll_fd = ignore_fd,
	.notify = notify,
};

static int add_poll(int fd, int events, void *opaque)
{
	struct net *net = opaque;
	short wanted = 0;

	if (net->fd_count == net->fd_room) {
		net->fd_room = net->fd_room ? net->fd_room * 2 : 64;
		net->fds = realloc(net->fds, net->fd_room * sizeof(*net->fds));
		if (!net->fds)
			abort();
	}
	if (events & SLIRP_POLL_IN)
		wanted |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		wanted |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		wanted |= POLLPRI;
	net->fds[net->fd_count] = (struct pollfd){ .fd = fd, .events = wanted };
	return net->fd_count++;
}

static int get_events(int index, void *opaque)
{
	struct net *net = opaque;
	short got = net->fds[index].revents;
	int events = 0;

	if (got & POLLIN)
		events |= SLIRP_POLL_IN;
	if (got & POLLOUT)
		events |= SLIRP_POLL_OUT;
	if (got & POLLPRI)
		events |= SLIRP_POLL_PRI;
	if (got & POLLERR)
		events |= SLIRP_POLL_ERR;
	if (got & POLLHUP)
		events |= SLIRP_POLL_HUP;
	return events;
}

static uint32_t run_timers(struct net *net, uint32_t timeout)
{
	int64_t now = now_ns() / 1000000;

	for (struct timer *timer = net->timers, *next; timer; timer = next) {
		next = timer->next;
		if (timer->expires_ms < 0)
			continue;
		if (timer->expires_ms <= now) {
			timer->expires_ms = -1;
			timer->callback(timer->opaque);
		} else if (timer->expires_ms - now < timeout) {
			timeout = timer->expires_ms - now;
		}
	}
	return timeout;
}

static void *serve(void *opaque)
{
	struct net *net = opaque;
	static uint8_t packet[PACKET_MAX];

	for (;;) {
		uint32_t timeout = UINT32_MAX;
		int ready;

		net->fd_count = 0;
		add_poll(net->socket, SLIRP_POLL_IN, net);
		slirp_pollfds_fill(net->slirp, &timeout, add_poll, net);
		timeout = run_timers(net, timeout);
		ready = poll(net->fds, net->fd_count, timeout > INT32_MAX ? -1 : (int)timeout);
		slirp_pollfds_poll(net->slirp, ready < 0, get_events, net);
		/* As many packets as are there, but not for ever: the sockets wait. */
		for (int i = 0; i < 64; i++) {
			ssize_t size = recv(net->socket, packet, sizeof(packet), MSG_DONTWAIT);

			if (size <= 0)
				break;
			slirp_input(net->slirp, packet, size);
		}
	}
	return NULL;
}

static void configure(SlirpConfig *config, const struct network *network)
{
	memset(config, 0, sizeof(*config));
	config->version = 4;
	config->in_enabled = true;
	inet_pton(AF_INET, "10.0.2.0", &config->vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &config->vnetmask);
	inet_pton(AF_INET, "10.0.2.2", &config->vhost);
	inet_pton(AF_INET, "10.0.2.15", &config->vdhcp_start);
	inet_pton(AF_INET, "10.0.2.3", &config->vnameserver);
	config->vhostname = "apppot";
	config->if_mtu = GUEST_MTU;
	config->if_mru = GUEST_MTU;
	/* Services that listen on the host's loopback trust who reaches them. */
	config->disable_host_loopback = !network->host_loopback;
}

int network_start(const struct network *network)
{
	struct net *net = xcalloc(1, sizeof(*net));
	struct in_addr loopback = { htonl(INADDR_LOOPBACK) };
	struct in_addr guest;
	SlirpConfig config;
	pthread_t thread;
	int pair[2];
	int error;

	socket_pair(SOCK_DGRAM, SOCKET_BUFFER, pair);
	net->socket = pair[0];
	configure(&config, network);
	net->slirp = slirp_new(&config, &callbacks, net);
	if (!net->slirp)
		die("network", NULL, "the network helper could not be started");
	inet_pton(AF_INET, "10.0.2.15", &guest);
	for (size_t i = 0; i < network->forward_count; i++) {
		const struct forward *forward = &network->forwards[i];

		if (slirp_add_hostfwd(net->slirp, false, loopback, forward->host_port, guest,
				      forward->guest_port) < 0)
			die("port", "Choose another port with -p HOST:GUEST.",
			    "cannot listen on 127.0.0.1 port %d: %s", forward->host_port,
			    strerror(errno));
	}
	error = pthread_create(&thread, NULL, serve, net);
	if (error)
		die("network", NULL, "cannot start the network thread: %s", strerror(error));
	return pair[1];
}
