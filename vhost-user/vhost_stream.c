#include "vhost-user/vhost_stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(offsetof(struct vhost_msg, size) + sizeof(uint32_t) == VHOST_MSG_HEADER,
	       "the header is read into the first fields");

/*
 * Room to receive as many as can be sent at once (SCM_MAX_FD): what does not fit is closed by the
 * kernel while we wait, and for some descriptors that takes long.
 */
#define RECEIVE_MAX_FDS 253u

union fd_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(RECEIVE_MAX_FDS * sizeof(int))];
};

void vhost_stream_init(struct vhost_stream *stream, enum vhost_direction direction)
{
	memset(stream, 0, sizeof(*stream));
	stream->direction = direction;
}

static void stream_drop(struct vhost_stream *stream, int fd)
{
	if (stream->drop)
		stream->drop(stream->drop_opaque, fd);
	else
		close(fd);
}

void vhost_stream_fini(struct vhost_stream *stream)
{
	for (unsigned int i = 0; i < stream->msg.fd_count; i++)
		stream_drop(stream, stream->msg.fds[i]);
	stream->msg.fd_count = 0;
	stream->have = 0;
}

static enum vhost_stream_status stream_over(struct vhost_stream *stream, enum vhost_fault fault)
{
	stream->fault = fault;
	vhost_stream_fini(stream);
	return VHOST_STREAM_OVER;
}

unsigned int vhost_stream_wants(const struct vhost_stream *stream)
{
	if (stream->have < VHOST_MSG_HEADER)
		return VHOST_MSG_HEADER - stream->have;
	return VHOST_MSG_HEADER + stream->msg.size - stream->have;
}

/* Where the next byte goes: the header's fields, then the payload (which is aligned to 8). */
static uint8_t *stream_tail(struct vhost_stream *stream)
{
	if (stream->have < VHOST_MSG_HEADER)
		return (uint8_t *)&stream->msg + stream->have;
	return stream->msg.bytes + (stream->have - VHOST_MSG_HEADER);
}

static bool stream_take_fds(struct vhost_stream *stream, const int *fds, unsigned int fd_count)
{
	bool fit = true;

	for (unsigned int i = 0; i < fd_count; i++) {
		if (stream->msg.fd_count < VHOST_MSG_MAX_FDS) {
			stream->msg.fds[stream->msg.fd_count++] = fds[i];
		} else {
			stream_drop(stream, fds[i]);
			fit = false;
		}
	}
	return fit;
}

/* `len` bytes have been written to stream_tail. */
static enum vhost_stream_status stream_advance(struct vhost_stream *stream, unsigned int len,
					       struct vhost_msg *msg)
{
	enum vhost_fault fault;

	stream->have += len;
	if (stream->have < VHOST_MSG_HEADER)
		return VHOST_STREAM_AGAIN;
	if (stream->have - len < VHOST_MSG_HEADER) {
		/* From here on msg.size is within the payload buffer. */
		fault = vhost_msg_check_header(&stream->msg, stream->direction);
		if (fault)
			return stream_over(stream, fault);
	}
	if (vhost_stream_wants(stream))
		return VHOST_STREAM_AGAIN;
	fault = vhost_msg_check(&stream->msg, stream->direction);
	if (fault)
		return stream_over(stream, fault);
	*msg = stream->msg;
	memset(&stream->msg, 0, sizeof(stream->msg));
	stream->have = 0;
	return VHOST_STREAM_MESSAGE;
}

enum vhost_stream_status vhost_stream_feed(struct vhost_stream *stream, const void *data,
					   unsigned int len, const int *fds, unsigned int fd_count,
					   struct vhost_msg *msg)
{
	assert(len && len <= vhost_stream_wants(stream));
	if (!stream_take_fds(stream, fds, fd_count))
		return stream_over(stream, VHOST_FAULT_MSG_FDS);
	if (stream->fault)
		return stream_over(stream, stream->fault);
	memcpy(stream_tail(stream), data, len);
	return stream_advance(stream, len, msg);
}

/* Moves the descriptors of a received message into the stream. */
static enum vhost_fault stream_collect(struct vhost_stream *stream, struct msghdr *mh)
{
	bool fit = true;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		int fds[RECEIVE_MAX_FDS];
		size_t bytes;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		bytes = MIN(c->cmsg_len - CMSG_LEN(0), sizeof(fds));
		memcpy(fds, CMSG_DATA(c), bytes);
		fit &= stream_take_fds(stream, fds, bytes / sizeof(int));
	}
	if (mh->msg_flags & MSG_CTRUNC)
		return VHOST_FAULT_MSG_TRUNCATED_FDS;
	return fit ? VHOST_FAULT_NONE : VHOST_FAULT_MSG_FDS;
}

enum vhost_stream_status vhost_stream_read(struct vhost_stream *stream, int fd,
					   struct vhost_msg *msg)
{
	enum vhost_stream_status status = VHOST_STREAM_AGAIN;

	if (stream->fault)
		return VHOST_STREAM_OVER;
	while (status == VHOST_STREAM_AGAIN) {
		union fd_control control;
		struct iovec iov = { stream_tail(stream), vhost_stream_wants(stream) };
		struct msghdr mh = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		enum vhost_fault fault;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return VHOST_STREAM_AGAIN;
		if (n < 0 && errno != ECONNRESET)
			return stream_over(stream, VHOST_FAULT_SOCKET);
		if (n <= 0)
			return stream_over(stream, VHOST_FAULT_HANGUP);
		fault = stream_collect(stream, &mh);
		if (fault)
			return stream_over(stream, fault);
		status = stream_advance(stream, (unsigned int)n, msg);
	}
	return status;
}

void vhost_outbox_init(struct vhost_outbox *outbox)
{
	outbox->head = 0;
	outbox->count = 0;
	outbox->sent = 0;
}

static void outbox_pop(struct vhost_outbox *outbox)
{
	vhost_msg_close_fds(&outbox->msgs[outbox->head]);
	outbox->head = (outbox->head + 1) % VHOST_OUTBOX_MAX;
	outbox->count--;
	outbox->sent = 0;
}

void vhost_outbox_fini(struct vhost_outbox *outbox)
{
	while (outbox->count)
		outbox_pop(outbox);
}

int vhost_outbox_put(struct vhost_outbox *outbox, const struct vhost_msg *msg)
{
	struct vhost_msg *copy;

	assert(vhost_msg_check(msg, msg->flags & VHOST_MSG_REPLY ? VHOST_REPLY : VHOST_REQUEST) ==
	       VHOST_FAULT_NONE);
	if (outbox->count == VHOST_OUTBOX_MAX)
		return -ENOBUFS;
	copy = &outbox->msgs[(outbox->head + outbox->count) % VHOST_OUTBOX_MAX];
	*copy = *msg;
	for (copy->fd_count = 0; copy->fd_count < msg->fd_count; copy->fd_count++) {
		int fd = fcntl(msg->fds[copy->fd_count], F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			int err = -errno;

			vhost_msg_close_fds(copy);
			return err;
		}
		copy->fds[copy->fd_count] = fd;
	}
	outbox->count++;
	return 0;
}

/* Sends what is left of one message; its descriptors travel with its first byte. */
static ssize_t outbox_send(const struct vhost_outbox *outbox, int fd)
{
	const struct vhost_msg *msg = &outbox->msgs[outbox->head];
	unsigned int header = outbox->sent < VHOST_MSG_HEADER ? VHOST_MSG_HEADER - outbox->sent : 0;
	unsigned int skip = header ? 0 : outbox->sent - VHOST_MSG_HEADER;
	union fd_control control;
	struct iovec iov[2] = {
		{ (char *)(uintptr_t)msg + (VHOST_MSG_HEADER - header), header },
		{ (char *)(uintptr_t)msg->bytes + skip, msg->size - skip },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };

	if (msg->fd_count && !outbox->sent) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(msg->fd_count * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(msg->fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), msg->fds, msg->fd_count * sizeof(int));
	}
	return sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int vhost_outbox_flush(struct vhost_outbox *outbox, int fd)
{
	while (outbox->count) {
		ssize_t n = outbox_send(outbox, fd);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
		outbox->sent += (unsigned int)n;
		if (outbox->sent == VHOST_MSG_HEADER + outbox->msgs[outbox->head].size)
			outbox_pop(outbox);
	}
	return 0;
}
