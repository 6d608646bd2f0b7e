/*
 * The process's SIGBUS handler: mappings of peers' memory are entered here, and an access to one
 * whose page is gone is turned into a fault of that peer instead of our end.
 * Used by peer_memory only.
 */
#ifndef VHOST_USER_PEER_SIGBUS_H
#define VHOST_USER_PEER_SIGBUS_H

#include "core/bits.h"

#define PEER_SIGBUS_SLOTS 8192 /* mappings at a time: 32 of each of 256 peers */

must_check int peer_sigbus_install(void); /* 0 or -errno; again: nothing to do */

/*
 * Enters a mapping of pages of so many bytes. On a fault in it, *fault becomes `value` and 8 bytes
 * are written to notify_fd. Control thread. The slot, or -ENOSPC.
 */
must_check int peer_sigbus_enter(void *map, uint64_t size, uint64_t page, _Atomic int *fault,
				 int value, int notify_fd);
/* Before the mapping is removed, when no thread uses it any more. Control thread. */
void peer_sigbus_leave(int slot);

#endif
