#include "vhost-user/vhost_frontend.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "vhost-user/vhost_frontend_impl.h"

/* Guest memory */

static int slot_added(struct mem_listener *listener, const struct mem_slot *slot)
{
	struct vhost_frontend *fe = container_of(listener, struct vhost_frontend, listener);
	struct frontend_slot *mine = &fe->slots[slot->id];

	if (slot->read_only)
		return 0; /* no ring or buffer can be there, and the peer maps what it gets writable */
	if (mine->leaving) {
		frontend_set_reason(fe, "guest memory was replaced");
		frontend_drop(fe); /* the peer starts afresh */
	}
	*mine = (struct frontend_slot){
		.present = true,
		.gpa = slot->gpa,
		.size = slot->size,
		.fd = slot->fd,
		.fd_offset = slot->fd_offset,
	};
	fe->memory_dirty = true;
	frontend_poke(fe);
	return 0;
}

static void slot_removed(struct mem_listener *listener, const struct mem_slot *slot)
{
	struct vhost_frontend *fe = container_of(listener, struct vhost_frontend, listener);
	struct frontend_slot *mine = &fe->slots[slot->id];

	mine->present = false;
	mine->leaving = mine->told;
	mine->told = false;
	fe->memory_dirty = true;
	frontend_poke(fe);
}

/* What the device calls */

static int init_parts(struct vhost_frontend *fe)
{
	fe->poke = loop_timer_create(fe->loop, frontend_poked, fe);
	fe->timer = loop_timer_create(fe->loop, frontend_timer_fired, fe);
	if (!fe->poke || !fe->timer)
		return -ENOMEM;
	fe->listener.name = "vhost-user";
	fe->listener.add = slot_added;
	fe->listener.remove = slot_removed;
	return guest_memory_add_listener(fe->memory, &fe->listener);
}

int vhost_frontend_create(const struct vhost_frontend_config *config, struct vhost_frontend **out)
{
	struct vhost_frontend *fe;
	int err;

	if (config->path && strlen(config->path) >= sizeof(fe->path))
		return -ENAMETOOLONG;
	fe = calloc(1, sizeof(*fe));
	if (!fe)
		return -ENOMEM;
	fe->name = config->name;
	fe->loop = config->loop;
	fe->memory = config->memory;
	fe->ops = config->ops;
	fe->opaque = config->opaque;
	fe->config_size = MIN(config->config_size, VHOST_FRONTEND_CONFIG_MAX);
	fe->timeout_ms = config->timeout_ms ? config->timeout_ms : VHOST_FRONTEND_TIMEOUT_MS;
	fe->backoff_max_ms =
		config->backoff_max_ms ? config->backoff_max_ms : VHOST_FRONTEND_BACKOFF_MAX_MS;
	fe->fd = fe->listen_fd = -1;
	fe->backoff_ms = VHOST_FRONTEND_BACKOFF_MIN_MS;
	snprintf(fe->reason, sizeof(fe->reason), "no peer yet");
	err = init_parts(fe);
	if (err) {
		loop_timer_destroy(fe->poke);
		loop_timer_destroy(fe->timer);
		free(fe);
		return err;
	}
	if (config->path)
		snprintf(fe->path, sizeof(fe->path), "%s", config->path);
	else
		fe->listen_fd = config->listen_fd;
	frontend_arm(fe, fe->timer, 0);
	*out = fe;
	return 0;
}

void vhost_frontend_destroy(struct vhost_frontend *fe)
{
	if (!fe)
		return;
	guest_memory_remove_listener(fe->memory, &fe->listener);
	loop_io_remove(fe->io);
	loop_io_remove(fe->listen_io);
	loop_timer_destroy(fe->poke);
	loop_timer_destroy(fe->timer);
	if (fe->fd >= 0) {
		close(fe->fd);
		vhost_stream_fini(&fe->stream);
		vhost_outbox_fini(&fe->outbox);
	}
	if (fe->listen_fd >= 0)
		close(fe->listen_fd);
	free(fe);
}

static bool rings_out(const struct vhost_frontend *fe)
{
	return fe->phase == FRONTEND_STARTING || fe->phase == FRONTEND_RUNNING ||
	       fe->phase == FRONTEND_STOPPING;
}

int vhost_frontend_start(struct vhost_frontend *fe, uint64_t features,
			 const struct vhost_frontend_ring *rings, unsigned int count)
{
	if (rings_out(fe))
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
	if (!rings_out(fe))
		return true;
	frontend_poke(fe);
	return false;
}

void vhost_frontend_wait_stopped(struct vhost_frontend *fe, unsigned int timeout_ms)
{
	const uint64_t deadline = frontend_now_ns() + timeout_ms * FRONTEND_NS_PER_MS;

	frontend_go_on(fe);
	while (rings_out(fe)) {
		struct pollfd pfd = {.fd = fe->fd, .events = POLLIN};
		uint64_t now = frontend_now_ns();

		if (!vhost_outbox_empty(&fe->outbox))
			pfd.events |= POLLOUT;
		if (now >= deadline)
			frontend_drop_timeout(fe, timeout_ms);
		else if (poll(&pfd, 1, (int)((deadline - now) / FRONTEND_NS_PER_MS) + 1) > 0)
			frontend_peer_ready(fe);
	}
	fe->tell_stopped = false;
	frontend_poke(fe); /* for tell_changed */
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

	return ring ? frontend_script_base(fe, ring) : 0;
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
