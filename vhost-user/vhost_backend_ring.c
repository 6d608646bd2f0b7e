#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/log.h"
#include "vhost-user/vhost_backend_internal.h"

/*
 * Once PROTOCOL_FEATURES has been negotiated rings start out disabled; without it there is no
 * message to enable them, and they are. QEMU and virtio-user use either form.
 */
static bool ring_ready(const struct vhost_backend *be, const struct backend_ring *ring)
{
	return ring->state == RING_IDLE && ring->size && ring->addrs_set && ring->kick_set &&
	       (ring->enabled || !backend_speaks_protocol(be)) && be->features_set &&
	       atomic_load_explicit(&be->memory.count, memory_order_relaxed);
}

static enum vhost_fault ring_start(struct vhost_backend *be, unsigned int index)
{
	struct backend_ring *ring = &be->rings[index];
	struct vring_device_config config = {
		.dma = &be->memory.dma,
		.size = ring->size,
		/*
		 * Not the base the peer stated: when they differ, memory is right. virtio-user
		 * states 0 whenever it starts again.
		 */
		.base = VRING_BASE_FROM_USED,
		.features = be->features,
	};
	enum vhost_fault fault;

	fault = peer_memory_ring(&be->memory, ring->size, &ring->addrs, &config.parts,
				 &config.used_addr);
	if (fault)
		return fault;
	if (ring->pub.call_fd < 0 && backend_ring_set_call(be, ring, -1) < 0)
		return VHOST_FAULT_NO_MEMORY;
	vring_device_start(&ring->pub.vr, &config);
	ring->pub.features = be->features;
	ring->state = RING_RUNNING;
	be->busy++;
	/* A peer that got this far is worth reconnecting to at once. */
	be->retry_delay = 0;
	be->ops->ring_start(be->opaque, index, &ring->pub);
	return VHOST_FAULT_NONE;
}

enum vhost_fault backend_rings_update(struct vhost_backend *be)
{
	bool up;

	for (unsigned int i = 0; i < be->ring_count; i++) {
		enum vhost_fault fault;

		if (be->session != SESSION_OPEN)
			return VHOST_FAULT_NONE;
		if (!ring_ready(be, &be->rings[i]))
			continue;
		fault = ring_start(be, i);
		if (fault) {
			log_guest("vhost-user %s: ring %u: %s", backend_name(be), i,
				  vhost_fault_name(fault));
			return fault;
		}
	}
	up = be->busy > 0;
	if (up != be->link && be->session == SESSION_OPEN) {
		be->link = up;
		if (be->ops->link)
			be->ops->link(be->opaque, up);
	}
	return VHOST_FAULT_NONE;
}

bool backend_rings_quiesce(struct vhost_backend *be, unsigned int index)
{
	unsigned int first = index < be->ring_count ? index : 0;
	unsigned int last = index < be->ring_count ? index + 1 : be->ring_count;
	bool idle = true;

	for (unsigned int i = first; i < last; i++) {
		struct backend_ring *ring = &be->rings[i];

		if (ring->state == RING_RUNNING) {
			ring->state = RING_STOPPING;
			be->ops->ring_stop(be->opaque, i);
		}
	}
	/* The owner may have answered from within ring_stop. */
	for (unsigned int i = first; i < last; i++)
		idle &= be->rings[i].state == RING_IDLE;
	return idle;
}

void backend_ring_set_kick(struct backend_ring *ring, int fd)
{
	if (ring->pub.kick_fd >= 0)
		close(ring->pub.kick_fd);
	ring->pub.kick_fd = fd;
}

int backend_ring_set_call(struct vhost_backend *be, struct backend_ring *ring, int fd)
{
	int from = fd >= 0 ? fd : be->null_fd;
	int err = 0;

	/*
	 * The data thread keeps its number: dup3 changes what it stands for in one step, so a
	 * call can be replaced under a running ring (drivers mask interrupts like that).
	 */
	if (ring->pub.call_fd >= 0) {
		if (dup3(from, ring->pub.call_fd, O_CLOEXEC) < 0)
			err = -errno;
	} else {
		ring->pub.call_fd = fcntl(from, F_DUPFD_CLOEXEC, 0);
		if (ring->pub.call_fd < 0)
			err = -errno;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

void backend_ring_reset(struct backend_ring *ring, bool all)
{
	ring->kick_set = false;
	ring->enabled = false;
	backend_ring_set_kick(ring, -1);
	if (!all)
		return;
	ring->size = 0;
	ring->addrs_set = false;
	ring->base = 0;
	if (ring->pub.call_fd >= 0)
		close(ring->pub.call_fd);
	ring->pub.call_fd = -1;
}
