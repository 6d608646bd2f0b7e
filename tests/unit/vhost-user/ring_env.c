#include "ring_env.h"

#include <stdlib.h>

static bool env_lookup(struct dma *dma, uint64_t addr, unsigned int perm,
		       struct dma_window *window)
{
	struct ring_env *env = container_of(dma, struct ring_env, dma);

	env->lookups++;
	if (addr < ENV_BASE || addr >= ENV_END)
		return false;
	*window = (struct dma_window){
		.start = addr < ENV_SEAM ? ENV_BASE : ENV_SEAM,
		.size = ENV_HALF,
		.hva = env->half[addr >= ENV_SEAM],
		.perm = DMA_READ | DMA_WRITE,
		.generation = atomic_load(&dma->generation),
	};
	return true;
}

static void env_dirtied(struct dma *dma, uint64_t addr, uint64_t len)
{
	struct ring_env *env = container_of(dma, struct ring_env, dma);

	memset(env->dirty + (addr - ENV_BASE), 1, len);
}

static const struct dma_ops env_ops = { .lookup = env_lookup, .dirtied = env_dirtied };

void ring_env_init(struct ring_env *env)
{
	memset(env, 0, sizeof(*env));
	env->dma.ops = &env_ops;
	for (int i = 0; i < 2; i++) {
		env->half[i] = aligned_alloc(4096, ENV_HALF);
		if (!env->half[i])
			abort();
		memset(env->half[i], 0, ENV_HALF);
	}
	env->dirty = calloc(2, ENV_HALF);
	if (!env->dirty)
		abort();
}

void ring_env_fini(struct ring_env *env)
{
	free(env->half[0]);
	free(env->half[1]);
	free(env->dirty);
}

void *ring_env_ptr(struct ring_env *env, uint64_t addr)
{
	return addr < ENV_SEAM ? env->half[0] + (addr - ENV_BASE) : env->half[1] + (addr - ENV_SEAM);
}

bool ring_env_all_dirty(struct ring_env *env, uint64_t addr, uint64_t len)
{
	return !memchr(env->dirty + (addr - ENV_BASE), 0, len);
}

bool ring_env_any_dirty(struct ring_env *env, uint64_t addr, uint64_t len)
{
	return memchr(env->dirty + (addr - ENV_BASE), 1, len);
}
