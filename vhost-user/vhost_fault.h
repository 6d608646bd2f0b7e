/*
 * Everything a vhost-user peer or a guest's ring can do wrong, by name. A fault ends the ring or
 * the session it was found in and is counted under its name; it never ends the program.
 * Pure; any thread.
 */
#ifndef VHOST_USER_VHOST_FAULT_H
#define VHOST_USER_VHOST_FAULT_H

enum vhost_fault {
	VHOST_FAULT_NONE = 0,

	/* The session ended without anyone's mistake. */
	VHOST_FAULT_HANGUP,	/* the peer closed the socket, or died */
	VHOST_FAULT_SOCKET,	/* the socket reported an error */
	VHOST_FAULT_NO_MEMORY,	/* the host is out of memory or descriptors */

	/* Messages. */
	VHOST_FAULT_MSG_VERSION,	/* header's version is not 1, or reserved flags are set */
	VHOST_FAULT_MSG_DIRECTION,	/* reply flag where a request is due, or the reverse */
	VHOST_FAULT_MSG_UNKNOWN,	/* no such request */
	VHOST_FAULT_MSG_SIZE,		/* payload size is not the request's */
	VHOST_FAULT_MSG_FDS,		/* number of descriptors is not the request's */
	VHOST_FAULT_MSG_TRUNCATED_FDS,	/* descriptors were lost on the way (MSG_CTRUNC) */
	VHOST_FAULT_MSG_VALUE,		/* a field has a value that is not allowed */
	VHOST_FAULT_MSG_STATE,		/* not now: out of order, or its feature was not negotiated */
	VHOST_FAULT_MSG_UNREAD,		/* the peer does not read what it is sent */
	VHOST_FAULT_MSG_TIMEOUT,	/* an answer, or the rest of a message, did not come in time */
	VHOST_FAULT_FEATURES,		/* features that were not offered */
	VHOST_FAULT_NACK,		/* the peer refused a request of ours */

	/* Memory regions. */
	VHOST_FAULT_MEM_COUNT,		/* too many regions */
	VHOST_FAULT_MEM_ALIGN,		/* address, size or offset not page aligned, or no size */
	VHOST_FAULT_MEM_WRAP,		/* an address range wraps around */
	VHOST_FAULT_MEM_OVERLAP,	/* regions share an address */
	VHOST_FAULT_MEM_FD_TYPE,	/* descriptor is not of tmpfs or hugetlbfs */
	VHOST_FAULT_MEM_FD_SEALS,	/* descriptor is not sealed against shrinking */
	VHOST_FAULT_MEM_FD_SIZE,	/* region reaches beyond the end of its descriptor */
	VHOST_FAULT_MEM_SPACE,		/* more address space than there is for one peer */
	VHOST_FAULT_MEM_MAP,		/* mmap refused */
	VHOST_FAULT_MEM_UNKNOWN,	/* the region to remove does not exist */
	VHOST_FAULT_MEM_GONE,		/* SIGBUS: the peer took a page of it away */

	/* Rings. */
	VHOST_FAULT_RING_INDEX,		/* no such ring */
	VHOST_FAULT_RING_SIZE,		/* not a power of two in 1..32768 */
	VHOST_FAULT_RING_ALIGN,		/* a part is not aligned as virtio 1.2 §2.7 asks */
	VHOST_FAULT_RING_ADDRESS,	/* a part is not wholly inside one memory region */
	VHOST_FAULT_RING_KICK,		/* the kick or call descriptor is of no use */
	VHOST_FAULT_RING_BLOCKED,	/* the call descriptor made a data thread wait */
	VHOST_FAULT_RING_AVAIL_IDX,	/* avail idx ran more than a ring ahead */
	VHOST_FAULT_RING_HEAD,		/* head beyond the descriptor table */
	VHOST_FAULT_RING_NEXT,		/* next beyond the descriptor table */
	VHOST_FAULT_RING_LOOP,		/* chain longer than the table */
	VHOST_FAULT_RING_LONG,		/* chain of more pieces than the device takes */
	VHOST_FAULT_RING_ZERO_LENGTH,	/* descriptor of no bytes */
	VHOST_FAULT_RING_ORDER,		/* a device-readable descriptor after a writable one */
	VHOST_FAULT_RING_BUFFER,	/* buffer is not in memory */
	VHOST_FAULT_RING_TOO_BIG,	/* chain of 4 GiB or more */
	VHOST_FAULT_RING_INDIRECT_LENGTH, /* indirect table's length is wrong */
	VHOST_FAULT_RING_INDIRECT_NESTED, /* indirect within indirect, or with NEXT */
	VHOST_FAULT_RING_INDIRECT_TABLE,  /* indirect table is not in memory */
	VHOST_FAULT_RING_INDIRECT_OFF,	  /* indirect without the feature */
	VHOST_FAULT_RING_USED_ID,	/* the device returned a chain it was not given */
	VHOST_FAULT_RING_USED_IDX,	/* used idx ran beyond what was made available */

	VHOST_FAULT_COUNT,
};

/* "hangup", "msg-size", "ring-loop", ...: stable names for counters and log lines. */
const char *vhost_fault_name(enum vhost_fault fault);

#endif
