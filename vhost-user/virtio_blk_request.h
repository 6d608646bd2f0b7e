/*
 * The requests of virtio-blk: from the ring to the block backend and back. Between virtio_blk.c
 * and virtio_blk_request.c only. io thread; the lock is not held.
 */
#ifndef VHOST_USER_VIRTIO_BLK_REQUEST_H
#define VHOST_USER_VIRTIO_BLK_REQUEST_H

#include <linux/virtio_blk.h>

#include "core/block_backend.h"
#include "vhost-user/virtio_pci.h"
#include "vhost-user/vring_device.h"

#define BLK_QUEUE_SIZE 128u
#define BLK_SEG_MAX (BLK_QUEUE_SIZE - 2) /* header and status take a descriptor each */
#define BLK_SEG_BYTES (256 * KIB)
/* The largest request that keeps to both: what a driver can have under way is bounded by it. */
#define BLK_REQUEST_BYTES (BLK_SEG_MAX * BLK_SEG_BYTES)
#define BLK_PIECES (BLK_QUEUE_SIZE + 16) /* a descriptor may cross from one memory slot to another */

struct virtio_blk;

/* A request of the driver from pop to put. */
struct blk_request {
	struct block_request io;
	struct virtio_blk *blk;
	struct blk_request *next_free;
	struct vring_chain chain;
	uint8_t *status; /* where the outcome goes: the last writable byte */
	uint64_t status_addr;
	uint32_t type;
	uint32_t data_len; /* bytes */
	struct iovec iov[BLK_PIECES];
	uint64_t addr[BLK_PIECES];
};

enum blk_counter {
	BLK_READS,
	BLK_READ_BYTES,
	BLK_WRITES,
	BLK_WRITTEN_BYTES,
	BLK_FLUSHES,
	BLK_UNSUPPORTED,
	BLK_BAD_REQUESTS, /* malformed, out of range, or a write to a read-only disk */
	BLK_IO_ERRORS,	  /* the backend failed */
	BLK_RING_FAULTS,
	BLK_COUNTERS
};

/* The ring and the requests belong to the io thread alone. */
struct virtio_blk {
	struct virtio_pci vp; /* first */
	struct virtio_blk_config config;
	struct dma *dma;
	struct block_backend *backend;
	uint8_t serial[VIRTIO_BLK_ID_BYTES];
	struct vring_device vr;
	struct loop_io *kick_io;
	bool running;	/* requests are taken from the ring */
	bool batching;	/* within process: publish once, at its end */
	bool starved;	/* chains wait for a request structure */
	bool stop_asked;
	unsigned int in_flight;
	struct blk_request *requests;
	struct blk_request *free;
	_Atomic uint64_t counters[BLK_COUNTERS];
};

/* 0 or -ENOMEM. */
must_check int virtio_blk_requests_init(struct virtio_blk *blk);

/* Serves what the ring holds. */
void virtio_blk_process(struct virtio_blk *blk);

/* Takes nothing more from the ring; tells the transport when nothing is in flight. Lock held or not. */
void virtio_blk_requests_stop(struct virtio_blk *blk);

static inline struct virtio_queue *virtio_blk_queue(struct virtio_blk *blk)
{
	return &blk->vp.queues[0];
}

#endif
