#include "backend_env.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 10000

static void *env_run(void *opaque)
{
	struct env *env = opaque;

	assert_int_equal(loop_run(env->loop), 0);
	return NULL;
}

void env_init(struct env *env)
{
	env->loop = loop_create();
	assert_non_null(env->loop);
	assert_int_equal(pthread_create(&env->thread, NULL, env_run, env), 0);
}

void env_fini(struct env *env)
{
	loop_stop(env->loop);
	pthread_join(env->thread, NULL);
	loop_destroy(env->loop);
}

bool owner_sleep(struct owner *owner)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_MS / 1000;
	return pthread_cond_timedwait(&owner->changed, &owner->lock, &end) == 0;
}

static struct owner *owner_enter(void *opaque)
{
	struct owner *owner = opaque;

	pthread_mutex_lock(&owner->lock);
	return owner;
}

static void owner_leave(struct owner *owner)
{
	pthread_cond_broadcast(&owner->changed);
	pthread_mutex_unlock(&owner->lock);
}

static void on_ring_start(void *opaque, unsigned int index, struct vhost_backend_ring *ring)
{
	struct owner *owner = owner_enter(opaque);

	owner->rings[index] = ring;
	owner->starts++;
	owner_leave(owner);
}

static void on_ring_stop(void *opaque, unsigned int index)
{
	struct owner *owner = owner_enter(opaque);
	bool slow = owner->slow;

	owner->stops++;
	owner->rings[index] = NULL;
	owner_leave(owner);
	if (!slow)
		vhost_backend_ring_stopped(owner->be, index);
}

static void on_link(void *opaque, bool up)
{
	struct owner *owner = owner_enter(opaque);

	owner->ups += up;
	owner->downs += !up;
	owner_leave(owner);
}

static void on_connected(void *opaque)
{
	struct owner *owner = owner_enter(opaque);

	owner->connects++;
	owner_leave(owner);
}

static void on_gone(void *opaque, enum vhost_fault reason)
{
	struct owner *owner = owner_enter(opaque);

	owner->gones++;
	owner->reason = reason;
	owner_leave(owner);
}

static int on_set_mtu(void *opaque, uint16_t mtu)
{
	struct owner *owner = owner_enter(opaque);
	bool fits = mtu <= 9000;

	if (fits)
		owner->mtu = mtu;
	owner_leave(owner);
	return fits ? 0 : -EINVAL;
}

static void on_rarp(void *opaque, const uint8_t mac[6])
{
	struct owner *owner = owner_enter(opaque);

	memcpy(owner->mac, mac, 6);
	owner_leave(owner);
}

static int on_get_config(void *opaque, uint32_t offset, void *buf, uint32_t len)
{
	if (offset + len > 8)
		return -EINVAL;
	memcpy(buf, "\x52\x54\x00\x01\x02\x03\x01\x00" + offset, len);
	return 0;
}

static void on_done(void *opaque)
{
	struct owner *owner = owner_enter(opaque);

	owner->dones++;
	owner_leave(owner);
}

static const struct vhost_backend_ops owner_ops = {
	.ring_start = on_ring_start,
	.ring_stop = on_ring_stop,
	.link = on_link,
	.connected = on_connected,
	.gone = on_gone,
	.set_mtu = on_set_mtu,
	.rarp = on_rarp,
	.get_config = on_get_config,
};

struct create_call {
	const struct vhost_backend_config *config;
	struct owner *owner;
	int err;
};

static void do_create(void *opaque)
{
	struct create_call *call = opaque;

	call->err = vhost_backend_create(call->config, &call->owner->be);
}

int owner_create_err(struct env *env, const struct vhost_backend_config *base,
		     struct owner **owner)
{
	struct vhost_backend_config config = *base;
	struct create_call call = { .config = &config, .owner = calloc(1, sizeof(**owner)) };

	assert_non_null(call.owner);
	pthread_mutex_init(&call.owner->lock, NULL);
	pthread_cond_init(&call.owner->changed, NULL);
	config.loop = env->loop;
	config.ops = &owner_ops;
	config.opaque = call.owner;
	config.rings = ENV_RINGS;
	assert_int_equal(loop_call(env->loop, do_create, &call), 0);
	if (call.err)
		free(call.owner);
	else
		*owner = call.owner;
	return call.err;
}

struct owner *owner_create(struct env *env, const struct vhost_backend_config *base, int *fd)
{
	struct vhost_backend_config config = *base;
	struct owner *owner = NULL;
	int pair[2];

	if (!config.path) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		config.fd = pair[0];
		*fd = pair[1];
	}
	assert_int_equal(owner_create_err(env, &config, &owner), 0);
	return owner;
}

static void do_destroy(void *opaque)
{
	struct owner *owner = opaque;

	vhost_backend_destroy(owner->be, on_done, owner);
}

void owner_start_destroy(struct env *env, struct owner *owner)
{
	assert_int_equal(loop_call(env->loop, do_destroy, owner), 0);
}

void owner_destroy(struct env *env, struct owner *owner)
{
	owner_start_destroy(env, owner);
	owner_wait(owner, owner->dones == 1);
	pthread_mutex_destroy(&owner->lock);
	pthread_cond_destroy(&owner->changed);
	free(owner);
}

struct ring_call {
	struct owner *owner;
	unsigned int a, b;
};

static void do_ack(void *opaque)
{
	struct ring_call *call = opaque;

	vhost_backend_ring_stopped(call->owner->be, call->a);
}

void owner_ack(struct env *env, struct owner *owner, unsigned int ring)
{
	struct ring_call call = { owner, ring, 0 };

	assert_int_equal(loop_call(env->loop, do_ack, &call), 0);
}

static void do_break(void *opaque)
{
	struct ring_call *call = opaque;

	vhost_backend_break(call->owner->be, (enum vhost_fault)call->a);
}

void owner_break(struct env *env, struct owner *owner, enum vhost_fault reason)
{
	struct ring_call call = { owner, reason, 0 };

	assert_int_equal(loop_call(env->loop, do_break, &call), 0);
}

static void notify(struct vhost_backend_ring *ring)
{
	uint64_t one = 1;

	if (vring_device_should_notify(&ring->vr))
		assert_int_equal(write(ring->call_fd, &one, sizeof(one)), sizeof(one));
}

/* One piece a chain is all the tests use. */
static void do_echo(void *opaque)
{
	struct ring_call *call = opaque;
	struct vhost_backend_ring *from = call->owner->rings[call->a];
	struct vhost_backend_ring *to = call->owner->rings[call->b];
	struct iovec iov[2][8];
	uint64_t addr[2][8];
	struct vring_sg sg[2] = { { iov[0], addr[0], 8, 0 }, { iov[1], addr[1], 8, 0 } };
	struct vring_chain in, out;

	call->a = 0;
	while (vring_device_pop(&from->vr, &in, 1, &sg[0]) == 1) {
		uint32_t len = 0;

		if (vring_device_pop(&to->vr, &out, 1, &sg[1]) == 1) {
			len = MIN(in.readable_len, out.writable_len);
			memcpy(out.iov[0].iov_base, in.iov[0].iov_base, len);
			vring_device_put(&to->vr, &out, len);
		}
		vring_device_put(&from->vr, &in, 0);
		call->a++;
	}
	vring_device_publish(&from->vr);
	vring_device_publish(&to->vr);
	notify(from);
	notify(to);
}

unsigned int owner_echo(struct env *env, struct owner *owner, unsigned int from, unsigned int to)
{
	struct ring_call call = { owner, from, to };

	assert_int_equal(loop_call(env->loop, do_echo, &call), 0);
	return call.a;
}

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
