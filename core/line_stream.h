/*
 * Newline-delimited messages on a connected stream socket: the transport below rpc_server and
 * rpc_client. All on the loop's thread; reads and writes never block.
 */
#ifndef CORE_LINE_STREAM_H
#define CORE_LINE_STREAM_H

#include "core/loop.h"

struct line_stream;

struct line_stream_config {
	size_t max_line;    /* bytes, newline included; what is longer ends the stream */
	size_t max_backlog; /* bytes that may wait for a peer who does not read */
	/* One line without its newline, borrowed for the time of the call. The stream may be
	 * destroyed within. */
	void (*line)(void *opaque, const char *line, size_t len);
	/*
	 * The stream has ended, told once: -EPIPE the peer closed, -EMSGSIZE a line was too long
	 * (sending still works), -ENOBUFS the backlog was exceeded, or another -errno. The owner
	 * destroys the stream, within or later.
	 */
	void (*ended)(void *opaque, int err);
	void *opaque;
};

/* Takes over fd (also on failure, when it is closed). NULL: out of memory or descriptors. */
struct line_stream *line_stream_create(struct loop *loop, int fd,
				       const struct line_stream_config *config);
void line_stream_destroy(struct line_stream *stream); /* NULL is allowed */

/*
 * Sends what can be sent now and keeps the rest. `text` stays the caller's. A failure is told by
 * ended(), later and from the loop, never from within.
 */
void line_stream_send(struct line_stream *stream, const char *text, size_t len);

/* Gives the stream up: ended() will be told err (< 0), later and from the loop. */
void line_stream_abandon(struct line_stream *stream, int err);

#endif
