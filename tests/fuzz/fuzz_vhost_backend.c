/*
 * A whole back end fed with what a front end could send: the messages go through a socket, with
 * descriptors of the kinds a peer could pass, and the owner works on every ring that starts.
 * Input: records of 1 byte request, 1 byte flags and descriptors, 1 byte length, and that many
 * bytes of payload; the memory that regions show is the input itself.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost-user/vhost_backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RINGS 4u
#define MEMORY 0x10000u
#define MAX_RECORDS 48

enum { MEMFD, EVENTFD, NULLFD, KINDS };

static struct loop *loop;
static struct vhost_backend *be;
static int kinds[KINDS];
static volatile unsigned int touched; /* so that every readable byte is read */

static void on_ring_start(void *opaque, unsigned int index, struct vhost_backend_ring *ring)
{
	struct vring_chain chains[8];
	struct iovec iov[16];
	uint64_t addr[16];
	struct vring_sg sg = { .iov = iov, .addr = addr, .capacity = 16 };
	unsigned int n = vring_device_pop(&ring->vr, chains, 8, &sg);

	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int p = 0; p < chains[i].readable; p++)
			touched += !memchr(chains[i].iov[p].iov_base, 0xfe,
					   chains[i].iov[p].iov_len);
		vring_device_put(&ring->vr, &chains[i], 0);
	}
	vring_device_publish(&ring->vr);
	if (ring->vr.fault)
		vhost_backend_break(be, ring->vr.fault);
}

static void on_ring_stop(void *opaque, unsigned int index)
{
	vhost_backend_ring_stopped(be, index);
}

static void on_gone(void *opaque, enum vhost_fault reason)
{
	if (!reason || reason >= VHOST_FAULT_COUNT || vhost_backend_fault_count(be, reason) != 1)
		abort();
	loop_stop(loop);
}

static int on_set_mtu(void *opaque, uint16_t mtu)
{
	return mtu > 9000;
}

static void on_rarp(void *opaque, const uint8_t mac[6])
{
}

static int on_get_config(void *opaque, uint32_t offset, void *buf, uint32_t len)
{
	if (!range_within(offset, len, VHOST_MSG_MAX_CONFIG))
		abort();
	memset(buf, 1, len);
	return 0;
}

static const struct vhost_backend_ops ops = {
	.ring_start = on_ring_start,
	.ring_stop = on_ring_stop,
	.gone = on_gone,
	.set_mtu = on_set_mtu,
	.rarp = on_rarp,
	.get_config = on_get_config,
};

/* fds: 0 none; 1 to 3 one of a kind; 4 and above: so many less three of memory. */
static void send_record(int fd, uint8_t request, uint8_t how, const uint8_t *payload, uint32_t len)
{
	uint32_t header[3] = { request, VHOST_MSG_VERSION | (how & 8), len };
	char control[CMSG_SPACE(VHOST_MSG_MAX_FDS * sizeof(int))] = {0};
	struct iovec iov[2] = {
		{ header, sizeof(header) },
		{ (void *)(uintptr_t)payload, len },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	unsigned int what = how & 7, count = what < 4 ? what > 0 : what - 3;
	int fds[VHOST_MSG_MAX_FDS];

	if (count) {
		struct cmsghdr *c;

		for (unsigned int i = 0; i < count; i++)
			fds[i] = kinds[what < 4 ? what - 1 : MEMFD];
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	if (sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* full: what was sent is enough */
}

static void make_kinds(const uint8_t *data, size_t size)
{
	kinds[MEMFD] = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	kinds[EVENTFD] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	kinds[NULLFD] = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (kinds[MEMFD] < 0 || kinds[EVENTFD] < 0 || kinds[NULLFD] < 0 ||
	    ftruncate(kinds[MEMFD], MEMORY) < 0 ||
	    pwrite(kinds[MEMFD], data, MIN(size, (size_t)MEMORY), 0) < 0 ||
	    fcntl(kinds[MEMFD], F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vhost_backend_config config = { .ops = &ops, .rings = RINGS };
	int pair[2];
	size_t at = 0;

	if (size > MEMORY)
		return 0;
	loop = loop_create();
	if (!loop || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	make_kinds(data, size);
	config.loop = loop;
	config.fd = pair[0];
	if (vhost_backend_create(&config, &be) < 0)
		abort();
	for (int i = 0; i < MAX_RECORDS && at + 3 <= size; i++) {
		uint32_t len = (uint32_t)MIN((size_t)data[at + 2], size - at - 3);

		send_record(pair[1], data[at], data[at + 1], data + at + 3, len);
		at += 3 + len;
	}
	/* Answers have room in the socket; the end of it ends the session. */
	shutdown(pair[1], SHUT_WR);
	if (loop_run(loop) < 0)
		abort();
	vhost_backend_destroy(be, NULL, NULL);
	close(pair[1]);
	for (int i = 0; i < KINDS; i++)
		close(kinds[i]);
	loop_destroy(loop);
	return 0;
}
