#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "core/irq.h"
#include "core/log.h"
#include "vhost-user/vhost_frontend_impl.h"

#define STEADY_NS (1000 * FRONTEND_NS_PER_MS)

/* Calls the ops; last thing in every callback of the loop. */
void frontend_tell(struct vhost_frontend *fe)
{
	bool changed = fe->tell_changed, stopped = fe->tell_stopped;

	fe->tell_changed = fe->tell_stopped = false;
	if (changed)
		fe->ops->changed(fe->opaque);
	if (stopped)
		fe->ops->stopped(fe->opaque);
}

/*
 * The first attempt is prompt, each further one takes longer, until rings have run for a while: a
 * driver whose ring ends every session at once shall not keep the peer busy. Longer by a quarter
 * only: a peer that is there again is found after at most a quarter of the time it was away.
 */
void frontend_retry_later(struct vhost_frontend *fe)
{
	frontend_arm(fe, fe->timer, fe->backoff_ms);
	fe->backoff_ms = MIN(fe->backoff_ms + fe->backoff_ms / 4, fe->backoff_max_ms);
}

void frontend_drop(struct vhost_frontend *fe)
{
	if (fe->running_since && frontend_now_ns() - fe->running_since >= STEADY_NS)
		fe->backoff_ms = VHOST_FRONTEND_BACKOFF_MIN_MS;
	fe->running_since = 0;
	loop_io_remove(fe->io);
	fe->io = NULL;
	close(fe->fd);
	fe->fd = -1;
	vhost_stream_fini(&fe->stream);
	vhost_outbox_fini(&fe->outbox);
	/* A dead peer counts as stopped, also one that has not been asked to stop yet. */
	if (fe->phase >= FRONTEND_STARTING && !fe->wanted)
		fe->tell_stopped = true;
	fe->phase = FRONTEND_OFFLINE;
	frontend_script_reset(fe);
	fe->tell_changed = true;
	fe->counters.losses++;
	log_guest("%s: %s; looking for it again", fe->name, fe->reason);
	frontend_retry_later(fe);
}

static void drop_fault(struct vhost_frontend *fe, enum vhost_fault fault)
{
	if (fault != VHOST_FAULT_HANGUP)
		fe->counters.faults++;
	frontend_set_reason(fe, "the peer's session ended%s%s: %s", fe->awaited ? " while waiting for " : "",
		   fe->awaited ? vhost_msg_name(fe->awaited) : "", vhost_fault_name(fault));
	frontend_drop(fe);
}

void frontend_drop_timeout(struct vhost_frontend *fe, unsigned int waited_ms)
{
	fe->counters.timeouts++;
	frontend_set_reason(fe, "the peer has not %s within %u ms", fe->awaited ? "answered" : "read",
		   waited_ms);
	frontend_drop(fe);
}

static void set_events(struct vhost_frontend *fe)
{
	unsigned int events = LOOP_READ | (vhost_outbox_empty(&fe->outbox) ? 0 : LOOP_WRITE);

	if (loop_io_set_events(fe->io, events) < 0)
		log_err("%s: cannot watch the peer's socket", fe->name);
}

static bool flush(struct vhost_frontend *fe)
{
	int err = vhost_outbox_flush(&fe->outbox, fe->fd);

	if (err && err != -EAGAIN) {
		drop_fault(fe, err == -EPIPE || err == -ECONNRESET ? VHOST_FAULT_HANGUP :
								     VHOST_FAULT_SOCKET);
		return false;
	}
	set_events(fe);
	if (fe->awaited || err)
		frontend_arm(fe, fe->timer, fe->timeout_ms);
	else
		loop_timer_disarm(fe->timer);
	return true;
}

static bool say(struct vhost_frontend *fe, const struct vhost_msg *msg)
{
	const struct vhost_msg_rule *rule = vhost_msg_rule(msg->request);

	if (vhost_outbox_put(&fe->outbox, msg)) {
		drop_fault(fe, VHOST_FAULT_NO_MEMORY);
		return false;
	}
	if (rule->replies || msg->flags & VHOST_MSG_NEED_REPLY)
		fe->awaited = msg->request;
	return flush(fe);
}

/* A notification either side gave while nobody served the rings may be lost: give it again. */
static void notify_both(struct vhost_frontend *fe)
{
	for (unsigned int i = 0; i < fe->ring_count; i++) {
		irq_eventfd_signal(fe->rings[i].is.kick_fd);
		irq_eventfd_signal(fe->rings[i].is.call_fd);
	}
}

static void enter(struct vhost_frontend *fe, enum frontend_phase phase)
{
	fe->phase = phase;
	fe->step = 0;
	fe->tell_changed = true;
}

/* What the driver wants may call for another phase. */
static void choose_phase(struct vhost_frontend *fe)
{
	if (!fe->wanted && (fe->phase == FRONTEND_STARTING || fe->phase == FRONTEND_RUNNING)) {
		frontend_set_reason(fe, "the guest's driver has not started the device");
		enter(fe, FRONTEND_STOPPING);
	} else if (fe->wanted && fe->phase == FRONTEND_IDLE && !fe->misfit) {
		if (frontend_script_fits(fe)) {
			enter(fe, FRONTEND_STARTING);
			return;
		}
		fe->misfit = true;
		fe->tell_changed = true;
		fe->counters.misfits++;
		log_guest("%s: the link stays down: %s", fe->name, fe->reason);
	}
}

/* The script of a phase is through. False: nothing more to do now. */
static bool end_phase(struct vhost_frontend *fe)
{
	/* As often as a guest's driver likes to start its device. */
	static struct ratelimit often = RATELIMIT_INIT(10000, 5);

	switch (fe->phase) {
	case FRONTEND_NEGOTIATING:
		frontend_set_reason(fe, "the guest's driver has not started the device");
		enter(fe, FRONTEND_IDLE);
		return true;
	case FRONTEND_STARTING:
		frontend_set_reason(fe, "%s", "");
		enter(fe, FRONTEND_RUNNING);
		fe->running_since = frontend_now_ns();
		notify_both(fe);
		log_msg_limited(&often, LOG_LEVEL_INFO, "%s: %u rings run", fe->name,
				fe->ring_count);
		return true;
	case FRONTEND_STOPPING:
		enter(fe, FRONTEND_IDLE);
		fe->tell_stopped = true;
		return true;
	default:
		return false;
	}
}

void frontend_go_on(struct vhost_frontend *fe)
{
	struct vhost_msg msg;

	while (fe->fd >= 0 && !fe->awaited && vhost_outbox_empty(&fe->outbox)) {
		choose_phase(fe);
		if (frontend_script_next(fe, &msg)) {
			if (!say(fe, &msg))
				return;
		} else if (!end_phase(fe)) {
			return;
		}
	}
}

static bool listen_to(struct vhost_frontend *fe)
{
	for (;;) {
		enum vhost_fault fault;
		struct vhost_msg msg;

		switch (vhost_stream_read(&fe->stream, fe->fd, &msg)) {
		case VHOST_STREAM_AGAIN:
			return true;
		case VHOST_STREAM_OVER:
			drop_fault(fe, fe->stream.fault);
			return false;
		case VHOST_STREAM_MESSAGE:
			vhost_msg_close_fds(&msg);
			fault = frontend_script_answer(fe, &msg);
			if (fault) {
				drop_fault(fe, fault);
				return false;
			}
			if (!fe->awaited)
				loop_timer_disarm(fe->timer);
			break;
		}
	}
}

static void peer_ready(struct vhost_frontend *fe)
{
	if (!vhost_outbox_empty(&fe->outbox) && !flush(fe))
		return;
	if (listen_to(fe))
		frontend_go_on(fe);
}

static void io_ready(void *opaque, int fd, unsigned int events)
{
	struct vhost_frontend *fe = opaque;

	peer_ready(fe);
	frontend_tell(fe);
}

void frontend_attach(struct vhost_frontend *fe, int fd)
{
	fe->io = loop_io_add(fe->loop, fd, LOOP_READ, io_ready, fe);
	if (!fe->io) {
		close(fd);
		frontend_set_reason(fe, "out of memory");
		frontend_arm(fe, fe->timer, VHOST_FRONTEND_BACKOFF_MAX_MS);
		return;
	}
	fe->fd = fd;
	fe->counters.connections++;
	vhost_stream_init(&fe->stream, VHOST_REPLY);
	vhost_outbox_init(&fe->outbox);
	frontend_script_reset(fe);
	frontend_set_reason(fe, "negotiating with the peer");
	enter(fe, FRONTEND_NEGOTIATING);
	frontend_go_on(fe);
}

void vhost_frontend_wait_stopped(struct vhost_frontend *fe, unsigned int timeout_ms)
{
	const uint64_t deadline = frontend_now_ns() + timeout_ms * FRONTEND_NS_PER_MS;

	frontend_go_on(fe);
	while (frontend_rings_out(fe)) {
		struct pollfd pfd = {.fd = fe->fd, .events = POLLIN};
		uint64_t now = frontend_now_ns();

		if (!vhost_outbox_empty(&fe->outbox))
			pfd.events |= POLLOUT;
		if (now >= deadline)
			frontend_drop_timeout(fe, timeout_ms);
		else if (poll(&pfd, 1, (int)((deadline - now) / FRONTEND_NS_PER_MS) + 1) > 0)
			peer_ready(fe);
	}
	fe->tell_stopped = false;
	frontend_poke(fe); /* for tell_changed */
}
