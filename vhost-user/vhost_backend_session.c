#include <errno.h>
#include <unistd.h>

#include "core/log.h"
#include "vhost-user/vhost_backend_internal.h"

#define MESSAGES_PER_EVENT 16 /* then other descriptors have their turn */

static void update_events(struct vhost_backend *be)
{
	/* While an answer waits to be read nothing more is taken: no queue can grow. */
	unsigned int events = be->waiting			  ? 0 :
			      vhost_outbox_empty(&be->outbox) ? LOOP_READ :
								LOOP_WRITE;

	if (be->session == SESSION_OPEN && loop_io_set_events(be->io, events) < 0)
		backend_session_end(be, VHOST_FAULT_NO_MEMORY);
}

static enum vhost_fault flush(struct vhost_backend *be)
{
	int err = vhost_outbox_flush(&be->outbox, be->fd);

	if (err == -EPIPE || err == -ECONNRESET)
		return VHOST_FAULT_HANGUP;
	return err && err != -EAGAIN ? VHOST_FAULT_SOCKET : VHOST_FAULT_NONE;
}

enum vhost_fault backend_reply(struct vhost_backend *be, const struct vhost_msg *msg)
{
	if (vhost_outbox_put(&be->outbox, msg) < 0)
		return VHOST_FAULT_MSG_UNREAD;
	return flush(be);
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

static void handle(struct vhost_backend *be, struct vhost_msg *msg)
{
	enum vhost_fault fault = backend_message_handle(be, msg);
	enum vhost_fault ack;

	vhost_msg_close_fds(msg);
	/* An op may have ended the session: its socket is closed then. */
	if (be->session != SESSION_OPEN)
		return;
	ack = acknowledge(be, msg, fault);
	/* What the owner refuses is no mistake of the peer's. */
	if (fault == VHOST_FAULT_NACK)
		fault = VHOST_FAULT_NONE;
	if (fault && fault != VHOST_FAULT_HANGUP)
		log_guest("vhost-user %s: %s: %s", be->path ? be->path : "peer",
			  vhost_msg_name(msg->request), vhost_fault_name(fault));
	if (!fault)
		fault = ack;
	if (fault)
		backend_session_end(be, fault);
	else
		backend_rings_update(be);
}

void backend_session_continue(struct vhost_backend *be)
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

static void receive(struct vhost_backend *be)
{
	struct vhost_msg msg;

	for (int i = 0; i < MESSAGES_PER_EVENT; i++) {
		if (be->session != SESSION_OPEN || be->waiting || !vhost_outbox_empty(&be->outbox))
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

void backend_session_io(void *opaque, int fd, unsigned int events)
{
	struct vhost_backend *be = opaque;
	enum vhost_fault fault;

	backend_enter(be);
	if (be->session == SESSION_OPEN && events & LOOP_WRITE) {
		fault = flush(be);
		if (fault)
			backend_session_end(be, fault);
	}
	receive(be);
	update_events(be);
	backend_leave(be);
}

void backend_session_reset(struct vhost_backend *be)
{
	for (unsigned int i = 0; i < be->ring_count; i++)
		backend_ring_reset(&be->rings[i], true);
	vhost_stream_fini(&be->stream);
	vhost_outbox_fini(&be->outbox);
	vhost_msg_close_fds(&be->pending);
	be->waiting = false;
	peer_memory_clear(&be->memory);
	be->features = 0;
	be->protocol = 0;
	be->features_set = false;
	be->status = 0;
}
