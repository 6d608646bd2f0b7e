/*
 * A port by which a test kernel ends the VM: writing v to F4h means exit status (v << 1) | 1.
 * vCPU threads.
 */
#ifndef DEVEMU_DEBUG_EXIT_H
#define DEVEMU_DEBUG_EXIT_H

#include "core/device.h"
#include "core/io_bus.h"

#define DEBUG_EXIT_PORT 0xf4u

struct debug_exit;

struct debug_exit_config {
	const char *id;
	struct io_bus *pio;
	/* On a vCPU thread with the device's lock held: hand it on. status: 8 bits. */
	void (*exit)(void *opaque, unsigned int status);
	void *opaque;
};

must_check int debug_exit_create(const struct debug_exit_config *config, struct debug_exit **de);
struct device *debug_exit_device(struct debug_exit *de);

#endif
