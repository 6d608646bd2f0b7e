/*
 * Slots of guest RAM as KVM's second level of translation sees them: one KVM slot each, and its
 * dirty log. Large mappings need no more than the congruence that guest_memory keeps.
 * io thread.
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

/* Starts the log of the guest's own writes (KVM) together with the host's (guest_memory). */
must_check int ept_log_start(struct ept *ept);
void ept_log_stop(struct ept *ept);
/* Both logs of one slot, ORed into `bitmap`, and cleared; as guest_memory_log_fetch. */
must_check int ept_log_fetch(struct ept *ept, const struct mem_slot *slot, uint64_t *bitmap,
			     size_t words);

#endif
