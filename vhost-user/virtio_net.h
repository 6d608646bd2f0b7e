/*
 * virtio-net (virtio 1.2 §5.1) whose data path is a vhost-user peer: the guest's doorbell is the
 * peer's kick eventfd and the peer's call eventfd is the guest's interrupt. Only the control
 * queue is served here. The link follows the connection to the peer.
 *
 * io thread, except for the registers (virtio_pci.h).
 */
#ifndef VHOST_USER_VIRTIO_NET_H
#define VHOST_USER_VIRTIO_NET_H

#include "core/dma.h"
#include "core/guest_memory.h"
#include "core/loop.h"
#include "core/pci.h"

#define VIRTIO_NET_MAX_QUEUE_PAIRS 31u
#define VIRTIO_NET_MIN_MTU 68u /* bytes, virtio 1.2 §5.1.4.1 */
#define VIRTIO_NET_MAX_MTU 65535u

/* All borrowed for the device's life, except socket_path (copied) and listen_fd (taken over). */
struct virtio_net_params {
	const char *id;
	struct loop *loop;
	struct hypervisor *hv;
	struct dma *dma;	     /* the guest's memory as this function sees it: control queue */
	struct guest_memory *memory; /* shown to the peer */
	const char *socket_path;     /* connect to the peer there; or NULL and: */
	int listen_fd;		     /* a listening socket: the peer connects to us */
	uint8_t mac[6];
	uint16_t mtu;		  /* bytes */
	unsigned int queue_pairs; /* 1..VIRTIO_NET_MAX_QUEUE_PAIRS */
};

/*
 * Makes the function, ready for pci_bus_add; (*pci)->dev.ops->destroy ends it. Whether the peer
 * is there does not matter. 0 or -errno; on failure listen_fd is still the caller's.
 */
must_check int virtio_net_create(const struct virtio_net_params *params, struct pci_device **pci);

/* For vm.info. */
struct virtio_net_info {
	bool link_up;
	bool connected;
	uint64_t features; /* chosen by the driver */
	unsigned int queue_pairs;
	const char *reason; /* why the link is down; "" when it is up */
};
void virtio_net_get_info(struct pci_device *pci, struct virtio_net_info *info);

#endif
