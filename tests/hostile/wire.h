/*
 * A vhost-user front end's wire without manners: messages and descriptors go out as they are, right
 * or wrong. The hostile peer and its honest neighbours both stand on it. One thread.
 */
#ifndef TESTS_HOSTILE_WIRE_H
#define TESTS_HOSTILE_WIRE_H

#include "vhost-user/vhost_msg.h"

#define WIRE_MAX_FDS 253u /* the kernel's SCM_MAX_FD */
#define WIRE_WAIT_MS 30000 /* a back end that does nothing for so long stands still */

/* Connected, or -errno. */
must_check int wire_connect(const char *path);

/*
 * Sends all of it, the descriptors with the first byte. 0; -EPIPE: hung up; -EAGAIN: the other
 * side does not read, and nothing or a part has gone; other -errno.
 */
must_check int wire_send(int fd, const void *data, size_t len, const int *fds, unsigned int count,
			 int wait_ms);
must_check int wire_send_msg(int fd, const struct vhost_msg *msg);
/* The message as it travels (in the struct there is a gap); as many bytes as its header says, at most. */
#define WIRE_MAX_BYTES (VHOST_MSG_HEADER + VHOST_MSG_MAX_PAYLOAD)
uint32_t wire_bytes(const struct vhost_msg *msg, uint8_t bytes[WIRE_MAX_BYTES]);

/* One whole answer; its descriptors are closed. 0, -EPIPE, -ETIMEDOUT or -EPROTO. */
must_check int wire_receive(int fd, struct vhost_msg *msg);

/* Asks for a u64 and waits for it: 0 or as above. */
must_check int wire_ask_u64(int fd, enum vhost_request request, uint64_t *value);

/* Reads away whatever answers wait. False: the other side has hung up. */
bool wire_drain(int fd);

/* Waits until the back end has read everything. 0, -EPIPE or -ETIMEDOUT. */
must_check int wire_consumed(int fd);

/* Shared memory of so many bytes with these seals. Descriptor or -errno. */
must_check int wire_memory(uint64_t bytes, unsigned int seals);

#endif
