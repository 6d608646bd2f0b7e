/*
 * A port on any DPDK Ethernet device: a NIC by its PCI address, or a virtual device (net_tap,
 * net_af_packet, net_null, net_pcap, eth_vhost ...), named by devargs. Behind the switch's walls only
 * a few can be plugged in (walls_check_device); the caller asks.
 *
 * Frames come and go in mbufs of one pool, made when the first such port is. What a virtio peer
 * left to be done (checksums, segments) is done in software before a frame reaches the device.
 */
#ifndef VSWITCH_PORT_ETHDEV_H
#define VSWITCH_PORT_ETHDEV_H

#include "vswitch/lcore.h"

struct port_ethdev_config {
	const char *id;
	const char *devargs; /* copied */
	uint32_t mtu;
	unsigned int queues; /* receive and transmit queues, 1..PORT_ETHDEV_MAX_QUEUES */
	struct port_table *ports;
	struct lcores *lcores;
};

#define PORT_ETHDEV_MAX_QUEUES 16u

/*
 * Main thread. Probes the device, configures and starts it, and puts the port on the road.
 * 0; -EEXIST when another port has the device; or -errno with a line in why.
 */
must_check int port_ethdev_create(const struct port_ethdev_config *config, struct port **port,
				  char *why, size_t why_size);

/* Before the first port: how many mbufs the pool shall have. */
void port_ethdev_set_pool_size(unsigned int mbufs);

/*
 * From now on the EAL gets no huge page more: that would mean files opened (/proc/self/pagemap).
 * Who asks for more than there is, is told so. 0, or -errno, logged.
 */
must_check int port_ethdev_freeze_memory(void);

#endif
