/*
 * Split virtqueues (virtio 1.2 §2.7): sizes, alignment and index arithmetic, for both sides of a
 * ring. The structures are the kernel's (struct vring_desc, vring_avail, vring_used).
 * Pure; any thread.
 */
#ifndef VHOST_USER_VRING_H
#define VHOST_USER_VRING_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "core/bits.h"
#include "vhost-user/vhost_fault.h"

#define VRING_MAX_SIZE 32768u /* descriptors; §2.7 */
#define VRING_DESC_ALIGN 16u  /* bytes */
#define VRING_AVAIL_ALIGN 2u
#define VRING_USED_ALIGN 4u

/* Where the three parts of a ring are, in whatever address space the holder speaks of. */
struct vring_addrs {
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
};

/* The same as host pointers: each part is contiguous. */
struct vring_parts {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
};

/* Bytes of each part, the event index fields included. */
static inline uint64_t vring_desc_bytes(uint32_t size)
{
	return 16ull * size;
}

static inline uint64_t vring_avail_bytes(uint32_t size)
{
	return 6ull + 2ull * size;
}

static inline uint64_t vring_used_bytes(uint32_t size)
{
	return 6ull + 8ull * size;
}

/* Offsets of the parts in one block, each part aligned; and the block's bytes. */
uint64_t vring_block_layout(uint32_t size, struct vring_addrs *offsets);

/* Size and alignment, and that no part wraps around the address space. */
enum vhost_fault vring_check(uint32_t size, const struct vring_addrs *addrs);

/* §2.7.10: the driver's wish for an interrupt, and the device's for a kick (§2.7.7). */
static inline __virtio16 *vring_used_event_ptr(struct vring_avail *avail, uint32_t size)
{
	return &avail->ring[size];
}

static inline __virtio16 *vring_avail_event_ptr(struct vring_used *used, uint32_t size)
{
	return (__virtio16 *)(void *)&used->ring[size];
}

/* Whether moving the index from `before` to `now` passes `event`. All modulo 2^16. */
static inline bool vring_event_passed(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

#endif
