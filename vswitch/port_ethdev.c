#include "vswitch/port_ethdev.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include "core/log.h"

#define ETHDEV_DESCRIPTORS 512u
#define ETHDEV_POOL_DEFAULT 8191u /* 2^n - 1 fills a mempool best */
#define ETHDEV_POOL_CACHE 128u

struct ethdev_tx {
	rte_spinlock_t lock; /* several lcores may send to one queue */
} __attribute__((aligned(64)));

struct port_ethdev {
	struct port port;
	uint16_t dev;
	unsigned int queues;
	bool multi_segment; /* the device sends chained mbufs */
	char *devargs;
	struct lcores *lcores;
	struct rx_queue rx[PORT_ETHDEV_MAX_QUEUES];
	unsigned int rx_given; /* to lcores */
	struct ethdev_tx tx[PORT_ETHDEV_MAX_QUEUES];
};

/* The main thread makes it; ports that use it come later. */
static struct rte_mempool *ethdev_pool;
static unsigned int ethdev_pool_size = ETHDEV_POOL_DEFAULT;
static uint64_t ethdev_owner;

void port_ethdev_set_pool_size(unsigned int mbufs)
{
	ethdev_pool_size = mbufs;
}

static struct port_ethdev *port_to_ethdev(struct port *port)
{
	return container_of(port, struct port_ethdev, port);
}

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

static unsigned int ethdev_receive(struct rx_queue *queue, struct burst *burst)
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

static void ethdev_release(struct rx_queue *queue, struct burst *burst)
{
	/* Those that were no frames, then those that nobody took over. */
	for (unsigned int i = 0; i < burst->taken; i++)
		rte_pktmbuf_free(burst->mbufs[i]);
	for (unsigned int i = 0; i < burst->count; i++)
		rte_pktmbuf_free(burst->frames[i].mbuf);
}

/* ---- sending ---- */

/* Copies the frame into new mbufs. NULL and the reason when that cannot be. */
static struct rte_mbuf *ethdev_copy(const struct port_ethdev *eth, const struct frame *frame,
				    enum drop_reason *reason)
{
	struct rte_mbuf *first = rte_pktmbuf_alloc(ethdev_pool), *last = first;
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
		last->next = rte_pktmbuf_alloc(ethdev_pool);
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

static void ethdev_send(struct port *port, struct burst *burst, struct frame *const *frames,
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

/* ---- the main thread ---- */

static bool ethdev_link(struct port *port)
{
	struct rte_eth_link link;

	return rte_eth_link_get_nowait(port_to_ethdev(port)->dev, &link) == 0 &&
	       link.link_status == RTE_ETH_LINK_UP;
}

static void ethdev_describe(struct port *port, json_t *object)
{
	struct port_ethdev *eth = port_to_ethdev(port);
	struct rte_eth_dev_info info;
	struct rte_eth_stats stats;

	json_object_set_new(object, "devargs", json_string(eth->devargs));
	if (rte_eth_dev_info_get(eth->dev, &info) == 0)
		json_object_set_new(object, "driver", json_string(info.driver_name));
	/* What the device lost before the switch could see it. */
	if (rte_eth_stats_get(eth->dev, &stats) == 0)
		json_object_set_new(object, "device",
				    json_pack("{s:I, s:I, s:I, s:I}", "missed",
					      (json_int_t)stats.imissed, "rx_errors",
					      (json_int_t)stats.ierrors, "tx_errors",
					      (json_int_t)stats.oerrors, "no_mbuf",
					      (json_int_t)stats.rx_nombuf));
}

static void ethdev_unplug(uint16_t dev)
{
	struct rte_eth_dev_info info;
	int rc = rte_eth_dev_info_get(dev, &info);

	rte_eth_dev_stop(dev);
	rte_eth_dev_close(dev);
	if (rc == 0 && info.device)
		rc = rte_dev_remove(info.device);
	if (rc < 0)
		log_warn("a device was not unplugged: %s", strerror(-rc));
}

static void ethdev_destroy(struct port *port)
{
	struct port_ethdev *eth = port_to_ethdev(port);

	for (unsigned int i = 0; i < eth->rx_given; i++)
		lcores_remove_queue(eth->lcores, &eth->rx[i]);
	port_table_remove(port->table, port);
	lcores_sync(eth->lcores);
	ethdev_unplug(eth->dev);
	free(eth->devargs);
	port_fini(port);
	free(eth);
}

static const struct port_ops ethdev_ops = {
	.type = "ethdev",
	.receive = ethdev_receive,
	.release = ethdev_release,
	.send = ethdev_send,
	.describe = ethdev_describe,
	.link = ethdev_link,
	.destroy = ethdev_destroy,
};

static int ethdev_explain(int rc, char *why, size_t why_size, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int ethdev_explain(int rc, char *why, size_t why_size, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(why, why_size, fmt, args);
	va_end(args);
	if (n >= 0 && (size_t)n < why_size)
		snprintf(why + n, why_size - (size_t)n, ": %s", strerror(-rc));
	return rc;
}

static int ethdev_need_pool(char *why, size_t why_size)
{
	if (ethdev_pool)
		return 0;
	ethdev_pool = rte_pktmbuf_pool_create("frames", ethdev_pool_size, ETHDEV_POOL_CACHE, 0,
					      RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!ethdev_pool)
		return ethdev_explain(-rte_errno, why, why_size,
				      "no memory for %u packet buffers (give the EAL more, or "
				      "--mbufs less)", ethdev_pool_size);
	return 0;
}

/* Plugs the device in (one already there is fine) and takes it for ourselves. */
static int ethdev_plug(const struct port_ethdev_config *config, uint16_t *dev, char *why,
		       size_t why_size)
{
	struct rte_eth_dev_owner owner = {.name = "vswitch"};
	struct rte_dev_iterator it;
	uint16_t found = RTE_MAX_ETHPORTS;
	int rc;

	if (!ethdev_owner && rte_eth_dev_owner_new(&ethdev_owner) < 0)
		return ethdev_explain(-ENOMEM, why, why_size, "no device owner");
	owner.id = ethdev_owner;
	rc = rte_dev_probe(config->devargs);
	if (rc < 0)
		return ethdev_explain(rc, why, why_size, "device \"%s\" cannot be plugged in",
				      config->devargs);
	RTE_ETH_FOREACH_MATCHING_DEV(*dev, config->devargs, &it)
	{
		found = *dev;
		rte_eth_iterator_cleanup(&it);
		break;
	}
	if (found == RTE_MAX_ETHPORTS)
		return ethdev_explain(-ENODEV, why, why_size, "\"%s\" is no Ethernet device",
				      config->devargs);
	*dev = found;
	rc = rte_eth_dev_owner_set(found, &owner);
	if (rc < 0)
		return ethdev_explain(-EEXIST, why, why_size, "another port has \"%s\"",
				      config->devargs);
	return 0;
}

static int ethdev_setup_queues(const struct port_ethdev *eth)
{
	int socket = rte_eth_dev_socket_id(eth->dev), rc = 0;
	uint16_t rx = ETHDEV_DESCRIPTORS, tx = ETHDEV_DESCRIPTORS;

	rc = rte_eth_dev_adjust_nb_rx_tx_desc(eth->dev, &rx, &tx);
	for (unsigned int i = 0; rc == 0 && i < eth->queues; i++) {
		rc = rte_eth_rx_queue_setup(eth->dev, (uint16_t)i, rx, (unsigned int)socket, NULL,
					    ethdev_pool);
		if (rc == 0)
			rc = rte_eth_tx_queue_setup(eth->dev, (uint16_t)i, tx,
						    (unsigned int)socket, NULL);
	}
	return rc;
}

static int ethdev_configure(struct port_ethdev *eth, char *why, size_t why_size)
{
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info info;
	uint16_t queues = (uint16_t)eth->queues;
	int rc = rte_eth_dev_info_get(eth->dev, &info);

	if (rc < 0)
		return ethdev_explain(rc, why, why_size, "the device does not describe itself");
	if (queues > info.max_rx_queues || queues > info.max_tx_queues)
		return ethdev_explain(-EINVAL, why, why_size,
				      "%u queue pairs asked for, the device has %u and %u", queues,
				      info.max_rx_queues, info.max_tx_queues);
	conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (eth->port.max_frame > RTE_MBUF_DEFAULT_DATAROOM)
		conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	eth->multi_segment = conf.txmode.offloads != 0;
	rc = rte_eth_dev_configure(eth->dev, queues, queues, &conf);
	if (rc < 0)
		return ethdev_explain(rc, why, why_size, "the device cannot be configured");
	rc = ethdev_setup_queues(eth);
	if (rc < 0)
		return ethdev_explain(rc, why, why_size, "the device's queues cannot be set up");
	rc = rte_eth_dev_set_mtu(eth->dev, (uint16_t)eth->port.mtu);
	if (rc < 0 && rc != -ENOTSUP)
		return ethdev_explain(rc, why, why_size, "the device refuses an MTU of %u",
				      eth->port.mtu);
	rc = rte_eth_dev_start(eth->dev);
	if (rc < 0)
		return ethdev_explain(rc, why, why_size, "the device does not start");
	/* A bridge takes every frame; devices without filters have nothing to switch off. */
	if (rte_eth_promiscuous_enable(eth->dev) < 0 || rte_eth_allmulticast_enable(eth->dev) < 0)
		log_debug("port %s: no promiscuous mode", eth->port.id);
	return 0;
}

static int ethdev_go(struct port_ethdev *eth, char *why, size_t why_size)
{
	int rc = port_table_add(eth->port.table, &eth->port);

	if (rc < 0)
		return ethdev_explain(rc, why, why_size, "the switch has %u ports already",
				      PORT_MAX);
	lcores_sync(eth->lcores);
	for (unsigned int i = 0; i < eth->queues; i++) {
		eth->rx[i] = (struct rx_queue){.port = &eth->port, .index = i, .kick_fd = -1};
		rc = lcores_add_queue(eth->lcores, &eth->rx[i]);
		if (rc < 0)
			return ethdev_explain(rc, why, why_size, "no lcore takes its queue");
		eth->rx_given++;
	}
	return 0;
}

static struct port_ethdev *ethdev_alloc(const struct port_ethdev_config *config)
{
	size_t size = ALIGN_UP(sizeof(struct port_ethdev), _Alignof(struct port_ethdev));
	struct port_ethdev *eth = aligned_alloc(_Alignof(struct port_ethdev), size);

	if (!eth)
		return NULL;
	memset(eth, 0, sizeof(*eth));
	eth->lcores = config->lcores;
	eth->queues = config->queues;
	for (unsigned int i = 0; i < PORT_ETHDEV_MAX_QUEUES; i++)
		rte_spinlock_init(&eth->tx[i].lock);
	eth->devargs = strdup(config->devargs);
	if (eth->devargs && port_init(&eth->port, config->ports, &ethdev_ops, config->id,
				      config->mtu, lcores_count(config->lcores)) == 0)
		return eth;
	free(eth->devargs);
	free(eth);
	return NULL;
}

int port_ethdev_create(const struct port_ethdev_config *config, struct port **port, char *why,
		       size_t why_size)
{
	struct port_ethdev *eth = ethdev_alloc(config);
	int rc;

	if (!eth)
		return ethdev_explain(-ENOMEM, why, why_size, "port %s", config->id);
	rc = ethdev_need_pool(why, why_size);
	if (rc < 0)
		goto err_free;
	rc = ethdev_plug(config, &eth->dev, why, why_size);
	if (rc < 0)
		goto err_free;
	rc = ethdev_configure(eth, why, why_size);
	if (rc < 0)
		goto err_unplug;
	rc = ethdev_go(eth, why, why_size);
	if (rc < 0) {
		ethdev_destroy(&eth->port);
		return rc;
	}
	*port = &eth->port;
	return 0;

err_unplug:
	ethdev_unplug(eth->dev);
err_free:
	free(eth->devargs);
	port_fini(&eth->port);
	free(eth);
	return rc;
}
