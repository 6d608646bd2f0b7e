#include "vhost-user/vhost_frontend_impl.h"

#include <linux/virtio_config.h>
#include <stdio.h>

#include "core/log.h"

/*
 * The "user addresses" of the protocol only have to agree with the memory table; guest physical
 * ones with an offset do, and tell the peer nothing about this process.
 */
#define USER_OFFSET (1ULL << 44)

#define WANTED_PROTOCOL                                                                            \
	(1ULL << VHOST_PROTO_MQ | 1ULL << VHOST_PROTO_REPLY_ACK | 1ULL << VHOST_PROTO_CONFIG |     \
	 1ULL << VHOST_PROTO_CONFIGURE_MEM_SLOTS | 1ULL << VHOST_PROTO_STATUS)

#define STATUS_READY                                                                               \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

void frontend_script_reset(struct vhost_frontend *fe)
{
	for (unsigned int i = 0; i < fe->ring_count; i++) {
		/* The last peer did not say how far it got: memory does. */
		fe->rings[i].recover |= fe->rings[i].given;
		fe->rings[i].given = false;
	}
	for (unsigned int i = 0; i < GUEST_MEMORY_MAX_SLOTS; i++)
		fe->slots[i].told = fe->slots[i].leaving = false;
	fe->memory_dirty = true;
	fe->step = 0;
	fe->awaited = 0;
	fe->misfit = false;
	fe->protocol = 0;
	fe->peer_rings = 2; /* without MQ */
	fe->peer_slots = VHOST_MSG_MAX_REGIONS;
	fe->peer_config_size = 0;
}

static bool has_protocol(const struct vhost_frontend *fe)
{
	return fe->peer_features >> VHOST_F_PROTOCOL_FEATURES & 1;
}

static bool put_u64(struct vhost_msg *msg, enum vhost_request request, uint64_t value)
{
	vhost_msg_init(msg, request);
	msg->size = sizeof(msg->u64);
	msg->u64 = value;
	return true;
}

static bool put_state(struct vhost_msg *msg, enum vhost_request request, unsigned int index,
		      uint32_t num)
{
	vhost_msg_init(msg, request);
	msg->size = sizeof(msg->state);
	msg->state.index = index;
	msg->state.num = num;
	return true;
}

static bool put_empty(struct vhost_msg *msg, enum vhost_request request)
{
	vhost_msg_init(msg, request);
	return true;
}

static bool put_config(struct vhost_msg *msg, unsigned int size)
{
	vhost_msg_init(msg, VHOST_MSG_GET_CONFIG);
	msg->size = (uint32_t)offsetof(struct vhost_msg_config, data) + size;
	msg->config.size = size;
	return true;
}

/* Where the request's outcome matters at once, and the peer can be asked for it. */
static bool checked(struct vhost_frontend *fe, struct vhost_msg *msg)
{
	if (frontend_has(fe, VHOST_PROTO_REPLY_ACK))
		msg->flags |= VHOST_MSG_NEED_REPLY;
	return true;
}

static bool next_negotiation(struct vhost_frontend *fe, struct vhost_msg *msg)
{
	switch (fe->step++) {
	case 0:
		return put_empty(msg, VHOST_MSG_GET_FEATURES);
	case 1:
		if (has_protocol(fe))
			return put_empty(msg, VHOST_MSG_GET_PROTOCOL_FEATURES);
		fe->step = 3; /* nothing to negotiate */
		/* fall through */
	case 3:
		fe->step = 4;
		return put_empty(msg, VHOST_MSG_SET_OWNER);
	case 2:
		return put_u64(msg, VHOST_MSG_SET_PROTOCOL_FEATURES, fe->protocol);
	case 4:
		if (frontend_has(fe, VHOST_PROTO_MQ))
			return put_empty(msg, VHOST_MSG_GET_QUEUE_NUM);
		fe->step++;
		/* fall through */
	case 5:
		if (frontend_has(fe, VHOST_PROTO_CONFIGURE_MEM_SLOTS))
			return put_empty(msg, VHOST_MSG_GET_MAX_MEM_SLOTS);
		fe->step++;
		/* fall through */
	case 6:
		if (frontend_has(fe, VHOST_PROTO_CONFIG) && fe->config_size)
			return put_config(msg, fe->config_size);
		/* fall through */
	default:
		return false;
	}
}

static void put_region(struct vhost_msg_region *region, const struct frontend_slot *slot)
{
	region->gpa = slot->gpa;
	region->size = slot->size;
	region->user = slot->gpa + USER_OFFSET;
	region->mmap_offset = slot->fd_offset;
}

static bool put_one_region(struct vhost_frontend *fe, struct vhost_msg *msg,
			   enum vhost_request request, const struct frontend_slot *slot)
{
	vhost_msg_init(msg, request);
	msg->size = sizeof(msg->one_region);
	put_region(&msg->one_region.region, slot);
	if (request == VHOST_MSG_ADD_MEM_REG) {
		msg->fds[0] = slot->fd;
		msg->fd_count = 1;
	}
	return checked(fe, msg);
}

static bool put_table(struct vhost_frontend *fe, struct vhost_msg *msg)
{
	uint32_t n = 0;

	vhost_msg_init(msg, VHOST_MSG_SET_MEM_TABLE);
	for (unsigned int i = 0; i < GUEST_MEMORY_MAX_SLOTS && n < VHOST_MSG_MAX_REGIONS; i++) {
		struct frontend_slot *slot = &fe->slots[i];

		slot->told = slot->present;
		slot->leaving = false;
		if (!slot->present)
			continue;
		put_region(&msg->memory.regions[n], slot);
		msg->fds[n++] = slot->fd;
	}
	msg->memory.count = msg->fd_count = n;
	msg->size = (uint32_t)(offsetof(struct vhost_msg_memory, regions) +
			       n * sizeof(struct vhost_msg_region));
	fe->memory_dirty = false;
	return checked(fe, msg);
}

/* Brings the peer's memory table up to date. */
static bool next_memory(struct vhost_frontend *fe, struct vhost_msg *msg)
{
	if (!fe->memory_dirty)
		return false;
	if (!frontend_has(fe, VHOST_PROTO_CONFIGURE_MEM_SLOTS))
		return put_table(fe, msg);
	for (unsigned int i = 0; i < GUEST_MEMORY_MAX_SLOTS; i++) {
		struct frontend_slot *slot = &fe->slots[i];

		if (slot->leaving) {
			slot->leaving = false;
			return put_one_region(fe, msg, VHOST_MSG_REM_MEM_REG, slot);
		}
	}
	for (unsigned int i = 0; i < GUEST_MEMORY_MAX_SLOTS; i++) {
		struct frontend_slot *slot = &fe->slots[i];

		if (slot->present && !slot->told) {
			slot->told = true;
			return put_one_region(fe, msg, VHOST_MSG_ADD_MEM_REG, slot);
		}
	}
	fe->memory_dirty = false;
	return false;
}

static bool put_vring_fd(struct vhost_msg *msg, enum vhost_request request, unsigned int index,
			 int fd)
{
	put_u64(msg, request, index | (fd < 0 ? VHOST_MSG_VRING_NOFD : 0));
	if (fd >= 0) {
		msg->fds[0] = fd;
		msg->fd_count = 1;
	}
	return true;
}

static bool put_ring_addr(struct vhost_frontend *fe, struct vhost_msg *msg,
			  const struct vhost_frontend_ring *ring)
{
	vhost_msg_init(msg, VHOST_MSG_SET_VRING_ADDR);
	msg->size = sizeof(msg->addr);
	msg->addr.index = ring->index;
	msg->addr.desc = ring->desc + USER_OFFSET;
	msg->addr.used = ring->used + USER_OFFSET;
	msg->addr.avail = ring->avail + USER_OFFSET;
	msg->addr.log = ring->used;
	return checked(fe, msg);
}

#define RING_STEPS 5u

static bool next_ring(struct vhost_frontend *fe, struct vhost_msg *msg, unsigned int step)
{
	struct frontend_ring *ring = &fe->rings[step / RING_STEPS];
	unsigned int index = ring->is.index;

	switch (step % RING_STEPS) {
	case 0:
		ring->given = true;
		return put_state(msg, VHOST_MSG_SET_VRING_NUM, index, ring->is.size);
	case 1:
		return put_state(msg, VHOST_MSG_SET_VRING_BASE, index, frontend_ring_base(fe, ring));
	case 2:
		return put_ring_addr(fe, msg, &ring->is);
	case 3:
		ring->call_dirty = false;
		return put_vring_fd(msg, VHOST_MSG_SET_VRING_CALL, index, ring->is.call_fd);
	default:
		ring->enabled_dirty = has_protocol(fe);
		return put_vring_fd(msg, VHOST_MSG_SET_VRING_KICK, index, ring->is.kick_fd);
	}
}

/* What changed while the rings run; also the last part of a start. */
static bool next_update(struct vhost_frontend *fe, struct vhost_msg *msg)
{
	if (next_memory(fe, msg))
		return true;
	for (unsigned int i = 0; i < fe->ring_count; i++) {
		struct frontend_ring *ring = &fe->rings[i];

		if (ring->call_dirty) {
			ring->call_dirty = false;
			return put_vring_fd(msg, VHOST_MSG_SET_VRING_CALL, ring->is.index,
					    ring->is.call_fd);
		}
		if (ring->enabled_dirty) {
			ring->enabled_dirty = false;
			if (!has_protocol(fe))
				continue; /* such a peer serves every ring it has been given */
			put_state(msg, VHOST_MSG_SET_VRING_ENABLE, ring->is.index,
				  ring->is.enabled);
			return checked(fe, msg);
		}
	}
	return false;
}

static bool next_start(struct vhost_frontend *fe, struct vhost_msg *msg)
{
	const bool status = frontend_has(fe, VHOST_PROTO_STATUS);
	const unsigned int rings_from = 4, rings_end = rings_from + RING_STEPS * fe->ring_count;
	uint64_t features = fe->features;

	if (has_protocol(fe))
		features |= 1ULL << VHOST_F_PROTOCOL_FEATURES;
	if (fe->step == 0) {
		fe->step++;
		put_u64(msg, VHOST_MSG_SET_FEATURES, features);
		return checked(fe, msg);
	}
	if (fe->step == 1 && !status)
		fe->step = 3;
	if (fe->step == 1) {
		fe->step++;
		return put_u64(msg, VHOST_MSG_SET_STATUS, STATUS_READY);
	}
	if (fe->step == 2) {
		fe->step++;
		return put_empty(msg, VHOST_MSG_GET_STATUS);
	}
	if (fe->step == 3) {
		if (next_memory(fe, msg))
			return true;
		fe->step++;
	}
	if (fe->step < rings_end)
		return next_ring(fe, msg, fe->step++ - rings_from);
	if (fe->step++ == rings_end && status)
		return put_u64(msg, VHOST_MSG_SET_STATUS, STATUS_READY | VIRTIO_CONFIG_S_DRIVER_OK);
	return next_update(fe, msg);
}

static bool next_stop(struct vhost_frontend *fe, struct vhost_msg *msg)
{
	while (fe->step < fe->ring_count) {
		struct frontend_ring *ring = &fe->rings[fe->step];

		if (ring->given)
			return put_state(msg, VHOST_MSG_GET_VRING_BASE, ring->is.index, 0);
		fe->step++;
	}
	if (fe->step++ == fe->ring_count && frontend_has(fe, VHOST_PROTO_STATUS))
		return put_u64(msg, VHOST_MSG_SET_STATUS, 0);
	return false;
}

bool frontend_script_next(struct vhost_frontend *fe, struct vhost_msg *msg)
{
	switch (fe->phase) {
	case FRONTEND_NEGOTIATING:
		return next_negotiation(fe, msg);
	case FRONTEND_STARTING:
		return next_start(fe, msg);
	case FRONTEND_RUNNING:
		return next_update(fe, msg);
	case FRONTEND_STOPPING:
		return next_stop(fe, msg);
	default:
		return false;
	}
}

static enum vhost_fault take_base(struct vhost_frontend *fe, const struct vhost_msg *reply)
{
	struct frontend_ring *ring = &fe->rings[fe->step];

	if (reply->state.index != ring->is.index || reply->state.num > UINT16_MAX)
		return VHOST_FAULT_MSG_VALUE;
	ring->is.base = (uint16_t)reply->state.num;
	ring->given = false;
	ring->recover = false;
	fe->step++;
	return VHOST_FAULT_NONE;
}

static void take_config(struct vhost_frontend *fe, const struct vhost_msg *reply)
{
	unsigned int size = 0;

	if (reply->size >= offsetof(struct vhost_msg_config, data))
		size = reply->size - (unsigned int)offsetof(struct vhost_msg_config, data);
	fe->peer_config_size = MIN(size, fe->config_size);
	memcpy(fe->peer_config, reply->config.data, fe->peer_config_size);
}

enum vhost_fault frontend_script_answer(struct vhost_frontend *fe, const struct vhost_msg *reply)
{
	if (!fe->awaited)
		return VHOST_FAULT_MSG_STATE;
	if (reply->request != fe->awaited)
		return VHOST_FAULT_MSG_DIRECTION;
	fe->awaited = 0;
	switch (reply->request) {
	case VHOST_MSG_GET_FEATURES:
		fe->peer_features = reply->u64;
		break;
	case VHOST_MSG_GET_PROTOCOL_FEATURES:
		fe->protocol = reply->u64 & WANTED_PROTOCOL;
		break;
	case VHOST_MSG_GET_QUEUE_NUM:
		/* Of a network device: pairs for some back ends, rings for others. Ours and
		 * DPDK's mean pairs, as the specification of MQ does. */
		fe->peer_rings = reply->u64 > UINT32_MAX ? UINT32_MAX : 2 * reply->u64;
		break;
	case VHOST_MSG_GET_MAX_MEM_SLOTS:
		fe->peer_slots = reply->u64;
		break;
	case VHOST_MSG_GET_CONFIG:
		take_config(fe, reply);
		break;
	case VHOST_MSG_GET_STATUS:
		return reply->u64 & VIRTIO_CONFIG_S_FEATURES_OK ? VHOST_FAULT_NONE :
								  VHOST_FAULT_FEATURES;
	case VHOST_MSG_GET_VRING_BASE:
		return take_base(fe, reply);
	default: /* the outcome of a request that asked for it */
		return reply->u64 ? VHOST_FAULT_NACK : VHOST_FAULT_NONE;
	}
	return VHOST_FAULT_NONE;
}

bool frontend_script_fits(struct vhost_frontend *fe)
{
	uint64_t missing = fe->features & ~fe->peer_features;
	unsigned int slots = 0, rings = 0;

	for (unsigned int i = 0; i < GUEST_MEMORY_MAX_SLOTS; i++)
		slots += fe->slots[i].present;
	for (unsigned int i = 0; i < fe->ring_count; i++)
		rings = MAX(rings, fe->rings[i].is.index + 1);
	if (missing)
		snprintf(fe->reason, sizeof(fe->reason),
			 "the peer lacks features %#llx that the guest's driver uses",
			 (unsigned long long)missing);
	else if (rings > fe->peer_rings)
		snprintf(fe->reason, sizeof(fe->reason),
			 "the peer serves %llu rings, the guest's driver uses %u",
			 (unsigned long long)fe->peer_rings, rings);
	else if (slots > fe->peer_slots)
		snprintf(fe->reason, sizeof(fe->reason),
			 "the peer takes %llu memory slots, the guest has %u",
			 (unsigned long long)fe->peer_slots, slots);
	else
		return true;
	return false;
}
