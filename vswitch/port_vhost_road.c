#include <errno.h>
#include <unistd.h>

#include "vswitch/flow_hash.h"
#include "vswitch/port_vhost_internal.h"

/* The feature bits of one direction in the switch's words. */
static unsigned int vhost_offloads(uint64_t features, unsigned int csum, unsigned int tso4,
				   unsigned int tso6, unsigned int ecn)
{
	unsigned int offloads = 0;

	if (features & 1ull << csum)
		offloads |= OFFLOAD_CSUM;
	if (features & 1ull << tso4)
		offloads |= OFFLOAD_TSO4;
	if (features & 1ull << tso6)
		offloads |= OFFLOAD_TSO6;
	if (features & 1ull << ecn)
		offloads |= OFFLOAD_ECN;
	return offloads;
}

unsigned int vhost_offloads_from_peer(uint64_t features)
{
	return vhost_offloads(features, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_HOST_TSO4,
			      VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_ECN);
}

unsigned int vhost_offloads_to_peer(uint64_t features)
{
	return vhost_offloads(features, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4,
			      VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_ECN);
}

/* Any lcore. The first fault stays until the main thread has acted. */
static void vhost_note_fault(struct port_vhost *vp, enum vhost_fault fault)
{
	int none = VHOST_FAULT_NONE;

	if (atomic_compare_exchange_strong(&vp->fault, &none, (int)fault))
		lcores_alert(vp->lcores);
}

static void vhost_notify(struct port_vhost *vp, struct vhost_backend_ring *ring)
{
	enum vhost_fault fault;
	uint64_t one = 1;

	if (!vring_device_should_notify(&ring->vr))
		return;
	/* EAGAIN: it is signalled already. EINTR: the peer made it block, the watchdog ended that. */
	if (write(ring->call_fd, &one, sizeof(one)) >= 0 || errno == EAGAIN)
		return;
	fault = errno == EINTR ? VHOST_FAULT_RING_BLOCKED : VHOST_FAULT_RING_KICK;
	/* Not once more before the main thread has acted. */
	vring_device_break(&ring->vr, fault);
	vhost_note_fault(vp, fault);
}

/* ---- from the peer ---- */

/* Takes `len` bytes off the front of the pieces; there are as many. */
static void vhost_take(struct iovec **iov, uint16_t *count, void *to, size_t len)
{
	uint8_t *out = to;

	while (len > 0) {
		size_t n = MIN(len, (*iov)->iov_len);

		memcpy(out, (*iov)->iov_base, n);
		out += n;
		len -= n;
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
		if ((*iov)->iov_len == 0) {
			(*iov)++;
			(*count)--;
		}
	}
}

/* Makes a frame of a chain. False: why it is none. */
static bool vhost_frame(const struct port *port, uint64_t features, struct vring_chain *chain,
			struct frame *frame, enum drop_reason *reason)
{
	unsigned int header_len = vhost_header_len(features);
	struct virtio_net_hdr_v1 header;
	uint32_t len;

	*reason = DROP_BAD_FRAME;
	if (chain->readable_len < header_len + FRAME_MIN)
		return false;
	len = chain->readable_len - header_len;
	frame->iov = chain->iov;
	frame->iov_count = chain->readable;
	frame->mbuf = NULL;
	frame->shared = false;
	vhost_take(&frame->iov, &frame->iov_count, &header, header_len);
	memcpy(&frame->hdr, &header, sizeof(frame->hdr));
	*reason = DROP_BAD_OFFLOAD;
	if (!offload_check(&frame->hdr, len, vhost_offloads_from_peer(features)))
		return false;
	*reason = DROP_TOO_LONG;
	if (len > (frame->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE ? port->max_frame : FRAME_MAX))
		return false;
	frame_fetch_head(frame, len);
	return true;
}

unsigned int vhost_receive(struct rx_queue *queue, struct burst *burst)
{
	struct port *port = queue->port;
	struct port_vhost *vp = port_to_vhost(port);
	struct vhost_backend_ring *ring = vp->rx[queue->index].ring;
	struct stats_cell *cell = &port->cells[burst->lcore];
	struct vring_sg sg = {
		.iov = burst->rx_iov,
		.addr = burst->rx_addr,
		.capacity = BURST_PIECES,
	};
	unsigned int header_len = vhost_header_len(ring->features);
	uint64_t bytes = 0;

	burst->taken = vring_device_pop(&ring->vr, burst->rx_chains, FRAME_BURST, &sg);
	if (__builtin_expect(ring->vr.fault != VHOST_FAULT_NONE, 0))
		vhost_note_fault(vp, ring->vr.fault);
	if (burst->taken == 0)
		return 0;
	for (unsigned int i = 0; i < burst->taken; i++) {
		struct vring_chain *chain = &burst->rx_chains[i];
		enum drop_reason reason;

		if (chain->readable_len > header_len)
			bytes += chain->readable_len - header_len;
		if (vhost_frame(port, ring->features, chain, &burst->frames[burst->count],
				&reason))
			burst->count++;
		else
			stats_drop(cell, reason, 1);
	}
	stats_add(&cell->rx_frames, burst->taken);
	stats_add(&cell->rx_bytes, bytes);
	return burst->taken;
}

void vhost_release(struct rx_queue *queue, struct burst *burst)
{
	struct port_vhost *vp = port_to_vhost(queue->port);
	struct vhost_backend_ring *ring = vp->rx[queue->index].ring;

	for (unsigned int i = 0; i < burst->taken; i++)
		vring_device_put(&ring->vr, &burst->rx_chains[i], 0);
	vring_device_publish(&ring->vr);
	vhost_notify(vp, ring);
}

bool vhost_arm(struct rx_queue *queue)
{
	return !vring_device_kicks_enable(&port_to_vhost(queue->port)->rx[queue->index].ring->vr);
}

void vhost_disarm(struct rx_queue *queue)
{
	vring_device_kicks_disable(&port_to_vhost(queue->port)->rx[queue->index].ring->vr);
}

/* ---- to the peer ---- */

/* One send to one ring, its lock held. chains[next, popped) are at hand and still untouched. */
struct vhost_pass {
	struct port_vhost *vp;
	struct vhost_backend_ring *ring;
	struct burst *burst;
	struct stats_cell *cell;
	unsigned int header_len;
	bool mergeable;
	unsigned int popped;
	unsigned int next;
	unsigned int pieces; /* of burst->tx_iov in use */
	uint64_t frames;
	uint64_t bytes;
};

/* Gives back what is at hand. */
static void vhost_pass_rewind(struct vhost_pass *pass)
{
	vring_device_unpop(&pass->ring->vr, pass->popped - pass->next);
	pass->popped = 0;
	pass->next = 0;
	pass->pieces = 0;
}

static bool vhost_pass_pop(struct vhost_pass *pass, unsigned int want)
{
	struct vring_sg sg = {
		.iov = pass->burst->tx_iov + pass->pieces,
		.addr = pass->burst->tx_addr + pass->pieces,
		.capacity = BURST_PIECES - pass->pieces,
	};
	unsigned int n;

	want = MIN(want, BURST_TX_CHAINS - pass->popped);
	n = vring_device_pop(&pass->ring->vr, pass->burst->tx_chains + pass->popped, want, &sg);
	pass->pieces += sg.used;
	pass->popped += n;
	if (__builtin_expect(pass->ring->vr.fault != VHOST_FAULT_NONE, 0))
		vhost_note_fault(pass->vp, pass->ring->vr.fault);
	return n > 0;
}

/*
 * Finds chains for `need` bytes, from pass->next on: how many, or 0 and the reason. left: frames
 * still to come, for which chains are taken along.
 */
static unsigned int vhost_pass_reserve(struct vhost_pass *pass, uint32_t need, unsigned int left,
				       enum drop_reason *reason)
{
	uint64_t have = 0;
	unsigned int k = 0;

	*reason = DROP_FULL;
	if (pass->pieces > BURST_PIECES / 2 || pass->popped > BURST_TX_CHAINS / 2)
		vhost_pass_rewind(pass);
	while (have < need) {
		if (k > 0 && !pass->mergeable) {
			*reason = DROP_OVERSIZE;
			return 0;
		}
		if (pass->next + k == pass->popped && !vhost_pass_pop(pass, k ? 1 : left)) {
			if (pass->ring->vr.fault != VHOST_FAULT_NONE)
				*reason = DROP_FAULT;
			else if (pass->popped == BURST_TX_CHAINS)
				*reason = DROP_OVERSIZE;
			return 0;
		}
		have += pass->burst->tx_chains[pass->next + k].writable_len;
		k++;
	}
	return k;
}

/* Where the next byte goes, along the writable pieces of consecutive chains. */
struct vhost_cursor {
	struct vring_chain *chain;
	unsigned int piece;
	size_t offset;
};

static void vhost_write(struct vhost_cursor *at, const void *data, size_t len)
{
	const uint8_t *from = data;

	while (len > 0) {
		struct iovec *iov;
		size_t n;

		if (at->piece == at->chain->writable) {
			at->chain++;
			at->piece = 0;
			continue;
		}
		iov = &at->chain->iov[at->chain->readable + at->piece];
		n = MIN(len, iov->iov_len - at->offset);
		memcpy((uint8_t *)iov->iov_base + at->offset, from, n);
		from += n;
		len -= n;
		at->offset += n;
		if (at->offset == iov->iov_len) {
			at->piece++;
			at->offset = 0;
		}
	}
}

static void vhost_pass_write(struct vhost_pass *pass, const struct frame *frame, unsigned int k)
{
	struct vring_chain *chains = &pass->burst->tx_chains[pass->next];
	struct vhost_cursor at = {.chain = chains};
	struct virtio_net_hdr_v1 header = {.num_buffers = (uint16_t)k};
	uint32_t left = pass->header_len + frame->len;

	memcpy(&header, &frame->hdr, sizeof(frame->hdr));
	vhost_write(&at, &header, pass->header_len);
	vhost_write(&at, frame->head, frame->head_len);
	for (unsigned int i = 0; i < frame->iov_count; i++)
		vhost_write(&at, frame->iov[i].iov_base, frame->iov[i].iov_len);
	for (unsigned int i = 0; i < k; i++) {
		uint32_t written = MIN(left, chains[i].writable_len);

		vring_device_put(&pass->ring->vr, &chains[i], written);
		left -= written;
	}
	pass->next += k;
	pass->frames++;
	pass->bytes += frame->len;
}

/* Frames whose header the peer takes as it is. */
static void vhost_pass_send(struct vhost_pass *pass, struct frame *const *frames,
			    unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct frame *frame = frames[i];
		enum drop_reason reason = DROP_OVERSIZE;
		unsigned int k = 0;

		if (frame->hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE ||
		    frame->len <= pass->vp->port.max_frame)
			k = vhost_pass_reserve(pass, pass->header_len + frame->len, count - i,
					       &reason);
		if (k)
			vhost_pass_write(pass, frame, k);
		else
			stats_drop(pass->cell, reason, 1);
	}
}

static void vhost_pass_finished(void *opaque, struct frame *const *frames, unsigned int count)
{
	vhost_pass_send(opaque, frames, count);
}

static void vhost_pass_frames(struct vhost_pass *pass, struct frame *const *frames,
			      unsigned int count)
{
	unsigned int takes = vhost_offloads_to_peer(pass->ring->features), plain = 0;

	for (unsigned int i = 0; i < count; i++) {
		int made;

		if (!(offload_needs(&frames[i]->hdr) & ~takes))
			continue;
		vhost_pass_send(pass, frames + plain, i - plain);
		plain = i + 1;
		made = offload_finish(frames[i], &pass->burst->scratch, vhost_pass_finished, pass);
		if (made < 0)
			stats_drop(pass->cell, DROP_UNSEGMENTABLE, 1);
		else
			stats_add(&pass->cell->copies, (uint64_t)made - 1);
	}
	vhost_pass_send(pass, frames + plain, count - plain);
}

static void vhost_send_queue(struct port_vhost *vp, unsigned int index, struct burst *burst,
			     struct frame *const *frames, unsigned int count)
{
	struct vhost_tx *tx = &vp->tx[index];
	struct vhost_pass pass = {
		.vp = vp,
		.burst = burst,
		.cell = &vp->port.cells[burst->lcore],
	};

	rte_spinlock_lock(&tx->lock);
	pass.ring = atomic_load_explicit(&tx->ring, memory_order_acquire);
	if (!pass.ring) {
		rte_spinlock_unlock(&tx->lock);
		stats_drop(pass.cell, DROP_DOWN, count);
		return;
	}
	pass.header_len = vhost_header_len(pass.ring->features);
	pass.mergeable = (pass.ring->features & 1ull << VIRTIO_NET_F_MRG_RXBUF) != 0;
	vhost_pass_frames(&pass, frames, count);
	vhost_pass_rewind(&pass);
	/* Before the peer sees them: who has got a frame finds it counted. */
	stats_add(&pass.cell->tx_frames, pass.frames);
	stats_add(&pass.cell->tx_bytes, pass.bytes);
	vring_device_publish(&pass.ring->vr);
	vhost_notify(vp, pass.ring);
	rte_spinlock_unlock(&tx->lock);
}

void vhost_send(struct port *port, struct burst *burst, struct frame *const *frames,
		unsigned int count)
{
	struct port_vhost *vp = port_to_vhost(port);
	unsigned int rings = atomic_load_explicit(&vp->steer_count, memory_order_acquire);
	uint8_t queue[FRAME_BURST];
	struct frame *batch[FRAME_BURST];

	if (rings <= 1) {
		vhost_send_queue(vp, atomic_load_explicit(&vp->steer[0], memory_order_relaxed),
				 burst, frames, count);
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		queue[i] = atomic_load_explicit(&vp->steer[flow_hash(frames[i]) % rings],
						memory_order_relaxed);
	/* Batch by batch, each with the first frame that is still left. */
	for (unsigned int i = 0; i < count; i++) {
		unsigned int n = 0;
		uint8_t q = queue[i];

		if (q == UINT8_MAX)
			continue;
		for (unsigned int j = i; j < count; j++) {
			if (queue[j] != q)
				continue;
			batch[n++] = frames[j];
			queue[j] = UINT8_MAX;
		}
		vhost_send_queue(vp, q, burst, batch, n);
	}
}
