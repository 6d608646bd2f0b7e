/*
 * How a device (emulated here, or a vring served by the switch) reaches memory: RAM and nothing
 * else. Implemented by iommu/dma_space (a guest's device) and vhost-user/peer_memory (a
 * vhost-user peer). The window cache makes the usual translation one compare.
 */
#ifndef CORE_DMA_H
#define CORE_DMA_H

#include <stdatomic.h>

#include "core/bits.h"

#define DMA_READ 1u  /* the device reads memory */
#define DMA_WRITE 2u /* the device writes memory */

/* A run of addresses that is contiguous in host memory. */
struct dma_window {
	uint64_t start;
	uint64_t size; /* bytes; 0: empty */
	uint8_t *hva;
	unsigned int perm;	/* DMA_* */
	uint32_t generation;
};

struct dma;

struct dma_ops {
	/* Finds the window that holds addr with `perm`; false (and a counter) if there is none. */
	bool (*lookup)(struct dma *dma, uint64_t addr, unsigned int perm, struct dma_window *window);
	/* The device wrote [addr, addr + len). */
	void (*dirtied)(struct dma *dma, uint64_t addr, uint64_t len);
};

struct dma {
	const struct dma_ops *ops;
	_Atomic uint32_t generation; /* raised when translations go away: windows are stale */
	_Atomic bool logging;	     /* ops->dirtied must be called for writes */
};

/*
 * Host address of addr, valid for *len bytes on return (at most what was asked; at least 1), or
 * NULL. window: the caller's own cache (one per thread and ring), zeroed at first.
 */
static inline void *dma_translate(struct dma *dma, struct dma_window *window, uint64_t addr,
				  uint64_t *len, unsigned int perm)
{
	uint64_t off = addr - window->start;

	if (__builtin_expect(off >= window->size || (window->perm & perm) != perm ||
			     window->generation !=
				     atomic_load_explicit(&dma->generation, memory_order_acquire), 0)) {
		if (!dma->ops->lookup(dma, addr, perm, window))
			return NULL;
		off = addr - window->start;
	}
	*len = MIN(*len, window->size - off);
	return window->hva + off;
}

/* All of [addr, addr + len) in one piece, or NULL. */
static inline void *dma_translate_all(struct dma *dma, struct dma_window *window, uint64_t addr,
				      uint64_t len, unsigned int perm)
{
	uint64_t got = len;
	void *hva = dma_translate(dma, window, addr, &got, perm);

	return got == len ? hva : NULL;
}

/* After a device's write: one predictable branch when nothing logs. */
static inline void dma_dirtied(struct dma *dma, uint64_t addr, uint64_t len)
{
	if (__builtin_expect(atomic_load_explicit(&dma->logging, memory_order_relaxed), 0))
		dma->ops->dirtied(dma, addr, len);
}

/* Copies across windows. 0 or -EFAULT (a prefix may have been copied, as on a real bus). */
must_check int dma_read(struct dma *dma, uint64_t addr, void *buf, uint64_t len);
must_check int dma_write(struct dma *dma, uint64_t addr, const void *buf, uint64_t len);

#endif
