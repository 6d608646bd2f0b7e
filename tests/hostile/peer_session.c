#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/hostile/peer.h"

struct tally tally;

int session_open(struct session *s, const char *path, uint64_t seed, bool unsealed)
{
	*s = (struct session){ .chance = { seed }, .fd = -1 };
	s->sealed = !unsealed || chance_below(&s->chance, 2);
	s->deaf = chance_below(&s->chance, 50) == 0;
	s->memfd = wire_memory(PEER_MEMORY, s->sealed ? F_SEAL_SHRINK : 0);
	if (s->memfd < 0)
		return s->memfd;
	s->memory = mmap(NULL, PEER_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
	for (unsigned int i = 0; i < PEER_RINGS; i++) {
		s->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		s->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	if (s->memory == MAP_FAILED)
		return -ENOMEM;
	s->fd = wire_connect(path);
	if (s->fd < 0)
		return s->fd;
	tally.sessions++;
	return 0;
}

void session_close(struct session *s)
{
	if (s->fd >= 0)
		close(s->fd);
	munmap(s->memory, PEER_MEMORY);
	close(s->memfd);
	for (unsigned int i = 0; i < PEER_RINGS; i++) {
		close(s->kick[i]);
		close(s->call[i]);
	}
}

int session_send(struct session *s, const struct vhost_msg *msg)
{
	int err = wire_send_msg(s->fd, msg);

	if (err)
		return err;
	tally.messages++;
	tally.valid += vhost_msg_check(msg, VHOST_REQUEST) == VHOST_FAULT_NONE;
	return 0;
}

static int send_u64(struct session *s, enum vhost_request request, uint64_t value, int fd)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request);
	msg.size = sizeof(msg.u64);
	msg.u64 = value;
	msg.fds[0] = fd;
	msg.fd_count = fd >= 0;
	return session_send(s, &msg);
}

static int ask_u64(struct session *s, enum vhost_request request, uint64_t *value)
{
	struct vhost_msg msg;
	int err;

	vhost_msg_init(&msg, request);
	err = session_send(s, &msg);
	if (!err)
		err = wire_receive(s->fd, &msg);
	*value = msg.u64;
	return err;
}

static int send_state(struct session *s, enum vhost_request request, uint32_t index, uint32_t num)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request);
	msg.size = sizeof(msg.state);
	msg.state = (struct vhost_msg_vring_state){ index, num };
	return session_send(s, &msg);
}

static int negotiate(struct session *s)
{
	const uint64_t wanted = 1ull << VIRTIO_F_VERSION_1 | 1ull << VHOST_F_PROTOCOL_FEATURES |
				1ull << VIRTIO_RING_F_INDIRECT_DESC |
				1ull << VIRTIO_NET_F_MRG_RXBUF;
	const uint64_t protocol = 1ull << VHOST_PROTO_MQ | 1ull << VHOST_PROTO_REPLY_ACK |
				  1ull << VHOST_PROTO_CONFIGURE_MEM_SLOTS |
				  1ull << VHOST_PROTO_STATUS | 1ull << VHOST_PROTO_NET_MTU;
	struct vhost_msg msg;
	int err;

	vhost_msg_init(&msg, VHOST_MSG_SET_OWNER);
	err = session_send(s, &msg);
	if (!err)
		err = ask_u64(s, VHOST_MSG_GET_FEATURES, &s->offered);
	if (!err)
		err = ask_u64(s, VHOST_MSG_GET_PROTOCOL_FEATURES, &s->offered_protocol);
	if (!err)
		err = send_u64(s, VHOST_MSG_SET_PROTOCOL_FEATURES, s->offered_protocol & protocol,
			       -1);
	if (!err)
		err = send_u64(s, VHOST_MSG_SET_FEATURES, s->offered & wanted, -1);
	return err;
}

static int show_memory(struct session *s)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_MSG_SET_MEM_TABLE);
	msg.size = 8 + sizeof(msg.memory.regions[0]);
	msg.memory.count = 1;
	msg.memory.regions[0] = (struct vhost_msg_region){ PEER_GPA, PEER_MEMORY, PEER_USER, 0 };
	msg.fds[0] = s->memfd;
	msg.fd_count = 1;
	return session_send(s, &msg);
}

struct vring_parts session_ring(const struct session *s, unsigned int ring)
{
	uint8_t *at = s->memory + ring * PEER_RING_BYTES;

	return (struct vring_parts){
		.desc = (void *)at,
		.avail = (void *)(at + 0x1000),
		.used = (void *)(at + 0x2000),
	};
}

static int describe_ring(struct session *s, unsigned int i)
{
	uint64_t at = PEER_USER + i * PEER_RING_BYTES;
	struct vhost_msg msg;
	int err = send_state(s, VHOST_MSG_SET_VRING_NUM, i, PEER_RING_SIZE);

	vhost_msg_init(&msg, VHOST_MSG_SET_VRING_ADDR);
	msg.size = sizeof(msg.addr);
	msg.addr = (struct vhost_msg_vring_addr){ .index = i, .desc = at, .avail = at + 0x1000,
		.used = at + 0x2000 };
	if (!err)
		err = send_state(s, VHOST_MSG_SET_VRING_BASE, i, 0);
	if (!err)
		err = session_send(s, &msg);
	if (!err)
		err = send_u64(s, VHOST_MSG_SET_VRING_CALL, i, s->call[i]);
	if (!err)
		err = send_u64(s, VHOST_MSG_SET_VRING_KICK, i, s->kick[i]);
	return err;
}

int session_advance(struct session *s, enum state state)
{
	uint64_t ignored;
	int err = 0;

	if (state >= STATE_FEATURES)
		err = negotiate(s);
	if (!err && state >= STATE_MEMORY)
		err = show_memory(s);
	for (unsigned int i = 0; i < PEER_RINGS && !err && state >= STATE_STOPPED; i++)
		err = describe_ring(s, i);
	for (unsigned int i = 0; i < PEER_RINGS && !err && state >= STATE_RUNNING; i++)
		err = send_state(s, VHOST_MSG_SET_VRING_ENABLE, i, 1);
	/* Answered: all before it has been done, and nothing of it was held against us. */
	if (!err && state > STATE_NOTHING)
		err = ask_u64(s, VHOST_MSG_GET_FEATURES, &ignored);
	if (!err && state >= STATE_RUNNING)
		session_frames(s);
	return err;
}

void session_kick(struct session *s, unsigned int ring)
{
	uint64_t one = 1;
	ssize_t n = write(s->kick[ring], &one, sizeof(one));

	(void)n; /* full is good enough */
}

void session_offer(struct session *s, unsigned int ring, uint16_t head)
{
	struct vring_parts parts = session_ring(s, ring);

	parts.avail->ring[s->avail[ring]++ % PEER_RING_SIZE] = head;
	__atomic_store_n(&parts.avail->idx, s->avail[ring], __ATOMIC_RELEASE);
}

void session_frames(struct session *s)
{
	/* To itself: what is right goes nowhere and costs no neighbour a buffer. */
	static const uint8_t frame[64] = { [12] = 2, 0, 0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 0x88, 0xb5 };
	struct vring_parts rx = session_ring(s, 0), tx = session_ring(s, 1);

	memcpy(s->memory + PEER_BUFFERS, frame, sizeof(frame));
	tx.desc[0] = (struct vring_desc){ PEER_GPA + PEER_BUFFERS, 12 + 60, 0, 0 };
	session_offer(s, 1, 0);
	for (uint16_t i = 0; i < 8; i++) {
		rx.desc[i] = (struct vring_desc){ PEER_GPA + PEER_BUFFERS + 0x1000 + i * 2048u, 2048,
			VRING_DESC_F_WRITE, 0 };
		session_offer(s, 0, i);
	}
	session_kick(s, 1);
}
