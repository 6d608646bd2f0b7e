#include "vswitch/port_ethdev.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_memory.h>

#include "core/log.h"
#include "vswitch/port_ethdev_internal.h"

#define ETHDEV_DESCRIPTORS 512u
#define ETHDEV_POOL_DEFAULT 8191u /* 2^n - 1 fills a mempool best */
#define ETHDEV_POOL_CACHE 128u

/* The main thread makes it; ports that use it come later. */
static struct rte_mempool *ethdev_pool;
static unsigned int ethdev_pool_size = ETHDEV_POOL_DEFAULT;
static uint64_t ethdev_owner;

void port_ethdev_set_pool_size(unsigned int mbufs)
{
	ethdev_pool_size = mbufs;
}

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
	.arm = ethdev_arm,
	.disarm = ethdev_disarm,
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

static int ethdev_refuse_memory(int socket, size_t limit, size_t wanted)
{
	(void)socket;
	(void)limit;
	(void)wanted;
	return -1;
}

int port_ethdev_freeze_memory(void)
{
	char why[256];

	if (!rte_eal_has_hugepages())
		return 0;
	if (ethdev_need_pool(why, sizeof(why)) < 0) {
		log_err("%s", why);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < rte_socket_count(); i++) {
		if (rte_mem_alloc_validator_register("walls", ethdev_refuse_memory,
						     rte_socket_id_by_idx(i), 0) < 0) {
			log_err("the EAL's memory cannot be frozen: %s", rte_strerror(rte_errno));
			return -rte_errno;
		}
	}
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
		return ethdev_explain(rc, why, why_size,
				      "device \"%s\" cannot be plugged in (the switch's log has "
				      "DPDK's words)",
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

/* 0 or -errno of the device. */
static int ethdev_apply(struct port_ethdev *eth, struct rte_eth_conf *conf)
{
	int rc = rte_eth_dev_configure(eth->dev, (uint16_t)eth->queues, (uint16_t)eth->queues,
				       conf);

	if (rc < 0)
		return rc;
	rc = ethdev_setup_queues(eth);
	if (rc < 0)
		return rc;
	rc = rte_eth_dev_set_mtu(eth->dev, (uint16_t)eth->port.mtu);
	if (rc < 0 && rc != -ENOTSUP)
		return rc;
	return rte_eth_dev_start(eth->dev);
}

static int ethdev_configure(struct port_ethdev *eth, char *why, size_t why_size)
{
	struct rte_eth_conf conf = {.intr_conf.rxq = 1};
	struct rte_eth_dev_info info;
	int rc = rte_eth_dev_info_get(eth->dev, &info);

	if (rc < 0)
		return ethdev_explain(rc, why, why_size, "the device does not describe itself");
	if (eth->queues > info.max_rx_queues || eth->queues > info.max_tx_queues)
		return ethdev_explain(-EINVAL, why, why_size,
				      "%u queue pairs asked for, the device has %u and %u",
				      eth->queues, info.max_rx_queues, info.max_tx_queues);
	conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (eth->port.max_frame > RTE_MBUF_DEFAULT_DATAROOM)
		conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
	eth->multi_segment = conf.txmode.offloads != 0;
	rc = ethdev_apply(eth, &conf);
	eth->interrupts = rc == 0;
	if (rc < 0) {
		/* Some refuse to start with interrupts: then it is polled. */
		conf.intr_conf.rxq = 0;
		rc = ethdev_apply(eth, &conf);
	}
	if (rc < 0)
		return ethdev_explain(rc, why, why_size,
				      "the device does not start with %u queues and an MTU of %u",
				      eth->queues, eth->port.mtu);
	/* A bridge takes every frame; devices without filters have nothing to switch off. */
	if (rte_eth_promiscuous_enable(eth->dev) < 0 || rte_eth_allmulticast_enable(eth->dev) < 0)
		log_debug("port %s: no promiscuous mode", eth->port.id);
	return 0;
}

/*
 * Lets the queue wake its lcore, if the device can. An interrupt arrives as a count on an eventfd;
 * else the descriptor is where the frames come from (net_tap's), readable while there are any:
 * net_tap hears of them by a signal, perhaps a little later than the lcore by its epoll.
 */
static void ethdev_set_kick(const struct port_ethdev *eth, struct rx_queue *queue)
{
	char path[32], target[64] = "";

	queue->kick_fd = -1;
	if (!eth->interrupts)
		return;
	queue->kick_fd = rte_eth_dev_rx_intr_ctl_q_get_fd(eth->dev, (uint16_t)queue->index);
	if (queue->kick_fd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", queue->kick_fd);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		queue->kick_fd = -1;
	queue->kick_level = strcmp(target, "anon_inode:[eventfd]") != 0;
}

static int ethdev_go(struct port_ethdev *eth, char *why, size_t why_size)
{
	int rc = port_table_add(eth->port.table, &eth->port);

	if (rc < 0)
		return ethdev_explain(rc, why, why_size, "the switch has %u ports already",
				      PORT_MAX);
	lcores_sync(eth->lcores);
	for (unsigned int i = 0; i < eth->queues; i++) {
		eth->rx[i] = (struct rx_queue){.port = &eth->port, .index = i};
		ethdev_set_kick(eth, &eth->rx[i]);
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
	eth->pool = ethdev_pool;
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
