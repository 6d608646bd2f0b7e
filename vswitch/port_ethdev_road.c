#include "vswitch/port_ethdev_internal.h"

#include <errno.h>

#include <rte_ethdev.h>

/* ---- receiving ---- */

/* Makes a frame of an mbuf; false: not enough pieces left. */
static bool ethdev_frame(struct frame *frame, struct rte_mbuf *mbuf, struct iovec *iov,
			 unsigned int room)
{
	if (mbuf->nb_segs > room)
		return false;
	frame->iov = iov;
	frame->iov_count = mbuf->nb_segs;
	frame->mbuf = mbuf;
	frame->shared = false;
	memset(&frame->hdr, 0, sizeof(frame->hdr));
	for (struct rte_mbuf *seg = mbuf; seg; seg = seg->next, iov++)
		*iov = (struct iovec){.iov_base = rte_pktmbuf_mtod(seg, void *),
				      .iov_len = rte_pktmbuf_data_len(seg)};
	frame_fetch_head(frame, rte_pktmbuf_pkt_len(mbuf));
	return true;
}

unsigned int ethdev_receive(struct rx_queue *queue, struct burst *burst)
{
	struct port *port = queue->port;
	struct stats_cell *cell = &port->cells[burst->lcore];
	struct rte_mbuf **mbufs = (struct rte_mbuf **)burst->mbufs;
	unsigned int pieces = 0;
	uint64_t bytes = 0;

	burst->taken = rte_eth_rx_burst(port_to_ethdev(port)->dev, (uint16_t)queue->index, mbufs,
					FRAME_BURST);
	for (unsigned int i = 0; i < burst->taken; i++) {
		uint32_t len = rte_pktmbuf_pkt_len(mbufs[i]);

		bytes += len;
		if (len < FRAME_MIN) {
			stats_drop(cell, DROP_BAD_FRAME, 1);
		} else if (len > port->max_frame ||
			   !ethdev_frame(&burst->frames[burst->count], mbufs[i],
					 burst->rx_iov + pieces, BURST_PIECES - pieces)) {
			stats_drop(cell, DROP_TOO_LONG, 1);
		} else {
			pieces += mbufs[i]->nb_segs;
			/* From here on the frame holds it. */
			mbufs[i] = NULL;
			burst->count++;
		}
	}
	if (burst->taken) {
		stats_add(&cell->rx_frames, burst->taken);
		stats_add(&cell->rx_bytes, bytes);
	}
	return burst->taken;
}

void ethdev_release(struct rx_queue *queue, struct burst *burst)
{
	/* Those that were no frames, then those that nobody took over. */
	for (unsigned int i = 0; i < burst->taken; i++)
		rte_pktmbuf_free(burst->mbufs[i]);
	for (unsigned int i = 0; i < burst->count; i++)
		rte_pktmbuf_free(burst->frames[i].mbuf);
}

/* Frames that came before the interrupt was on are found by the last poll before sleep. */
bool ethdev_arm(struct rx_queue *queue)
{
	int rc = rte_eth_dev_rx_intr_enable(port_to_ethdev(queue->port)->dev,
					    (uint16_t)queue->index);

	/* A device whose descriptor tells of every frame has nothing to switch on. */
	return rc == 0 || rc == -ENOTSUP;
}

void ethdev_disarm(struct rx_queue *queue)
{
	rte_eth_dev_rx_intr_disable(port_to_ethdev(queue->port)->dev, (uint16_t)queue->index);
}

/* ---- sending ---- */

/* Copies the frame into new mbufs. NULL and the reason when that cannot be. */
static struct rte_mbuf *ethdev_copy(const struct port_ethdev *eth, const struct frame *frame,
				    enum drop_reason *reason)
{
	struct rte_mbuf *first = rte_pktmbuf_alloc(eth->pool), *last = first;
	unsigned int i = 0;
	size_t done = 0;
	const uint8_t *from = frame->head;
	size_t left = frame->head_len;

	*reason = DROP_NO_MEMORY;
	while (first) {
		size_t n = MIN(left, rte_pktmbuf_tailroom(last));

		memcpy(rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len), from + done, n);
		last->data_len += (uint16_t)n;
		first->pkt_len += (uint32_t)n;
		done += n;
		left -= n;
		if (left == 0) {
			if (i == frame->iov_count)
				return first;
			from = frame->iov[i].iov_base;
			left = frame->iov[i++].iov_len;
			done = 0;
			continue;
		}
		if (!eth->multi_segment) {
			*reason = DROP_OVERSIZE;
			break;
		}
		last->next = rte_pktmbuf_alloc(eth->pool);
		last = last->next;
		if (!last)
			break;
		first->nb_segs++;
	}
	rte_pktmbuf_free(first);
	return NULL;
}

static struct rte_mbuf *ethdev_mbuf(const struct port_ethdev *eth, struct frame *frame,
				    struct stats_cell *cell)
{
	struct rte_mbuf *mbuf = frame->mbuf;
	enum drop_reason reason;

	if (frame->len > eth->port.max_frame) {
		stats_drop(cell, DROP_OVERSIZE, 1);
		return NULL;
	}
	if (mbuf && !frame->shared && (mbuf->nb_segs == 1 || eth->multi_segment)) {
		frame->mbuf = NULL;
		return mbuf;
	}
	mbuf = ethdev_copy(eth, frame, &reason);
	if (!mbuf)
		stats_drop(cell, reason, 1);
	return mbuf;
}

/* Frames that need nothing more done to them. */
static void ethdev_send_plain(struct port_ethdev *eth, struct burst *burst,
			      struct frame *const *frames, unsigned int count)
{
	struct stats_cell *cell = &eth->port.cells[burst->lcore];
	unsigned int queue = burst->lcore % eth->queues, n = 0, sent;
	struct rte_mbuf *out[FRAME_BURST];
	uint32_t len[FRAME_BURST];
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < count; i++) {
		out[n] = ethdev_mbuf(eth, frames[i], cell);
		len[n] = frames[i]->len;
		if (out[n])
			n++;
	}
	rte_spinlock_lock(&eth->tx[queue].lock);
	sent = rte_eth_tx_burst(eth->dev, (uint16_t)queue, out, (uint16_t)n);
	rte_spinlock_unlock(&eth->tx[queue].lock);
	for (unsigned int i = 0; i < sent; i++)
		bytes += len[i];
	for (unsigned int i = sent; i < n; i++)
		rte_pktmbuf_free(out[i]);
	stats_add(&cell->tx_frames, sent);
	stats_add(&cell->tx_bytes, bytes);
	if (sent < n)
		stats_drop(cell, DROP_FULL, n - sent);
}

struct ethdev_finishing {
	struct port_ethdev *eth;
	struct burst *burst;
};

static void ethdev_finished(void *opaque, struct frame *const *frames, unsigned int count)
{
	struct ethdev_finishing *finishing = opaque;

	ethdev_send_plain(finishing->eth, finishing->burst, frames, count);
}

void ethdev_send(struct port *port, struct burst *burst, struct frame *const *frames,
		 unsigned int count)
{
	struct port_ethdev *eth = port_to_ethdev(port);
	struct ethdev_finishing finishing = {.eth = eth, .burst = burst};
	struct stats_cell *cell = &port->cells[burst->lcore];
	unsigned int plain = 0;

	for (unsigned int i = 0; i < count; i++) {
		int made;

		if (!offload_needs(&frames[i]->hdr))
			continue;
		ethdev_send_plain(eth, burst, frames + plain, i - plain);
		plain = i + 1;
		made = offload_finish(frames[i], &burst->scratch, ethdev_finished, &finishing);
		if (made < 0)
			stats_drop(cell, DROP_UNSEGMENTABLE, 1);
		else
			stats_add(&cell->copies, (uint64_t)made - 1);
	}
	ethdev_send_plain(eth, burst, frames + plain, count - plain);
}
