#include "vhost-user/virtio_blk_request.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define BLK_HEADER sizeof(struct virtio_blk_outhdr)

static void count(struct virtio_blk *blk, enum blk_counter counter, uint64_t n)
{
	atomic_fetch_add_explicit(&blk->counters[counter], n, memory_order_relaxed);
}

/* Completion */

static void publish(struct virtio_blk *blk)
{
	if (blk->vr.published == blk->vr.next_used)
		return; /* nothing was put */
	vring_device_publish(&blk->vr);
	if (vring_device_should_notify(&blk->vr))
		virtio_pci_notify_queue(&blk->vp, virtio_blk_queue(blk));
}

static void finish_stop(struct virtio_blk *blk)
{
	blk->stop_asked = false;
	virtio_blk_queue(blk)->base = vring_device_base(&blk->vr);
	virtio_pci_stopped(&blk->vp);
}

static void request_put(struct blk_request *req, uint32_t written)
{
	struct virtio_blk *blk = req->blk;

	vring_device_put(&blk->vr, &req->chain, written);
	req->next_free = blk->free;
	blk->free = req;
	blk->in_flight--;
}

static void request_finish(struct blk_request *req, uint8_t status)
{
	struct virtio_blk *blk = req->blk;
	uint32_t written = req->chain.writable_len;

	*req->status = status;
	dma_dirtied(blk->dma, req->status_addr, 1);
	request_put(req, written);
	if (blk->batching)
		return;
	publish(blk);
	if (blk->stop_asked && !blk->in_flight)
		finish_stop(blk);
	else if (blk->running && blk->starved)
		eventfd_write(virtio_blk_queue(blk)->kick_fd, 1);
}

static void flushed(struct block_request *io, int result)
{
	struct blk_request *req = container_of(io, struct blk_request, io);

	if (result)
		count(req->blk, BLK_IO_ERRORS, 1);
	request_finish(req, result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

static void submit_flush(struct blk_request *req)
{
	struct block_backend *backend = req->blk->backend;

	req->io = (struct block_request){.op = BLOCK_FLUSH, .done = flushed};
	backend->ops->submit(backend, &req->io);
}

static void transferred(struct block_request *io, int result)
{
	struct blk_request *req = container_of(io, struct blk_request, io);
	struct virtio_blk *blk = req->blk;

	if (result) {
		count(blk, BLK_IO_ERRORS, 1);
		request_finish(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	/* Without FLUSH the cache is write-through (§5.2.6.2). */
	if (io->op == BLOCK_WRITE && !virtio_pci_has(&blk->vp, VIRTIO_BLK_F_FLUSH)) {
		submit_flush(req);
		blk->backend->ops->kick(blk->backend);
		return;
	}
	request_finish(req, VIRTIO_BLK_S_OK);
}

/* Taking requests apart */

/* Takes `len` bytes off the front of the first *count pieces into buf (NULL: to be skipped). */
static void take_front(struct iovec **iov, unsigned int *pieces, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len && *pieces) {
		size_t part = MIN(len, (*iov)->iov_len);

		if (to) {
			memcpy(to, (*iov)->iov_base, part);
			to += part;
		}
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + part;
		(*iov)->iov_len -= part;
		len -= part;
		if (!(*iov)->iov_len) {
			(*iov)++;
			(*pieces)--;
		}
	}
}

static size_t fill(const struct iovec *iov, unsigned int pieces, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	for (unsigned int i = 0; i < pieces && len; i++) {
		size_t part = MIN(len, iov[i].iov_len);

		memcpy(iov[i].iov_base, from, part);
		from += part;
		len -= part;
	}
	return (size_t)(from - (const uint8_t *)buf);
}

static void refuse(struct blk_request *req)
{
	count(req->blk, BLK_BAD_REQUESTS, 1);
	request_finish(req, VIRTIO_BLK_S_IOERR);
}

static void submit_transfer(struct blk_request *req, uint64_t sector, const struct iovec *iov,
			    unsigned int pieces)
{
	struct virtio_blk *blk = req->blk;
	bool write = req->type == VIRTIO_BLK_T_OUT;

	if (req->data_len % BLOCK_SECTOR || req->data_len > BLK_REQUEST_BYTES ||
	    sector > blk->backend->capacity / BLOCK_SECTOR ||
	    !range_within(sector * BLOCK_SECTOR, req->data_len, blk->backend->capacity) ||
	    (write && blk->backend->read_only)) {
		refuse(req);
		return;
	}
	count(blk, write ? BLK_WRITES : BLK_READS, 1);
	count(blk, write ? BLK_WRITTEN_BYTES : BLK_READ_BYTES, req->data_len);
	if (!req->data_len) {
		request_finish(req, VIRTIO_BLK_S_OK);
		return;
	}
	req->io = (struct block_request){
		.op = write ? BLOCK_WRITE : BLOCK_READ,
		.offset = sector * BLOCK_SECTOR,
		.iov = iov,
		.iov_count = pieces,
		.done = transferred,
	};
	blk->backend->ops->submit(blk->backend, &req->io);
}

/* The status byte is cut off the writable pieces, so that what is left is data. */
static void take_status(struct blk_request *req, struct iovec *writable)
{
	unsigned int last = req->chain.writable - 1u;
	struct iovec *iov = &writable[last];

	iov->iov_len--;
	req->status = (uint8_t *)iov->iov_base + iov->iov_len;
	req->status_addr = req->chain.addr[req->chain.readable + last] + iov->iov_len;
	if (!iov->iov_len)
		req->chain.writable--;
}

static void request_dispatch(struct blk_request *req)
{
	struct virtio_blk *blk = req->blk;
	struct vring_chain *chain = &req->chain;
	struct iovec *readable = chain->iov, *writable = chain->iov + chain->readable;
	unsigned int pieces = chain->readable;
	struct virtio_blk_outhdr header;

	if (!chain->writable_len) {
		/* No room even for the outcome: all that is left is to give the chain back. */
		count(blk, BLK_BAD_REQUESTS, 1);
		request_put(req, 0);
		return;
	}
	take_status(req, writable);
	if (chain->readable_len < BLK_HEADER) {
		refuse(req);
		return;
	}
	take_front(&readable, &pieces, &header, BLK_HEADER);
	req->type = header.type;
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		req->data_len = chain->writable_len - 1;
		submit_transfer(req, header.sector, writable, chain->writable);
		break;
	case VIRTIO_BLK_T_OUT:
		req->data_len = chain->readable_len - (uint32_t)BLK_HEADER;
		submit_transfer(req, header.sector, readable, pieces);
		break;
	case VIRTIO_BLK_T_FLUSH:
		count(blk, BLK_FLUSHES, 1);
		submit_flush(req);
		break;
	case VIRTIO_BLK_T_GET_ID:
		fill(writable, chain->writable, blk->serial, sizeof(blk->serial));
		request_finish(req, VIRTIO_BLK_S_OK);
		break;
	default:
		count(blk, BLK_UNSUPPORTED, 1);
		request_finish(req, VIRTIO_BLK_S_UNSUPP);
		break;
	}
}

/* Pops one chain into a request of its own: its pieces live as long as the transfer. */
static bool request_take(struct virtio_blk *blk)
{
	struct blk_request *req = blk->free;
	struct vring_sg sg;

	blk->starved = !req;
	if (!req)
		return false;
	sg = (struct vring_sg){.iov = req->iov, .addr = req->addr, .capacity = BLK_PIECES};
	if (!vring_device_pop(&blk->vr, &req->chain, 1, &sg))
		return false;
	blk->free = req->next_free;
	blk->in_flight++;
	request_dispatch(req);
	return true;
}

/* At most a ring's worth at a time: a driver that goes on and on has the loop's other work done in
 * between. True: there may be more. */
static bool serve_some(struct virtio_blk *blk)
{
	uint32_t n = 0;

	do {
		vring_device_kicks_disable(&blk->vr);
		while (n < blk->vr.size && request_take(blk))
			n++;
	} while (n < blk->vr.size && !blk->vr.fault && !blk->starved &&
		 vring_device_kicks_enable(&blk->vr));
	return n == blk->vr.size || (blk->starved && blk->free);
}

void virtio_blk_process(struct virtio_blk *blk)
{
	bool more;

	blk->batching = true;
	more = serve_some(blk);
	blk->backend->ops->kick(blk->backend);
	blk->batching = false;
	publish(blk);
	if (more)
		eventfd_write(virtio_blk_queue(blk)->kick_fd, 1);
	if (!blk->vr.fault)
		return;
	blk->running = false;
	count(blk, BLK_RING_FAULTS, 1);
	device_enter(&blk->vp.pci.dev);
	virtio_pci_needs_reset(&blk->vp, vhost_fault_name(blk->vr.fault));
	device_leave(&blk->vp.pci.dev);
}

int virtio_blk_requests_init(struct virtio_blk *blk)
{
	blk->requests = calloc(BLK_QUEUE_SIZE, sizeof(*blk->requests));
	if (!blk->requests)
		return -ENOMEM;
	/* Last in, first out from the front: an idle disk touches one request's memory. */
	for (unsigned int i = BLK_QUEUE_SIZE; i-- > 0;) {
		blk->requests[i].blk = blk;
		blk->requests[i].next_free = blk->free;
		blk->free = &blk->requests[i];
	}
	return 0;
}

void virtio_blk_requests_stop(struct virtio_blk *blk)
{
	blk->running = false;
	blk->stop_asked = true;
	if (!blk->in_flight)
		finish_stop(blk);
}
