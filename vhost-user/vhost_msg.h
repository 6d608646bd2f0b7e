/*
 * The messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst): one table states
 * for each the exact payload sizes and descriptor counts, for the request and for its reply, and
 * both ends are held to it. Pure functions; any thread. Integers are in host order, which is
 * the protocol's between processes of one machine.
 */
#ifndef VHOST_USER_VHOST_MSG_H
#define VHOST_USER_VHOST_MSG_H

#include "core/bits.h"
#include "vhost-user/vhost_fault.h"

#define VHOST_MSG_HEADER 12u	    /* bytes */
#define VHOST_MSG_MAX_PAYLOAD 320u  /* bytes: the largest of the table (memory table, config) */
#define VHOST_MSG_MAX_FDS 8u
#define VHOST_MSG_MAX_REGIONS 8u    /* of one SET_MEM_TABLE */
#define VHOST_MSG_MAX_CONFIG 256u   /* bytes of device configuration in one message */

/* Header flags. */
#define VHOST_MSG_VERSION 0x1u
#define VHOST_MSG_VERSION_MASK 0x3u
#define VHOST_MSG_REPLY 0x4u	  /* this is an answer */
#define VHOST_MSG_NEED_REPLY 0x8u /* REPLY_ACK: answer with a u64, 0 for success */

/* A bit of the virtio feature word that belongs to the transport. */
#define VHOST_F_LOG_ALL 26
#define VHOST_F_PROTOCOL_FEATURES 30

/* Protocol feature bits. */
enum vhost_proto {
	VHOST_PROTO_MQ = 0,
	VHOST_PROTO_LOG_SHMFD = 1,
	VHOST_PROTO_RARP = 2,
	VHOST_PROTO_REPLY_ACK = 3,
	VHOST_PROTO_NET_MTU = 4,
	VHOST_PROTO_BACKEND_REQ = 5,
	VHOST_PROTO_CONFIG = 9,
	VHOST_PROTO_RESET_DEVICE = 13,
	VHOST_PROTO_INBAND_NOTIFICATIONS = 14,
	VHOST_PROTO_CONFIGURE_MEM_SLOTS = 15,
	VHOST_PROTO_STATUS = 16,
};

/* Requests of the front end. Numbers that are missing here are refused as unknown. */
enum vhost_request {
	VHOST_MSG_GET_FEATURES = 1,
	VHOST_MSG_SET_FEATURES = 2,
	VHOST_MSG_SET_OWNER = 3,
	VHOST_MSG_RESET_OWNER = 4,
	VHOST_MSG_SET_MEM_TABLE = 5,
	VHOST_MSG_SET_LOG_BASE = 6,
	VHOST_MSG_SET_LOG_FD = 7,
	VHOST_MSG_SET_VRING_NUM = 8,
	VHOST_MSG_SET_VRING_ADDR = 9,
	VHOST_MSG_SET_VRING_BASE = 10,
	VHOST_MSG_GET_VRING_BASE = 11,
	VHOST_MSG_SET_VRING_KICK = 12,
	VHOST_MSG_SET_VRING_CALL = 13,
	VHOST_MSG_SET_VRING_ERR = 14,
	VHOST_MSG_GET_PROTOCOL_FEATURES = 15,
	VHOST_MSG_SET_PROTOCOL_FEATURES = 16,
	VHOST_MSG_GET_QUEUE_NUM = 17,
	VHOST_MSG_SET_VRING_ENABLE = 18,
	VHOST_MSG_SEND_RARP = 19,
	VHOST_MSG_NET_SET_MTU = 20,
	VHOST_MSG_IOTLB_MSG = 22,
	VHOST_MSG_GET_CONFIG = 24,
	VHOST_MSG_SET_CONFIG = 25,
	VHOST_MSG_RESET_DEVICE = 34,
	VHOST_MSG_GET_MAX_MEM_SLOTS = 36,
	VHOST_MSG_ADD_MEM_REG = 37,
	VHOST_MSG_REM_MEM_REG = 38,
	VHOST_MSG_SET_STATUS = 39,
	VHOST_MSG_GET_STATUS = 40,
};

struct vhost_msg_vring_state {
	uint32_t index;
	uint32_t num;
};

#define VHOST_MSG_VRING_LOG 1u /* flags bit 0: log writes to the used ring at `log` */

struct vhost_msg_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc; /* user addresses: of the front end's process */
	uint64_t used;
	uint64_t avail;
	uint64_t log; /* guest physical address of the used ring */
};

struct vhost_msg_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t user; /* address in the front end's process */
	uint64_t mmap_offset;
};

struct vhost_msg_memory {
	uint32_t count;
	uint32_t padding;
	struct vhost_msg_region regions[VHOST_MSG_MAX_REGIONS];
};

struct vhost_msg_one_region {
	uint64_t padding;
	struct vhost_msg_region region;
};

struct vhost_msg_log {
	uint64_t size;
	uint64_t offset;
};

struct vhost_msg_iotlb {
	uint64_t iova;
	uint64_t size;
	uint64_t user;
	uint8_t perm; /* 1 read, 2 write */
	uint8_t type; /* 1 miss, 2 update, 3 invalidate, 4 access failure */
	uint8_t padding[6];
};

struct vhost_msg_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHOST_MSG_MAX_CONFIG];
};

/* Payload of SET_VRING_KICK, _CALL and _ERR. */
#define VHOST_MSG_VRING_INDEX_MASK 0xffu
#define VHOST_MSG_VRING_NOFD 0x100u /* no descriptor comes along: poll */

struct vhost_msg {
	uint32_t request; /* enum vhost_request, or a number of no meaning */
	uint32_t flags;
	uint32_t size; /* bytes of payload */
	union {
		uint64_t u64;
		struct vhost_msg_vring_state state;
		struct vhost_msg_vring_addr addr;
		struct vhost_msg_memory memory;
		struct vhost_msg_one_region one_region;
		struct vhost_msg_log log;
		struct vhost_msg_iotlb iotlb;
		struct vhost_msg_config config;
		uint8_t bytes[VHOST_MSG_MAX_PAYLOAD];
	};
	unsigned int fd_count;
	int fds[VHOST_MSG_MAX_FDS]; /* the holder of the message closes them: vhost_msg_close_fds */
};

enum vhost_direction { VHOST_REQUEST, VHOST_REPLY };

/* What the request's payload is; the codec's table, for both ends and for tests. */
struct vhost_msg_shape {
	uint16_t min_size; /* bytes of payload */
	uint16_t max_size;
	uint8_t step; /* valid sizes are min_size + n * step; 0: there is but one */
	uint8_t min_fds;
	uint8_t max_fds;
};

struct vhost_msg_rule {
	const char *name;
	bool replies; /* always answered with `reply`; others only when NEED_REPLY asks */
	struct vhost_msg_shape request;
	struct vhost_msg_shape reply;
};

/* NULL: no such request. */
const struct vhost_msg_rule *vhost_msg_rule(uint32_t request);
const char *vhost_msg_name(uint32_t request); /* "unknown" if there is none */

/*
 * Judges a header as soon as it is there: version, flags, direction, request, payload size.
 * An answer to NEED_REPLY of a request without a reply of its own is a u64.
 */
enum vhost_fault vhost_msg_check_header(const struct vhost_msg *msg, enum vhost_direction direction);

/*
 * Judges a whole message: the header, the number of descriptors and the fields that say what the
 * rest contains (region count, config size, NOFD).
 */
enum vhost_fault vhost_msg_check(const struct vhost_msg *msg, enum vhost_direction direction);

/* Closes fds[] and forgets them. */
void vhost_msg_close_fds(struct vhost_msg *msg);

/* Takes fds[i] out of the message: it is the caller's to close from now on. */
int vhost_msg_take_fd(struct vhost_msg *msg, unsigned int i);

/* Prepares a request without payload; fill in the rest. */
void vhost_msg_init(struct vhost_msg *msg, enum vhost_request request);
/* Prepares the answer to `request` with `size` bytes of payload, zeroed. */
void vhost_msg_init_reply(struct vhost_msg *msg, const struct vhost_msg *request, uint32_t size);
/* Prepares an answer that is a u64. */
void vhost_msg_init_reply_u64(struct vhost_msg *msg, const struct vhost_msg *request,
			      uint64_t value);

#endif
