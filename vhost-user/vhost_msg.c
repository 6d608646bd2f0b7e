#include "vhost-user/vhost_msg.h"

#include <unistd.h>

/* Shapes that recur. */
#define NOTHING { 0, 0, 0, 0, 0 }
#define BYTES(n) { (n), (n), 0, 0, 0 }
#define BYTES_FD(n, min_fds, max_fds) { (n), (n), 0, (min_fds), (max_fds) }

#define CONFIG_HEADER 12u
#define TABLE_HEADER 8u

#define STATE BYTES(sizeof(struct vhost_msg_vring_state))
#define CONFIG { CONFIG_HEADER, CONFIG_HEADER + VHOST_MSG_MAX_CONFIG, 1, 0, 0 }
#define TABLE                                                                              \
	{                                                                                  \
		TABLE_HEADER,                                                              \
		TABLE_HEADER + VHOST_MSG_MAX_REGIONS * sizeof(struct vhost_msg_region),    \
		sizeof(struct vhost_msg_region), 0, VHOST_MSG_MAX_REGIONS                  \
	}

_Static_assert(sizeof(struct vhost_msg_vring_state) == 8, "wire format");
_Static_assert(sizeof(struct vhost_msg_vring_addr) == 40, "wire format");
_Static_assert(sizeof(struct vhost_msg_region) == 32, "wire format");
_Static_assert(offsetof(struct vhost_msg_memory, regions) == TABLE_HEADER, "wire format");
_Static_assert(sizeof(struct vhost_msg_one_region) == 40, "wire format");
_Static_assert(sizeof(struct vhost_msg_iotlb) == 32, "wire format");
_Static_assert(offsetof(struct vhost_msg_config, data) == CONFIG_HEADER, "wire format");
_Static_assert(sizeof(struct vhost_msg_config) <= VHOST_MSG_MAX_PAYLOAD, "payload buffer");
_Static_assert(sizeof(struct vhost_msg_memory) <= VHOST_MSG_MAX_PAYLOAD, "payload buffer");

/* Name, whether it is always answered, the request, the answer. */
static const struct vhost_msg_rule rules[] = {
	[VHOST_MSG_GET_FEATURES] = { "GET_FEATURES", true, NOTHING, BYTES(8) },
	[VHOST_MSG_SET_FEATURES] = { "SET_FEATURES", false, BYTES(8), NOTHING },
	[VHOST_MSG_SET_OWNER] = { "SET_OWNER", false, NOTHING, NOTHING },
	[VHOST_MSG_RESET_OWNER] = { "RESET_OWNER", false, NOTHING, NOTHING },
	[VHOST_MSG_SET_MEM_TABLE] = { "SET_MEM_TABLE", false, TABLE, NOTHING },
	[VHOST_MSG_SET_LOG_BASE] = { "SET_LOG_BASE", true, BYTES_FD(16, 1, 1),
		{ 0, 16, 8, 0, 0 } },
	[VHOST_MSG_SET_LOG_FD] = { "SET_LOG_FD", false, BYTES_FD(0, 1, 1), NOTHING },
	[VHOST_MSG_SET_VRING_NUM] = { "SET_VRING_NUM", false, STATE, NOTHING },
	[VHOST_MSG_SET_VRING_ADDR] = { "SET_VRING_ADDR", false, BYTES(40), NOTHING },
	[VHOST_MSG_SET_VRING_BASE] = { "SET_VRING_BASE", false, STATE, NOTHING },
	[VHOST_MSG_GET_VRING_BASE] = { "GET_VRING_BASE", true, STATE, STATE },
	[VHOST_MSG_SET_VRING_KICK] = { "SET_VRING_KICK", false, BYTES_FD(8, 0, 1), NOTHING },
	[VHOST_MSG_SET_VRING_CALL] = { "SET_VRING_CALL", false, BYTES_FD(8, 0, 1), NOTHING },
	[VHOST_MSG_SET_VRING_ERR] = { "SET_VRING_ERR", false, BYTES_FD(8, 0, 1), NOTHING },
	[VHOST_MSG_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", true, NOTHING, BYTES(8) },
	[VHOST_MSG_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", false, BYTES(8),
		NOTHING },
	[VHOST_MSG_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", true, NOTHING, BYTES(8) },
	[VHOST_MSG_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", false, STATE, NOTHING },
	[VHOST_MSG_SEND_RARP] = { "SEND_RARP", false, BYTES(8), NOTHING },
	[VHOST_MSG_NET_SET_MTU] = { "NET_SET_MTU", false, BYTES(8), NOTHING },
	[VHOST_MSG_IOTLB_MSG] = { "IOTLB_MSG", false, BYTES(32), NOTHING },
	[VHOST_MSG_GET_CONFIG] = { "GET_CONFIG", true, CONFIG,
		{ 0, CONFIG_HEADER + VHOST_MSG_MAX_CONFIG, 1, 0, 0 } },
	[VHOST_MSG_SET_CONFIG] = { "SET_CONFIG", false, CONFIG, NOTHING },
	[VHOST_MSG_RESET_DEVICE] = { "RESET_DEVICE", false, NOTHING, NOTHING },
	[VHOST_MSG_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", true, NOTHING, BYTES(8) },
	[VHOST_MSG_ADD_MEM_REG] = { "ADD_MEM_REG", false, BYTES_FD(40, 1, 1), NOTHING },
	[VHOST_MSG_REM_MEM_REG] = { "REM_MEM_REG", false, BYTES_FD(40, 0, 1), NOTHING },
	[VHOST_MSG_SET_STATUS] = { "SET_STATUS", false, BYTES(8), NOTHING },
	[VHOST_MSG_GET_STATUS] = { "GET_STATUS", true, NOTHING, BYTES(8) },
};

/* The answer to a request that has none of its own and asked for one. */
static const struct vhost_msg_shape ack = BYTES(8);

const struct vhost_msg_rule *vhost_msg_rule(uint32_t request)
{
	if (request >= ARRAY_SIZE(rules) || !rules[request].name)
		return NULL;
	return &rules[request];
}

const char *vhost_msg_name(uint32_t request)
{
	const struct vhost_msg_rule *rule = vhost_msg_rule(request);

	return rule ? rule->name : "unknown";
}

static const struct vhost_msg_shape *shape_of(const struct vhost_msg_rule *rule,
					      enum vhost_direction direction)
{
	if (direction == VHOST_REQUEST)
		return &rule->request;
	return rule->replies ? &rule->reply : &ack;
}

static bool size_fits(const struct vhost_msg_shape *shape, uint32_t size)
{
	if (size < shape->min_size || size > shape->max_size)
		return false;
	return !shape->step || (size - shape->min_size) % shape->step == 0;
}

enum vhost_fault vhost_msg_check_header(const struct vhost_msg *msg, enum vhost_direction direction)
{
	const struct vhost_msg_rule *rule;
	uint32_t known = VHOST_MSG_VERSION_MASK | VHOST_MSG_REPLY | VHOST_MSG_NEED_REPLY;

	if ((msg->flags & VHOST_MSG_VERSION_MASK) != VHOST_MSG_VERSION || msg->flags & ~known)
		return VHOST_FAULT_MSG_VERSION;
	/* Some back ends leave NEED_REPLY set in their answer: harmless. */
	if (!!(msg->flags & VHOST_MSG_REPLY) != (direction == VHOST_REPLY))
		return VHOST_FAULT_MSG_DIRECTION;
	rule = vhost_msg_rule(msg->request);
	if (!rule)
		return VHOST_FAULT_MSG_UNKNOWN;
	if (!size_fits(shape_of(rule, direction), msg->size))
		return VHOST_FAULT_MSG_SIZE;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault check_table(const struct vhost_msg *msg)
{
	uint32_t count = (msg->size - TABLE_HEADER) / sizeof(struct vhost_msg_region);

	if (msg->memory.count != count)
		return VHOST_FAULT_MSG_VALUE;
	return msg->fd_count == count ? VHOST_FAULT_NONE : VHOST_FAULT_MSG_FDS;
}

static enum vhost_fault check_vring_fd(const struct vhost_msg *msg)
{
	if (msg->u64 & ~(uint64_t)(VHOST_MSG_VRING_INDEX_MASK | VHOST_MSG_VRING_NOFD))
		return VHOST_FAULT_MSG_VALUE;
	if (!!(msg->u64 & VHOST_MSG_VRING_NOFD) != (msg->fd_count == 0))
		return VHOST_FAULT_MSG_FDS;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault check_config(const struct vhost_msg *msg, enum vhost_direction direction)
{
	/* An empty answer says that the device has no such configuration. */
	if (direction == VHOST_REPLY && msg->size == 0)
		return VHOST_FAULT_NONE;
	if (msg->size < CONFIG_HEADER)
		return VHOST_FAULT_MSG_SIZE;
	if (msg->config.size != msg->size - CONFIG_HEADER ||
	    !range_within(msg->config.offset, msg->config.size, VHOST_MSG_MAX_CONFIG))
		return VHOST_FAULT_MSG_VALUE;
	return VHOST_FAULT_NONE;
}

enum vhost_fault vhost_msg_check(const struct vhost_msg *msg, enum vhost_direction direction)
{
	enum vhost_fault fault = vhost_msg_check_header(msg, direction);
	const struct vhost_msg_shape *shape;

	if (fault)
		return fault;
	shape = shape_of(vhost_msg_rule(msg->request), direction);
	if (msg->fd_count < shape->min_fds || msg->fd_count > shape->max_fds)
		return VHOST_FAULT_MSG_FDS;
	if (msg->request == VHOST_MSG_GET_CONFIG)
		return check_config(msg, direction);
	if (direction == VHOST_REPLY)
		return VHOST_FAULT_NONE;
	switch (msg->request) {
	case VHOST_MSG_SET_MEM_TABLE:
		return check_table(msg);
	case VHOST_MSG_SET_VRING_KICK:
	case VHOST_MSG_SET_VRING_CALL:
	case VHOST_MSG_SET_VRING_ERR:
		return check_vring_fd(msg);
	case VHOST_MSG_SET_CONFIG:
		return check_config(msg, direction);
	default:
		return VHOST_FAULT_NONE;
	}
}

void vhost_msg_close_fds(struct vhost_msg *msg)
{
	for (unsigned int i = 0; i < msg->fd_count; i++)
		if (msg->fds[i] >= 0)
			close(msg->fds[i]);
	msg->fd_count = 0;
}

int vhost_msg_take_fd(struct vhost_msg *msg, unsigned int i)
{
	int fd = -1;

	if (i < msg->fd_count) {
		fd = msg->fds[i];
		msg->fds[i] = -1;
	}
	return fd;
}

void vhost_msg_init(struct vhost_msg *msg, enum vhost_request request)
{
	memset(msg, 0, sizeof(*msg));
	msg->request = request;
	msg->flags = VHOST_MSG_VERSION;
}

void vhost_msg_init_reply(struct vhost_msg *msg, const struct vhost_msg *request, uint32_t size)
{
	memset(msg, 0, sizeof(*msg));
	msg->request = request->request;
	msg->flags = VHOST_MSG_VERSION | VHOST_MSG_REPLY;
	msg->size = size;
}

void vhost_msg_init_reply_u64(struct vhost_msg *msg, const struct vhost_msg *request,
			      uint64_t value)
{
	vhost_msg_init_reply(msg, request, sizeof(msg->u64));
	msg->u64 = value;
}
