#include "vhost-user/vhost_backend.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vhost-user/vhost_backend_internal.h"

static void offer_features(struct vhost_backend *be, uint64_t device)
{
	be->offered = device | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |
		      1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VHOST_F_PROTOCOL_FEATURES;
	be->offered_protocol = 1ull << VHOST_PROTO_MQ | 1ull << VHOST_PROTO_REPLY_ACK |
			       1ull << VHOST_PROTO_RESET_DEVICE |
			       1ull << VHOST_PROTO_CONFIGURE_MEM_SLOTS | 1ull << VHOST_PROTO_STATUS;
	if (be->ops->rarp)
		be->offered_protocol |= 1ull << VHOST_PROTO_RARP;
	if (be->ops->set_mtu)
		be->offered_protocol |= 1ull << VHOST_PROTO_NET_MTU;
	if (be->ops->get_config)
		be->offered_protocol |= 1ull << VHOST_PROTO_CONFIG;
}

static int init_parts(struct vhost_backend *be, const struct vhost_backend_config *config)
{
	int err;

	be->loop = config->loop;
	be->role = config->role;
	be->ops = config->ops;
	be->opaque = config->opaque;
	be->listen_fd = -1;
	be->fd = -1;
	offer_features(be, config->features);
	be->ring_count = config->rings;
	for (unsigned int i = 0; i < config->rings; i++) {
		be->rings[i].pub.kick_fd = -1;
		be->rings[i].pub.call_fd = -1;
	}
	if (config->path) {
		be->path = strdup(config->path);
		if (!be->path)
			return -ENOMEM;
	}
	/* Not /dev/null: a switch that has given up its rights opens no device. */
	be->null_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (be->null_fd < 0)
		return -errno;
	err = peer_fds_start();
	return err ? err : peer_memory_install_handler();
}

void backend_free(struct vhost_backend *be)
{
	loop_io_remove(be->memory_io);
	loop_timer_destroy(be->stall);
	peer_fds_fini(&be->fds);
	peer_memory_fini(&be->memory);
	if (be->null_fd >= 0)
		close(be->null_fd);
	free(be->rings);
	free(be->path);
	free(be);
}

int backend_new(const struct vhost_backend_config *config, struct vhost_backend **out)
{
	struct vhost_backend *be = calloc(1, sizeof(*be));
	int err;

	*out = NULL;
	if (!be)
		return -ENOMEM;
	be->null_fd = -1;
	err = peer_memory_init(&be->memory, config->allow_unsealed);
	if (err) {
		free(be);
		return err;
	}
	be->rings = calloc(config->rings, sizeof(*be->rings));
	err = be->rings ? init_parts(be, config) : -ENOMEM;
	if (err) {
		backend_free(be);
		return err;
	}
	*out = be;
	return 0;
}

const char *backend_name(const struct vhost_backend *be)
{
	return be->path ? be->path : "peer";
}

bool vhost_backend_connected(const struct vhost_backend *be)
{
	return be->session == SESSION_OPEN;
}

uint64_t vhost_backend_features(const struct vhost_backend *be)
{
	return be->features;
}

uint64_t vhost_backend_protocol_features(const struct vhost_backend *be)
{
	return be->protocol;
}

uint64_t vhost_backend_fault_count(const struct vhost_backend *be, enum vhost_fault reason)
{
	return be->faults[reason];
}
