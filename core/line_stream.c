#include "core/line_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_CHUNK 16384u

struct buffer {
	char *data;
	size_t len;
	size_t size;
};

struct line_stream {
	struct line_stream_config config;
	struct loop_io *io;
	int fd;
	int err; /* what ended() will be told, or was */
	bool *destroyed; /* set when destroyed within a callback */
	struct buffer in;
	struct buffer out;
};

static int buffer_reserve(struct buffer *buf, size_t more)
{
	size_t size = buf->size ? buf->size : 4096;
	char *data;

	while (size < buf->len + more)
		size *= 2;
	if (size == buf->size)
		return 0;
	data = realloc(buf->data, size);
	if (!data)
		return -ENOMEM;
	buf->data = data;
	buf->size = size;
	return 0;
}

static void buffer_consume(struct buffer *buf, size_t n)
{
	if (n < buf->len)
		memmove(buf->data, buf->data + n, buf->len - n);
	buf->len -= n;
}

/* The loop will see the end of file and call ended(): a sender is never called back. */
void line_stream_abandon(struct line_stream *stream, int err)
{
	if (!stream->io)
		return;
	if (!stream->err)
		stream->err = err;
	stream->out.len = 0;
	shutdown(stream->fd, SHUT_RDWR);
	/* It may be for want of memory that we cannot watch it any more. */
	loop_io_activate(stream->io, LOOP_READ);
}

static void stream_watch(struct line_stream *stream)
{
	unsigned int events = LOOP_READ | (stream->out.len ? LOOP_WRITE : 0);

	if (loop_io_set_events(stream->io, events) < 0)
		line_stream_abandon(stream, -ENOMEM);
}

static void stream_end(struct line_stream *stream, int err)
{
	if (!stream->err)
		stream->err = err;
	loop_io_remove(stream->io);
	stream->io = NULL;
	stream->config.ended(stream->config.opaque, stream->err);
}

/* Hands out the complete lines. The stream may be gone afterwards. */
static void stream_deliver(struct line_stream *stream, size_t scanned)
{
	bool destroyed = false;
	size_t start = 0;
	char *newline;

	stream->destroyed = &destroyed;
	while ((newline = memchr(stream->in.data + scanned, '\n', stream->in.len - scanned))) {
		size_t end = (size_t)(newline - stream->in.data);

		if (end + 1 - start > stream->config.max_line)
			break;
		stream->config.line(stream->config.opaque, stream->in.data + start, end - start);
		if (destroyed)
			return;
		if (stream->err)
			break;
		start = end + 1;
		scanned = start;
	}
	stream->destroyed = NULL;
	buffer_consume(&stream->in, start);
	/* A line that has reached the limit without its newline cannot become a legal one. */
	if (!stream->err && stream->in.len >= stream->config.max_line)
		stream->err = -EMSGSIZE;
	if (stream->err)
		stream_end(stream, stream->err);
}

static void stream_read(struct line_stream *stream)
{
	size_t scanned = stream->in.len;
	ssize_t n;

	/* Once a wake-up: other clients get their turn in between. */
	if (buffer_reserve(&stream->in, READ_CHUNK) < 0) {
		stream_end(stream, -ENOMEM);
		return;
	}
	n = recv(stream->fd, stream->in.data + stream->in.len, READ_CHUNK, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		stream_end(stream, n < 0 ? -errno : -EPIPE);
		return;
	}
	stream->in.len += (size_t)n;
	stream_deliver(stream, scanned);
}

static void stream_write(struct line_stream *stream)
{
	ssize_t n = send(stream->fd, stream->out.data, stream->out.len, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		line_stream_abandon(stream, -errno);
	else if (n > 0)
		buffer_consume(&stream->out, (size_t)n);
	if (!stream->out.len)
		stream_watch(stream);
}

static void stream_on_io(void *opaque, int fd, unsigned int events)
{
	struct line_stream *stream = opaque;

	if (stream->err) {
		stream_end(stream, stream->err);
		return;
	}
	if (events & LOOP_WRITE)
		stream_write(stream);
	if (events & LOOP_READ && !stream->err)
		stream_read(stream);
}

struct line_stream *line_stream_create(struct loop *loop, int fd,
				       const struct line_stream_config *config)
{
	struct line_stream *stream = calloc(1, sizeof(*stream));
	int flags = fcntl(fd, F_GETFL);

	if (!stream || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		goto err_close;
	stream->config = *config;
	stream->fd = fd;
	stream->io = loop_io_add(loop, fd, LOOP_READ, stream_on_io, stream);
	if (!stream->io)
		goto err_close;
	return stream;

err_close:
	free(stream);
	close(fd);
	return NULL;
}

void line_stream_destroy(struct line_stream *stream)
{
	if (!stream)
		return;
	if (stream->destroyed)
		*stream->destroyed = true;
	loop_io_remove(stream->io);
	close(stream->fd);
	free(stream->in.data);
	free(stream->out.data);
	free(stream);
}

void line_stream_send(struct line_stream *stream, const char *text, size_t len)
{
	ssize_t n = 0;

	if (stream->err && stream->err != -EMSGSIZE)
		return;
	if (!stream->out.len) {
		n = send(stream->fd, text, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			line_stream_abandon(stream, -errno);
			return;
		}
		n = MAX(n, 0);
	}
	if ((size_t)n == len || !stream->io)
		return;
	if (stream->out.len + len - (size_t)n > stream->config.max_backlog) {
		line_stream_abandon(stream, -ENOBUFS);
		return;
	}
	if (buffer_reserve(&stream->out, len - (size_t)n) < 0) {
		line_stream_abandon(stream, -ENOMEM);
		return;
	}
	memcpy(stream->out.data + stream->out.len, text + n, len - (size_t)n);
	stream->out.len += len - (size_t)n;
	stream_watch(stream);
}
