#include <errno.h>
#include <unistd.h>

#include "vhost-user/vhost_backend_internal.h"

#define MIN_MTU 68u /* RFC 791 */

enum vhost_fault backend_flush(struct vhost_backend *be)
{
	int err = vhost_outbox_flush(&be->outbox, be->fd);

	if (err == -EPIPE || err == -ECONNRESET)
		return VHOST_FAULT_HANGUP;
	return err && err != -EAGAIN ? VHOST_FAULT_SOCKET : VHOST_FAULT_NONE;
}

enum vhost_fault backend_reply(struct vhost_backend *be, const struct vhost_msg *msg)
{
	if (vhost_outbox_put(&be->outbox, msg) < 0)
		return VHOST_FAULT_MSG_UNREAD;
	return backend_flush(be);
}

static enum vhost_fault reply_u64(struct vhost_backend *be, const struct vhost_msg *request,
				  uint64_t value)
{
	struct vhost_msg msg;

	vhost_msg_init_reply_u64(&msg, request, value);
	return backend_reply(be, &msg);
}

static enum vhost_fault on_get_features(struct vhost_backend *be, struct vhost_msg *msg)
{
	return reply_u64(be, msg, be->offered);
}

static enum vhost_fault on_set_features(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (msg->u64 & ~be->offered)
		return VHOST_FAULT_FEATURES;
	be->features = msg->u64;
	be->features_set = true;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_nothing(struct vhost_backend *be, struct vhost_msg *msg)
{
	return VHOST_FAULT_NONE;
}

/* SET_LOG_BASE and the like, whose features are not offered. */
static enum vhost_fault on_not_offered(struct vhost_backend *be, struct vhost_msg *msg)
{
	return VHOST_FAULT_MSG_STATE;
}

/* RESET_OWNER, RESET_DEVICE and status 0: every ring has been stopped. */
static enum vhost_fault on_reset(struct vhost_backend *be, struct vhost_msg *msg)
{
	for (unsigned int i = 0; i < be->ring_count; i++)
		backend_ring_reset(&be->rings[i], false);
	be->status = 0;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_set_mem_table(struct vhost_backend *be, struct vhost_msg *msg)
{
	return peer_memory_set_table(&be->memory, &msg->memory, msg->fds);
}

static enum vhost_fault on_add_mem_reg(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (!backend_protocol(be, VHOST_PROTO_CONFIGURE_MEM_SLOTS))
		return VHOST_FAULT_MSG_STATE;
	return peer_memory_add(&be->memory, &msg->one_region.region, msg->fds[0]);
}

static enum vhost_fault on_rem_mem_reg(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (!backend_protocol(be, VHOST_PROTO_CONFIGURE_MEM_SLOTS))
		return VHOST_FAULT_MSG_STATE;
	if (msg->fd_count && peer_fd_kind(msg->fds[0]) != PEER_FD_MEMORY)
		return VHOST_FAULT_MEM_FD_TYPE;
	return peer_memory_remove(&be->memory, &msg->one_region.region);
}

static enum vhost_fault on_get_max_mem_slots(struct vhost_backend *be, struct vhost_msg *msg)
{
	return reply_u64(be, msg, PEER_MEMORY_MAX_REGIONS);
}

static struct backend_ring *ring_at(struct vhost_backend *be, uint64_t index)
{
	return index < be->ring_count ? &be->rings[index] : NULL;
}

static enum vhost_fault on_set_vring_num(struct vhost_backend *be, struct vhost_msg *msg)
{
	struct backend_ring *ring = ring_at(be, msg->state.index);

	if (!ring)
		return VHOST_FAULT_RING_INDEX;
	if (!is_power_of_two(msg->state.num) || msg->state.num > VRING_MAX_SIZE)
		return VHOST_FAULT_RING_SIZE;
	ring->size = msg->state.num;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_set_vring_addr(struct vhost_backend *be, struct vhost_msg *msg)
{
	struct backend_ring *ring = ring_at(be, msg->addr.index);

	if (!ring)
		return VHOST_FAULT_RING_INDEX;
	/* Where it points is judged when the ring starts: the memory may be said later. */
	ring->addrs = (struct vring_addrs){
		.desc = msg->addr.desc,
		.avail = msg->addr.avail,
		.used = msg->addr.used,
	};
	ring->addrs_set = true;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_set_vring_base(struct vhost_backend *be, struct vhost_msg *msg)
{
	struct backend_ring *ring = ring_at(be, msg->state.index);

	if (!ring)
		return VHOST_FAULT_RING_INDEX;
	if (msg->state.num > UINT16_MAX)
		return VHOST_FAULT_MSG_VALUE;
	ring->base = (uint16_t)msg->state.num;
	return VHOST_FAULT_NONE;
}

/* The ring has been stopped; it stays so until it is given a kick again. */
static enum vhost_fault on_get_vring_base(struct vhost_backend *be, struct vhost_msg *msg)
{
	struct backend_ring *ring = ring_at(be, msg->state.index);
	struct vhost_msg answer;

	if (!ring)
		return VHOST_FAULT_RING_INDEX;
	ring->kick_set = false;
	backend_ring_set_kick(ring, -1);
	vhost_msg_init_reply(&answer, msg, sizeof(answer.state));
	answer.state.index = msg->state.index;
	answer.state.num = ring->base;
	return backend_reply(be, &answer);
}

static enum vhost_fault on_set_vring_fd(struct vhost_backend *be, struct vhost_msg *msg)
{
	struct backend_ring *ring = ring_at(be, msg->u64 & VHOST_MSG_VRING_INDEX_MASK);
	int fd;

	if (!ring)
		return VHOST_FAULT_RING_INDEX;
	/* One that is a pipe or a socket could raise SIGPIPE, and a file cannot be watched. */
	if (msg->fd_count && peer_fd_kind(msg->fds[0]) != PEER_FD_EVENTFD)
		return VHOST_FAULT_RING_KICK;
	if (msg->request == VHOST_MSG_SET_VRING_ERR)
		return VHOST_FAULT_NONE; /* a broken ring ends the session: that says it too */
	fd = vhost_msg_take_fd(msg, 0);
	if (msg->request == VHOST_MSG_SET_VRING_CALL)
		return backend_ring_set_call(be, ring, fd) ? VHOST_FAULT_NO_MEMORY :
							     VHOST_FAULT_NONE;
	backend_ring_set_kick(ring, fd);
	ring->kick_set = true;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_set_vring_enable(struct vhost_backend *be, struct vhost_msg *msg)
{
	struct backend_ring *ring = ring_at(be, msg->state.index);

	if (!ring)
		return VHOST_FAULT_RING_INDEX;
	if (msg->state.num > 1)
		return VHOST_FAULT_MSG_VALUE;
	ring->enabled = msg->state.num;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_get_protocol_features(struct vhost_backend *be, struct vhost_msg *msg)
{
	return reply_u64(be, msg, be->offered_protocol);
}

static enum vhost_fault on_set_protocol_features(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (msg->u64 & ~be->offered_protocol)
		return VHOST_FAULT_FEATURES;
	be->protocol = msg->u64;
	return VHOST_FAULT_NONE;
}

/* Queue pairs, as every network back end counts them. */
static enum vhost_fault on_get_queue_num(struct vhost_backend *be, struct vhost_msg *msg)
{
	return reply_u64(be, msg, be->ring_count / 2);
}

static enum vhost_fault on_send_rarp(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (!backend_protocol(be, VHOST_PROTO_RARP))
		return VHOST_FAULT_MSG_STATE;
	be->ops->rarp(be->opaque, msg->bytes);
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_net_set_mtu(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (!backend_protocol(be, VHOST_PROTO_NET_MTU))
		return VHOST_FAULT_MSG_STATE;
	if (msg->u64 < MIN_MTU || msg->u64 > UINT16_MAX)
		return VHOST_FAULT_MSG_VALUE;
	return be->ops->set_mtu(be->opaque, (uint16_t)msg->u64) ? VHOST_FAULT_NACK :
								   VHOST_FAULT_NONE;
}

static enum vhost_fault on_get_config(struct vhost_backend *be, struct vhost_msg *msg)
{
	struct vhost_msg answer;

	if (!backend_protocol(be, VHOST_PROTO_CONFIG))
		return VHOST_FAULT_MSG_STATE;
	vhost_msg_init_reply(&answer, msg, msg->size);
	answer.config.offset = msg->config.offset;
	answer.config.size = msg->config.size;
	answer.config.flags = msg->config.flags;
	if (be->ops->get_config(be->opaque, msg->config.offset, answer.config.data,
				msg->config.size))
		vhost_msg_init_reply(&answer, msg, 0);
	return backend_reply(be, &answer);
}

static enum vhost_fault on_set_config(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (!backend_protocol(be, VHOST_PROTO_CONFIG))
		return VHOST_FAULT_MSG_STATE;
	if (!be->ops->set_config || be->ops->set_config(be->opaque, msg->config.offset,
							msg->config.data, msg->config.size))
		return VHOST_FAULT_NACK;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_set_status(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (!backend_protocol(be, VHOST_PROTO_STATUS))
		return VHOST_FAULT_MSG_STATE;
	if (msg->u64 > UINT8_MAX)
		return VHOST_FAULT_MSG_VALUE;
	if (msg->u64 == 0)
		return on_reset(be, msg);
	be->status = (uint8_t)msg->u64;
	return VHOST_FAULT_NONE;
}

static enum vhost_fault on_get_status(struct vhost_backend *be, struct vhost_msg *msg)
{
	if (!backend_protocol(be, VHOST_PROTO_STATUS))
		return VHOST_FAULT_MSG_STATE;
	return reply_u64(be, msg, be->status);
}

typedef enum vhost_fault (*handler_fn)(struct vhost_backend *be, struct vhost_msg *msg);

/* Every request of the codec's table. */
static const handler_fn handlers[] = {
	[VHOST_MSG_GET_FEATURES] = on_get_features,
	[VHOST_MSG_SET_FEATURES] = on_set_features,
	[VHOST_MSG_SET_OWNER] = on_nothing,
	[VHOST_MSG_RESET_OWNER] = on_reset,
	[VHOST_MSG_SET_MEM_TABLE] = on_set_mem_table,
	[VHOST_MSG_SET_LOG_BASE] = on_not_offered,
	[VHOST_MSG_SET_LOG_FD] = on_not_offered,
	[VHOST_MSG_SET_VRING_NUM] = on_set_vring_num,
	[VHOST_MSG_SET_VRING_ADDR] = on_set_vring_addr,
	[VHOST_MSG_SET_VRING_BASE] = on_set_vring_base,
	[VHOST_MSG_GET_VRING_BASE] = on_get_vring_base,
	[VHOST_MSG_SET_VRING_KICK] = on_set_vring_fd,
	[VHOST_MSG_SET_VRING_CALL] = on_set_vring_fd,
	[VHOST_MSG_SET_VRING_ERR] = on_set_vring_fd,
	[VHOST_MSG_GET_PROTOCOL_FEATURES] = on_get_protocol_features,
	[VHOST_MSG_SET_PROTOCOL_FEATURES] = on_set_protocol_features,
	[VHOST_MSG_GET_QUEUE_NUM] = on_get_queue_num,
	[VHOST_MSG_SET_VRING_ENABLE] = on_set_vring_enable,
	[VHOST_MSG_SEND_RARP] = on_send_rarp,
	[VHOST_MSG_NET_SET_MTU] = on_net_set_mtu,
	[VHOST_MSG_IOTLB_MSG] = on_not_offered,
	[VHOST_MSG_GET_CONFIG] = on_get_config,
	[VHOST_MSG_SET_CONFIG] = on_set_config,
	[VHOST_MSG_RESET_DEVICE] = on_reset,
	[VHOST_MSG_GET_MAX_MEM_SLOTS] = on_get_max_mem_slots,
	[VHOST_MSG_ADD_MEM_REG] = on_add_mem_reg,
	[VHOST_MSG_REM_MEM_REG] = on_rem_mem_reg,
	[VHOST_MSG_SET_STATUS] = on_set_status,
	[VHOST_MSG_GET_STATUS] = on_get_status,
};

bool backend_message_quiesce(struct vhost_backend *be, const struct vhost_msg *msg)
{
	bool all = false;
	uint64_t index = 0;

	switch (msg->request) {
	case VHOST_MSG_SET_FEATURES:
		if (be->features_set && msg->u64 == be->features)
			return true;
		all = true;
		break;
	case VHOST_MSG_SET_STATUS:
		if (msg->u64)
			return true;
		all = true;
		break;
	case VHOST_MSG_RESET_OWNER:
	case VHOST_MSG_RESET_DEVICE:
	case VHOST_MSG_SET_MEM_TABLE:
	case VHOST_MSG_REM_MEM_REG:
		all = true;
		break;
	case VHOST_MSG_SET_VRING_ENABLE:
		if (msg->state.num)
			return true;
		index = msg->state.index;
		break;
	case VHOST_MSG_SET_VRING_NUM:
	case VHOST_MSG_SET_VRING_ADDR:
	case VHOST_MSG_SET_VRING_BASE:
	case VHOST_MSG_GET_VRING_BASE:
		index = msg->state.index; /* of ADDR too: the index comes first in both */
		break;
	case VHOST_MSG_SET_VRING_KICK:
		index = msg->u64 & VHOST_MSG_VRING_INDEX_MASK;
		break;
	default:
		return true;
	}
	if (all)
		index = be->ring_count;
	else if (index >= be->ring_count)
		return true; /* the handler refuses it */
	return backend_rings_quiesce(be, (unsigned int)index);
}

enum vhost_fault backend_message_handle(struct vhost_backend *be, struct vhost_msg *msg)
{
	return handlers[msg->request](be, msg);
}
