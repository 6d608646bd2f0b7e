#include "vhost-user/vring_device.h"

#include <stdatomic.h>

void vring_device_break(struct vring_device *vr, enum vhost_fault fault)
{
	if (!vr->fault)
		vr->fault = fault;
}

enum vhost_fault vring_device_map(struct dma *dma, uint32_t size, const struct vring_addrs *addrs,
				  struct vring_parts *parts)
{
	struct dma_window window = {0};
	enum vhost_fault fault = vring_check(size, addrs);

	if (fault)
		return fault;
	parts->desc = dma_translate_all(dma, &window, addrs->desc, vring_desc_bytes(size),
					DMA_READ);
	parts->avail = dma_translate_all(dma, &window, addrs->avail, vring_avail_bytes(size),
					 DMA_READ);
	parts->used = dma_translate_all(dma, &window, addrs->used, vring_used_bytes(size),
					DMA_READ | DMA_WRITE);
	if (!parts->desc || !parts->avail || !parts->used)
		return VHOST_FAULT_RING_ADDRESS;
	return VHOST_FAULT_NONE;
}

/* Reports a write into the used ring: offset and length within it. */
static void log_used(struct vring_device *vr, uint64_t offset, uint64_t len)
{
	dma_dirtied(vr->dma, vr->used_addr + offset, len);
}

static void avail_event_write(struct vring_device *vr, uint16_t event)
{
	__virtio16 *p = vring_avail_event_ptr(vr->parts.used, vr->size);

	__atomic_store_n(p, event, __ATOMIC_RELAXED);
	log_used(vr, (uint64_t)((char *)p - (char *)vr->parts.used), sizeof(*p));
}

static void used_flags_write(struct vring_device *vr, uint16_t flags)
{
	__atomic_store_n(&vr->parts.used->flags, flags, __ATOMIC_RELAXED);
	log_used(vr, offsetof(struct vring_used, flags), sizeof(vr->parts.used->flags));
}

void vring_device_start(struct vring_device *vr, const struct vring_device_config *config)
{
	memset(vr, 0, sizeof(*vr));
	vr->dma = config->dma;
	vr->parts = config->parts;
	vr->size = config->size;
	vr->used_addr = config->used_addr;
	vr->event_idx = config->features >> VIRTIO_RING_F_EVENT_IDX & 1;
	vr->indirect = config->features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	vr->next_used = __atomic_load_n(&vr->parts.used->idx, __ATOMIC_RELAXED);
	vr->next_avail = config->base == VRING_BASE_FROM_USED ? vr->next_used :
								 (uint16_t)config->base;
	vr->avail_seen = vr->next_avail;
	vr->published = vr->next_used;
	vr->signalled = vr->next_used;
	if (vr->event_idx)
		avail_event_write(vr, vr->next_avail);
	used_flags_write(vr, 0);
	/* The device's first look at the driver's index must not come before its wish for kicks. */
	atomic_thread_fence(memory_order_seq_cst);
}

unsigned int vring_device_available(struct vring_device *vr)
{
	/* Entries and descriptors are read after the index that covers them. */
	uint16_t idx = __atomic_load_n(&vr->parts.avail->idx, __ATOMIC_ACQUIRE);
	uint16_t n = (uint16_t)(idx - vr->next_avail);

	if (vr->fault)
		return 0;
	if (__builtin_expect(n > vr->size, 0)) {
		vring_device_break(vr, VHOST_FAULT_RING_AVAIL_IDX);
		return 0;
	}
	vr->avail_seen = idx;
	return n;
}

struct desc_copy {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/* Fetches a descriptor exactly once: what is checked is what is used. */
static inline struct desc_copy desc_fetch(const struct vring_desc *desc)
{
	uint64_t rest = __atomic_load_n((const uint64_t *)(const void *)&desc->len,
					__ATOMIC_RELAXED);

	return (struct desc_copy){
		.addr = __atomic_load_n(&desc->addr, __ATOMIC_RELAXED),
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
	};
}

/* A walk along one chain. */
struct walk {
	struct vring_sg *sg;
	struct vring_chain *chain;
	const struct vring_desc *table;
	uint32_t entries; /* of the table */
	bool in_indirect;
	bool no_room; /* sg is full */
};

/* Appends a buffer: one piece, or more where host memory is not contiguous. */
static inline enum vhost_fault walk_add(struct vring_device *vr, struct walk *w, uint64_t addr,
					uint32_t len, bool writable)
{
	unsigned int perm = writable ? DMA_WRITE : DMA_READ;
	struct vring_chain *chain = w->chain;
	uint32_t *total = writable ? &chain->writable_len : &chain->readable_len;

	if (__builtin_expect(len == 0, 0))
		return VHOST_FAULT_RING_ZERO_LENGTH;
	if (!writable && chain->writable)
		return VHOST_FAULT_RING_ORDER;
	if (__builtin_add_overflow(*total, len, total))
		return VHOST_FAULT_RING_TOO_BIG;
	while (len) {
		uint64_t got = len;
		void *hva = dma_translate(vr->dma, &vr->window, addr, &got, perm);
		unsigned int at = w->sg->used;

		if (__builtin_expect(!hva, 0))
			return VHOST_FAULT_RING_BUFFER;
		if (__builtin_expect(at == w->sg->capacity, 0)) {
			w->no_room = true;
			return VHOST_FAULT_RING_LONG;
		}
		w->sg->iov[at].iov_base = hva;
		w->sg->iov[at].iov_len = got;
		w->sg->addr[at] = addr;
		w->sg->used++;
		if (writable)
			chain->writable++;
		else
			chain->readable++;
		addr += got;
		len -= (uint32_t)got;
	}
	return VHOST_FAULT_NONE;
}

/* Goes on in the indirect table that the descriptor names: virtio 1.2 §2.7.5.3. */
static enum vhost_fault walk_indirect(struct vring_device *vr, struct walk *w,
				      const struct desc_copy *d)
{
	if (!vr->indirect)
		return VHOST_FAULT_RING_INDIRECT_OFF;
	if (w->in_indirect || d->flags & VRING_DESC_F_NEXT)
		return VHOST_FAULT_RING_INDIRECT_NESTED;
	if (!d->len || d->len % sizeof(*w->table) ||
	    d->len > VRING_MAX_SIZE * sizeof(*w->table))
		return VHOST_FAULT_RING_INDIRECT_LENGTH;
	w->table = dma_translate_all(vr->dma, &vr->table_window, d->addr, d->len, DMA_READ);
	/* The specification asks for no alignment, but every driver aligns it, and half a
	 * descriptor is fetched at once. */
	if (!w->table || (uintptr_t)w->table % sizeof(uint64_t))
		return VHOST_FAULT_RING_INDIRECT_TABLE;
	w->entries = d->len / sizeof(*w->table);
	w->in_indirect = true;
	return VHOST_FAULT_NONE;
}

static inline enum vhost_fault walk_chain(struct vring_device *vr, struct walk *w, uint32_t index)
{
	uint32_t left = w->entries;
	enum vhost_fault fault;

	if (__builtin_expect(index >= w->entries, 0))
		return VHOST_FAULT_RING_HEAD;
	for (;;) {
		struct desc_copy d = desc_fetch(&w->table[index]);

		if (__builtin_expect(left-- == 0, 0))
			return VHOST_FAULT_RING_LOOP;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			fault = walk_indirect(vr, w, &d);
			if (fault)
				return fault;
			left = w->entries;
			index = 0;
			continue;
		}
		fault = walk_add(vr, w, d.addr, d.len, d.flags & VRING_DESC_F_WRITE);
		if (fault)
			return fault;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return VHOST_FAULT_NONE;
		index = d.next;
		if (__builtin_expect(index >= w->entries, 0))
			return VHOST_FAULT_RING_NEXT;
	}
}

/* True: popped. False: no room for it in a sg that already holds others, or the ring broke. */
static inline bool pop_one(struct vring_device *vr, uint16_t head, struct vring_chain *chain,
			   struct vring_sg *sg)
{
	unsigned int start = sg->used;
	struct walk w = {
		.sg = sg,
		.chain = chain,
		.table = vr->parts.desc,
		.entries = vr->size,
	};
	enum vhost_fault fault;

	*chain = (struct vring_chain){
		.iov = sg->iov + start,
		.addr = sg->addr + start,
		.head = head,
	};
	fault = walk_chain(vr, &w, head);
	if (__builtin_expect(fault == VHOST_FAULT_NONE, 1))
		return true;
	sg->used = start;
	if (!w.no_room || start == 0)
		vring_device_break(vr, fault);
	return false;
}

unsigned int vring_device_pop(struct vring_device *vr, struct vring_chain *chains,
			      unsigned int count, struct vring_sg *sg)
{
	unsigned int n = (uint16_t)(vr->avail_seen - vr->next_avail);
	uint16_t mask = (uint16_t)(vr->size - 1);
	uint16_t heads[VRING_BURST];
	unsigned int i;

	sg->used = 0;
	count = MIN(count, VRING_BURST);
	/* The index is a cache line the driver keeps writing: read it only when it matters. */
	if (n < count)
		n = vring_device_available(vr);
	if (vr->fault)
		return 0;
	n = MIN(n, count);
	for (i = 0; i < n; i++) {
		heads[i] = __atomic_load_n(&vr->parts.avail->ring[(vr->next_avail + i) & mask],
					   __ATOMIC_RELAXED);
		__builtin_prefetch(&vr->parts.desc[heads[i] & mask]);
	}
	for (i = 0; i < n; i++)
		if (!pop_one(vr, heads[i], &chains[i], sg))
			break;
	vr->next_avail += (uint16_t)i;
	return i;
}

void vring_device_unpop(struct vring_device *vr, unsigned int count)
{
	vr->next_avail -= (uint16_t)count;
}

void vring_device_log_chain(struct vring_device *vr, const struct vring_chain *chain,
			    uint32_t written)
{
	for (unsigned int i = chain->readable; i < chain->readable + chain->writable; i++) {
		uint64_t len = MIN(written, chain->iov[i].iov_len);

		if (!len)
			break;
		dma_dirtied(vr->dma, chain->addr[i], len);
		written -= (uint32_t)len;
	}
}

static void log_published(struct vring_device *vr)
{
	uint32_t at = vr->published & (vr->size - 1);
	uint32_t n = (uint16_t)(vr->next_used - vr->published);
	uint32_t first = MIN(n, vr->size - at);
	size_t entry = sizeof(struct vring_used_elem);

	log_used(vr, offsetof(struct vring_used, ring) + at * entry, first * entry);
	if (n > first)
		log_used(vr, offsetof(struct vring_used, ring), (n - first) * entry);
	log_used(vr, offsetof(struct vring_used, idx), sizeof(vr->parts.used->idx));
}

void vring_device_publish(struct vring_device *vr)
{
	if (vr->published == vr->next_used)
		return;
	/* Entries and buffers before the index: §2.7.8.2. */
	__atomic_store_n(&vr->parts.used->idx, vr->next_used, __ATOMIC_RELEASE);
	/* Logged after the write: a copy taken in between is taken again. */
	if (__builtin_expect(atomic_load_explicit(&vr->dma->logging, memory_order_relaxed), 0))
		log_published(vr);
	vr->published = vr->next_used;
}

bool vring_device_should_notify(struct vring_device *vr)
{
	uint16_t before = vr->signalled;
	uint16_t event;

	/* The first time: an interrupt may have been lost with an earlier session. */
	if (__builtin_expect(!vr->signalled_valid, 0)) {
		vr->signalled_valid = true;
		vr->signalled = vr->published;
		return true;
	}
	if (vr->published == before)
		return false;
	vr->signalled = vr->published;
	/* Our index before the driver's wish is read: §2.7.7.1. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!vr->event_idx)
		return !(__atomic_load_n(&vr->parts.avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	event = __atomic_load_n(vring_used_event_ptr(vr->parts.avail, vr->size), __ATOMIC_RELAXED);
	return vring_event_passed(event, vr->published, before);
}

void vring_device_kicks_disable(struct vring_device *vr)
{
	if (vr->kicks_off)
		return;
	vr->kicks_off = true;
	/* With the event index it is enough to leave the event behind: one more kick comes. */
	if (!vr->event_idx)
		used_flags_write(vr, VRING_USED_F_NO_NOTIFY);
}

bool vring_device_kicks_enable(struct vring_device *vr)
{
	vr->kicks_off = false;
	if (vr->event_idx)
		avail_event_write(vr, vr->next_avail);
	else
		used_flags_write(vr, 0);
	/* Our wish before the driver's index is read, or its last kick could be missed. */
	atomic_thread_fence(memory_order_seq_cst);
	return vring_device_available(vr) != 0;
}
