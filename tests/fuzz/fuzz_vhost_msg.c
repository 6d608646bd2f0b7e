/*
 * The message stream fed with anything, in pieces of any size, with descriptors at any point.
 * Input: 1 byte direction, then pieces: 1 byte length (low 6 bits) and descriptors (high 2 bits),
 * and that many bytes. What comes out whole must obey the table, and be sent the same again.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost-user/vhost_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct vhost_msg *msg, enum vhost_direction direction)
{
	static struct vhost_outbox outbox;
	struct vhost_stream back;
	struct vhost_msg again;
	int pair[2];

	if (vhost_msg_check(msg, direction) || msg->size > VHOST_MSG_MAX_PAYLOAD)
		abort();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return;
	vhost_outbox_init(&outbox);
	vhost_stream_init(&back, direction);
	if (vhost_outbox_put(&outbox, msg) || vhost_outbox_flush(&outbox, pair[0]))
		abort();
	if (vhost_stream_read(&back, pair[1], &again) != VHOST_STREAM_MESSAGE ||
	    again.request != msg->request || again.fd_count != msg->fd_count ||
	    memcmp(again.bytes, msg->bytes, msg->size))
		abort();
	vhost_msg_close_fds(&again);
	close(pair[0]);
	close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum vhost_direction direction = size && data[0] & 1 ? VHOST_REPLY : VHOST_REQUEST;
	enum vhost_stream_status status = VHOST_STREAM_AGAIN;
	struct vhost_stream stream;
	struct vhost_msg msg;
	size_t at = 1;

	vhost_stream_init(&stream, direction);
	while (at < size && status != VHOST_STREAM_OVER) {
		unsigned int len = data[at] & 63, fd_count = data[at] >> 6;
		int fds[3];

		at++;
		len = MIN(len, vhost_stream_wants(&stream));
		len = (unsigned int)MIN((size_t)len, size - at);
		if (!len)
			continue;
		for (unsigned int i = 0; i < fd_count; i++) {
			fds[i] = open("/dev/null", O_RDONLY);
			if (fds[i] < 0)
				abort();
		}
		status = vhost_stream_feed(&stream, data + at, len, fds, fd_count, &msg);
		at += len;
		if (status == VHOST_STREAM_MESSAGE) {
			check(&msg, direction);
			vhost_msg_close_fds(&msg);
		}
		if (status == VHOST_STREAM_OVER && !stream.fault)
			abort();
	}
	vhost_stream_fini(&stream);
	return 0;
}
