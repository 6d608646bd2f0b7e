#include "vhost-user/vhost_frontend.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "core/log.h"
#include "vhost-user/vhost_frontend_impl.h"

uint64_t frontend_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

void frontend_arm(struct vhost_frontend *fe, struct loop_timer *timer, uint64_t delay_ms)
{
	int err = loop_timer_arm(timer, delay_ms * FRONTEND_NS_PER_MS);

	if (err)
		log_err("%s: cannot set a timer: %s", fe->name, strerror(-err));
}

__attribute__((format(printf, 2, 3))) void frontend_set_reason(struct vhost_frontend *fe,
							     const char *fmt, ...)
{
	char text[sizeof(fe->reason)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!strcmp(text, fe->reason))
		return;
	memcpy(fe->reason, text, sizeof(text));
	fe->tell_changed = true;
}

void frontend_poke(struct vhost_frontend *fe)
{
	frontend_arm(fe, fe->poke, 0);
}

/* What the device asks for, and is told */

bool frontend_rings_out(const struct vhost_frontend *fe)
{
	return fe->phase == FRONTEND_STARTING || fe->phase == FRONTEND_RUNNING ||
	       fe->phase == FRONTEND_STOPPING;
}

int vhost_frontend_start(struct vhost_frontend *fe, uint64_t features,
			 const struct vhost_frontend_ring *rings, unsigned int count)
{
	if (frontend_rings_out(fe))
		return -EBUSY;
	if (count > VHOST_FRONTEND_MAX_RINGS)
		return -EINVAL;
	memset(fe->rings, 0, sizeof(fe->rings));
	for (unsigned int i = 0; i < count; i++)
		fe->rings[i].is = rings[i];
	fe->ring_count = count;
	fe->features = features;
	fe->wanted = count > 0;
	fe->misfit = false;
	frontend_poke(fe);
	return 0;
}

bool vhost_frontend_stop(struct vhost_frontend *fe)
{
	fe->wanted = false;
	if (!frontend_rings_out(fe))
		return true;
	frontend_poke(fe);
	return false;
}

uint16_t frontend_ring_base(struct vhost_frontend *fe, struct frontend_ring *ring)
{
	uint16_t used_idx;

	if (ring->recover &&
	    guest_memory_read(fe->memory, ring->is.used + offsetof(struct vring_used, idx), &used_idx,
			      sizeof(used_idx)) == 0)
		ring->is.base = used_idx;
	ring->recover = false;
	return ring->is.base;
}

static struct frontend_ring *find_ring(struct vhost_frontend *fe, unsigned int index)
{
	for (unsigned int i = 0; i < fe->ring_count; i++)
		if (fe->rings[i].is.index == index)
			return &fe->rings[i];
	return NULL;
}

void vhost_frontend_set_call(struct vhost_frontend *fe, unsigned int index, int call_fd)
{
	struct frontend_ring *ring = find_ring(fe, index);

	if (!ring || ring->is.call_fd == call_fd)
		return;
	ring->is.call_fd = call_fd;
	ring->call_dirty = ring->given;
	frontend_poke(fe);
}

void vhost_frontend_set_enabled(struct vhost_frontend *fe, unsigned int index, bool enabled)
{
	struct frontend_ring *ring = find_ring(fe, index);

	if (!ring || ring->is.enabled == enabled)
		return;
	ring->is.enabled = enabled;
	ring->enabled_dirty = ring->given;
	frontend_poke(fe);
}

uint16_t vhost_frontend_base(struct vhost_frontend *fe, unsigned int index)
{
	struct frontend_ring *ring = find_ring(fe, index);

	return ring ? frontend_ring_base(fe, ring) : 0;
}

bool vhost_frontend_connected(const struct vhost_frontend *fe)
{
	return fe->phase != FRONTEND_OFFLINE && fe->phase != FRONTEND_NEGOTIATING;
}

bool vhost_frontend_running(const struct vhost_frontend *fe)
{
	return fe->phase == FRONTEND_RUNNING;
}

const char *vhost_frontend_reason(const struct vhost_frontend *fe)
{
	return fe->reason;
}

uint64_t vhost_frontend_peer_features(const struct vhost_frontend *fe)
{
	return fe->peer_features;
}

unsigned int vhost_frontend_peer_config(const struct vhost_frontend *fe, void *buf,
					unsigned int size)
{
	unsigned int n = MIN(size, fe->peer_config_size);

	memcpy(buf, fe->peer_config, n);
	return n;
}

const struct vhost_frontend_counters *vhost_frontend_counters(const struct vhost_frontend *fe)
{
	return &fe->counters;
}
