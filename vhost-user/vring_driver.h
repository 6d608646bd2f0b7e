/*
 * The driver's side of a split virtqueue: e1000's road to the switch, and the tests' guest. One
 * thread at a time. The device is a peer: what it writes is checked like any peer's input.
 */
#ifndef VHOST_USER_VRING_DRIVER_H
#define VHOST_USER_VRING_DRIVER_H

#include "vhost-user/vring.h"

/* A piece of a buffer, by the address the device knows it by. */
struct vring_buf {
	uint64_t addr;
	uint32_t len;
};

struct vring_driver {
	struct vring_parts parts;
	struct vring_addrs addrs; /* what the device must be told */
	uint32_t size;
	uint32_t free_count; /* descriptors */
	uint16_t free_head;
	uint16_t next_avail; /* next entry to write */
	uint16_t published;  /* avail idx the device can see */
	uint16_t kicked;     /* avail idx when should_kick last looked */
	uint16_t next_used;  /* next entry to read */
	bool event_idx;
	bool interrupts_off;
	enum vhost_fault fault;
	struct vring_driver_slot *slots; /* one a descriptor: what its head stands for */
};

/* Bytes of memory a ring takes; it must be aligned to 16 and zeroed. */
uint64_t vring_driver_bytes(uint32_t size);

/* Lays a ring into `block`, known to the device as `addr`. The block stays the caller's.
 * -EINVAL: size; -ENOMEM. */
must_check int vring_driver_init(struct vring_driver *vd, uint32_t size, void *block,
				 uint64_t addr, uint64_t features);
void vring_driver_fini(struct vring_driver *vd);

/*
 * Offers a chain: `out` pieces the device reads, then `in` pieces it writes. `token` comes back
 * with it. The device sees it after publish. -ENOSPC: too few descriptors; -EINVAL: no piece.
 */
must_check int vring_driver_add(struct vring_driver *vd, const struct vring_buf *bufs,
				unsigned int out, unsigned int in, void *token);

/*
 * The same by one indirect descriptor. `table`, known to the device as table_addr, has room for
 * out + in descriptors and stays untouched until the chain comes back.
 */
must_check int vring_driver_add_indirect(struct vring_driver *vd, const struct vring_buf *bufs,
					 unsigned int out, unsigned int in, void *token,
					 struct vring_desc *table, uint64_t table_addr);

void vring_driver_publish(struct vring_driver *vd);

/* Whether the device wants a kick for what was published since the last time asked. */
must_check bool vring_driver_should_kick(struct vring_driver *vd);

/* The next chain the device is done with: false if there is none, or `fault` tells that the device
 * returned something it was not given. */
must_check bool vring_driver_get_used(struct vring_driver *vd, void **token, uint32_t *written);

void vring_driver_interrupts_disable(struct vring_driver *vd);
/* True: a chain came back meanwhile, look again before sleeping. */
must_check bool vring_driver_interrupts_enable(struct vring_driver *vd);

#endif
