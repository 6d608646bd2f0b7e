/*
 * The only road into a vhost-user peer's memory: the table of regions it shared, checked and
 * mapped, as a struct dma (guest physical addresses) and by the front end's user addresses (ring
 * addresses).
 *
 * Descriptors must be tmpfs or hugetlbfs (memfd is one or the other), so that no access waits for a
 * disk, and sealed against shrinking, so that a page cannot be cut off under us; the second rule
 * can be waived for a foreign front end by its port's configuration. A page can still be lost (hole
 * punched and no huge page left, or an unsealed file truncated): the SIGBUS handler then lays
 * anonymous memory over the region, notes the fault and lets the access go on; the fault's owner
 * is told by fault_fd and breaks that one peer.
 *
 * Threads: the control thread changes the table, data threads translate. Adding a region is safe at
 * any time. Replacing and removing are not: every ring of the peer is stopped first, its data
 * thread having said so (vhost_backend does this), and the generation is raised so that stale
 * windows are looked up again.
 */
#ifndef VHOST_USER_PEER_MEMORY_H
#define VHOST_USER_PEER_MEMORY_H

#include "core/dma.h"
#include "vhost-user/vhost_msg.h"
#include "vhost-user/vring.h"

#define PEER_MEMORY_MAX_REGIONS 32u
#define PEER_MEMORY_PAGE 4096u /* granularity of regions, bytes */
/*
 * Address space is shared by all peers, and files may be sparse. Each peer may map this much for
 * sure (256 of them fit); what goes beyond, for the largest guests, comes out of one common pool.
 */
#define PEER_MEMORY_OWN (256 * GIB)
#define PEER_MEMORY_POOL (16 * 1024 * GIB)
/*
 * Whoever lets go of a file last frees its pages, which takes a third of a second for a GiB: mappings
 * of this size and more are left to be unmapped where nobody waits for it.
 */
#define PEER_MEMORY_LARGE (16 * MIB)
#define PEER_MEMORY_MAX_DEPARTED 64u /* more than one message can replace */

struct peer_region {
	uint64_t gpa;
	uint64_t user;
	uint64_t size; /* bytes */
	uint8_t *hva;
	void *map;	 /* what was mapped: starts on a page of the file's size */
	uint64_t map_size;
	int slot; /* in the SIGBUS handler's table */
};

struct peer_mapping {
	void *at;
	uint64_t bytes;
};

struct peer_memory {
	struct dma dma; /* guest physical addresses */
	struct peer_region regions[PEER_MEMORY_MAX_REGIONS];
	_Atomic uint32_t count;
	uint64_t mapped; /* bytes of address space */
	unsigned int departed_count;
	struct peer_mapping departed[PEER_MEMORY_MAX_DEPARTED];
	bool allow_unsealed;
	_Atomic int fault;		/* enum vhost_fault, set by the SIGBUS handler */
	int fault_fd;			/* eventfd, readable once fault is set */
	_Atomic uint64_t lookup_misses; /* addresses that were not in the table */
};

/*
 * Installs the process's SIGBUS handler: once, from main(), before any peer; further calls do
 * nothing. A SIGBUS that is not a peer's goes where it went before. 0 or -errno.
 */
must_check int peer_memory_install_handler(void);

/* Control thread, all of them. 0 or -errno. */
must_check int peer_memory_init(struct peer_memory *pm, bool allow_unsealed);
/* Unmaps all. No ring may be running. */
void peer_memory_fini(struct peer_memory *pm);

/*
 * Replaces the table (SET_MEM_TABLE): no ring may be running. fds stay the caller's and may be
 * closed. With a fault the table is empty afterwards.
 */
enum vhost_fault peer_memory_set_table(struct peer_memory *pm, const struct vhost_msg_memory *table,
				       const int *fds);

/* ADD_MEM_REG; rings may be running. With a fault the table is as before. */
enum vhost_fault peer_memory_add(struct peer_memory *pm, const struct vhost_msg_region *region,
				 int fd);

/* REM_MEM_REG: the region with this gpa, user address and size. No ring may be running. */
enum vhost_fault peer_memory_remove(struct peer_memory *pm, const struct vhost_msg_region *region);

/* Forgets all regions and the fault: the next session starts afresh. No ring may be running. */
void peer_memory_clear(struct peer_memory *pm);

/*
 * The large mappings of regions that are gone since the last call: the caller's to unmap, on any
 * thread. Room for PEER_MEMORY_MAX_DEPARTED. How many. Those never asked for are unmapped by fini.
 */
unsigned int peer_memory_take_departed(struct peer_memory *pm, struct peer_mapping *departed);

static inline enum vhost_fault peer_memory_fault(const struct peer_memory *pm)
{
	return (enum vhost_fault)atomic_load_explicit(&pm->fault, memory_order_acquire);
}

/* Host address of [user, user + len) when one region holds it whole, else NULL. *gpa: of its
 * start; may be NULL. Control thread. */
void *peer_memory_user_ptr(const struct peer_memory *pm, uint64_t user, uint64_t len, gpa_t *gpa);

/* Finds the parts of a ring given by user addresses; checks size, alignment and bounds.
 * used_gpa: for the dirty log. Control thread. */
enum vhost_fault peer_memory_ring(const struct peer_memory *pm, uint32_t size,
				  const struct vring_addrs *addrs, struct vring_parts *parts,
				  gpa_t *used_gpa);

#endif
