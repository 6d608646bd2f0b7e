/*
 * The cut between a serial device and where its bytes go. Neither side ever blocks: output goes
 * to a bounded ring (what does not fit is dropped and counted), input is offered as room allows.
 */
#ifndef CORE_CHAR_BACKEND_H
#define CORE_CHAR_BACKEND_H

#include "core/bits.h"

struct char_backend;

/* The device's side. Called on the io thread; the callee enters the device. */
struct char_frontend {
	size_t (*room)(void *opaque); /* bytes it can take now */
	void (*receive)(void *opaque, const uint8_t *buf, size_t len);
	void *opaque;
};

struct char_backend_ops {
	/* Any thread. Returns how much was taken; the rest is lost and counted. */
	size_t (*write)(struct char_backend *be, const uint8_t *buf, size_t len);
	/* Any thread: the device has room again. */
	void (*accept)(struct char_backend *be);
	void (*destroy)(struct char_backend *be); /* io thread */
};

struct char_backend {
	const struct char_backend_ops *ops;
	const struct char_frontend *frontend; /* set by the device before the loop runs; may be NULL */
	_Atomic uint64_t dropped; /* bytes */
};

#endif
