/*
 * One table of address ranges for port I/O, one for MMIO. vCPU threads dispatch; the device's
 * lock is taken at the door, so device models contain no lock calls.
 *
 * Ranges may come, go and move while vCPUs run (BAR writes): the table is guarded inside. The
 * io_range itself belongs to the device and outlives every dispatch: devices are destroyed only
 * while the vCPUs are paused.
 */
#ifndef CORE_IO_BUS_H
#define CORE_IO_BUS_H

#include <pthread.h>

#include "core/bits.h"

/* offset: from the range's base. size: 1, 2, 4 or 8 (PIO: up to 4). Values are zero-extended. */
struct io_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned int size);
	void (*write)(void *opaque, uint64_t offset, unsigned int size, uint64_t value);
};

struct io_range {
	const char *name;
	uint64_t base;
	uint64_t size; /* bytes */
	const struct io_ops *ops;
	void *opaque;
	pthread_mutex_t *lock; /* the device's; NULL: ops need none */
};

struct io_bus;

struct io_bus *io_bus_create(const char *name); /* name: static; NULL: out of memory */
void io_bus_destroy(struct io_bus *bus);

/* -EBUSY: overlaps another range (which one is logged at debug); -EINVAL: empty or wraps. */
must_check int io_bus_add(struct io_bus *bus, struct io_range *range);
void io_bus_remove(struct io_bus *bus, struct io_range *range); /* absent: nothing happens */

/*
 * An access nobody claims reads as ones and ignores writes, as on the real bus, and counts; one
 * that runs past the end of its range is treated the same. false: unclaimed.
 */
bool io_bus_read(struct io_bus *bus, uint64_t addr, unsigned int size, uint64_t *value);
bool io_bus_write(struct io_bus *bus, uint64_t addr, unsigned int size, uint64_t value);

uint64_t io_bus_unclaimed(const struct io_bus *bus); /* accesses so far */

#endif
