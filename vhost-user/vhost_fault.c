#include "vhost-user/vhost_fault.h"

static const char *const names[VHOST_FAULT_COUNT] = {
	[VHOST_FAULT_NONE] = "none",
	[VHOST_FAULT_HANGUP] = "hangup",
	[VHOST_FAULT_SOCKET] = "socket",
	[VHOST_FAULT_NO_MEMORY] = "no-memory",
	[VHOST_FAULT_MSG_VERSION] = "msg-version",
	[VHOST_FAULT_MSG_DIRECTION] = "msg-direction",
	[VHOST_FAULT_MSG_UNKNOWN] = "msg-unknown",
	[VHOST_FAULT_MSG_SIZE] = "msg-size",
	[VHOST_FAULT_MSG_FDS] = "msg-fds",
	[VHOST_FAULT_MSG_TRUNCATED_FDS] = "msg-truncated-fds",
	[VHOST_FAULT_MSG_VALUE] = "msg-value",
	[VHOST_FAULT_MSG_STATE] = "msg-state",
	[VHOST_FAULT_MSG_UNREAD] = "msg-unread",
	[VHOST_FAULT_MSG_TIMEOUT] = "msg-timeout",
	[VHOST_FAULT_FEATURES] = "features",
	[VHOST_FAULT_NACK] = "nack",
	[VHOST_FAULT_MEM_COUNT] = "mem-count",
	[VHOST_FAULT_MEM_ALIGN] = "mem-align",
	[VHOST_FAULT_MEM_WRAP] = "mem-wrap",
	[VHOST_FAULT_MEM_OVERLAP] = "mem-overlap",
	[VHOST_FAULT_MEM_FD_TYPE] = "mem-fd-type",
	[VHOST_FAULT_MEM_FD_SEALS] = "mem-fd-seals",
	[VHOST_FAULT_MEM_FD_SIZE] = "mem-fd-size",
	[VHOST_FAULT_MEM_SPACE] = "mem-space",
	[VHOST_FAULT_MEM_MAP] = "mem-map",
	[VHOST_FAULT_MEM_UNKNOWN] = "mem-unknown",
	[VHOST_FAULT_MEM_GONE] = "mem-gone",
	[VHOST_FAULT_RING_INDEX] = "ring-index",
	[VHOST_FAULT_RING_SIZE] = "ring-size",
	[VHOST_FAULT_RING_ALIGN] = "ring-align",
	[VHOST_FAULT_RING_ADDRESS] = "ring-address",
	[VHOST_FAULT_RING_KICK] = "ring-kick",
	[VHOST_FAULT_RING_BLOCKED] = "ring-blocked",
	[VHOST_FAULT_RING_AVAIL_IDX] = "ring-avail-idx",
	[VHOST_FAULT_RING_HEAD] = "ring-head",
	[VHOST_FAULT_RING_NEXT] = "ring-next",
	[VHOST_FAULT_RING_LOOP] = "ring-loop",
	[VHOST_FAULT_RING_LONG] = "ring-long",
	[VHOST_FAULT_RING_ZERO_LENGTH] = "ring-zero-length",
	[VHOST_FAULT_RING_ORDER] = "ring-order",
	[VHOST_FAULT_RING_BUFFER] = "ring-buffer",
	[VHOST_FAULT_RING_TOO_BIG] = "ring-too-big",
	[VHOST_FAULT_RING_INDIRECT_LENGTH] = "ring-indirect-length",
	[VHOST_FAULT_RING_INDIRECT_NESTED] = "ring-indirect-nested",
	[VHOST_FAULT_RING_INDIRECT_TABLE] = "ring-indirect-table",
	[VHOST_FAULT_RING_INDIRECT_OFF] = "ring-indirect-off",
	[VHOST_FAULT_RING_USED_ID] = "ring-used-id",
	[VHOST_FAULT_RING_USED_IDX] = "ring-used-idx",
};

const char *vhost_fault_name(enum vhost_fault fault)
{
	if ((unsigned int)fault >= VHOST_FAULT_COUNT)
		return "unknown";
	return names[fault];
}
