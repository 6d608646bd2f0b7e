#include "core/io_bus.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/log.h"

/* Sorted by base and free of overlaps, so that one binary search finds an access. */
struct io_bus {
	const char *name;
	pthread_rwlock_t lock;
	struct io_range **ranges;
	size_t count;
	size_t room;
	_Atomic uint64_t unclaimed;
};

struct io_bus *io_bus_create(const char *name)
{
	struct io_bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	bus->name = name;
	pthread_rwlock_init(&bus->lock, NULL);
	return bus;
}

void io_bus_destroy(struct io_bus *bus)
{
	if (!bus)
		return;
	pthread_rwlock_destroy(&bus->lock);
	free(bus->ranges);
	free(bus);
}

/* Index of the first range that ends beyond addr; count if there is none. Lock held. */
static size_t io_bus_position(const struct io_bus *bus, uint64_t addr)
{
	size_t low = 0, high = bus->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct io_range *range = bus->ranges[mid];

		if (range->base + (range->size - 1) < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int io_bus_insert(struct io_bus *bus, struct io_range *range)
{
	size_t at = io_bus_position(bus, range->base);

	if (at < bus->count && range_overlaps(range->base, range->size, bus->ranges[at]->base,
					      bus->ranges[at]->size)) {
		log_debug("%s: %s at 0x%llx overlaps %s", bus->name, range->name,
			  (unsigned long long)range->base, bus->ranges[at]->name);
		return -EBUSY;
	}
	if (bus->count == bus->room) {
		size_t room = bus->room ? bus->room * 2 : 16;
		struct io_range **ranges = realloc(bus->ranges, room * sizeof(*ranges));

		if (!ranges)
			return -ENOMEM;
		bus->ranges = ranges;
		bus->room = room;
	}
	memmove(bus->ranges + at + 1, bus->ranges + at,
		(bus->count - at) * sizeof(*bus->ranges));
	bus->ranges[at] = range;
	bus->count++;
	return 0;
}

int io_bus_add(struct io_bus *bus, struct io_range *range)
{
	int err;

	if (!range->size || range->base + (range->size - 1) < range->base)
		return -EINVAL;
	pthread_rwlock_wrlock(&bus->lock);
	err = io_bus_insert(bus, range);
	pthread_rwlock_unlock(&bus->lock);
	return err;
}

void io_bus_remove(struct io_bus *bus, struct io_range *range)
{
	pthread_rwlock_wrlock(&bus->lock);
	for (size_t i = 0; i < bus->count; i++) {
		if (bus->ranges[i] != range)
			continue;
		bus->count--;
		memmove(bus->ranges + i, bus->ranges + i + 1,
			(bus->count - i) * sizeof(*bus->ranges));
		break;
	}
	pthread_rwlock_unlock(&bus->lock);
}

/*
 * The range is looked up and let go again before the device's lock is taken: a device adds and
 * removes ranges with its lock held (BAR writes), so holding the table here would deadlock. An
 * access that loses the race against a moving BAR arrives as if it had come just before.
 */
static struct io_range *io_bus_find(struct io_bus *bus, uint64_t addr, unsigned int size,
				    uint64_t *offset)
{
	struct io_range *range = NULL;
	size_t at;

	pthread_rwlock_rdlock(&bus->lock);
	at = io_bus_position(bus, addr);
	if (at < bus->count && addr >= bus->ranges[at]->base &&
	    range_within(addr - bus->ranges[at]->base, size, bus->ranges[at]->size)) {
		range = bus->ranges[at];
		*offset = addr - range->base;
	}
	pthread_rwlock_unlock(&bus->lock);
	if (!range)
		atomic_fetch_add_explicit(&bus->unclaimed, 1, memory_order_relaxed);
	return range;
}

static uint64_t io_bus_ones(unsigned int size)
{
	return size >= 8 ? UINT64_MAX : (1ULL << (size * 8)) - 1;
}

bool io_bus_read(struct io_bus *bus, uint64_t addr, unsigned int size, uint64_t *value)
{
	uint64_t offset;
	struct io_range *range = io_bus_find(bus, addr, size, &offset);

	if (!range) {
		*value = io_bus_ones(size);
		return false;
	}
	if (range->lock)
		pthread_mutex_lock(range->lock);
	*value = range->ops->read(range->opaque, offset, size) & io_bus_ones(size);
	if (range->lock)
		pthread_mutex_unlock(range->lock);
	return true;
}

bool io_bus_write(struct io_bus *bus, uint64_t addr, unsigned int size, uint64_t value)
{
	uint64_t offset;
	struct io_range *range = io_bus_find(bus, addr, size, &offset);

	if (!range)
		return false;
	if (range->lock)
		pthread_mutex_lock(range->lock);
	range->ops->write(range->opaque, offset, size, value & io_bus_ones(size));
	if (range->lock)
		pthread_mutex_unlock(range->lock);
	return true;
}

uint64_t io_bus_unclaimed(const struct io_bus *bus)
{
	return atomic_load_explicit(&bus->unclaimed, memory_order_relaxed);
}
