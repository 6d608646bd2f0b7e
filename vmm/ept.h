/*
 * Slots of guest RAM as KVM's second level of translation sees them: one KVM slot each, and its
 * dirty log, which runs whenever guest_memory's does. Large mappings need no more than the
 * congruence that guest_memory keeps. io thread.
 */
#ifndef VMM_EPT_H
#define VMM_EPT_H

#include "core/guest_memory.h"

struct ept {
	struct mem_listener listener;
	struct guest_memory *gm; /* borrowed */
	int vm_fd;		 /* borrowed */
	bool logging;
};

/* Gives every slot to KVM, now and later. 0 or -errno. */
must_check int ept_init(struct ept *ept, struct guest_memory *gm, int vm_fd);
void ept_fini(struct ept *ept);

/*
 * Maps all of the RAM at the second level now, where the kernel can: by read faults on a vCPU that
 * is not running. -ENOTSUP: it cannot, and the guest's own accesses will.
 */
must_check int ept_prefault(struct ept *ept, int vcpu_fd);

/*
 * Both logs of one slot (the guest's own writes, and the host's), ORed into `bitmap`, and cleared;
 * as guest_memory_log_fetch.
 */
must_check int ept_log_fetch(struct ept *ept, const struct mem_slot *slot, uint64_t *bitmap,
			     size_t words);

#endif
