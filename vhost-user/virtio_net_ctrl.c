/*
 * The control queue (virtio 1.2 §5.1.6.5). Receive filters are accepted and not applied: filtering
 * is best effort by the specification, and the switch sends a port what it would flood anyway.
 */
#include "vhost-user/virtio_net_ctrl.h"

#include <errno.h>
#include <net/ethernet.h>

#include "core/irq.h"
#include "core/log.h"

#define CTRL_COMMAND_MAX 4096u /* bytes: a table of some 600 addresses */
#define CTRL_PIECES 64u
#define CTRL_VLANS 4096u

static bool is_unicast(const uint8_t mac[ETH_ALEN])
{
	static const uint8_t zero[ETH_ALEN];

	return !(mac[0] & 1) && memcmp(mac, zero, ETH_ALEN);
}

static bool rx_mode(struct virtio_net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	return virtio_pci_has(&net->vp, VIRTIO_NET_F_CTRL_RX) && len == 1 && data[0] <= 1 &&
	       (cmd == VIRTIO_NET_CTRL_RX_PROMISC || cmd == VIRTIO_NET_CTRL_RX_ALLMULTI);
}

/* Two tables, unicast and multicast: a count and as many addresses each. */
static bool mac_table(const uint8_t *data, size_t len)
{
	for (unsigned int table = 0; table < 2; table++) {
		uint64_t bytes;

		if (len < sizeof(uint32_t))
			return false;
		bytes = sizeof(uint32_t) + (uint64_t)ETH_ALEN * get_le32(data);
		if (bytes > len)
			return false;
		data += bytes;
		len -= bytes;
	}
	return len == 0;
}

static bool mac_command(struct virtio_net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return virtio_pci_has(&net->vp, VIRTIO_NET_F_CTRL_RX) && mac_table(data, len);
	if (cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || len != ETH_ALEN || !is_unicast(data) ||
	    !virtio_pci_has(&net->vp, VIRTIO_NET_F_CTRL_MAC_ADDR))
		return false;
	memcpy(net->config.mac, data, ETH_ALEN);
	return true;
}

static bool vlan_command(struct virtio_net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	return virtio_pci_has(&net->vp, VIRTIO_NET_F_CTRL_VLAN) && len == sizeof(uint16_t) &&
	       (cmd == VIRTIO_NET_CTRL_VLAN_ADD || cmd == VIRTIO_NET_CTRL_VLAN_DEL) &&
	       get_le16(data) < CTRL_VLANS;
}

/* The driver's choice, 1..max_pairs: rings are enabled accordingly. */
static void set_pairs(struct virtio_net *net, unsigned int pairs)
{
	net->pairs = pairs;
	for (unsigned int i = 0; i < 2 * net->max_pairs; i++)
		vhost_frontend_set_enabled(net->fe, i, i < 2 * pairs);
}

static bool mq_command(struct virtio_net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	unsigned int pairs;

	if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || len != sizeof(uint16_t) ||
	    !virtio_pci_has(&net->vp, VIRTIO_NET_F_MQ))
		return false;
	pairs = get_le16(data);
	if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > net->max_pairs)
		return false;
	set_pairs(net, pairs);
	return true;
}

static bool execute(struct virtio_net *net, const uint8_t *command, size_t len)
{
	const struct virtio_net_ctrl_hdr *hdr = (const void *)command;
	const uint8_t *data = command + sizeof(*hdr);

	if (len < sizeof(*hdr))
		return false;
	len -= sizeof(*hdr);
	switch (hdr->class) {
	case VIRTIO_NET_CTRL_RX:
		return rx_mode(net, hdr->cmd, data, len);
	case VIRTIO_NET_CTRL_MAC:
		return mac_command(net, hdr->cmd, data, len);
	case VIRTIO_NET_CTRL_VLAN:
		return vlan_command(net, hdr->cmd, data, len);
	case VIRTIO_NET_CTRL_MQ:
		return mq_command(net, hdr->cmd, data, len);
	default:
		return false; /* of a feature that is not offered */
	}
}

static void serve(struct virtio_net *net, const struct vring_chain *chain)
{
	const struct iovec *ack = &chain->iov[chain->readable];
	uint8_t command[CTRL_COMMAND_MAX];
	size_t len = 0;
	bool ok;

	virtio_net_count(net, NET_CTRL_COMMANDS);
	if (!chain->writable_len) {
		virtio_net_count(net, NET_CTRL_REFUSED);
		vring_device_put(&net->ctrl, chain, 0);
		return;
	}
	for (unsigned int i = 0; i < chain->readable && chain->readable_len <= sizeof(command); i++) {
		memcpy(command + len, chain->iov[i].iov_base, chain->iov[i].iov_len);
		len += chain->iov[i].iov_len;
	}
	ok = execute(net, command, len); /* too long a command counts as an empty one */
	if (!ok)
		virtio_net_count(net, NET_CTRL_REFUSED);
	*(uint8_t *)ack->iov_base = ok ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	vring_device_put(&net->ctrl, chain, 1);
}

/* At most a ring's worth at a time: a driver that goes on and on has the loop's other work done in
 * between. True: there may be more. */
static bool serve_some(struct virtio_net *net)
{
	struct iovec iov[CTRL_PIECES];
	uint64_t addr[CTRL_PIECES];
	struct vring_sg sg = {.iov = iov, .addr = addr, .capacity = CTRL_PIECES};
	struct vring_chain chain;
	uint32_t n = 0;

	do {
		vring_device_kicks_disable(&net->ctrl);
		while (n < net->ctrl.size && vring_device_pop(&net->ctrl, &chain, 1, &sg)) {
			serve(net, &chain);
			n++;
		}
	} while (n < net->ctrl.size && !net->ctrl.fault && vring_device_kicks_enable(&net->ctrl));
	return n == net->ctrl.size;
}

/* Lock held: commands change the device configuration. */
static void process(struct virtio_net *net)
{
	if (serve_some(net))
		irq_eventfd_signal(virtio_net_ctrl_queue(net)->kick_fd);
	if (net->ctrl.published != net->ctrl.next_used) {
		vring_device_publish(&net->ctrl);
		if (vring_device_should_notify(&net->ctrl))
			virtio_pci_notify_queue(&net->vp, virtio_net_ctrl_queue(net));
	}
	if (!net->ctrl.fault)
		return;
	virtio_net_count(net, NET_CTRL_RING_FAULTS);
	loop_io_remove(net->ctrl_io);
	net->ctrl_io = NULL;
	virtio_pci_needs_reset(&net->vp, vhost_fault_name(net->ctrl.fault));
}

static void kick_ready(void *opaque, int fd, unsigned int events)
{
	struct virtio_net *net = opaque;

	/* With fewer queues this doorbell was a data queue's, and a peer may hold it still. */
	if (!irq_eventfd_take(fd))
		return;
	device_enter(&net->vp.pci.dev);
	process(net);
	device_leave(&net->vp.pci.dev);
}

int virtio_net_ctrl_start(struct virtio_net *net)
{
	struct virtio_queue *queue = virtio_net_ctrl_queue(net);
	struct vring_device_config config = {
		.dma = net->dma,
		.size = queue->size,
		.base = queue->base,
		.used_addr = queue->device,
		.features = net->vp.acked,
	};
	const struct vring_addrs addrs = {queue->desc, queue->driver, queue->device};
	enum vhost_fault fault;

	if (!virtio_pci_has(&net->vp, VIRTIO_NET_F_CTRL_VQ) || !queue->enabled)
		return 0;
	fault = vring_device_map(net->dma, queue->size, &addrs, &config.parts);
	if (fault) {
		log_guest("%s: control queue: %s", net->vp.pci.dev.id, vhost_fault_name(fault));
		return -EFAULT;
	}
	vring_device_start(&net->ctrl, &config);
	net->ctrl_io = loop_io_add(net->vp.loop, queue->kick_fd, LOOP_READ, kick_ready, net);
	if (!net->ctrl_io)
		return -ENOMEM;
	irq_eventfd_signal(queue->kick_fd); /* there may be commands already */
	return 0;
}

void virtio_net_ctrl_stop(struct virtio_net *net)
{
	if (!net->ctrl_io)
		return;
	loop_io_remove(net->ctrl_io);
	net->ctrl_io = NULL;
	virtio_net_ctrl_queue(net)->base = vring_device_base(&net->ctrl);
}
