/* What the two halves of port_ethdev share: port_ethdev.c (main thread) and port_ethdev_road.c
 * (lcores). */
#ifndef VSWITCH_PORT_ETHDEV_INTERNAL_H
#define VSWITCH_PORT_ETHDEV_INTERNAL_H

#include "vswitch/port_ethdev.h"

#include <rte_mbuf.h>
#include <rte_spinlock.h>

struct ethdev_tx {
	rte_spinlock_t lock; /* several lcores may send to one queue */
} __attribute__((aligned(64)));

struct port_ethdev {
	struct port port;
	uint16_t dev;
	unsigned int queues;
	bool multi_segment; /* the device sends chained mbufs */
	bool interrupts;    /* its receive queues can tell that a frame came */
	char *devargs;
	struct lcores *lcores;
	struct rte_mempool *pool;
	struct rx_queue rx[PORT_ETHDEV_MAX_QUEUES];
	unsigned int rx_given; /* to lcores */
	struct ethdev_tx tx[PORT_ETHDEV_MAX_QUEUES];
};

static inline struct port_ethdev *port_to_ethdev(struct port *port)
{
	return container_of(port, struct port_ethdev, port);
}

/* The port_ops of the road; see port.h. */
unsigned int ethdev_receive(struct rx_queue *queue, struct burst *burst);
void ethdev_release(struct rx_queue *queue, struct burst *burst);
void ethdev_send(struct port *port, struct burst *burst, struct frame *const *frames,
		 unsigned int count);
bool ethdev_arm(struct rx_queue *queue);
void ethdev_disarm(struct rx_queue *queue);

#endif
