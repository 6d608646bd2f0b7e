/*
 * The one registry of guest RAM. KVM slots, VFIO DMA maps, vhost-user memory tables and dirty
 * logs are listeners of it; adding a slot replays to all, adding a listener replays all slots.
 *
 * Structure (slots, listeners) changes only on the io thread with the vCPUs paused or not yet
 * started; access functions may be called by any thread meanwhile.
 */
#ifndef CORE_GUEST_MEMORY_H
#define CORE_GUEST_MEMORY_H

#include <sys/queue.h>

#include "core/bits.h"

#define GUEST_MEMORY_MAX_SLOTS 32u

/*
 * A slot: `size` bytes of guest RAM at gpa, mapped at hva, backed by fd at fd_offset.
 * gpa, hva and fd_offset are congruent modulo the largest page size that fits, so second-level
 * mappings can be large. fd is a memfd sealed with F_SEAL_SHRINK|GROW|SEAL.
 */
struct mem_slot {
	uint32_t id; /* stable, 0..GUEST_MEMORY_MAX_SLOTS-1: usable as the KVM slot number */
	gpa_t gpa;
	uint64_t size; /* bytes, multiple of page_size */
	uint8_t *hva;
	int fd;
	uint64_t fd_offset; /* bytes */
	uint64_t page_size; /* bytes: 4 KiB, 2 MiB or 1 GiB */
	bool read_only;	    /* for the guest (KVM_MEM_READONLY) */
	_Atomic uint64_t *dirty; /* bitmap, one bit per 4 KiB; NULL while not logging */
};

struct mem_listener {
	const char *name;
	/* Both on the io thread. add: 0 or -errno; a failure undoes the slot for the others. */
	int (*add)(struct mem_listener *listener, const struct mem_slot *slot);
	void (*remove)(struct mem_listener *listener, const struct mem_slot *slot);
	/* Writes must be logged from now on / need not be any more; may be NULL. */
	void (*log)(struct mem_listener *listener, bool on);
	TAILQ_ENTRY(mem_listener) link; /* registry's */
};

struct guest_memory;

struct guest_memory *guest_memory_create(void); /* NULL: out of memory */
/* Removes every slot from every listener, then unmaps and closes. */
void guest_memory_destroy(struct guest_memory *gm);

struct mem_slot_request {
	gpa_t gpa;
	uint64_t size;	    /* bytes */
	uint64_t page_size; /* bytes: 4 KiB, 2 MiB or 1 GiB; above 4 KiB from hugetlb */
	bool prefault;	    /* touch every page now */
	const char *name;   /* of the memfd, shown in /proc */
};

/*
 * Creates a memfd, maps it and tells the listeners. 0 or -errno with a line in `why`: for huge
 * pages "need N, have M, do this".
 */
must_check int guest_memory_add_slot(struct guest_memory *gm, const struct mem_slot_request *req,
				     char *why, size_t why_size);

must_check int guest_memory_add_listener(struct guest_memory *gm, struct mem_listener *listener);
/* Calls remove for each slot, in reverse order. */
void guest_memory_remove_listener(struct guest_memory *gm, struct mem_listener *listener);

unsigned int guest_memory_slot_count(const struct guest_memory *gm);
const struct mem_slot *guest_memory_slot(const struct guest_memory *gm, unsigned int index);
uint64_t guest_memory_total(const struct guest_memory *gm); /* bytes */

/* The slot that holds all of [gpa, gpa + len), or NULL. */
const struct mem_slot *guest_memory_find(const struct guest_memory *gm, gpa_t gpa, uint64_t len);

/* Host address of [gpa, gpa + len) when one slot holds it whole, else NULL. Whoever writes
 * through it calls guest_memory_dirtied afterwards. */
void *guest_memory_ptr(const struct guest_memory *gm, gpa_t gpa, uint64_t len);

/* Copies; may cross adjoining slots. 0 or -EFAULT (nothing is copied then). write dirties. */
must_check int guest_memory_read(const struct guest_memory *gm, gpa_t gpa, void *buf, uint64_t len);
must_check int guest_memory_write(struct guest_memory *gm, gpa_t gpa, const void *buf, uint64_t len);

/*
 * The dirty hook: every host-side write to guest RAM ends here. Cheap when not logging.
 * Any thread.
 */
void guest_memory_dirtied(const struct guest_memory *gm, gpa_t gpa, uint64_t len);

must_check int guest_memory_log_start(struct guest_memory *gm); /* io thread; -EALREADY, -ENOMEM */
void guest_memory_log_stop(struct guest_memory *gm);
/* Moves slot's bits into `bitmap` (size / 4 KiB bits, rounded up to 64) and clears them. */
must_check int guest_memory_log_fetch(struct guest_memory *gm, const struct mem_slot *slot,
				      uint64_t *bitmap, size_t words);

#endif
