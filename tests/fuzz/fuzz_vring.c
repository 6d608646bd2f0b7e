/*
 * A split ring whose memory is the input: the device's side must keep to the memory, to its limits
 * and to the rules, whatever is written there.
 * Input: size exponent, features, room for pieces, burst; then the memory, from the ring on.
 */
#include <stdlib.h>

#include "vhost-user/vring_device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BASE 0x1000ull
#define SPLIT 8192u /* bytes until host memory is not contiguous */
#define MEMORY 16384u
#define MAX_IOVS 48u

static uint8_t *halves[2];

static bool lookup(struct dma *dma, uint64_t addr, unsigned int perm, struct dma_window *window)
{
	unsigned int half;

	if (addr < BASE || addr >= BASE + MEMORY)
		return false;
	half = addr >= BASE + SPLIT;
	*window = (struct dma_window){
		.start = half ? BASE + SPLIT : BASE,
		.size = SPLIT,
		.hva = halves[half],
		.perm = DMA_READ | DMA_WRITE,
	};
	return true;
}

static void dirtied(struct dma *dma, uint64_t addr, uint64_t len)
{
	if (addr < BASE || len > BASE + MEMORY - addr)
		abort();
}

static const struct dma_ops ops = { .lookup = lookup, .dirtied = dirtied };

static void check_chain(const struct vring_chain *chain, const struct vring_sg *sg)
{
	uint64_t sums[2] = {0};

	if (chain->iov < sg->iov ||
	    chain->iov + chain->readable + chain->writable > sg->iov + sg->used)
		abort();
	for (unsigned int i = 0; i < (unsigned int)chain->readable + chain->writable; i++) {
		uint8_t *p = chain->iov[i].iov_base;
		size_t len = chain->iov[i].iov_len;
		uint8_t *half = halves[chain->addr[i] >= BASE + SPLIT];

		if (!len || p < half || p + len > half + SPLIT)
			abort();
		sums[i >= chain->readable] += len;
	}
	if (sums[0] != chain->readable_len || sums[1] != chain->writable_len)
		abort();
}

static void run(struct vring_device *vr, unsigned int capacity, unsigned int burst)
{
	struct vring_chain chains[VRING_BURST];
	struct iovec iov[MAX_IOVS];
	uint64_t addr[MAX_IOVS];
	struct vring_sg sg = { .iov = iov, .addr = addr, .capacity = capacity };

	/* The memory does not change, so a ring has at most one round of chains to give. */
	for (unsigned int rounds = 0;; rounds++) {
		unsigned int n = vring_device_pop(vr, chains, burst, &sg);

		if (!n)
			break;
		if (n > burst || sg.used > capacity || rounds > vr->size)
			abort();
		for (unsigned int i = 0; i < n; i++) {
			check_chain(&chains[i], &sg);
			vring_device_put(vr, &chains[i], chains[i].writable_len);
		}
	}
	vring_device_publish(vr);
	if (vring_device_should_notify(vr) && vr->signalled != vr->published)
		abort();
	vring_device_kicks_disable(vr);
	if (vring_device_kicks_enable(vr) && vr->fault)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dma dma = { .ops = &ops };
	struct vring_device_config config = { .dma = &dma, .base = VRING_BASE_FROM_USED };
	struct vring_addrs addrs;
	struct vring_device vr;

	if (size < 4)
		return 0;
	for (unsigned int i = 0; i < 2; i++) {
		size_t from = 4 + i * (size_t)SPLIT;

		halves[i] = aligned_alloc(4096, SPLIT);
		if (!halves[i])
			abort();
		memset(halves[i], 0, SPLIT);
		if (size > from)
			memcpy(halves[i], data + from, MIN(size - from, (size_t)SPLIT));
	}
	config.size = 1u << (data[0] % 9);
	config.features = (uint64_t)(data[1] & 3) << VIRTIO_RING_F_INDIRECT_DESC;
	atomic_store(&dma.logging, data[1] >> 2 & 1);
	vring_block_layout(config.size, &addrs);
	addrs.desc += BASE;
	addrs.avail += BASE;
	addrs.used += BASE;
	config.used_addr = addrs.used;
	if (vring_device_map(&dma, config.size, &addrs, &config.parts))
		abort();
	vring_device_start(&vr, &config);
	run(&vr, data[2] % MAX_IOVS + 1, data[3] % VRING_BURST + 1);
	free(halves[0]);
	free(halves[1]);
	return 0;
}
