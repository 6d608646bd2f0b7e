/*
 * The beginning and end of a front end, and what comes to it from outside the conversation: guest
 * memory that is added or removed, a peer that is there again, a timer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
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

/* The peer, and the loop's calls */

static void try_connect(struct vhost_frontend *fe)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, fe->path, sizeof(addr.sun_path));
	/* A Unix socket connects at once or not at all (EAGAIN: its backlog is full). */
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
		frontend_attach(fe, fd);
		return;
	}
	frontend_set_reason(fe, "cannot connect to %.80s: %s", fe->path, strerror(errno));
	if (fd >= 0)
		close(fd);
	frontend_retry_later(fe);
}

static void accept_ready(void *opaque, int fd, unsigned int events)
{
	struct vhost_frontend *fe = opaque;
	int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (peer < 0)
		return;
	/* One peer at a time: the next waits in the backlog. */
	loop_io_remove(fe->listen_io);
	fe->listen_io = NULL;
	frontend_attach(fe, peer);
	frontend_tell(fe);
}

static void try_accept(struct vhost_frontend *fe)
{
	if (!fe->listen_io)
		fe->listen_io = loop_io_add(fe->loop, fe->listen_fd, LOOP_READ, accept_ready, fe);
	if (!fe->listen_io)
		frontend_arm(fe, fe->timer, VHOST_FRONTEND_BACKOFF_MAX_MS);
}

static void timer_fired(void *opaque)
{
	struct vhost_frontend *fe = opaque;

	if (fe->phase != FRONTEND_OFFLINE)
		frontend_drop_timeout(fe, fe->timeout_ms);
	else if (fe->listen_fd >= 0)
		try_accept(fe);
	else
		try_connect(fe);
	frontend_tell(fe);
}

static void poked(void *opaque)
{
	struct vhost_frontend *fe = opaque;

	frontend_go_on(fe);
	frontend_tell(fe);
}

/* Beginning and end */

static int init_parts(struct vhost_frontend *fe)
{
	fe->poke = loop_timer_create(fe->loop, poked, fe);
	fe->timer = loop_timer_create(fe->loop, timer_fired, fe);
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
