#include "devemu/device_timer.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void timer_ready(void *opaque, int fd, unsigned int events)
{
	struct device_timer *timer = opaque;
	uint64_t count;

	/* EAGAIN: set anew since it fired. */
	if (read(fd, &count, sizeof(count)) != sizeof(count))
		return;
	device_enter(timer->dev);
	timer->fire(timer->opaque);
	device_leave(timer->dev);
}

int device_timer_init(struct device_timer *timer, struct loop *loop, struct device *dev,
		      void (*fire)(void *opaque), void *opaque)
{
	int err;

	*timer = (struct device_timer){ .dev = dev, .fire = fire, .opaque = opaque };
	timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->fd < 0) {
		err = -errno;
		timer->fd = 0;
		return err;
	}
	timer->io = loop_io_add(loop, timer->fd, LOOP_READ, timer_ready, timer);
	if (!timer->io) {
		close(timer->fd);
		return -ENOMEM;
	}
	return 0;
}

void device_timer_fini(struct device_timer *timer)
{
	if (!timer->io)
		return;
	loop_io_remove(timer->io);
	close(timer->fd);
	timer->io = NULL;
}

static void timer_set(struct device_timer *timer, uint64_t delay_ns)
{
	struct itimerspec when = {
		.it_value = { .tv_sec = (time_t)(delay_ns / 1000000000u),
			      .tv_nsec = (long)(delay_ns % 1000000000u) },
	};

	timerfd_settime(timer->fd, 0, &when, NULL);
}

void device_timer_arm(struct device_timer *timer, uint64_t delay_ns)
{
	/* Zero would disarm. */
	timer->armed = true;
	timer_set(timer, delay_ns ? delay_ns : 1);
}

void device_timer_disarm(struct device_timer *timer)
{
	if (timer->armed)
		timer_set(timer, 0);
	timer->armed = false;
}
