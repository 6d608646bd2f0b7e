/*
 * Char backends: where a serial port's bytes go. All share one engine: output goes into a bounded
 * ring that the io thread drains without blocking, input is read only as the device has room.
 * What does not fit in the ring is lost and counted in struct char_backend.
 *
 * Create and destroy on the io thread. Descriptors are taken over (closed by destroy), also when
 * creation fails. 0 or -errno.
 */
#ifndef DEVEMU_CHAR_STREAM_H
#define DEVEMU_CHAR_STREAM_H

#include "core/char_backend.h"
#include "core/loop.h"

#define CHAR_RING_SIZE	 (64u * 1024) /* bytes of output that may wait */
#define CHAR_REPLAY_SIZE (64u * 1024) /* bytes of output a new socket client is shown */

/* Swallows output, never has input. */
must_check int char_null_create(struct char_backend **be);

/* Standard input and output; a terminal is put in raw mode and restored by destroy. */
must_check int char_stdio_create(struct loop *loop, struct char_backend **be);

/* Appends output to a file; never has input. */
must_check int char_file_create(struct loop *loop, int fd, struct char_backend **be);

/* A new pseudo-terminal; its name ("/dev/pts/3") is put in `name`. */
must_check int char_pty_create(struct loop *loop, char *name, size_t name_size,
			       struct char_backend **be);

/*
 * A listening Unix stream socket. One client at a time: a new one replaces the old one, and is
 * first shown the last CHAR_REPLAY_SIZE bytes of output. Without a client, output is kept for
 * that and nothing counts as dropped.
 */
must_check int char_socket_create(struct loop *loop, int listen_fd, struct char_backend **be);

#endif
