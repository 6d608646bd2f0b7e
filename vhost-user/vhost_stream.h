/*
 * Messages over a non-blocking Unix stream socket. The stream assembles incoming messages from
 * whatever pieces arrive, with the descriptors that travelled with them; the outbox holds outgoing
 * ones until the socket takes them. Owned by one connection; its thread only.
 */
#ifndef VHOST_USER_VHOST_STREAM_H
#define VHOST_USER_VHOST_STREAM_H

#include "vhost-user/vhost_msg.h"

struct vhost_stream {
	enum vhost_direction direction; /* what this end receives */
	/* Where descriptors go that are not handed out; NULL: they are closed. Set after init. */
	void (*drop)(void *opaque, int fd);
	void *drop_opaque;
	enum vhost_fault fault;		/* why the stream is over, once it is */
	unsigned int have;		/* bytes of the message under assembly */
	struct vhost_msg msg;		/* under assembly: its header is valid if have >= 12 */
};

void vhost_stream_init(struct vhost_stream *stream, enum vhost_direction direction);
void vhost_stream_fini(struct vhost_stream *stream); /* drops what an unfinished message holds */

enum vhost_stream_status {
	VHOST_STREAM_MESSAGE, /* *msg is complete and checked; its fds are the caller's */
	VHOST_STREAM_AGAIN,   /* nothing more to read now */
	VHOST_STREAM_OVER,    /* stream->fault says why; every fd was closed or dropped */
};

/*
 * Reads from the socket until one message is complete. Never reads beyond it, so descriptors
 * cannot be credited to the wrong message.
 */
enum vhost_stream_status vhost_stream_read(struct vhost_stream *stream, int fd,
					   struct vhost_msg *msg);

/* Bytes that may be fed next without going beyond the message: 1 or more. */
unsigned int vhost_stream_wants(const struct vhost_stream *stream);

/*
 * The pure part of reading, for tests: `len` <= vhost_stream_wants() bytes and the descriptors
 * that came with them, which are the stream's from now on whatever the answer is.
 */
enum vhost_stream_status vhost_stream_feed(struct vhost_stream *stream, const void *data,
					   unsigned int len, const int *fds, unsigned int fd_count,
					   struct vhost_msg *msg);

#define VHOST_OUTBOX_MAX 16u /* messages waiting for a peer that does not read */

struct vhost_outbox {
	unsigned int head;
	unsigned int count;
	unsigned int sent; /* bytes of the first one */
	struct vhost_msg msgs[VHOST_OUTBOX_MAX];
};

void vhost_outbox_init(struct vhost_outbox *outbox);
void vhost_outbox_fini(struct vhost_outbox *outbox); /* drops what waits */

static inline bool vhost_outbox_empty(const struct vhost_outbox *outbox)
{
	return outbox->count == 0;
}

/*
 * Appends a copy of the message with duplicates of its descriptors (the caller keeps its own).
 * The message must obey the table (an own bug otherwise). -ENOBUFS: full; -EMFILE and the like.
 */
must_check int vhost_outbox_put(struct vhost_outbox *outbox, const struct vhost_msg *msg);

/* Sends what the socket takes. 0: all sent; -EAGAIN: watch for LOOP_WRITE; other -errno: over. */
must_check int vhost_outbox_flush(struct vhost_outbox *outbox, int fd);

#endif
