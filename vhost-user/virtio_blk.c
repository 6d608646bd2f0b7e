#include "vhost-user/virtio_blk.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "core/log.h"
#include "vhost-user/virtio_blk_request.h"

#define PCI_CLASS_SCSI 0x010000u
#define BLK_STATE_VERSION 1u

static const char *const blk_counter_names[BLK_COUNTERS] = {
	[BLK_READS] = "reads",
	[BLK_READ_BYTES] = "read_bytes",
	[BLK_WRITES] = "writes",
	[BLK_WRITTEN_BYTES] = "written_bytes",
	[BLK_FLUSHES] = "flushes",
	[BLK_UNSUPPORTED] = "unsupported_requests",
	[BLK_BAD_REQUESTS] = "bad_requests",
	[BLK_IO_ERRORS] = "io_errors",
	[BLK_RING_FAULTS] = "ring_faults",
};

static struct virtio_blk *from_vp(struct virtio_pci *vp)
{
	return container_of(vp, struct virtio_blk, vp);
}

static struct virtio_blk *from_device(struct device *dev)
{
	return container_of(dev, struct virtio_blk, vp.pci.dev);
}

static void kick_ready(void *opaque, int fd, unsigned int events)
{
	struct virtio_blk *blk = opaque;
	eventfd_t n;

	if (eventfd_read(fd, &n) == 0 && blk->running)
		virtio_blk_process(blk);
}

/* What the transport asks */

static int blk_start(struct virtio_pci *vp)
{
	struct virtio_blk *blk = from_vp(vp);
	struct virtio_queue *queue = virtio_blk_queue(blk);
	struct vring_device_config config = {
		.dma = blk->dma,
		.size = queue->size,
		.base = queue->base,
		.used_addr = queue->device,
		.features = vp->acked,
	};
	const struct vring_addrs addrs = {queue->desc, queue->driver, queue->device};
	enum vhost_fault fault;

	if (!queue->enabled)
		return 0; /* a driver without a queue asks for nothing */
	fault = vring_device_map(blk->dma, queue->size, &addrs, &config.parts);
	if (fault) {
		log_guest("%s: queue 0: %s", vp->pci.dev.id, vhost_fault_name(fault));
		return -EFAULT;
	}
	vring_device_start(&blk->vr, &config);
	blk->kick_io = loop_io_add(vp->loop, queue->kick_fd, LOOP_READ, kick_ready, blk);
	if (!blk->kick_io)
		return -ENOMEM;
	blk->running = true;
	eventfd_write(queue->kick_fd, 1); /* there may be chains already */
	return 0;
}

static void blk_stop(struct virtio_pci *vp)
{
	struct virtio_blk *blk = from_vp(vp);

	if (!blk->kick_io) {
		virtio_pci_stopped(vp); /* started without a queue */
		return;
	}
	loop_io_remove(blk->kick_io);
	blk->kick_io = NULL;
	virtio_blk_requests_stop(blk);
}

static void blk_wait_stopped(struct virtio_pci *vp)
{
	struct virtio_blk *blk = from_vp(vp);

	/* A write may have a flush behind it: twice at most. */
	while (blk->in_flight)
		blk->backend->ops->drain(blk->backend);
}

static const struct virtio_ops blk_virtio_ops = {
	.start = blk_start,
	.stop = blk_stop,
	.wait_stopped = blk_wait_stopped,
};

/* The device model's side */

static void blk_reset(struct device *dev)
{
	virtio_pci_reset(&from_device(dev)->vp);
}

static int blk_quiesce(struct device *dev)
{
	return virtio_pci_quiesce(&from_device(dev)->vp);
}

static int blk_resume(struct device *dev)
{
	return virtio_pci_resume(&from_device(dev)->vp);
}

static void blk_save(struct device *dev, void *state)
{
	virtio_pci_save(&from_device(dev)->vp, state);
}

static int blk_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	if (version != BLK_STATE_VERSION || size != sizeof(struct virtio_pci_state))
		return -EINVAL;
	return virtio_pci_load(&from_device(dev)->vp, state);
}

static void blk_counters(struct device *dev, counter_fn emit, void *opaque)
{
	struct virtio_blk *blk = from_device(dev);

	for (unsigned int i = 0; i < BLK_COUNTERS; i++)
		emit(opaque, blk_counter_names[i], blk->counters[i]);
	if (blk->backend->ops->counters)
		blk->backend->ops->counters(blk->backend, emit, opaque);
	virtio_pci_emit_counters(&blk->vp, emit, opaque);
}

static void blk_destroy(struct device *dev)
{
	struct virtio_blk *blk = from_device(dev);

	/* Whatever the return says, nothing is in flight afterwards. */
	(void)virtio_pci_quiesce(&blk->vp);
	virtio_pci_fini(&blk->vp);
	blk->backend->ops->destroy(blk->backend);
	free(blk->requests);
	free(blk);
}

static const struct device_ops blk_device_ops = {
	.type = "virtio-blk",
	.reset = blk_reset,
	.quiesce = blk_quiesce,
	.resume = blk_resume,
	.state_version = BLK_STATE_VERSION,
	.state_size = sizeof(struct virtio_pci_state),
	.save = blk_save,
	.load = blk_load,
	.counters = blk_counters,
	.destroy = blk_destroy,
};

static void init_config(struct virtio_blk *blk)
{
	const struct block_backend *backend = blk->backend;

	blk->config.capacity = backend->capacity / BLOCK_SECTOR;
	blk->config.seg_max = BLK_SEG_MAX;
	blk->config.size_max = BLK_SEG_BYTES;
	blk->config.blk_size = backend->logical_block;
	blk->vp.features = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_INDIRECT_DESC |
			   1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << VIRTIO_BLK_F_FLUSH |
			   1ULL << VIRTIO_BLK_F_BLK_SIZE | 1ULL << VIRTIO_BLK_F_SEG_MAX |
			   1ULL << VIRTIO_BLK_F_SIZE_MAX;
	if (backend->read_only)
		blk->vp.features |= 1ULL << VIRTIO_BLK_F_RO;
}

int virtio_blk_create(const struct virtio_blk_params *params, struct pci_device **pci)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	const char *serial = params->serial && *params->serial ? params->serial : params->id;
	const struct virtio_pci_config config = {
		.id = params->id,
		.device_ops = &blk_device_ops,
		.ops = &blk_virtio_ops,
		.loop = params->loop,
		.hv = params->hv,
		.device_id = VIRTIO_ID_BLOCK,
		.class_code = PCI_CLASS_SCSI,
		.queues = 1,
		.queue_size = BLK_QUEUE_SIZE,
		.device_config = blk ? &blk->config : NULL,
		.device_config_size = offsetof(struct virtio_blk_config, wce),
	};
	int err;

	if (!blk)
		return -ENOMEM;
	blk->dma = params->dma;
	blk->backend = params->backend;
	err = virtio_blk_requests_init(blk);
	if (err)
		goto err_blk;
	err = virtio_pci_init(&blk->vp, &config);
	if (err)
		goto err_requests;
	memcpy(blk->serial, serial, strnlen(serial, sizeof(blk->serial)));
	init_config(blk);
	*pci = &blk->vp.pci;
	return 0;

err_requests:
	free(blk->requests);
err_blk:
	free(blk);
	return err;
}
