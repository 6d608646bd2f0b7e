/*
 * A port on a vhost-user peer: a guest's virtio-net, or another program's virtio-user device.
 *
 * Guest memory is read and written here and nowhere else in the switch. A frame for such a port is
 * copied once, from wherever its source has it into the peer's receive buffers. The virtio header
 * passes through when the peer negotiated what it asks for; else the frame is finished first.
 *
 * With several queue pairs, frames to the peer are spread over its running receive rings by flow
 * hash; each of its transmit rings is polled by one lcore.
 */
#ifndef VSWITCH_PORT_VHOST_H
#define VSWITCH_PORT_VHOST_H

#include "core/loop.h"
#include "vswitch/lcore.h"

#define PORT_VHOST_MAX_PAIRS 64u

struct port_vhost_config {
	const char *id;
	const char *socket; /* copied */
	bool client;	    /* connects to the socket instead of serving it */
	bool allow_unsealed; /* see peer_memory.h */
	uint32_t mtu;
	unsigned int queue_pairs; /* 1..PORT_VHOST_MAX_PAIRS */
	struct loop *loop;
	struct port_table *ports;
	struct lcores *lcores;
};

/* Main thread. 0 or -errno with a line in why. */
must_check int port_vhost_create(const struct port_vhost_config *config, struct port **port,
				 char *why, size_t why_size);

#endif
