#include "devemu/char_engine.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_CHUNK 256u /* bytes; more than any serial FIFO */

static void wake(struct char_engine *e)
{
	uint64_t one = 1;

	/* EAGAIN: it is about to wake anyway. */
	if (write(e->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static size_t ring_append(struct char_engine *e, const uint8_t *buf, size_t len)
{
	size_t room = CHAR_RING_SIZE;

	if (e->attached)
		room -= (size_t)(e->written - e->sent);
	len = MIN(len, room);
	for (size_t i = 0; i < len; i++)
		e->ring[(e->written + i) % CHAR_RING_SIZE] = buf[i];
	e->written += len;
	return len;
}

static size_t engine_write(struct char_backend *be, const uint8_t *buf, size_t len)
{
	struct char_engine *e = container_of(be, struct char_engine, be);
	bool must_wake;
	size_t took;

	pthread_mutex_lock(&e->lock);
	took = ring_append(e, buf, len);
	must_wake = took && e->attached && !e->draining;
	e->draining |= must_wake;
	pthread_mutex_unlock(&e->lock);
	if (took < len)
		atomic_fetch_add_explicit(&be->dropped, len - took, memory_order_relaxed);
	if (must_wake)
		wake(e);
	return took;
}

static void engine_accept(struct char_backend *be)
{
	struct char_engine *e = container_of(be, struct char_engine, be);

	pthread_mutex_lock(&e->lock);
	e->accepting = true;
	pthread_mutex_unlock(&e->lock);
	wake(e);
}

static ssize_t put_out(struct char_engine *e, const uint8_t *buf, size_t len)
{
	ssize_t n = send(e->out_fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	return n < 0 && errno == ENOTSOCK ? write(e->out_fd, buf, len) : n;
}

/* The next run of bytes that lies in one piece; 0: all is out. */
static size_t next_run(struct char_engine *e, const uint8_t **run)
{
	size_t len;

	pthread_mutex_lock(&e->lock);
	*run = e->ring + e->sent % CHAR_RING_SIZE;
	len = MIN(e->written - e->sent, CHAR_RING_SIZE - e->sent % CHAR_RING_SIZE);
	if (!len)
		e->draining = false;
	pthread_mutex_unlock(&e->lock);
	return len;
}

static void reader_lost(struct char_engine *e)
{
	uint64_t rest;

	if (e->detached) {
		e->detached(e);
		return;
	}
	/* A full disk or a closed pipe: what waits is lost, what follows may be luckier. */
	pthread_mutex_lock(&e->lock);
	rest = e->written - e->sent;
	e->sent = e->written;
	e->draining = false; /* whoever writes next has to wake us */
	pthread_mutex_unlock(&e->lock);
	atomic_fetch_add_explicit(&e->be.dropped, rest, memory_order_relaxed);
}

static void watch_out(struct char_engine *e, bool on)
{
	if (e->out_io && loop_io_set_events(e->out_io, on ? LOOP_WRITE : 0) < 0)
		reader_lost(e);
}

static void drain(struct char_engine *e)
{
	const uint8_t *run;
	size_t len;
	ssize_t n;

	while (e->out_fd >= 0 && (len = next_run(e, &run))) {
		n = put_out(e, run, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			watch_out(e, true);
			return;
		}
		if (n < 0) {
			reader_lost(e);
			return;
		}
		pthread_mutex_lock(&e->lock);
		e->sent += (uint64_t)n;
		pthread_mutex_unlock(&e->lock);
	}
	if (e->out_fd >= 0)
		watch_out(e, false);
}

static void pause_input(struct char_engine *e, bool paused)
{
	e->in_paused = paused;
	if (e->in_io && loop_io_set_events(e->in_io, paused || e->in_ended ? 0 : LOOP_READ) < 0)
		e->in_ended = true;
}

/* One helping as the device has room. false: no more for now. */
static bool take_input(struct char_engine *e)
{
	const struct char_frontend *fe = e->be.frontend;
	uint8_t buf[INPUT_CHUNK];
	size_t room = fe ? fe->room(fe->opaque) : 0;
	ssize_t n;

	if (!room) {
		pause_input(e, true);
		return false;
	}
	n = read(e->in_fd, buf, MIN(room, sizeof(buf)));
	if (n > 0) {
		fe->receive(fe->opaque, buf, (size_t)n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		e->in_ended = true;
		pause_input(e, true);
	}
	return false;
}

static void on_input(void *opaque, int fd, unsigned int events)
{
	take_input(opaque);
}

static void on_output(void *opaque, int fd, unsigned int events)
{
	drain(opaque);
}

static void on_wake(void *opaque, int fd, unsigned int events)
{
	struct char_engine *e = opaque;
	uint64_t count;
	bool accepting;

	if (read(fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&e->lock);
	accepting = e->accepting;
	e->accepting = false;
	pthread_mutex_unlock(&e->lock);
	drain(e);
	if (!accepting || e->in_fd < 0 || e->in_ended)
		return;
	pause_input(e, false);
	/* A file is always ready and never tells. */
	while (!e->in_io && !e->in_ended && take_input(e))
		;
}

static void engine_destroy(struct char_backend *be)
{
	struct char_engine *e = container_of(be, struct char_engine, be);

	drain(e); /* the guest's last words, as far as they go without waiting */
	e->fini(e);
}

static const struct char_backend_ops engine_ops = {
	.write = engine_write,
	.accept = engine_accept,
	.destroy = engine_destroy,
};

int char_engine_init(struct char_engine *e, struct loop *loop)
{
	e->be.ops = &engine_ops;
	e->loop = loop;
	e->in_fd = e->out_fd = -1;
	pthread_mutex_init(&e->lock, NULL);
	e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (e->wake_fd < 0)
		goto err_lock;
	e->ring = malloc(CHAR_RING_SIZE);
	if (!e->ring)
		goto err_fd;
	e->wake_io = loop_io_add(loop, e->wake_fd, LOOP_READ, on_wake, e);
	if (!e->wake_io)
		goto err_ring;
	return 0;
err_ring:
	free(e->ring);
err_fd:
	close(e->wake_fd);
err_lock:
	pthread_mutex_destroy(&e->lock);
	return -ENOMEM;
}

void char_engine_fini(struct char_engine *e)
{
	char_engine_detach(e);
	loop_io_remove(e->wake_io);
	close(e->wake_fd);
	free(e->ring);
	pthread_mutex_destroy(&e->lock);
}

/* Regular files and the like cannot be watched: they are always ready. */
static bool pollable(int fd)
{
	struct epoll_event event = { .events = 0 };
	int ep;
	bool can;

	if (fd < 0)
		return false;
	ep = epoll_create1(EPOLL_CLOEXEC);
	can = ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == 0;
	if (ep >= 0)
		close(ep);
	return can;
}

void char_engine_attach(struct char_engine *e, int in_fd, int out_fd, size_t replay)
{
	char_engine_detach(e);
	e->in_fd = in_fd;
	e->out_fd = out_fd;
	e->in_ended = in_fd < 0;
	e->in_paused = false;
	e->in_io = pollable(in_fd) ? loop_io_add(e->loop, in_fd, 0, on_input, e) : NULL;
	e->out_io = pollable(out_fd) ? loop_io_add(e->loop, out_fd, 0, on_output, e) : NULL;
	pthread_mutex_lock(&e->lock);
	e->attached = out_fd >= 0;
	e->sent = e->written - MIN(e->written, replay);
	e->draining = true;
	e->accepting = true; /* asks the device how much it can take */
	pthread_mutex_unlock(&e->lock);
	wake(e);
}

void char_engine_detach(struct char_engine *e)
{
	pthread_mutex_lock(&e->lock);
	e->attached = false;
	e->draining = false;
	pthread_mutex_unlock(&e->lock);
	loop_io_remove(e->in_io);
	loop_io_remove(e->out_io);
	e->in_io = e->out_io = NULL;
	if (e->in_fd >= 0)
		close(e->in_fd);
	if (e->out_fd >= 0 && e->out_fd != e->in_fd)
		close(e->out_fd);
	e->in_fd = e->out_fd = -1;
}
