/*
 * A timer that vCPU threads may set: a timerfd watched by the loop. It fires on the io thread with
 * the device's lock held. The device decides then what is due: a firing may be late or, after
 * re-arming, one too many. CLOCK_MONOTONIC, nanoseconds.
 */
#ifndef DEVEMU_DEVICE_TIMER_H
#define DEVEMU_DEVICE_TIMER_H

#include "core/device.h"
#include "core/loop.h"

struct device_timer {
	struct device *dev;
	struct loop_io *io;
	int fd;
	bool armed; /* perhaps no longer; never the other way round */
	void (*fire)(void *opaque);
	void *opaque;
};

must_check int device_timer_init(struct device_timer *timer, struct loop *loop, struct device *dev,
				 void (*fire)(void *opaque), void *opaque);
void device_timer_fini(struct device_timer *timer); /* io thread; a zeroed one is allowed */

/* Any thread with the device's lock. arm: once, delay_ns from now. */
void device_timer_arm(struct device_timer *timer, uint64_t delay_ns);
void device_timer_disarm(struct device_timer *timer);

#endif
