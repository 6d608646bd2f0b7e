#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "vhost-user/vhost_backend_internal.h"

#define MESSAGES_PER_EVENT 16 /* then other descriptors have their turn */

static void drop_fd(void *opaque, int fd)
{
	struct vhost_backend *be = opaque;

	peer_fds_drop(&be->fds, fd);
}

static void drop_fds(struct vhost_backend *be, struct vhost_msg *msg)
{
	for (unsigned int i = 0; i < msg->fd_count; i++)
		if (msg->fds[i] >= 0)
			drop_fd(be, msg->fds[i]);
	msg->fd_count = 0;
}

/* What the peer has sent and nobody has read is closed with the socket, descriptors and all. */
static void close_socket(struct vhost_backend *be)
{
	char byte;

	shutdown(be->fd, SHUT_RDWR); /* nothing comes any more */
	if (recv(be->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		peer_fds_keep(&be->fds, be->fd);
	else
		close(be->fd);
	be->fd = -1;
}

void backend_session_end(struct vhost_backend *be, enum vhost_fault reason)
{
	if (be->session != SESSION_OPEN)
		return;
	be->session = SESSION_ENDING;
	be->reason = reason;
	loop_io_remove(be->io);
	be->io = NULL;
	close_socket(be);
	backend_rings_quiesce(be, be->ring_count);
}

/* Rings have to stop first, or memory that was replaced to be unmapped: no queue of it can grow. */
static bool is_held(const struct vhost_backend *be)
{
	return be->waiting || peer_fds_closing(&be->fds);
}

/*
 * Half a message holds descriptors, and one of them may be the peer's own end of this socket, which
 * then never reads as closed; answers nobody reads hold the rest of the session up.
 */
static bool is_stalling(const struct vhost_backend *be)
{
	return be->session == SESSION_OPEN &&
	       (be->stream.have || !vhost_outbox_empty(&be->outbox));
}

static void update_stall(struct vhost_backend *be)
{
	if (be->stalling == is_stalling(be))
		return;
	be->stalling = !be->stalling;
	if (!be->stalling)
		loop_timer_disarm(be->stall);
	else if (loop_timer_arm(be->stall, BACKEND_STALL) < 0)
		backend_session_end(be, VHOST_FAULT_NO_MEMORY);
}

void backend_session_stalled(void *opaque)
{
	struct vhost_backend *be = opaque;

	be->stalling = false;
	backend_enter(be);
	if (is_stalling(be))
		backend_session_end(be, be->stream.have ? VHOST_FAULT_MSG_TIMEOUT :
							  VHOST_FAULT_MSG_UNREAD);
	backend_leave(be);
}

static void update_events(struct vhost_backend *be)
{
	/* While an answer waits to be read nothing more is taken: no queue can grow. */
	unsigned int events = is_held(be)			  ? 0 :
			      vhost_outbox_empty(&be->outbox) ? LOOP_READ :
								LOOP_WRITE;

	if (be->session == SESSION_OPEN && loop_io_set_events(be->io, events) < 0)
		backend_session_end(be, VHOST_FAULT_NO_MEMORY);
	update_stall(be);
}

/* REPLY_ACK: success or not, for requests that have no answer of their own. */
static enum vhost_fault acknowledge(struct vhost_backend *be, const struct vhost_msg *msg,
				    enum vhost_fault outcome)
{
	struct vhost_msg answer;

	if (!(msg->flags & VHOST_MSG_NEED_REPLY) || vhost_msg_rule(msg->request)->replies ||
	    !backend_protocol(be, VHOST_PROTO_REPLY_ACK))
		return VHOST_FAULT_NONE;
	vhost_msg_init_reply_u64(&answer, msg, outcome != VHOST_FAULT_NONE);
	return backend_reply(be, &answer);
}

/* What the message brought and nobody needs, and the regions it has replaced or removed. */
static void let_departed_go(struct vhost_backend *be)
{
	peer_fds_keep_maps(&be->fds, &be->memory);
	if (be->session == SESSION_OPEN && peer_fds_close(&be->fds))
		return; /* nothing of either that takes time */
}

static void handle(struct vhost_backend *be, struct vhost_msg *msg)
{
	enum vhost_fault fault = backend_message_handle(be, msg);
	enum vhost_fault ack;

	drop_fds(be, msg);
	let_departed_go(be);
	/* An op may have ended the session: its socket is closed then. */
	if (be->session != SESSION_OPEN)
		return;
	ack = acknowledge(be, msg, fault);
	/* What the owner refuses is no mistake of the peer's. */
	if (fault == VHOST_FAULT_NACK)
		fault = VHOST_FAULT_NONE;
	if (fault && fault != VHOST_FAULT_HANGUP)
		log_guest("vhost-user %s: %s: %s", backend_name(be), vhost_msg_name(msg->request),
			  vhost_fault_name(fault));
	if (!fault)
		fault = ack;
	if (!fault)
		fault = backend_rings_update(be);
	if (fault)
		backend_session_end(be, fault);
}

static void receive(struct vhost_backend *be)
{
	struct vhost_msg msg;

	for (int i = 0; i < MESSAGES_PER_EVENT; i++) {
		if (be->session != SESSION_OPEN || is_held(be) ||
		    !vhost_outbox_empty(&be->outbox))
			return;
		switch (vhost_stream_read(&be->stream, be->fd, &msg)) {
		case VHOST_STREAM_AGAIN:
			return;
		case VHOST_STREAM_OVER:
			backend_session_end(be, be->stream.fault);
			return;
		case VHOST_STREAM_MESSAGE:
			break;
		}
		if (backend_message_quiesce(be, &msg)) {
			handle(be, &msg);
		} else {
			be->pending = msg;
			be->waiting = true;
		}
	}
}

/* The message that waits for rings to stop, if it can go on by now. */
static void continue_pending(struct vhost_backend *be)
{
	struct vhost_msg msg;

	if (!be->waiting || !backend_message_quiesce(be, &be->pending))
		return;
	msg = be->pending;
	be->pending.fd_count = 0;
	be->waiting = false;
	handle(be, &msg);
	update_events(be);
}

/* Lets go of all that came from the peer. */
static void session_reset(struct vhost_backend *be)
{
	for (unsigned int i = 0; i < be->ring_count; i++)
		backend_ring_reset(&be->rings[i], true);
	vhost_stream_fini(&be->stream);
	vhost_outbox_fini(&be->outbox);
	loop_timer_disarm(be->stall);
	be->stalling = false;
	drop_fds(be, &be->pending);
	be->waiting = false;
	peer_memory_clear(&be->memory);
	peer_fds_keep_maps(&be->fds, &be->memory);
	be->features = 0;
	be->protocol = 0;
	be->features_set = false;
	be->status = 0;
}

void backend_await_peer(struct vhost_backend *be)
{
	if (be->listen_io && loop_io_set_events(be->listen_io, LOOP_READ) == 0)
		return;
	if (!be->retry)
		return;
	be->retry_delay = be->retry_delay ? MIN(be->retry_delay * 2, BACKEND_RETRY_MAX) :
					    BACKEND_RETRY_MIN;
	if (loop_timer_arm(be->retry, be->retry_delay) < 0)
		log_err("vhost-user %s: no timer to reconnect with: out of memory",
			backend_name(be));
}

/* The next peer may come, at once or, if this one did worse than break its own, later. */
static void admit_next_peer(struct vhost_backend *be)
{
	if (be->reason != VHOST_FAULT_RING_BLOCKED || !be->retry ||
	    loop_timer_arm(be->retry, BACKEND_BLOCKED_WAIT) < 0)
		backend_await_peer(be);
}

void backend_fds_closed(void *opaque)
{
	struct vhost_backend *be = opaque;

	backend_enter(be);
	if (be->session == SESSION_NONE)
		admit_next_peer(be);
	else
		update_events(be);
	backend_leave(be);
}

static void session_close(struct vhost_backend *be)
{
	bool was_up = be->link;

	be->session = SESSION_NONE;
	be->link = false;
	session_reset(be);
	be->faults[be->reason]++;
	if (be->destroying)
		return;
	if (peer_fds_close(&be->fds))
		admit_next_peer(be);
	if (was_up && be->ops->link)
		be->ops->link(be->opaque, false);
	if (be->ops->gone && !be->destroying)
		be->ops->gone(be->opaque, be->reason);
}

void backend_enter(struct vhost_backend *be)
{
	be->depth++;
}

void backend_leave(struct vhost_backend *be)
{
	if (be->depth == 1) {
		if (be->session == SESSION_OPEN)
			continue_pending(be);
		if (be->session == SESSION_ENDING && !be->busy)
			session_close(be);
		if (be->session == SESSION_NONE && be->destroying)
			be->dead = true;
	}
	be->depth--;
	if (be->depth == 0 && be->dead) {
		void (*done)(void *opaque) = be->done;
		void *opaque = be->done_opaque;

		backend_free(be);
		if (done)
			done(opaque);
	}
}

static void session_io(void *opaque, int fd, unsigned int events)
{
	struct vhost_backend *be = opaque;
	enum vhost_fault fault;

	backend_enter(be);
	if (be->session == SESSION_OPEN && events & LOOP_WRITE) {
		fault = backend_flush(be);
		if (fault)
			backend_session_end(be, fault);
	}
	receive(be);
	update_events(be);
	backend_leave(be);
}

int backend_session_open(struct vhost_backend *be, int fd)
{
	be->io = loop_io_add(be->loop, fd, LOOP_READ, session_io, be);
	if (!be->io)
		return -ENOMEM;
	be->fd = fd;
	vhost_stream_init(&be->stream, VHOST_REQUEST);
	be->stream.drop = drop_fd;
	be->stream.drop_opaque = be;
	vhost_outbox_init(&be->outbox);
	be->session = SESSION_OPEN;
	if (be->ops->connected)
		be->ops->connected(be->opaque);
	return 0;
}

void vhost_backend_ring_stopped(struct vhost_backend *be, unsigned int index)
{
	struct backend_ring *ring = &be->rings[index];

	assert(index < be->ring_count && ring->state == RING_STOPPING);
	backend_enter(be);
	ring->base = vring_device_base(&ring->pub.vr);
	ring->state = RING_IDLE;
	be->busy--;
	/* Its owner may not have come to say so; and a peer that hung up meanwhile did more. */
	if (ring->pub.vr.fault) {
		if (be->session == SESSION_ENDING && be->reason == VHOST_FAULT_HANGUP)
			be->reason = ring->pub.vr.fault;
		backend_session_end(be, ring->pub.vr.fault);
	}
	backend_leave(be);
}

void vhost_backend_break(struct vhost_backend *be, enum vhost_fault reason)
{
	backend_enter(be);
	backend_session_end(be, reason);
	backend_leave(be);
}
