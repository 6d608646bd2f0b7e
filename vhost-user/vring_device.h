/*
 * The device's side of a split virtqueue: takes chains the driver made available, gives them back
 * as used. The switch's data path and the emulated virtio devices stand on it.
 *
 * One thread at a time works on a ring; handing it to another needs the caller's own
 * synchronization. No allocation, no system call, no descriptor: kicks and interrupts are the
 * caller's (call vring_device_should_notify, then write the eventfd or raise the interrupt).
 *
 * Everything read from the ring is hostile: read once, checked, used. What is wrong breaks the ring:
 * `fault` says why, and from then on it yields nothing until it is started anew.
 *
 *	struct vring_sg sg = {.iov = iov, .addr = addr, .capacity = N};
 *	n = vring_device_pop(vr, chains, 32, &sg);
 *	for each chain: copy; vring_device_put(vr, &chain, bytes_written);
 *	vring_device_publish(vr);
 *	if (vring_device_should_notify(vr)) write(call_fd, ...);
 */
#ifndef VHOST_USER_VRING_DEVICE_H
#define VHOST_USER_VRING_DEVICE_H

#include <sys/uio.h>

#include "core/dma.h"
#include "vhost-user/vring.h"

#define VRING_BURST 64u /* chains one pop yields at most */

/* A chain taken from the ring. iov[] = `readable` pieces to read, then `writable` ones to write. */
struct vring_chain {
	struct iovec *iov;     /* points into the vring_sg it was popped into */
	const uint64_t *addr;  /* DMA address of each piece, for the dirty log */
	uint32_t readable_len; /* bytes */
	uint32_t writable_len; /* bytes */
	uint16_t readable;     /* pieces */
	uint16_t writable;     /* pieces */
	uint16_t head;
};

/* Room for the pieces of a burst of chains, the caller's. */
struct vring_sg {
	struct iovec *iov;
	uint64_t *addr;
	unsigned int capacity; /* of both arrays; a chain of more pieces breaks the ring */
	unsigned int used;     /* set by pop */
};

struct vring_device {
	struct dma *dma;
	struct vring_parts parts;
	uint32_t size;
	uint16_t avail_seen; /* the driver's idx as last read */
	uint16_t next_avail; /* next entry to pop */
	uint16_t next_used;  /* next entry to write */
	uint16_t published;  /* used idx the driver can see */
	uint16_t signalled;  /* used idx when should_notify last looked */
	bool signalled_valid;
	bool event_idx;
	bool indirect;
	bool kicks_off;	    /* the driver has been asked not to kick */
	enum vhost_fault fault;
	struct dma_window window;	/* of buffers */
	struct dma_window table_window; /* of indirect tables */
	uint64_t used_addr; /* DMA address of the used ring, for the dirty log */
};

/* Start with next_avail = the used idx found in memory: right for a device that completes in
 * order, after a crash or with a front end that forgot its base. */
#define VRING_BASE_FROM_USED UINT32_MAX

struct vring_device_config {
	struct dma *dma;	  /* for buffers and indirect tables; outlives the ring */
	struct vring_parts parts; /* checked to hold `size` entries */
	uint32_t size;
	uint32_t base;	    /* next_avail, or VRING_BASE_FROM_USED */
	uint64_t used_addr; /* DMA address of parts.used */
	uint64_t features;  /* negotiated virtio features; EVENT_IDX and INDIRECT_DESC matter */
};

/*
 * Finds the parts of a ring given by DMA addresses (a ring's addresses under virtio-pci; in
 * vhost-user they are user addresses: peer_memory_ring). Checks size, alignment and bounds.
 */
enum vhost_fault vring_device_map(struct dma *dma, uint32_t size, const struct vring_addrs *addrs,
				  struct vring_parts *parts);

/* Takes up work on a ring; the used idx continues where memory says. Kicks are on. */
void vring_device_start(struct vring_device *vr, const struct vring_device_config *config);

/* Chains available now: 0 when broken. Reads the driver's idx. */
unsigned int vring_device_available(struct vring_device *vr);

/*
 * Pops up to `count` (at most VRING_BURST) chains into chains[] and sg. A chain that does not fit
 * into what is left of sg waits for the next call. Fewer than available: full sg, or the ring
 * broke at a chain (those before it are good).
 */
unsigned int vring_device_pop(struct vring_device *vr, struct vring_chain *chains,
			      unsigned int count, struct vring_sg *sg);

/* Puts back the last `count` chains popped, none of which may have been put. */
void vring_device_unpop(struct vring_device *vr, unsigned int count);

/* Reports the writes into the chain's first `written` writable bytes to the dirty log. */
void vring_device_log_chain(struct vring_device *vr, const struct vring_chain *chain,
			    uint32_t written);

/* Writes a used entry; the driver sees it after publish. written: bytes, from the start of the
 * writable pieces. In any order, but each popped chain once. */
static inline void vring_device_put(struct vring_device *vr, const struct vring_chain *chain,
				    uint32_t written)
{
	struct vring_used_elem *elem = &vr->parts.used->ring[vr->next_used & (vr->size - 1)];

	if (__builtin_expect(atomic_load_explicit(&vr->dma->logging, memory_order_relaxed), 0))
		vring_device_log_chain(vr, chain, written);
	elem->id = chain->head;
	elem->len = written;
	vr->next_used++;
}

/* Makes all entries put so far visible at once. */
void vring_device_publish(struct vring_device *vr);

/* Whether the driver wants an interrupt for what was published since the last time asked. */
must_check bool vring_device_should_notify(struct vring_device *vr);

/* Asks the driver not to kick (it may all the same): while polling. */
void vring_device_kicks_disable(struct vring_device *vr);

/* Asks for a kick at the next chain. True: a chain came meanwhile, poll again before sleeping. */
must_check bool vring_device_kicks_enable(struct vring_device *vr);

/* The next chain the device would take: the ring's base when it is stopped. All popped chains
 * should have been put (and published) by then, or they are lost. */
static inline uint16_t vring_device_base(const struct vring_device *vr)
{
	return vr->next_avail;
}

/* Breaks the ring: the first reason stays. For faults the owner of the ring finds in chains. */
void vring_device_break(struct vring_device *vr, enum vhost_fault fault);

#endif
