/*
 * virtio-blk (virtio 1.2 §5.2): one disk, one queue, served on the io thread from a block
 * backend. Completions are given to the driver in the order in which they arrive.
 */
#ifndef VHOST_USER_VIRTIO_BLK_H
#define VHOST_USER_VIRTIO_BLK_H

#include "core/block_backend.h"
#include "core/dma.h"
#include "core/loop.h"
#include "core/pci.h"

/* All borrowed for the device's life, except backend, which destroy destroys, and serial (copied). */
struct virtio_blk_params {
	const char *id;
	struct loop *loop;
	struct hypervisor *hv;
	struct dma *dma; /* the guest's memory as this function sees it */
	struct block_backend *backend;
	const char *serial; /* at most 20 bytes, told by GET_ID; NULL or "": the id */
};

/*
 * Makes the function, ready for pci_bus_add; (*pci)->dev.ops->destroy ends it. 0 or -errno; on
 * failure the backend is still the caller's.
 */
must_check int virtio_blk_create(const struct virtio_blk_params *params, struct pci_device **pci);

#endif
