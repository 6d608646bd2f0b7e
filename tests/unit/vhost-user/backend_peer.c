#include "backend_env.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 10000

int memory_create(unsigned int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, ENV_MEMORY), 0);
	if (seals)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

void peer_init(struct peer *peer, int fd, int memory_fd)
{
	uint64_t block = ALIGN_UP(vring_driver_bytes(ENV_RING_SIZE), 4096);

	peer->fd = fd;
	peer->memory_fd = memory_fd;
	peer->memory = mmap(NULL, ENV_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	assert_true(peer->memory != MAP_FAILED);
	for (unsigned int i = 0; i < ENV_RINGS; i++) {
		peer->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		peer->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_int_equal(vring_driver_init(&peer->rings[i], ENV_RING_SIZE,
						   peer->memory + i * block, ENV_USER + i * block,
						   0), 0);
	}
}

void peer_fini(struct peer *peer)
{
	for (unsigned int i = 0; i < ENV_RINGS; i++) {
		close(peer->kick[i]);
		close(peer->call[i]);
		vring_driver_fini(&peer->rings[i]);
	}
	munmap(peer->memory, ENV_MEMORY);
	close(peer->memory_fd);
	if (peer->fd >= 0)
		close(peer->fd);
}

void peer_send(int fd, const struct vhost_msg *msg)
{
	char control[CMSG_SPACE(sizeof(msg->fds))] = {0};
	struct iovec iov[2] = {
		{ (void *)(uintptr_t)msg, VHOST_MSG_HEADER },
		{ (void *)(uintptr_t)msg->bytes, MIN(msg->size, VHOST_MSG_MAX_PAYLOAD) },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };

	if (msg->fd_count) {
		struct cmsghdr *c;

		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(msg->fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(msg->fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), msg->fds, msg->fd_count * sizeof(int));
	}
	/* The other end may have hung up on us already: the test finds out when it reads. */
	if (sendmsg(fd, &mh, MSG_NOSIGNAL) < 0)
		assert_int_equal(errno, EPIPE);
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = poll(&p, 1, ms);

	assert_true(n >= 0);
	return n == 1;
}

static bool read_all(int fd, void *buf, size_t len)
{
	char *at = buf;

	while (len) {
		ssize_t n;

		if (!readable(fd, PATIENCE_MS))
			fail_msg("no answer");
		n = read(fd, at, len);
		if (n < 0 && errno != ECONNRESET)
			fail_msg("read: errno %d", errno);
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool peer_receive(int fd, struct vhost_msg *msg)
{
	memset(msg, 0, sizeof(*msg));
	if (!read_all(fd, msg, VHOST_MSG_HEADER))
		return false;
	assert_true(msg->size <= VHOST_MSG_MAX_PAYLOAD);
	assert_true(read_all(fd, msg->bytes, msg->size));
	assert_int_equal(vhost_msg_check(msg, VHOST_REPLY), VHOST_FAULT_NONE);
	return true;
}

bool peer_hears_nothing(int fd)
{
	return !readable(fd, 30);
}

bool peer_closed(int fd)
{
	struct vhost_msg msg;

	while (peer_receive(fd, &msg))
		;
	return true;
}

void peer_send_u64(int fd, enum vhost_request request, uint64_t value)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request);
	msg.size = sizeof(msg.u64);
	msg.u64 = value;
	peer_send(fd, &msg);
}

void peer_send_state(int fd, enum vhost_request request, uint32_t index, uint32_t num)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request);
	msg.size = sizeof(msg.state);
	msg.state.index = index;
	msg.state.num = num;
	peer_send(fd, &msg);
}

void peer_send_fd(int fd, enum vhost_request request, uint64_t value, int passed)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request);
	msg.size = sizeof(msg.u64);
	msg.u64 = value;
	msg.fds[0] = passed;
	msg.fd_count = passed >= 0;
	peer_send(fd, &msg);
}

uint64_t peer_ask_u64(int fd, enum vhost_request request)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request);
	peer_send(fd, &msg);
	assert_true(peer_receive(fd, &msg));
	assert_int_equal(msg.request, request);
	return msg.u64;
}

void memory_message(struct vhost_msg *msg, int memory_fd)
{
	vhost_msg_init(msg, VHOST_MSG_SET_MEM_TABLE);
	msg->size = 8 + sizeof(struct vhost_msg_region);
	msg->memory.count = 1;
	msg->memory.regions[0] = (struct vhost_msg_region){
		.gpa = ENV_GPA,
		.size = ENV_MEMORY,
		.user = ENV_USER,
	};
	msg->fds[0] = memory_fd;
	msg->fd_count = 1;
}

void peer_negotiate(struct peer *peer, uint64_t features, uint64_t protocol)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_MSG_SET_OWNER);
	peer_send(peer->fd, &msg);
	if (protocol) {
		peer_send_u64(peer->fd, VHOST_MSG_SET_PROTOCOL_FEATURES, protocol);
		features |= 1ull << VHOST_F_PROTOCOL_FEATURES;
	}
	peer_send_u64(peer->fd, VHOST_MSG_SET_FEATURES, features);
	memory_message(&msg, peer->memory_fd);
	peer_send(peer->fd, &msg);
}

void peer_set_ring(struct peer *peer, unsigned int ring)
{
	struct vhost_msg msg;

	peer_send_state(peer->fd, VHOST_MSG_SET_VRING_NUM, ring, ENV_RING_SIZE);
	peer_send_state(peer->fd, VHOST_MSG_SET_VRING_BASE, ring, 0);
	vhost_msg_init(&msg, VHOST_MSG_SET_VRING_ADDR);
	msg.size = sizeof(msg.addr);
	msg.addr.index = ring;
	msg.addr.desc = peer->rings[ring].addrs.desc;
	msg.addr.avail = peer->rings[ring].addrs.avail;
	msg.addr.used = peer->rings[ring].addrs.used;
	peer_send(peer->fd, &msg);
	peer_send_fd(peer->fd, VHOST_MSG_SET_VRING_CALL, ring, peer->call[ring]);
	peer_send_fd(peer->fd, VHOST_MSG_SET_VRING_KICK, ring, peer->kick[ring]);
}

void peer_enable_ring(struct peer *peer, unsigned int ring, bool on)
{
	peer_send_state(peer->fd, VHOST_MSG_SET_VRING_ENABLE, ring, on);
}
