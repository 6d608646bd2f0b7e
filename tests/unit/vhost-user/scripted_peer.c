#include "tests/unit/vhost-user/scripted_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define peer_check(x)                                                                  \
	do {                                                                           \
		if (!(x)) {                                                            \
			fprintf(stderr, "scripted_peer: line %d: %s\n", __LINE__, #x); \
			abort();                                                       \
		}                                                                      \
	} while (0)

static void forget_session(struct scripted_peer *peer)
{
	for (unsigned int i = 0; i < PEER_RINGS; i++) {
		if (peer->rings[i].kick_fd >= 0)
			close(peer->rings[i].kick_fd);
		if (peer->rings[i].call_fd >= 0)
			close(peer->rings[i].call_fd);
		peer->rings[i] = (struct peer_ring){.kick_fd = -1, .call_fd = -1};
	}
	peer->region_count = 0;
	peer->acked = peer->acked_protocol = peer->status = 0;
}

void scripted_peer_hang_up(struct scripted_peer *peer)
{
	if (peer->fd < 0)
		return;
	loop_io_remove(peer->io);
	close(peer->fd);
	peer->fd = -1;
	vhost_stream_fini(&peer->stream);
	vhost_outbox_fini(&peer->outbox);
	forget_session(peer);
}

static void take_fd(struct vhost_msg *msg, int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = msg->fd_count ? vhost_msg_take_fd(msg, 0) : -1;
}

static void add_region(struct scripted_peer *peer, const struct vhost_msg_region *region)
{
	peer_check(peer->region_count < PEER_SLOTS);
	peer->regions[peer->region_count++] = *region;
}

static void note_ring(struct scripted_peer *peer, struct vhost_msg *msg)
{
	uint32_t index = msg->request == VHOST_MSG_SET_VRING_KICK ||
					 msg->request == VHOST_MSG_SET_VRING_CALL ?
				 (uint32_t)msg->u64 & VHOST_MSG_VRING_INDEX_MASK :
				 msg->state.index;
	struct peer_ring *ring = &peer->rings[index];

	peer_check(index < PEER_RINGS);
	switch (msg->request) {
	case VHOST_MSG_SET_VRING_NUM:
		ring->num = msg->state.num;
		break;
	case VHOST_MSG_SET_VRING_BASE:
		ring->base = msg->state.num;
		break;
	case VHOST_MSG_SET_VRING_ENABLE:
		ring->enabled = msg->state.num;
		break;
	case VHOST_MSG_SET_VRING_ADDR:
		ring->addr = msg->addr;
		break;
	case VHOST_MSG_SET_VRING_KICK:
		take_fd(msg, &ring->kick_fd);
		break;
	default:
		take_fd(msg, &ring->call_fd);
		break;
	}
}

static void note(struct scripted_peer *peer, struct vhost_msg *msg)
{
	switch (msg->request) {
	case VHOST_MSG_SET_FEATURES:
		peer->acked = msg->u64;
		break;
	case VHOST_MSG_SET_PROTOCOL_FEATURES:
		peer->acked_protocol = msg->u64;
		break;
	case VHOST_MSG_SET_STATUS:
		peer->status = msg->u64;
		break;
	case VHOST_MSG_SET_MEM_TABLE:
		peer->region_count = 0;
		for (unsigned int i = 0; i < msg->memory.count; i++)
			add_region(peer, &msg->memory.regions[i]);
		break;
	case VHOST_MSG_ADD_MEM_REG:
		add_region(peer, &msg->one_region.region);
		break;
	case VHOST_MSG_SET_VRING_NUM:
	case VHOST_MSG_SET_VRING_BASE:
	case VHOST_MSG_SET_VRING_ADDR:
	case VHOST_MSG_SET_VRING_KICK:
	case VHOST_MSG_SET_VRING_CALL:
	case VHOST_MSG_SET_VRING_ENABLE:
		note_ring(peer, msg);
		break;
	}
}

static uint64_t value_of(const struct scripted_peer *peer, uint32_t request)
{
	switch (request) {
	case VHOST_MSG_GET_FEATURES:
		return peer->features;
	case VHOST_MSG_GET_PROTOCOL_FEATURES:
		return peer->protocol;
	case VHOST_MSG_GET_QUEUE_NUM:
		return peer->queue_num;
	case VHOST_MSG_GET_MAX_MEM_SLOTS:
		return peer->max_slots;
	case VHOST_MSG_GET_STATUS:
		return peer->status;
	default:
		return 0;
	}
}

static void send_raw(struct scripted_peer *peer, const struct vhost_msg *msg)
{
	uint8_t bytes[VHOST_MSG_HEADER + VHOST_MSG_MAX_PAYLOAD];

	/* Around the outbox, which would not send what breaks the table. The front end may have
	 * left already: reading on tells. */
	memcpy(bytes, msg, VHOST_MSG_HEADER);
	memcpy(bytes + VHOST_MSG_HEADER, msg->bytes, msg->size);
	if (send(peer->fd, bytes, VHOST_MSG_HEADER + msg->size, MSG_NOSIGNAL) < 0)
		return;
}

static uint32_t chance(struct scripted_peer *peer, uint32_t below)
{
	peer->raving = peer->raving * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(peer->raving >> 33) % below;
}

/* Sends the first bytes of an answer, with descriptors nobody asked for. */
static void send_part(struct scripted_peer *peer, const struct vhost_msg *msg, size_t len,
		      unsigned int fd_count)
{
	uint8_t bytes[VHOST_MSG_HEADER + VHOST_MSG_MAX_PAYLOAD];
	char control[CMSG_SPACE(16 * sizeof(int))] = {0};
	struct iovec iov = { bytes, MIN(len, sizeof(bytes)) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	memcpy(bytes, msg, VHOST_MSG_HEADER);
	memcpy(bytes + VHOST_MSG_HEADER, msg->bytes, VHOST_MSG_MAX_PAYLOAD);
	if (fd_count) {
		struct cmsghdr *c;

		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		for (unsigned int i = 0; i < fd_count; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &peer->fd, sizeof(int));
	}
	if (sendmsg(peer->fd, &mh, MSG_NOSIGNAL) < 0)
		return;
}

/* `reply` is right so far. */
static void rave(struct scripted_peer *peer, struct vhost_msg *reply)
{
	static const uint64_t odd[] = { 0, 1, UINT16_MAX, UINT32_MAX, 1ull << 32, 1ull << 63, UINT64_MAX };
	uint8_t *header = (uint8_t *)reply;
	size_t len = VHOST_MSG_HEADER + reply->size;

	switch (chance(peer, 24)) {
	case 0:
		header[chance(peer, VHOST_MSG_HEADER)] ^= (uint8_t)(1u << chance(peer, 8));
		len = VHOST_MSG_HEADER + reply->size % VHOST_MSG_MAX_PAYLOAD;
		break;
	case 1:
	case 2:
		reply->u64 = odd[chance(peer, ARRAY_SIZE(odd))];
		break;
	case 3:
	case 4:
		reply->u64 ^= 1ull << chance(peer, 64);
		break;
	case 5:
		len = chance(peer, (uint32_t)len);
		break;
	case 6:
		send_part(peer, reply, len, 1 + chance(peer, 16));
		return;
	case 7:
		reply->size = VHOST_MSG_MAX_PAYLOAD;
		len = VHOST_MSG_HEADER + reply->size;
		break;
	case 8:
		scripted_peer_hang_up(peer);
		return;
	}
	if (len)
		send_part(peer, reply, len, 0);
	if (len < VHOST_MSG_HEADER + reply->size && chance(peer, 2))
		scripted_peer_hang_up(peer);
}

static void answer(struct scripted_peer *peer, const struct vhost_msg *msg)
{
	enum peer_deed deed = msg->request == peer->at || peer->deed == PEER_RAVES ? peer->deed :
										     PEER_OBEYS;
	const struct vhost_msg_rule *rule = vhost_msg_rule(msg->request);
	struct vhost_msg reply;

	if (!rule->replies && !(msg->flags & VHOST_MSG_NEED_REPLY))
		return;
	vhost_msg_init_reply_u64(&reply, msg, value_of(peer, msg->request));
	if (msg->request == VHOST_MSG_GET_VRING_BASE) {
		reply.state.index = msg->state.index + (deed == PEER_LIES);
		reply.state.num = peer->rings[msg->state.index].base;
	} else if (msg->request == VHOST_MSG_GET_CONFIG) {
		vhost_msg_init_reply(&reply, msg, msg->size);
		reply.config.size = msg->config.size;
		memcpy(reply.config.data, peer->config, sizeof(peer->config));
	} else if (deed == PEER_LIES) {
		reply.u64 = UINT64_MAX;
	} else if (deed == PEER_REFUSES) {
		reply.u64 = 1;
	}
	if (deed == PEER_RAVES) {
		rave(peer, &reply);
		return;
	}
	if (deed == PEER_MISTAKES)
		reply.request = VHOST_MSG_GET_QUEUE_NUM;
	if (deed == PEER_BABBLES)
		reply.size = 64;
	send_raw(peer, &reply);
	if (deed == PEER_REPEATS)
		send_raw(peer, &reply);
}

static void serve(struct scripted_peer *peer, struct vhost_msg *msg)
{
	peer->seen[msg->request]++;
	if (msg->request == peer->at && peer->deed == PEER_HANGS_UP) {
		vhost_msg_close_fds(msg);
		scripted_peer_hang_up(peer);
		return;
	}
	note(peer, msg);
	vhost_msg_close_fds(msg);
	if (msg->request != peer->at || peer->deed != PEER_IS_SILENT)
		answer(peer, msg);
}

static void readable(void *opaque, int fd, unsigned int events)
{
	struct scripted_peer *peer = opaque;
	struct vhost_msg msg;

	while (peer->fd >= 0) {
		switch (vhost_stream_read(&peer->stream, fd, &msg)) {
		case VHOST_STREAM_AGAIN:
			return;
		case VHOST_STREAM_OVER:
			scripted_peer_hang_up(peer);
			return;
		case VHOST_STREAM_MESSAGE:
			serve(peer, &msg);
			break;
		}
	}
}

static void attach(struct scripted_peer *peer, int fd)
{
	peer_check(fd >= 0 && peer->fd < 0);
	peer->fd = fd;
	peer->sessions++;
	vhost_stream_init(&peer->stream, VHOST_REQUEST);
	vhost_outbox_init(&peer->outbox);
	peer->io = loop_io_add(peer->rig->loop, fd, LOOP_READ, readable, peer);
	peer_check(peer->io);
}

static void acceptable(void *opaque, int fd, unsigned int events)
{
	struct scripted_peer *peer = opaque;

	if (peer->fd < 0)
		attach(peer, accept4(fd, NULL, NULL, SOCK_CLOEXEC));
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return addr;
}

void scripted_peer_return(struct scripted_peer *peer)
{
	struct sockaddr_un addr = address(peer->path);

	peer->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	peer_check(peer->listen_fd >= 0);
	peer_check(bind(peer->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	peer_check(listen(peer->listen_fd, 4) == 0);
	peer->listen_io = loop_io_add(peer->rig->loop, peer->listen_fd, LOOP_READ, acceptable, peer);
	peer_check(peer->listen_io);
}

void scripted_peer_leave(struct scripted_peer *peer)
{
	scripted_peer_hang_up(peer);
	if (peer->listen_fd < 0)
		return;
	loop_io_remove(peer->listen_io);
	close(peer->listen_fd);
	peer->listen_fd = -1;
	unlink(peer->path);
}

void scripted_peer_connect(struct scripted_peer *peer, const char *path)
{
	struct sockaddr_un addr = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	peer_check(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	attach(peer, fd);
}

void scripted_peer_init(struct scripted_peer *peer, struct virtio_rig *rig)
{
	memset(peer, 0, sizeof(*peer));
	peer->rig = rig;
	peer->fd = -1;
	for (unsigned int i = 0; i < PEER_RINGS; i++)
		peer->rings[i].kick_fd = peer->rings[i].call_fd = -1;
	peer->features = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX |
			 1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VHOST_F_PROTOCOL_FEATURES;
	peer->protocol = 1ULL << VHOST_PROTO_MQ | 1ULL << VHOST_PROTO_REPLY_ACK |
			 1ULL << VHOST_PROTO_STATUS | 1ULL << VHOST_PROTO_CONFIG |
			 1ULL << VHOST_PROTO_CONFIGURE_MEM_SLOTS | 1ULL << VHOST_PROTO_NET_MTU;
	peer->queue_num = PEER_RINGS / 2;
	peer->max_slots = PEER_SLOTS;
	snprintf(peer->path, sizeof(peer->path), "/tmp/vhost-peer-%d-XXXXXX", getpid());
	close(mkstemp(peer->path)); /* a name of our own */
	unlink(peer->path);
	scripted_peer_return(peer);
}

void scripted_peer_fini(struct scripted_peer *peer)
{
	scripted_peer_leave(peer);
}

gpa_t scripted_peer_gpa(const struct scripted_peer *peer, uint64_t user)
{
	for (unsigned int i = 0; i < peer->region_count; i++) {
		const struct vhost_msg_region *region = &peer->regions[i];

		if (user - region->user < region->size)
			return user - region->user + region->gpa;
	}
	return UINT64_MAX;
}

void scripted_peer_serve(struct scripted_peer *peer, unsigned int index, struct vring_device *vr)
{
	const struct peer_ring *ring = &peer->rings[index];
	const struct vring_addrs addrs = {
		.desc = scripted_peer_gpa(peer, ring->addr.desc),
		.avail = scripted_peer_gpa(peer, ring->addr.avail),
		.used = scripted_peer_gpa(peer, ring->addr.used),
	};
	struct vring_device_config config = {
		.dma = dma_space_dma(peer->rig->space),
		.size = ring->num,
		.base = ring->base,
		.used_addr = addrs.used,
		.features = peer->acked,
	};

	peer_check(vring_device_map(config.dma, config.size, &addrs, &config.parts) ==
		   VHOST_FAULT_NONE);
	vring_device_start(vr, &config);
}
