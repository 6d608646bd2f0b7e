/* What the two halves of port_vhost share: port_vhost.c (main thread) and port_vhost_road.c
 * (lcores). */
#ifndef VSWITCH_PORT_VHOST_INTERNAL_H
#define VSWITCH_PORT_VHOST_INTERNAL_H

#include <rte_spinlock.h>

#include "vhost-user/vhost_backend.h"
#include "vswitch/port_vhost.h"

/* The peer's transmit ring: what we receive from. One lcore works on it. */
struct vhost_rx {
	struct rx_queue queue;
	struct vhost_backend_ring *ring;
	bool given; /* to a lcore */
};

/* The peer's receive ring: what we send to. Any lcore may, one at a time. */
struct vhost_tx {
	rte_spinlock_t lock;
	struct vhost_backend_ring *_Atomic ring; /* NULL: not running */
} __attribute__((aligned(64)));

struct port_vhost {
	struct port port;
	struct vhost_backend *backend;
	struct lcores *lcores;
	char *socket;
	bool client;
	_Atomic bool link;
	unsigned int queue_pairs;
	/* The running receive rings, for steering; entries beyond the count are stale but valid. */
	_Atomic unsigned int steer_count;
	_Atomic uint8_t steer[PORT_VHOST_MAX_PAIRS];
	_Atomic int fault; /* enum vhost_fault found by a lcore; the main thread ends the session */
	struct vhost_rx rx[PORT_VHOST_MAX_PAIRS];
	struct vhost_tx tx[PORT_VHOST_MAX_PAIRS];
};

static inline struct port_vhost *port_to_vhost(struct port *port)
{
	return container_of(port, struct port_vhost, port);
}

/* Bytes of the virtio header in front of each frame (virtio 1.2 §5.1.6.1). */
static inline unsigned int vhost_header_len(uint64_t features)
{
	return features & (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_NET_F_MRG_RXBUF)
		       ? sizeof(struct virtio_net_hdr_v1)
		       : sizeof(struct virtio_net_hdr);
}

/* What the peer may leave undone in frames it sends, and takes undone in those it receives. */
unsigned int vhost_offloads_from_peer(uint64_t features);
unsigned int vhost_offloads_to_peer(uint64_t features);

/* The port_ops of the road; see port.h. */
unsigned int vhost_receive(struct rx_queue *queue, struct burst *burst);
void vhost_release(struct rx_queue *queue, struct burst *burst);
void vhost_send(struct port *port, struct burst *burst, struct frame *const *frames,
		unsigned int count);
bool vhost_arm(struct rx_queue *queue);
void vhost_disarm(struct rx_queue *queue);

#endif
