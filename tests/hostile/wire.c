#include "tests/hostile/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

int wire_connect(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static ssize_t send_some(int fd, const void *data, size_t len, const int *fds, unsigned int count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count) {
		struct cmsghdr *c;

		memset(&control, 0, CMSG_SPACE(count * sizeof(int)));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	return sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int wire_send(int fd, const void *data, size_t len, const int *fds, unsigned int count, int wait_ms)
{
	const uint8_t *at = data;

	while (len) {
		ssize_t n = send_some(fd, at, len, fds, count);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
			count = 0;
		} else if (errno == EAGAIN) {
			struct pollfd p = { .fd = fd, .events = POLLOUT };

			if (poll(&p, 1, wait_ms) == 0)
				return -EAGAIN;
		} else if (errno == ECONNRESET) {
			return -EPIPE;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

uint32_t wire_bytes(const struct vhost_msg *msg, uint8_t bytes[WIRE_MAX_BYTES])
{
	uint32_t size = MIN(msg->size, VHOST_MSG_MAX_PAYLOAD);

	memcpy(bytes, msg, VHOST_MSG_HEADER);
	memcpy(bytes + VHOST_MSG_HEADER, msg->bytes, size);
	return VHOST_MSG_HEADER + size;
}

int wire_send_msg(int fd, const struct vhost_msg *msg)
{
	uint8_t bytes[WIRE_MAX_BYTES];
	uint32_t len = wire_bytes(msg, bytes);

	return wire_send(fd, bytes, len, msg->fds, msg->fd_count, WIRE_WAIT_MS);
}

static int receive_all(int fd, void *to, size_t len)
{
	uint8_t *at = to;

	while (len) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (poll(&p, 1, WIRE_WAIT_MS) == 0)
			return -ETIMEDOUT;
		n = recv(fd, at, len, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return -EPIPE;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int wire_receive(int fd, struct vhost_msg *msg)
{
	int err = receive_all(fd, msg, VHOST_MSG_HEADER);

	msg->fd_count = 0;
	if (err)
		return err;
	if (msg->size > VHOST_MSG_MAX_PAYLOAD)
		return -EPROTO;
	return receive_all(fd, msg->bytes, msg->size);
}

int wire_ask_u64(int fd, enum vhost_request request, uint64_t *value)
{
	struct vhost_msg msg;
	int err;

	vhost_msg_init(&msg, request);
	err = wire_send_msg(fd, &msg);
	if (!err)
		err = wire_receive(fd, &msg);
	*value = msg.u64;
	return err;
}

bool wire_drain(int fd)
{
	char bytes[4096];
	ssize_t n;

	do
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 && errno == EAGAIN;
}

int wire_consumed(int fd)
{
	uint64_t end = clock_now_ms() + WIRE_WAIT_MS;
	const struct timespec pause = { .tv_nsec = 20000 };
	int left;

	while (ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0) {
		struct pollfd p = { .fd = fd };

		if (poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR))
			return -EPIPE;
		if (clock_now_ms() > end)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

int wire_memory(uint64_t bytes, unsigned int seals)
{
	int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}
