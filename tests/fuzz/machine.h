/* What the machine does to a device at any moment: it stands still, is kept, reset, put back. */
#ifndef FUZZ_MACHINE_H
#define FUZZ_MACHINE_H

#include <stdint.h>
#include <stdlib.h>

#include "core/device.h"

/* what: bit 0: saved, and loaded again; bit 1: reset. Ends the program where that does not succeed. */
static inline void fuzz_machine(struct device *dev, unsigned int what)
{
	static uint8_t state[64 * 1024];

	if (dev->ops->state_size > sizeof(state))
		abort();
	device_enter(dev);
	if (dev->ops->quiesce(dev))
		abort(); /* it always succeeds */
	if (what & 1)
		dev->ops->save(dev, state);
	if (what & 2)
		dev->ops->reset(dev);
	if (what & 1 && dev->ops->load(dev, state, dev->ops->state_size, dev->ops->state_version))
		abort(); /* what it saved it must take */
	if (dev->ops->resume(dev))
		abort();
	device_leave(dev);
}

#endif
