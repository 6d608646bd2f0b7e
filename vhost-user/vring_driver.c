#include "vhost-user/vring_driver.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define NO_SLOT UINT16_MAX

/* Kept out of the shared memory: the device could rewrite what is there. */
struct vring_driver_slot {
	void *token;
	uint16_t count; /* descriptors of the chain that starts here; 0: none does */
	uint16_t next;	/* in the chain, or in the free list */
};

uint64_t vring_driver_bytes(uint32_t size)
{
	struct vring_addrs offsets;

	return vring_block_layout(size, &offsets);
}

int vring_driver_init(struct vring_driver *vd, uint32_t size, void *block, uint64_t addr,
		      uint64_t features)
{
	struct vring_addrs offsets;

	memset(vd, 0, sizeof(*vd));
	vring_block_layout(size, &offsets);
	vd->addrs.desc = addr + offsets.desc;
	vd->addrs.avail = addr + offsets.avail;
	vd->addrs.used = addr + offsets.used;
	if (vring_check(size, &vd->addrs))
		return -EINVAL;
	vd->parts.desc = block;
	vd->parts.avail = (void *)((char *)block + offsets.avail);
	vd->parts.used = (void *)((char *)block + offsets.used);
	vd->size = size;
	vd->event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1;
	vd->slots = calloc(size, sizeof(*vd->slots));
	if (!vd->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < size; i++)
		vd->slots[i].next = i + 1 < size ? (uint16_t)(i + 1) : NO_SLOT;
	vd->free_count = size;
	return 0;
}

void vring_driver_fini(struct vring_driver *vd)
{
	free(vd->slots);
	vd->slots = NULL;
}

static void desc_write(struct vring_desc *desc, const struct vring_buf *buf, uint16_t flags,
		       uint16_t next)
{
	desc->addr = buf->addr;
	desc->len = buf->len;
	desc->flags = flags;
	desc->next = next;
}

static void make_available(struct vring_driver *vd, uint16_t head, uint16_t count, void *token)
{
	vd->slots[head].token = token;
	vd->slots[head].count = count;
	vd->free_count -= count;
	vd->parts.avail->ring[vd->next_avail & (vd->size - 1)] = head;
	vd->next_avail++;
}

int vring_driver_add(struct vring_driver *vd, const struct vring_buf *bufs, unsigned int out,
		     unsigned int in, void *token)
{
	uint16_t head = vd->free_head;
	uint16_t at = head;

	if (out + in == 0)
		return -EINVAL;
	if (out > vd->size || in > vd->size || out + in > vd->free_count)
		return -ENOSPC;
	for (unsigned int i = 0; i < out + in; i++) {
		uint16_t flags = i < out ? 0 : VRING_DESC_F_WRITE;
		uint16_t next = vd->slots[at].next;

		if (i + 1 < out + in)
			desc_write(&vd->parts.desc[at], &bufs[i], flags | VRING_DESC_F_NEXT, next);
		else
			desc_write(&vd->parts.desc[at], &bufs[i], flags, 0);
		at = next;
	}
	vd->free_head = at;
	make_available(vd, head, (uint16_t)(out + in), token);
	return 0;
}

int vring_driver_add_indirect(struct vring_driver *vd, const struct vring_buf *bufs,
			      unsigned int out, unsigned int in, void *token,
			      struct vring_desc *table, uint64_t table_addr)
{
	uint16_t head = vd->free_head;
	struct vring_buf whole = { table_addr, (out + in) * (uint32_t)sizeof(*table) };

	if (out + in == 0)
		return -EINVAL;
	if (!vd->free_count || out > vd->size || in > vd->size)
		return -ENOSPC;
	for (unsigned int i = 0; i < out + in; i++) {
		uint16_t flags = i < out ? 0 : VRING_DESC_F_WRITE;

		if (i + 1 < out + in)
			flags |= VRING_DESC_F_NEXT;
		desc_write(&table[i], &bufs[i], flags, (uint16_t)(i + 1));
	}
	desc_write(&vd->parts.desc[head], &whole, VRING_DESC_F_INDIRECT, 0);
	vd->free_head = vd->slots[head].next;
	make_available(vd, head, 1, token);
	return 0;
}

void vring_driver_publish(struct vring_driver *vd)
{
	vd->published = vd->next_avail;
	/* The entries and descriptors before the index: virtio 1.2 §2.7.13.3. */
	__atomic_store_n(&vd->parts.avail->idx, vd->published, __ATOMIC_RELEASE);
}

bool vring_driver_should_kick(struct vring_driver *vd)
{
	uint16_t before = vd->kicked;
	uint16_t event;

	if (vd->published == before)
		return false;
	vd->kicked = vd->published;
	/* Our index before the device's wish is read: §2.7.13.4.1. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!vd->event_idx)
		return !(__atomic_load_n(&vd->parts.used->flags, __ATOMIC_RELAXED) &
			 VRING_USED_F_NO_NOTIFY);
	event = __atomic_load_n(vring_avail_event_ptr(vd->parts.used, vd->size), __ATOMIC_RELAXED);
	return vring_event_passed(event, vd->published, before);
}

static void free_chain(struct vring_driver *vd, uint16_t head)
{
	uint16_t count = vd->slots[head].count;
	uint16_t last = head;

	for (uint16_t i = 1; i < count; i++)
		last = vd->slots[last].next;
	vd->slots[last].next = vd->free_head;
	vd->slots[head].count = 0;
	vd->free_head = head;
	vd->free_count += count;
}

bool vring_driver_get_used(struct vring_driver *vd, void **token, uint32_t *written)
{
	uint16_t idx = __atomic_load_n(&vd->parts.used->idx, __ATOMIC_ACQUIRE);
	const struct vring_used_elem *elem = &vd->parts.used->ring[vd->next_used & (vd->size - 1)];
	uint32_t id;

	if (vd->fault || idx == vd->next_used)
		return false;
	if ((uint16_t)(idx - vd->next_used) > (uint16_t)(vd->published - vd->next_used)) {
		vd->fault = VHOST_FAULT_RING_USED_IDX;
		return false;
	}
	id = __atomic_load_n(&elem->id, __ATOMIC_RELAXED);
	if (id >= vd->size || !vd->slots[id].count) {
		vd->fault = VHOST_FAULT_RING_USED_ID;
		return false;
	}
	*written = __atomic_load_n(&elem->len, __ATOMIC_RELAXED);
	*token = vd->slots[id].token;
	free_chain(vd, (uint16_t)id);
	vd->next_used++;
	/* §2.7.7.2: the event moves on as long as interrupts are wanted. */
	if (vd->event_idx && !vd->interrupts_off)
		__atomic_store_n(vring_used_event_ptr(vd->parts.avail, vd->size), vd->next_used,
				 __ATOMIC_RELAXED);
	return true;
}

void vring_driver_interrupts_disable(struct vring_driver *vd)
{
	vd->interrupts_off = true;
	/* With the event index it is enough to leave the event behind. */
	if (!vd->event_idx)
		__atomic_store_n(&vd->parts.avail->flags, VRING_AVAIL_F_NO_INTERRUPT,
				 __ATOMIC_RELAXED);
}

bool vring_driver_interrupts_enable(struct vring_driver *vd)
{
	vd->interrupts_off = false;
	if (vd->event_idx)
		__atomic_store_n(vring_used_event_ptr(vd->parts.avail, vd->size), vd->next_used,
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n(&vd->parts.avail->flags, 0, __ATOMIC_RELAXED);
	/* Our wish before the device's index is read, or its last interrupt could be missed. */
	atomic_thread_fence(memory_order_seq_cst);
	return __atomic_load_n(&vd->parts.used->idx, __ATOMIC_RELAXED) != vd->next_used;
}
