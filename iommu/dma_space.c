#include "iommu/dma_space.h"

#include <errno.h>
#include <stdlib.h>

#include "core/log.h"

struct dma_space {
	struct dma dma;
	struct guest_memory *gm;
	struct mem_listener listener;
	const char *name;
	_Atomic uint64_t lookups;
	_Atomic uint64_t faults;
	_Atomic uint64_t dirtied;
};

static bool identity_lookup(struct dma *dma, uint64_t addr, unsigned int perm,
			    struct dma_window *window)
{
	struct dma_space *space = container_of(dma, struct dma_space, dma);
	/* Read before the slot: should the slot go meanwhile, the window is stale at birth. */
	uint32_t generation = atomic_load_explicit(&dma->generation, memory_order_acquire);
	const struct mem_slot *slot = guest_memory_find(space->gm, addr, 1);
	unsigned int allowed = DMA_READ | (slot && !slot->read_only ? DMA_WRITE : 0);

	atomic_fetch_add_explicit(&space->lookups, 1, memory_order_relaxed);
	if (!slot || (allowed & perm) != perm) {
		atomic_fetch_add_explicit(&space->faults, 1, memory_order_relaxed);
		log_guest("%s: DMA %s at 0x%llx: %s", space->name,
			  perm & DMA_WRITE ? "write" : "read", (unsigned long long)addr,
			  slot ? "read-only memory" : "no memory there");
		return false;
	}
	*window = (struct dma_window){
		.start = slot->gpa,
		.size = slot->size,
		.hva = slot->hva,
		.perm = allowed,
		.generation = generation,
	};
	return true;
}

static void identity_dirtied(struct dma *dma, uint64_t addr, uint64_t len)
{
	struct dma_space *space = container_of(dma, struct dma_space, dma);

	atomic_fetch_add_explicit(&space->dirtied, 1, memory_order_relaxed);
	guest_memory_dirtied(space->gm, addr, len);
}

static const struct dma_ops identity_ops = {
	.lookup = identity_lookup,
	.dirtied = identity_dirtied,
};

static int space_slot_added(struct mem_listener *listener, const struct mem_slot *slot)
{
	return 0; /* no window speaks of it yet */
}

static void space_slot_removed(struct mem_listener *listener, const struct mem_slot *slot)
{
	struct dma_space *space = container_of(listener, struct dma_space, listener);

	atomic_fetch_add_explicit(&space->dma.generation, 1, memory_order_release);
}

static void space_log(struct mem_listener *listener, bool on)
{
	struct dma_space *space = container_of(listener, struct dma_space, listener);

	atomic_store_explicit(&space->dma.logging, on, memory_order_release);
}

int dma_space_create_identity(struct guest_memory *gm, const char *name, struct dma_space **out)
{
	struct dma_space *space = calloc(1, sizeof(*space));
	int err;

	if (!space)
		return -ENOMEM;
	space->dma.ops = &identity_ops;
	space->gm = gm;
	space->name = name;
	space->listener = (struct mem_listener){
		.name = name,
		.add = space_slot_added,
		.remove = space_slot_removed,
		.log = space_log,
	};
	err = guest_memory_add_listener(gm, &space->listener);
	if (err) {
		free(space);
		return err;
	}
	*out = space;
	return 0;
}

void dma_space_destroy(struct dma_space *space)
{
	if (!space)
		return;
	guest_memory_remove_listener(space->gm, &space->listener);
	free(space);
}

struct dma *dma_space_dma(struct dma_space *space)
{
	return &space->dma;
}

void dma_space_counters(struct dma_space *space, counter_fn emit, void *opaque)
{
	emit(opaque, "dma_lookups", atomic_load_explicit(&space->lookups, memory_order_relaxed));
	emit(opaque, "dma_faults", atomic_load_explicit(&space->faults, memory_order_relaxed));
	emit(opaque, "dma_dirtied", atomic_load_explicit(&space->dirtied, memory_order_relaxed));
}
