/*
 * The keyboard controller at ports 60h and 64h, with nothing plugged into it: self-test, A20, the
 * reset pulse (FEh), and time-outs for what is sent to the keyboard that is not there.
 * Registers: vCPU threads, under the device's lock.
 */
#ifndef DEVEMU_I8042_H
#define DEVEMU_I8042_H

#include "core/device.h"
#include "core/io_bus.h"
#include "core/irq.h"

struct i8042;

struct i8042_config {
	const char *id;
	struct io_bus *pio;
	struct irq_line irq; /* GSI 1 */
	/* The guest pulled the reset line. On a vCPU thread, the device's lock held: hand it on. */
	void (*reset)(void *opaque);
	void *opaque;
};

must_check int i8042_create(const struct i8042_config *config, struct i8042 **i8042);
struct device *i8042_device(struct i8042 *i8042);

#endif
