#include "vhost-user/vring.h"

uint64_t vring_block_layout(uint32_t size, struct vring_addrs *offsets)
{
	offsets->desc = 0;
	offsets->avail = vring_desc_bytes(size);
	offsets->used = ALIGN_UP(offsets->avail + vring_avail_bytes(size), VRING_USED_ALIGN);
	return ALIGN_UP(offsets->used + vring_used_bytes(size), VRING_DESC_ALIGN);
}

static bool wraps(uint64_t addr, uint64_t bytes)
{
	return addr + bytes < addr;
}

enum vhost_fault vring_check(uint32_t size, const struct vring_addrs *addrs)
{
	if (!is_power_of_two(size) || size > VRING_MAX_SIZE)
		return VHOST_FAULT_RING_SIZE;
	if (addrs->desc % VRING_DESC_ALIGN || addrs->avail % VRING_AVAIL_ALIGN ||
	    addrs->used % VRING_USED_ALIGN)
		return VHOST_FAULT_RING_ALIGN;
	if (wraps(addrs->desc, vring_desc_bytes(size)) ||
	    wraps(addrs->avail, vring_avail_bytes(size)) ||
	    wraps(addrs->used, vring_used_bytes(size)))
		return VHOST_FAULT_RING_ADDRESS;
	return VHOST_FAULT_NONE;
}
