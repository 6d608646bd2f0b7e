#include "vhost-user/virtio_net.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>

#include "core/log.h"
#include "vhost-user/virtio_net_ctrl.h"

#define PCI_CLASS_ETHERNET 0x020000u
#define NET_STATE_VERSION 1u
/* A 64 KiB segment fills 44 buffers of an Ethernet frame each: 256 would hold five of them, and what
 * finds no buffer is lost. A driver may take fewer. */
#define NET_QUEUE_SIZE 1024u
#define NET_QUIESCE_MS 1000u
#define PEER_CONFIG_SIZE (offsetof(struct virtio_net_config, mtu) + sizeof(uint16_t))

#define BIT(n) (1ULL << (n))

/* What the data path has to do: offered as far as the peer offers it. */
#define PEER_FEATURES                                                                              \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |                              \
	 BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) |    \
	 BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |                             \
	 BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_MRG_RXBUF) | \
	 BIT(VIRTIO_NET_F_MQ))

/* What is done here, whoever the peer is. */
#define OWN_FEATURES                                                                               \
	(BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_MTU) | BIT(VIRTIO_NET_F_STATUS) |                \
	 BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_VLAN) |     \
	 BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))

struct virtio_net_state {
	struct virtio_pci_state transport;
	uint8_t mac[6];
	uint16_t pairs;
};

static const char *const net_counter_names[NET_COUNTERS] = {
	[NET_LINK_UPS] = "link_ups",
	[NET_LINK_DOWNS] = "link_downs",
	[NET_CTRL_COMMANDS] = "control_commands",
	[NET_CTRL_REFUSED] = "control_commands_refused",
	[NET_CTRL_RING_FAULTS] = "control_ring_faults",
};

static struct virtio_net *from_vp(struct virtio_pci *vp)
{
	return container_of(vp, struct virtio_net, vp);
}

static struct virtio_net *from_device(struct device *dev)
{
	return container_of(dev, struct virtio_net, vp.pci.dev);
}

/* Features: before the first peer, those of our own switch, which has them all. */
static void offer_features(struct virtio_net *net)
{
	uint64_t peer = vhost_frontend_peer_features(net->fe);

	if (net->vp.status & VIRTIO_CONFIG_S_FEATURES_OK)
		return; /* too late for this driver */
	net->vp.features = OWN_FEATURES | (peer ? PEER_FEATURES & peer : PEER_FEATURES);
	if (net->max_pairs == 1)
		net->vp.features &= ~BIT(VIRTIO_NET_F_MQ);
}

/* §5.1.3.1: which feature needs which other. */
static bool net_features_ok(struct virtio_pci *vp, uint64_t features)
{
	static const struct {
		unsigned int feature, needs;
	} rules[] = {
		{VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM},
		{VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
		{VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM},
		{VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
		{VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ},
		{VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_VQ},
		{VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ},
		{VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rules); i++)
		if (features >> rules[i].feature & 1 && !(features >> rules[i].needs & 1))
			return false;
	return true;
}

/* The link. Lock held. */
static void follow_link(struct virtio_net *net)
{
	bool running = vhost_frontend_running(net->fe);
	bool up;

	if (running || !vhost_frontend_connected(net->fe))
		net->keep_link = false;
	up = running || net->keep_link;
	if (up == !!(net->config.status & VIRTIO_NET_S_LINK_UP))
		return;
	net->config.status = up ? VIRTIO_NET_S_LINK_UP : 0;
	virtio_net_count(net, up ? NET_LINK_UPS : NET_LINK_DOWNS);
	virtio_pci_notify_config(&net->vp);
}

static void check_peer_mtu(struct virtio_net *net)
{
	struct virtio_net_config peer = {0};

	if (vhost_frontend_peer_config(net->fe, &peer, sizeof(peer)) < PEER_CONFIG_SIZE ||
	    !(vhost_frontend_peer_features(net->fe) & BIT(VIRTIO_NET_F_MTU)))
		return;
	if (peer.mtu < net->config.mtu)
		log_guest("%s: the peer's MTU is %u, the guest's %u: longer frames will be lost",
			  net->vp.pci.dev.id, peer.mtu, net->config.mtu);
}

static void frontend_changed(void *opaque)
{
	struct virtio_net *net = opaque;
	bool was_up;

	device_enter(&net->vp.pci.dev);
	was_up = net->config.status & VIRTIO_NET_S_LINK_UP;
	if (vhost_frontend_connected(net->fe))
		offer_features(net);
	follow_link(net);
	if (!was_up && net->config.status & VIRTIO_NET_S_LINK_UP)
		check_peer_mtu(net);
	device_leave(&net->vp.pci.dev);
}

/* The rings are the transport's again. */
static void take_bases(struct virtio_net *net)
{
	net->frontend_stopping = false;
	for (unsigned int i = 0; i < 2 * net->max_pairs; i++)
		if (net->vp.queues[i].enabled)
			net->vp.queues[i].base = vhost_frontend_base(net->fe, i);
	virtio_pci_stopped(&net->vp);
}

static void frontend_stopped(void *opaque)
{
	struct virtio_net *net = opaque;

	if (net->frontend_stopping)
		take_bases(net);
}

static const struct vhost_frontend_ops frontend_ops = {
	.changed = frontend_changed,
	.stopped = frontend_stopped,
};

/* What the transport asks */

static unsigned int data_queues(struct virtio_net *net)
{
	return virtio_pci_has(&net->vp, VIRTIO_NET_F_MQ) ? 2 * net->max_pairs : 2;
}

static int net_start(struct virtio_pci *vp)
{
	struct virtio_net *net = from_vp(vp);
	struct vhost_frontend_ring rings[2 * VIRTIO_NET_MAX_QUEUE_PAIRS];
	unsigned int n = 0;
	int err;

	for (unsigned int i = 0; i < data_queues(net); i++) {
		const struct virtio_queue *queue = &vp->queues[i];

		if (!queue->enabled)
			continue;
		rings[n++] = (struct vhost_frontend_ring){
			.index = i,
			.size = queue->size,
			.base = queue->base,
			.desc = queue->desc,
			.avail = queue->driver,
			.used = queue->device,
			.kick_fd = queue->kick_fd,
			.call_fd = virtio_pci_call_fd(vp, queue),
			.enabled = i < 2 * net->pairs,
		};
	}
	err = virtio_net_ctrl_start(net);
	if (err)
		return err;
	err = vhost_frontend_start(net->fe, vp->acked & PEER_FEATURES, rings, n);
	if (err)
		virtio_net_ctrl_stop(net);
	return err;
}

static void net_stop(struct virtio_pci *vp)
{
	struct virtio_net *net = from_vp(vp);

	virtio_net_ctrl_stop(net);
	net->frontend_stopping = true;
	if (vhost_frontend_stop(net->fe))
		take_bases(net);
}

static void net_wait_stopped(struct virtio_pci *vp)
{
	struct virtio_net *net = from_vp(vp);

	vhost_frontend_wait_stopped(net->fe, NET_QUIESCE_MS);
	if (net->frontend_stopping)
		take_bases(net);
}

static void net_calls_changed(struct virtio_pci *vp)
{
	struct virtio_net *net = from_vp(vp);

	for (unsigned int i = 0; i < data_queues(net); i++)
		if (vp->queues[i].enabled)
			vhost_frontend_set_call(net->fe, i, virtio_pci_call_fd(vp, &vp->queues[i]));
}

static void net_was_reset(struct virtio_pci *vp)
{
	struct virtio_net *net = from_vp(vp);
	uint16_t status = net->config.status;

	net->config = net->initial;
	net->config.status = status;
	net->pairs = 1;
	net->keep_link = false;
	offer_features(net);
}

static const struct virtio_ops net_virtio_ops = {
	.start = net_start,
	.stop = net_stop,
	.wait_stopped = net_wait_stopped,
	.calls_changed = net_calls_changed,
	.features_ok = net_features_ok,
	.was_reset = net_was_reset,
};

/* The device model's side */

static void net_reset(struct device *dev)
{
	virtio_pci_reset(&from_device(dev)->vp);
}

static int net_quiesce(struct device *dev)
{
	struct virtio_net *net = from_device(dev);

	/* A pause that the peer stays through is not shown to the guest as a loss of link. */
	net->keep_link = vhost_frontend_running(net->fe);
	return virtio_pci_quiesce(&from_device(dev)->vp);
}

static int net_resume(struct device *dev)
{
	return virtio_pci_resume(&from_device(dev)->vp);
}

static void net_save(struct device *dev, void *state)
{
	struct virtio_net *net = from_device(dev);
	struct virtio_net_state *s = state;

	memset(s, 0, sizeof(*s));
	virtio_pci_save(&net->vp, &s->transport);
	memcpy(s->mac, net->config.mac, sizeof(s->mac));
	s->pairs = (uint16_t)net->pairs;
}

static int net_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	struct virtio_net *net = from_device(dev);
	const struct virtio_net_state *s = state;
	int err;

	if (version != NET_STATE_VERSION || size != sizeof(*s) || s->pairs < 1 ||
	    s->pairs > net->max_pairs)
		return -EINVAL;
	err = virtio_pci_load(&net->vp, &s->transport);
	if (err)
		return err;
	memcpy(net->config.mac, s->mac, sizeof(s->mac));
	net->pairs = s->pairs;
	return 0;
}

static void net_counters(struct device *dev, counter_fn emit, void *opaque)
{
	struct virtio_net *net = from_device(dev);
	const struct vhost_frontend_counters *peer = vhost_frontend_counters(net->fe);

	for (unsigned int i = 0; i < NET_COUNTERS; i++)
		emit(opaque, net_counter_names[i], net->counters[i]);
	emit(opaque, "peer_connections", peer->connections);
	emit(opaque, "peer_losses", peer->losses);
	emit(opaque, "peer_timeouts", peer->timeouts);
	emit(opaque, "peer_faults", peer->faults);
	emit(opaque, "peer_misfits", peer->misfits);
	virtio_pci_emit_counters(&net->vp, emit, opaque);
}

static void net_destroy(struct device *dev)
{
	struct virtio_net *net = from_device(dev);

	virtio_net_ctrl_stop(net);
	vhost_frontend_destroy(net->fe); /* the peer sees the hang-up: it is not waited for */
	virtio_pci_fini(&net->vp);
	free(net);
}

static const struct device_ops net_device_ops = {
	.type = "virtio-net",
	.reset = net_reset,
	.quiesce = net_quiesce,
	.resume = net_resume,
	.state_version = NET_STATE_VERSION,
	.state_size = sizeof(struct virtio_net_state),
	.save = net_save,
	.load = net_load,
	.counters = net_counters,
	.destroy = net_destroy,
};

static int init_function(struct virtio_net *net, const struct virtio_net_params *params)
{
	const struct virtio_pci_config config = {
		.id = params->id,
		.device_ops = &net_device_ops,
		.ops = &net_virtio_ops,
		.loop = params->loop,
		.hv = params->hv,
		.device_id = VIRTIO_ID_NET,
		.class_code = PCI_CLASS_ETHERNET,
		.queues = 2 * params->queue_pairs + 1,
		.queue_size = NET_QUEUE_SIZE,
		.device_config = &net->config,
		.device_config_size = PEER_CONFIG_SIZE,
	};

	net->dma = params->dma;
	net->max_pairs = params->queue_pairs;
	net->pairs = 1;
	memcpy(net->initial.mac, params->mac, sizeof(params->mac));
	net->initial.mtu = params->mtu;
	net->initial.max_virtqueue_pairs = (uint16_t)params->queue_pairs;
	net->config = net->initial;
	return virtio_pci_init(&net->vp, &config);
}

int virtio_net_create(const struct virtio_net_params *params, struct pci_device **pci)
{
	struct vhost_frontend_config frontend = {
		.name = params->id,
		.loop = params->loop,
		.memory = params->memory,
		.path = params->socket_path,
		.listen_fd = params->listen_fd,
		.config_size = PEER_CONFIG_SIZE,
		.ops = &frontend_ops,
	};
	struct virtio_net *net;
	int err;

	if (!params->queue_pairs || params->queue_pairs > VIRTIO_NET_MAX_QUEUE_PAIRS ||
	    params->mtu < VIRTIO_NET_MIN_MTU)
		return -EINVAL;
	net = calloc(1, sizeof(*net));
	if (!net)
		return -ENOMEM;
	err = init_function(net, params);
	if (err)
		goto err_net;
	frontend.opaque = net;
	err = vhost_frontend_create(&frontend, &net->fe);
	if (err)
		goto err_function;
	offer_features(net);
	*pci = &net->vp.pci;
	return 0;

err_function:
	virtio_pci_fini(&net->vp);
err_net:
	free(net);
	return err;
}

void virtio_net_get_info(struct pci_device *pci, struct virtio_net_info *info)
{
	struct virtio_net *net = from_device(&pci->dev);

	*info = (struct virtio_net_info){
		.link_up = vhost_frontend_running(net->fe),
		.connected = vhost_frontend_connected(net->fe),
		.features = net->vp.acked,
		.queue_pairs = net->pairs,
		.reason = vhost_frontend_reason(net->fe),
	};
}
