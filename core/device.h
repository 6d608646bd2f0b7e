/*
 * What every device model has in common: a name, a lock taken at its doors, and its life cycle.
 * A device embeds struct device. Its guest-visible state is one plain versioned struct.
 */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include <pthread.h>
#include <sys/queue.h>

#include "core/bits.h"

struct device;

typedef void (*counter_fn)(void *opaque, const char *name, uint64_t value);

struct device_ops {
	const char *type; /* "uart", "virtio-net", ... */
	/* To power-on state. io thread, vCPUs paused, lock held. */
	void (*reset)(struct device *dev);
	/* The vCPUs and the rings have been stopped / may go on. io thread. NULL: nothing to do. */
	int (*quiesce)(struct device *dev);
	int (*resume)(struct device *dev);
	/* State: size in bytes is fixed per version. io thread, quiesced. load: -EINVAL and no
	 * change when the version or the content is not acceptable. */
	uint32_t state_version;
	size_t state_size;
	void (*save)(struct device *dev, void *state);
	int (*load)(struct device *dev, const void *state, size_t size, uint32_t version);
	/* Calls emit for each counter; may be NULL. */
	void (*counters)(struct device *dev, counter_fn emit, void *opaque);
	/* Stops the device and frees it. io thread, vCPUs paused. */
	void (*destroy)(struct device *dev);
};

struct device {
	const char *id; /* unique in the machine; owned by the creator's configuration */
	const struct device_ops *ops;
	pthread_mutex_t lock; /* the door's; recursive use is a bug */
	TAILQ_ENTRY(device) link; /* machine's */
};

void device_init(struct device *dev, const char *id, const struct device_ops *ops);
void device_fini(struct device *dev);

/* For doors other than the io_bus: loop callbacks that enter the device. */
void device_enter(struct device *dev);
void device_leave(struct device *dev);

#endif
