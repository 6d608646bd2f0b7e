/*
 * The control queue of virtio-net, and the device that it controls: virtio_net.c, the function and
 * its link, stands on it. Between virtio_net.c and virtio_net_ctrl.c only. io thread.
 */
#ifndef VHOST_USER_VIRTIO_NET_CTRL_H
#define VHOST_USER_VIRTIO_NET_CTRL_H

#include <linux/virtio_net.h>

#include "core/dma.h"
#include "vhost-user/vhost_frontend.h"
#include "vhost-user/virtio_pci.h"
#include "vhost-user/vring_device.h"

enum net_counter {
	NET_LINK_UPS,
	NET_LINK_DOWNS,
	NET_CTRL_COMMANDS,
	NET_CTRL_REFUSED,
	NET_CTRL_RING_FAULTS,
	NET_COUNTERS
};

struct virtio_net {
	struct virtio_pci vp; /* first */
	struct virtio_net_config config;
	struct virtio_net_config initial; /* after a reset */
	struct dma *dma;
	struct vhost_frontend *fe;
	unsigned int max_pairs;
	unsigned int pairs; /* that the driver uses */
	bool frontend_stopping;
	bool keep_link; /* from quiescing until the rings run again */
	struct vring_device ctrl;
	struct loop_io *ctrl_io; /* the control queue is served while set */
	_Atomic uint64_t counters[NET_COUNTERS];
};

static inline void virtio_net_count(struct virtio_net *net, enum net_counter counter)
{
	atomic_fetch_add_explicit(&net->counters[counter], 1, memory_order_relaxed);
}

/* The control queue follows the data queues that were negotiated (virtio 1.2 §5.1.2). */
static inline struct virtio_queue *virtio_net_ctrl_queue(struct virtio_net *net)
{
	unsigned int pairs = virtio_pci_has(&net->vp, VIRTIO_NET_F_MQ) ? net->max_pairs : 1;

	return &net->vp.queues[2 * pairs];
}

/* Lock held. Starting without a control queue is no error. */
must_check int virtio_net_ctrl_start(struct virtio_net *net);
void virtio_net_ctrl_stop(struct virtio_net *net);

#endif
