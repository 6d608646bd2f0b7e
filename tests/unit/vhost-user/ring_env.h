/*
 * Memory for ring tests: a struct dma over two host allocations that adjoin in DMA addresses, so a
 * buffer across the seam comes in two pieces, and a step too far is the sanitizer's to see.
 */
#ifndef TESTS_RING_ENV_H
#define TESTS_RING_ENV_H

#include "core/dma.h"
#include "vhost-user/vring_device.h"
#include "vhost-user/vring_driver.h"

#define ENV_BASE 0x100000ull
#define ENV_HALF 0x100000ull /* bytes of either half */
#define ENV_SEAM (ENV_BASE + ENV_HALF)
#define ENV_END (ENV_SEAM + ENV_HALF)

struct ring_env {
	struct dma dma;
	uint8_t *half[2];
	uint8_t *dirty; /* one byte a byte of memory */
	unsigned int lookups;
};

void ring_env_init(struct ring_env *env);
void ring_env_fini(struct ring_env *env);
/* Host address; must not be used beyond the half. */
void *ring_env_ptr(struct ring_env *env, uint64_t addr);
/* Whether all / any of it was reported to the dirty log. */
bool ring_env_all_dirty(struct ring_env *env, uint64_t addr, uint64_t len);
bool ring_env_any_dirty(struct ring_env *env, uint64_t addr, uint64_t len);

#endif
