#include "core/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * libevent's own locking stays off: other threads touch only the queue below (under its mutex),
 * the stop flag and the eventfd that wakes the loop.
 */
struct loop_post {
	struct loop_post *next;
	loop_fn fn;
	void *opaque;
	struct loop_waiter *waiter; /* NULL: nobody waits */
	struct loop_notice *notice; /* it is this one's own, else malloc'd */
};

struct loop_notice {
	struct loop *loop;
	struct loop_post post;
	bool raised; /* under the loop's lock: the post is queued */
};

struct loop_waiter {
	pthread_mutex_t lock; /* its own: the loop may be gone when the waiter wakes */
	pthread_cond_t done_cond;
	bool done;
	int err;
};

struct loop {
	struct event_base *base;
	struct event *wake;
	int wake_fd;
	_Atomic pthread_t thread; /* who may call the rest */
	atomic_bool stop;
	pthread_mutex_t lock; /* the three below */
	struct loop_post *first;
	struct loop_post **last;
	unsigned int n_posts;
};

struct loop_io {
	struct loop *loop;
	struct event *event;
	int fd;
	loop_io_fn fn;
	void *opaque;
};

struct loop_timer {
	struct event *event;
	loop_fn fn;
	void *opaque;
};

struct loop_signal {
	struct event *event;
	loop_fn fn;
	void *opaque;
};

static bool loop_is_ours(struct loop *loop)
{
	return pthread_equal(atomic_load(&loop->thread), pthread_self());
}

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t n;

	/* EAGAIN means it is about to wake anyway. */
	do {
		n = write(loop->wake_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

static void loop_waiter_finish(struct loop_waiter *waiter, int err)
{
	pthread_mutex_lock(&waiter->lock);
	waiter->done = true;
	waiter->err = err;
	pthread_cond_signal(&waiter->done_cond);
	pthread_mutex_unlock(&waiter->lock);
}

static struct loop_post *loop_take_post(struct loop *loop)
{
	struct loop_post *post;

	pthread_mutex_lock(&loop->lock);
	post = loop->first;
	if (post) {
		loop->first = post->next;
		if (!loop->first)
			loop->last = &loop->first;
		loop->n_posts--;
		if (post->notice)
			post->notice->raised = false;
	}
	pthread_mutex_unlock(&loop->lock);
	return post;
}

static void loop_on_wake(evutil_socket_t fd, short events, void *opaque)
{
	struct loop *loop = opaque;
	struct loop_post *post;
	unsigned int todo;
	uint64_t count;

	/* Cleared before the queue is looked at, so that a post in between wakes us again. */
	if (read((int)fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
		abort(); /* an eventfd of our own cannot fail otherwise */
	pthread_mutex_lock(&loop->lock);
	todo = loop->n_posts;
	pthread_mutex_unlock(&loop->lock);
	while (todo-- && (post = loop_take_post(loop))) {
		loop_fn fn = post->fn;
		void *post_opaque = post->opaque;
		struct loop_waiter *waiter = post->waiter;

		if (!post->notice)
			free(post);
		/* May destroy the notice. */
		fn(post_opaque);
		if (waiter)
			loop_waiter_finish(waiter, 0);
	}
	if (atomic_load(&loop->stop))
		event_base_loopbreak(loop->base);
}

static struct event_base *loop_base_create(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	/* Timers run from the present time, not from when the loop last woke. */
	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER |
							    EVENT_BASE_FLAG_NO_CACHE_TIME |
							    EVENT_BASE_FLAG_NOLOCK) == 0 &&
	    event_config_require_features(config, EV_FEATURE_ET) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

struct loop *loop_create(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->last = &loop->first;
	atomic_store(&loop->thread, pthread_self());
	pthread_mutex_init(&loop->lock, NULL);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0)
		goto err_free;
	loop->base = loop_base_create();
	if (!loop->base)
		goto err_close;
	loop->wake = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, loop_on_wake, loop);
	if (!loop->wake || event_add(loop->wake, NULL) < 0)
		goto err_base;
	return loop;

err_base:
	if (loop->wake)
		event_free(loop->wake);
	event_base_free(loop->base);
err_close:
	close(loop->wake_fd);
err_free:
	pthread_mutex_destroy(&loop->lock);
	free(loop);
	return NULL;
}

void loop_destroy(struct loop *loop)
{
	struct loop_post *post;

	while ((post = loop_take_post(loop))) {
		if (post->waiter)
			loop_waiter_finish(post->waiter, -ESHUTDOWN);
		if (!post->notice)
			free(post);
	}
	event_free(loop->wake);
	event_base_free(loop->base);
	close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int loop_run(struct loop *loop)
{
	int err;

	atomic_store(&loop->thread, pthread_self());
	err = event_base_dispatch(loop->base) < 0 ? -EIO : 0;
	atomic_store(&loop->stop, false);
	return err;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	if (loop_is_ours(loop))
		event_base_loopbreak(loop->base);
	loop_wake(loop);
}

/* Under the lock. Woken there, too: once it is released the loop may run fn and be destroyed. */
static void loop_append(struct loop *loop, struct loop_post *post)
{
	post->next = NULL;
	*loop->last = post;
	loop->last = &post->next;
	loop->n_posts++;
	loop_wake(loop);
}

static int loop_enqueue(struct loop *loop, loop_fn fn, void *opaque, struct loop_waiter *waiter)
{
	struct loop_post *post = malloc(sizeof(*post));

	if (!post)
		return -ENOMEM;
	*post = (struct loop_post){ .fn = fn, .opaque = opaque, .waiter = waiter };
	pthread_mutex_lock(&loop->lock);
	loop_append(loop, post);
	pthread_mutex_unlock(&loop->lock);
	return 0;
}

int loop_post(struct loop *loop, loop_fn fn, void *opaque)
{
	return loop_enqueue(loop, fn, opaque, NULL);
}

int loop_call(struct loop *loop, loop_fn fn, void *opaque)
{
	struct loop_waiter waiter = { .lock = PTHREAD_MUTEX_INITIALIZER,
				      .done_cond = PTHREAD_COND_INITIALIZER };
	int err;

	if (loop_is_ours(loop)) {
		fn(opaque);
		return 0;
	}
	err = loop_enqueue(loop, fn, opaque, &waiter);
	if (err)
		return err;
	pthread_mutex_lock(&waiter.lock);
	while (!waiter.done)
		pthread_cond_wait(&waiter.done_cond, &waiter.lock);
	pthread_mutex_unlock(&waiter.lock);
	pthread_mutex_destroy(&waiter.lock);
	pthread_cond_destroy(&waiter.done_cond);
	return waiter.err;
}

struct loop_notice *loop_notice_create(struct loop *loop, loop_fn fn, void *opaque)
{
	struct loop_notice *notice = malloc(sizeof(*notice));

	if (notice)
		*notice = (struct loop_notice){
			.loop = loop,
			.post = { .fn = fn, .opaque = opaque, .notice = notice },
		};
	return notice;
}

void loop_notice_raise(struct loop_notice *notice)
{
	struct loop *loop = notice->loop;

	pthread_mutex_lock(&loop->lock);
	if (!notice->raised) {
		notice->raised = true;
		loop_append(loop, &notice->post);
	}
	pthread_mutex_unlock(&loop->lock);
}

void loop_notice_destroy(struct loop_notice *notice)
{
	struct loop_post **link;
	struct loop *loop;

	if (!notice)
		return;
	loop = notice->loop;
	pthread_mutex_lock(&loop->lock);
	for (link = &loop->first; *link && *link != &notice->post; link = &(*link)->next)
		;
	if (*link) {
		*link = notice->post.next;
		if (!*link)
			loop->last = link;
		loop->n_posts--;
	}
	pthread_mutex_unlock(&loop->lock);
	free(notice);
}

static short loop_io_flags(unsigned int events)
{
	return (short)((events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0) |
		       (events & LOOP_EDGE ? EV_ET : 0) | EV_PERSIST);
}

static void loop_on_io(evutil_socket_t fd, short events, void *opaque)
{
	struct loop_io *io = opaque;

	/* The callback may free io: nothing is touched after it. */
	io->fn(io->opaque, (int)fd,
	       (events & EV_READ ? LOOP_READ : 0) | (events & EV_WRITE ? LOOP_WRITE : 0));
}

struct loop_io *loop_io_add(struct loop *loop, int fd, unsigned int events, loop_io_fn fn,
			    void *opaque)
{
	struct loop_io *io = malloc(sizeof(*io));

	if (!io)
		return NULL;
	*io = (struct loop_io){ .loop = loop, .fd = fd, .fn = fn, .opaque = opaque };
	io->event = event_new(loop->base, fd, loop_io_flags(events), loop_on_io, io);
	if (!io->event || (events && event_add(io->event, NULL) < 0)) {
		loop_io_remove(io);
		return NULL;
	}
	return io;
}

int loop_io_set_events(struct loop_io *io, unsigned int events)
{
	event_del(io->event);
	if (event_assign(io->event, io->loop->base, io->fd, loop_io_flags(events), loop_on_io, io) <
	    0)
		return -EINVAL;
	if (events && event_add(io->event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

void loop_io_activate(struct loop_io *io, unsigned int events)
{
	event_active(io->event, loop_io_flags(events) & (EV_READ | EV_WRITE), 0);
}

void loop_io_remove(struct loop_io *io)
{
	if (!io)
		return;
	if (io->event)
		event_free(io->event);
	free(io);
}

static void loop_on_timer(evutil_socket_t fd, short events, void *opaque)
{
	struct loop_timer *timer = opaque;

	timer->fn(timer->opaque);
}

struct loop_timer *loop_timer_create(struct loop *loop, loop_fn fn, void *opaque)
{
	struct loop_timer *timer = malloc(sizeof(*timer));

	if (!timer)
		return NULL;
	*timer = (struct loop_timer){ .fn = fn, .opaque = opaque };
	timer->event = evtimer_new(loop->base, loop_on_timer, timer);
	if (!timer->event) {
		free(timer);
		return NULL;
	}
	return timer;
}

int loop_timer_arm(struct loop_timer *timer, uint64_t delay_ns)
{
	/* Rounded up: a timer is never early. */
	uint64_t delay_us = delay_ns / 1000 + (delay_ns % 1000 ? 1 : 0);
	struct timeval tv = { .tv_sec = (time_t)(delay_us / 1000000),
			      .tv_usec = (suseconds_t)(delay_us % 1000000) };

	return event_add(timer->event, &tv) < 0 ? -ENOMEM : 0;
}

void loop_timer_disarm(struct loop_timer *timer)
{
	if (timer)
		event_del(timer->event);
}

void loop_timer_destroy(struct loop_timer *timer)
{
	if (!timer)
		return;
	event_free(timer->event);
	free(timer);
}

static void loop_on_signal(evutil_socket_t signo, short events, void *opaque)
{
	struct loop_signal *sig = opaque;

	sig->fn(sig->opaque);
}

struct loop_signal *loop_signal_add(struct loop *loop, int signo, loop_fn fn, void *opaque)
{
	struct loop_signal *sig = malloc(sizeof(*sig));

	if (!sig)
		return NULL;
	*sig = (struct loop_signal){ .fn = fn, .opaque = opaque };
	sig->event = evsignal_new(loop->base, signo, loop_on_signal, sig);
	if (!sig->event || event_add(sig->event, NULL) < 0) {
		loop_signal_remove(sig);
		return NULL;
	}
	return sig;
}

void loop_signal_remove(struct loop_signal *sig)
{
	if (!sig)
		return;
	if (sig->event)
		event_free(sig->event);
	free(sig);
}
