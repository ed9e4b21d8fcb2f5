/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guest's addresses, as libslirp (and the old slirp) expect them. */
#include "guest.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESS "10.0.2.15"
#define NETMASK "255.255.255.0"
#define GATEWAY "10.0.2.2"

static void set_address(struct sockaddr *where, const char *text)
{
	struct sockaddr_in *address = (struct sockaddr_in *)where;

	memset(address, 0, sizeof(*address));
	address->sin_family = AF_INET;
	inet_pton(AF_INET, text, &address->sin_addr);
}

static bool up(int fd, const char *name)
{
	struct ifreq request = { 0 };

	strcpy(request.ifr_name, name);
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return false;
	request.ifr_flags |= IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

static bool has_device(int fd, const char *name)
{
	struct ifreq request = { 0 };

	strcpy(request.ifr_name, name);
	return ioctl(fd, SIOCGIFFLAGS, &request) == 0;
}

static void configure(int fd, const char *name)
{
	struct ifreq request = { 0 };
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };

	strcpy(request.ifr_name, name);
	set_address(&request.ifr_addr, ADDRESS);
	if (ioctl(fd, SIOCSIFADDR, &request) < 0)
		complain("cannot set the address of %s: %m", name);
	set_address(&request.ifr_netmask, NETMASK);
	ioctl(fd, SIOCSIFNETMASK, &request);
	if (!up(fd, name))
		complain("cannot bring %s up: %m", name);
	set_address(&route.rt_dst, "0.0.0.0");
	set_address(&route.rt_genmask, "0.0.0.0");
	set_address(&route.rt_gateway, GATEWAY);
	if (ioctl(fd, SIOCADDRT, &route) < 0)
		complain("cannot set the default route: %m");
}

void network_up(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	/* Open MPI and much else wants the loopback, network or not. */
	up(fd, "lo");
	if (has_device(fd, "vec0"))
		configure(fd, "vec0");
	else if (has_device(fd, "eth0"))
		configure(fd, "eth0");
	close(fd);
}
