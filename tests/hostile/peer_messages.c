#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tests/hostile/peer.h"

/* Requests of the protocol that the codec refuses: the features they need are not offered. */
static const char *const foreign[] = {
	[21] = "SET_BACKEND_REQ_FD", [23] = "SET_VRING_ENDIAN", [26] = "CREATE_CRYPTO_SESSION",
	[27] = "CLOSE_CRYPTO_SESSION", [28] = "POSTCOPY_ADVISE", [29] = "POSTCOPY_LISTEN",
	[30] = "POSTCOPY_END", [31] = "GET_INFLIGHT_FD", [32] = "SET_INFLIGHT_FD",
	[33] = "GPU_SET_SOCKET", [35] = "VRING_KICK", [41] = "GET_SHARED_OBJECT",
	[42] = "SET_DEVICE_STATE_FD", [43] = "CHECK_DEVICE_STATE", [44] = "GET_SHMEM_CONFIG",
	[45] = "(no such request)",
};

_Static_assert(ARRAY_SIZE(foreign) == REQUEST_MAX, "a name for each");

const char *request_name(uint32_t request)
{
	if (vhost_msg_rule(request))
		return vhost_msg_name(request);
	return request < REQUEST_MAX ? foreign[request] : NULL;
}

/* ---- descriptors of every kind ---- */

enum kind {
	KIND_EVENTFD,
	KIND_SEMAPHORE,
	KIND_MEMORY,
	KIND_LARGE, /* takes time to free */
	KIND_UNSEALED,
	KIND_READ_ONLY,
	KIND_NO_WRITES, /* F_SEAL_WRITE */
	KIND_HUGE,	/* hugetlbfs without a page behind it */
	KIND_PIPE_READ,
	KIND_PIPE_WRITE,
	KIND_DIRECTORY,
	KIND_NULL,
	KIND_ZERO,
	KIND_FILE,
	KIND_PATH,
	KIND_EPOLL,
	KIND_TIMER,
	KIND_SOCKET,
	KINDS
};

#define LARGE (32 * MIB)

static int kinds[KINDS];

void kinds_open(void)
{
	char path[64];
	int pipes[2];

	kinds[KIND_EVENTFD] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	kinds[KIND_SEMAPHORE] = eventfd(7, EFD_CLOEXEC | EFD_SEMAPHORE);
	kinds[KIND_MEMORY] = wire_memory(PEER_MEMORY, F_SEAL_SHRINK | F_SEAL_GROW);
	kinds[KIND_LARGE] = wire_memory(LARGE, F_SEAL_SHRINK);
	kinds[KIND_UNSEALED] = wire_memory(PEER_MEMORY, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", kinds[KIND_MEMORY]);
	kinds[KIND_READ_ONLY] = open(path, O_RDONLY | O_CLOEXEC);
	kinds[KIND_NO_WRITES] = wire_memory(PEER_MEMORY, F_SEAL_SHRINK | F_SEAL_WRITE);
	kinds[KIND_HUGE] = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
	if (fallocate(kinds[KIND_LARGE], 0, 0, LARGE) < 0 ||
	    ftruncate(kinds[KIND_HUGE], 64 << 20) < 0 ||
	    fcntl(kinds[KIND_HUGE], F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
	    pipe2(pipes, O_CLOEXEC) < 0)
		abort();
	kinds[KIND_PIPE_READ] = pipes[0];
	kinds[KIND_PIPE_WRITE] = pipes[1];
	kinds[KIND_DIRECTORY] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	kinds[KIND_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	kinds[KIND_ZERO] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	kinds[KIND_FILE] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	kinds[KIND_PATH] = open("/", O_PATH | O_CLOEXEC);
	kinds[KIND_EPOLL] = epoll_create1(EPOLL_CLOEXEC);
	kinds[KIND_TIMER] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	kinds[KIND_SOCKET] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (unsigned int i = 0; i < KINDS; i++)
		if (kinds[i] < 0)
			abort();
}

static int any_kind(struct session *s)
{
	/* The session's own socket too: in flight within itself. */
	return chance_below(&s->chance, 300) == 0 ? s->fd : chance_of(&s->chance, kinds);
}

static int fd_for(struct session *s, uint32_t request)
{
	if (chance_below(&s->chance, 2))
		return any_kind(s);
	switch (request) {
	case VHOST_MSG_SET_VRING_KICK:
		return s->kick[chance_below(&s->chance, PEER_RINGS)];
	case VHOST_MSG_SET_VRING_CALL:
	case VHOST_MSG_SET_VRING_ERR:
		return s->call[chance_below(&s->chance, PEER_RINGS)];
	default:
		return s->memfd;
	}
}

/* ---- values near every edge ---- */

static uint32_t any_index(struct session *s)
{
	static const uint32_t values[] = { 0, 1, 0, 1, 0, 1, 2, 3, 127, 128, 255, 256, 0x10000,
		0x80000000, 0xffffffff };

	return chance_of(&s->chance, values);
}

static uint32_t any_num(struct session *s)
{
	static const uint32_t values[] = { 0, 1, 2, 3, 128, 255, 256, 256, 257, 1024, 32767, 32768,
		65535, 65536, 0x80000000, 0xffffffff };

	return chance_of(&s->chance, values);
}

static uint64_t any_u64(struct session *s)
{
	static const uint64_t values[] = { 0, 1, 8, 0xf, 67, 68, 1500, 9000, 65535, 65536,
		0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX };

	if (chance_below(&s->chance, 4) == 0)
		return chance_u64(&s->chance);
	return chance_of(&s->chance, values);
}

static uint64_t any_features(struct session *s, uint64_t offered)
{
	switch (chance_below(&s->chance, 6)) {
	case 0:
		return chance_u64(&s->chance);
	case 1:
		return 0;
	case 2:
		return offered ^ 1ull << chance_below(&s->chance, 64);
	default:
		return offered & chance_u64(&s->chance);
	}
}

/* An address around what is there: at its edges, inside, misaligned, wrapping, anywhere. */
static uint64_t any_address(struct session *s, uint64_t base, uint64_t size)
{
	switch (chance_below(&s->chance, 10)) {
	case 0:
		return base + size - chance_below(&s->chance, 64);
	case 1:
		return base + chance_below(&s->chance, (uint32_t)size);
	case 2:
		return base - chance_below(&s->chance, 0x2000);
	case 3:
		return UINT64_MAX - chance_below(&s->chance, 0x2000);
	case 4:
		return any_u64(s);
	default:
		return base + (chance_below(&s->chance, (uint32_t)size) & ~0xfffu);
	}
}

static void any_region(struct session *s, struct vhost_msg_region *r)
{
	*r = (struct vhost_msg_region){ PEER_GPA, PEER_MEMORY, PEER_USER, 0 };
	if (chance_below(&s->chance, 3) == 0)
		r->gpa = any_address(s, PEER_GPA, PEER_MEMORY);
	if (chance_below(&s->chance, 4) == 0)
		r->user = any_address(s, PEER_USER, PEER_MEMORY);
	if (chance_below(&s->chance, 4) == 0)
		r->size = any_address(s, PEER_MEMORY, PEER_MEMORY);
	if (chance_below(&s->chance, 4) == 0)
		r->mmap_offset = any_address(s, 0, PEER_MEMORY);
}

static void any_ring_place(struct session *s, struct vhost_msg_vring_addr *a)
{
	uint64_t at;

	a->index = any_index(s);
	a->flags = chance_below(&s->chance, 4) ? 0 : (uint32_t)any_u64(s);
	at = PEER_USER + (a->index % PEER_RINGS) * PEER_RING_BYTES;
	a->desc = at;
	a->avail = at + 0x1000;
	a->used = at + 0x2000;
	switch (chance_below(&s->chance, 6)) {
	case 0:
		a->desc = any_address(s, PEER_USER, PEER_MEMORY);
		break;
	case 1:
		a->avail = any_address(s, PEER_USER, PEER_MEMORY);
		break;
	case 2:
		a->used = any_address(s, PEER_USER, PEER_MEMORY);
		break;
	}
	a->log = any_u64(s);
}

/* ---- messages ---- */

static void take_size(struct vhost_msg *msg, uint32_t size)
{
	msg->size = size;
}

static void fill_config(struct session *s, struct vhost_msg *msg)
{
	uint32_t size = chance_below(&s->chance, VHOST_MSG_MAX_CONFIG + 1);

	msg->config.size = size;
	msg->config.offset = chance_below(&s->chance, VHOST_MSG_MAX_CONFIG + 1 - size);
	take_size(msg, 12 + size);
}

static void fill_table(struct session *s, struct rude_msg *m)
{
	uint32_t n = chance_below(&s->chance, 3) ? 1 : chance_below(&s->chance, 9);

	m->msg.memory.count = n;
	for (uint32_t i = 0; i < n; i++) {
		any_region(s, &m->msg.memory.regions[i]);
		if (i)
			m->msg.memory.regions[i].gpa += 0x10000000ull * i;
		m->fds[i] = fd_for(s, VHOST_MSG_SET_MEM_TABLE);
	}
	m->fd_count = n;
	take_size(&m->msg, 8 + n * (uint32_t)sizeof(struct vhost_msg_region));
}

static void fill_vring_fd(struct session *s, struct rude_msg *m)
{
	m->msg.u64 = any_index(s) & VHOST_MSG_VRING_INDEX_MASK;
	if (chance_below(&s->chance, 4) == 0) {
		m->msg.u64 |= VHOST_MSG_VRING_NOFD;
	} else {
		m->fds[0] = fd_for(s, m->msg.request);
		m->fd_count = 1;
	}
	take_size(&m->msg, 8);
}

/* Requests that are nothing but their size and a number. */
static void fill_plain(struct session *s, struct rude_msg *m)
{
	const struct vhost_msg_rule *rule = vhost_msg_rule(m->msg.request);

	if (!rule) {
		take_size(&m->msg, chance_below(&s->chance, 41));
		for (uint32_t i = 0; i + 8 <= m->msg.size; i += 8)
			put_le64(m->msg.bytes + i, any_u64(s));
		if (chance_below(&s->chance, 2))
			m->fds[m->fd_count++] = any_kind(s);
		return;
	}
	take_size(&m->msg, rule->request.min_size);
	for (uint32_t i = 0; i + 8 <= m->msg.size; i += 8)
		put_le64(m->msg.bytes + i, any_u64(s));
	if (rule->request.min_fds)
		m->fds[m->fd_count++] = fd_for(s, m->msg.request);
}

static void fill(struct session *s, struct rude_msg *m)
{
	struct vhost_msg *msg = &m->msg;

	switch (msg->request) {
	case VHOST_MSG_SET_FEATURES:
	case VHOST_MSG_SET_PROTOCOL_FEATURES:
		msg->u64 = any_features(s, msg->request == VHOST_MSG_SET_FEATURES ?
						   s->offered : s->offered_protocol);
		take_size(msg, 8);
		break;
	case VHOST_MSG_SET_MEM_TABLE:
		fill_table(s, m);
		break;
	case VHOST_MSG_ADD_MEM_REG:
	case VHOST_MSG_REM_MEM_REG:
		any_region(s, &msg->one_region.region);
		take_size(msg, sizeof(msg->one_region));
		if (msg->request == VHOST_MSG_ADD_MEM_REG || chance_below(&s->chance, 2))
			m->fds[m->fd_count++] = fd_for(s, msg->request);
		break;
	case VHOST_MSG_SET_VRING_NUM:
	case VHOST_MSG_SET_VRING_BASE:
	case VHOST_MSG_GET_VRING_BASE:
	case VHOST_MSG_SET_VRING_ENABLE:
		msg->state.index = any_index(s);
		msg->state.num = any_num(s);
		take_size(msg, 8);
		break;
	case VHOST_MSG_SET_VRING_ADDR:
		any_ring_place(s, &msg->addr);
		take_size(msg, sizeof(msg->addr));
		break;
	case VHOST_MSG_SET_VRING_KICK:
	case VHOST_MSG_SET_VRING_CALL:
	case VHOST_MSG_SET_VRING_ERR:
		fill_vring_fd(s, m);
		break;
	case VHOST_MSG_GET_CONFIG:
	case VHOST_MSG_SET_CONFIG:
		fill_config(s, msg);
		break;
	default:
		fill_plain(s, m);
		break;
	}
}

/* Makes it one that the codec has to refuse. */
static void spoil(struct session *s, struct rude_msg *m)
{
	static const uint32_t sizes[] = { 0, 1, 7, 9, 319, 320, 321, 4096, 0x7fffffff, 0xffffffff };
	static const unsigned int counts[] = { 1, 2, 7, 8, 9, 64, WIRE_MAX_FDS };

	switch (chance_below(&s->chance, 7)) {
	case 0:
		m->msg.flags = (uint32_t)chance_u64(&s->chance);
		break;
	case 1:
		m->msg.flags |= VHOST_MSG_REPLY;
		break;
	case 2:
		m->msg.size = chance_of(&s->chance, sizes);
		break;
	case 3:
		m->msg.size ^= 1u << chance_below(&s->chance, 10);
		break;
	case 4:
		m->fd_count = chance_of(&s->chance, counts);
		for (unsigned int i = 0; i < m->fd_count; i++)
			m->fds[i] = any_kind(s);
		break;
	case 5:
		m->fd_count = 0;
		break;
	default:
		m->msg.bytes[chance_below(&s->chance, 16)] ^= (uint8_t)(1 + any_num(s) % 255);
		break;
	}
}

static bool passes(const struct rude_msg *m)
{
	struct vhost_msg msg = m->msg;

	msg.fd_count = m->fd_count;
	return m->fd_count <= VHOST_MSG_MAX_FDS &&
	       vhost_msg_check(&msg, VHOST_REQUEST) == VHOST_FAULT_NONE;
}

void rude_make(struct session *s, struct rude_msg *m, uint32_t request, bool well_formed)
{
	memset(m, 0, sizeof(*m));
	vhost_msg_init(&m->msg, (enum vhost_request)request);
	if (chance_below(&s->chance, 3) == 0)
		m->msg.flags |= VHOST_MSG_NEED_REPLY;
	fill(s, m);
	if (!well_formed)
		spoil(s, m);
	m->valid = passes(m);
	m->len = wire_bytes(&m->msg, m->bytes);
}
