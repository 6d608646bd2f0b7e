#include "vswitch/port_vhost.h"

#include <errno.h>
#include <stdlib.h>

#include "core/log.h"
#include "vswitch/port_vhost_internal.h"

#define BIT(n) (1ull << (n))

/* What the road can do. The back end adds the ring's features and VERSION_1. */
#define VHOST_FEATURES                                                                      \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_MTU) |    \
	 BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |                      \
	 BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_HOST_TSO4) |                        \
	 BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) |                         \
	 BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_CTRL_VQ) | \
	 BIT(VIRTIO_NET_F_GSO) | BIT(VIRTIO_F_ANY_LAYOUT))

/* Rings alternate: the peer's receive ring is 2 * pair, its transmit ring 2 * pair + 1. */
static bool vhost_is_peer_transmit(unsigned int index)
{
	return index & 1;
}

/* The running receive rings have changed. A lcore that still has the old list finds no ring
 * there, at worst. */
static void vhost_update_steering(struct port_vhost *vp)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < vp->queue_pairs; i++)
		if (atomic_load_explicit(&vp->tx[i].ring, memory_order_relaxed))
			atomic_store_explicit(&vp->steer[n++], (uint8_t)i, memory_order_relaxed);
	atomic_store_explicit(&vp->steer_count, n, memory_order_release);
}

static void vhost_ring_start(void *opaque, unsigned int index, struct vhost_backend_ring *ring)
{
	struct port_vhost *vp = opaque;
	unsigned int pair = index / 2;
	struct vhost_rx *rx = &vp->rx[pair];
	int rc;

	/* Receive rings never need a kick: a frame that finds no buffer is dropped. */
	vring_device_kicks_disable(&ring->vr);
	if (!vhost_is_peer_transmit(index)) {
		atomic_store_explicit(&vp->tx[pair].ring, ring, memory_order_release);
		vhost_update_steering(vp);
		return;
	}
	rx->ring = ring;
	rx->queue = (struct rx_queue){
		.port = &vp->port,
		.index = pair,
		.kick_fd = ring->kick_fd,
	};
	rc = lcores_add_queue(vp->lcores, &rx->queue);
	rx->given = rc == 0;
	if (rc < 0) {
		/* Most likely the peer's kick is nothing that can be watched. */
		log_guest("port %s: no lcore takes its queue %u: %s", vp->port.id, pair,
			  strerror(-rc));
		atomic_store(&vp->fault, VHOST_FAULT_RING_KICK);
	}
}

static void vhost_ring_stop(void *opaque, unsigned int index)
{
	struct port_vhost *vp = opaque;
	unsigned int pair = index / 2;

	if (!vhost_is_peer_transmit(index)) {
		atomic_store_explicit(&vp->tx[pair].ring, NULL, memory_order_release);
		vhost_update_steering(vp);
		lcores_sync(vp->lcores);
	} else if (vp->rx[pair].given) {
		lcores_remove_queue(vp->lcores, &vp->rx[pair].queue);
		vp->rx[pair].given = false;
	}
	vhost_backend_ring_stopped(vp->backend, index);
}

static void vhost_link(void *opaque, bool up)
{
	/* A peer can make it flap. */
	static struct ratelimit link_log = RATELIMIT_INIT(10000, 100);
	struct port_vhost *vp = opaque;

	atomic_store_explicit(&vp->link, up, memory_order_relaxed);
	log_msg_limited(&link_log, LOG_LEVEL_INFO, "port %s: link %s", vp->port.id,
			up ? "up" : "down");
}

static void vhost_gone(void *opaque, enum vhost_fault reason)
{
	struct port_vhost *vp = opaque;

	/* What a lcore may have noted of the session that is over. */
	atomic_store(&vp->fault, VHOST_FAULT_NONE);
	if (reason != VHOST_FAULT_HANGUP)
		log_guest("port %s: session ended: %s", vp->port.id, vhost_fault_name(reason));
}

static int vhost_set_mtu(void *opaque, uint16_t mtu)
{
	struct port_vhost *vp = opaque;

	return mtu >= PORT_MTU_MIN && mtu <= vp->port.mtu ? 0 : -EINVAL;
}

static const struct vhost_backend_ops vhost_backend_ops = {
	.ring_start = vhost_ring_start,
	.ring_stop = vhost_ring_stop,
	.link = vhost_link,
	.gone = vhost_gone,
	.set_mtu = vhost_set_mtu,
};

static void vhost_tick(struct port *port)
{
	struct port_vhost *vp = port_to_vhost(port);
	enum vhost_fault fault = (enum vhost_fault)atomic_load(&vp->fault);

	if (fault != VHOST_FAULT_NONE)
		vhost_backend_break(vp->backend, fault);
}

static int vhost_running_rings(const struct port_vhost *vp)
{
	int n = 0;

	for (unsigned int i = 0; i < vp->queue_pairs; i++)
		n += vp->rx[i].given +
		     (atomic_load_explicit(&vp->tx[i].ring, memory_order_relaxed) != NULL);
	return n;
}

static void vhost_describe(struct port *port, json_t *object)
{
	struct port_vhost *vp = port_to_vhost(port);
	json_t *faults = json_object();

	json_object_set_new(object, "socket", json_string(vp->socket));
	json_object_set_new(object, "role", json_string(vp->client ? "client" : "server"));
	json_object_set_new(object, "queue_pairs", json_integer(vp->queue_pairs));
	json_object_set_new(object, "rings", json_integer(vhost_running_rings(vp)));
	json_object_set_new(object, "connected",
			    json_boolean(vhost_backend_connected(vp->backend)));
	json_object_set_new(object, "features",
			    json_integer((json_int_t)vhost_backend_features(vp->backend)));
	/* Why sessions ended. */
	for (int i = VHOST_FAULT_NONE + 1; i < VHOST_FAULT_COUNT; i++) {
		uint64_t n = vhost_backend_fault_count(vp->backend, (enum vhost_fault)i);

		if (n)
			json_object_set_new(faults, vhost_fault_name((enum vhost_fault)i),
					    json_integer((json_int_t)n));
	}
	json_object_set_new(object, "faults", faults);
}

static bool vhost_link_get(struct port *port)
{
	return atomic_load_explicit(&port_to_vhost(port)->link, memory_order_relaxed);
}

static void vhost_free(void *opaque)
{
	struct port_vhost *vp = opaque;

	free(vp->socket);
	port_fini(&vp->port);
	free(vp);
}

static void vhost_destroy(struct port *port)
{
	struct port_vhost *vp = port_to_vhost(port);

	port_table_remove(port->table, port);
	lcores_sync(vp->lcores);
	vhost_backend_destroy(vp->backend, vhost_free, vp);
}

static const struct port_ops vhost_ops = {
	.type = "vhost-user",
	.receive = vhost_receive,
	.release = vhost_release,
	.send = vhost_send,
	.arm = vhost_arm,
	.disarm = vhost_disarm,
	.tick = vhost_tick,
	.describe = vhost_describe,
	.link = vhost_link_get,
	.destroy = vhost_destroy,
};

static struct port_vhost *vhost_alloc(const struct port_vhost_config *config)
{
	size_t size = ALIGN_UP(sizeof(struct port_vhost), _Alignof(struct port_vhost));
	struct port_vhost *vp = aligned_alloc(_Alignof(struct port_vhost), size);

	if (!vp)
		return NULL;
	memset(vp, 0, sizeof(*vp));
	vp->lcores = config->lcores;
	vp->client = config->client;
	vp->queue_pairs = config->queue_pairs;
	for (unsigned int i = 0; i < PORT_VHOST_MAX_PAIRS; i++)
		rte_spinlock_init(&vp->tx[i].lock);
	vp->socket = strdup(config->socket);
	if (vp->socket && port_init(&vp->port, config->ports, &vhost_ops, config->id, config->mtu,
				    lcores_count(config->lcores)) == 0)
		return vp;
	free(vp->socket);
	free(vp);
	return NULL;
}

int port_vhost_create(const struct port_vhost_config *config, struct port **port, char *why,
		      size_t why_size)
{
	struct port_vhost *vp = vhost_alloc(config);
	struct vhost_backend_config backend = {
		.loop = config->loop,
		.role = config->client ? VHOST_BACKEND_CLIENT : VHOST_BACKEND_SERVER,
		.path = config->socket,
		.mode = 0660,
		.fd = -1,
		.features = VHOST_FEATURES,
		.rings = 2 * config->queue_pairs,
		.allow_unsealed = config->allow_unsealed,
		.ops = &vhost_backend_ops,
		.opaque = vp,
	};
	int rc;

	if (!vp) {
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	if (config->queue_pairs > 1)
		backend.features |= BIT(VIRTIO_NET_F_MQ);
	rc = port_table_add(config->ports, &vp->port);
	if (rc < 0) {
		snprintf(why, why_size, "the switch has %u ports already", PORT_MAX);
		goto err_free;
	}
	lcores_sync(config->lcores);
	rc = vhost_backend_create(&backend, &vp->backend);
	if (rc < 0) {
		snprintf(why, why_size, "socket \"%s\": %s", config->socket, strerror(-rc));
		port_table_remove(config->ports, &vp->port);
		lcores_sync(config->lcores);
		goto err_free;
	}
	*port = &vp->port;
	return 0;

err_free:
	vhost_free(vp);
	return rc;
}
