#include "mgmt/http_events.h"

#include <errno.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/log.h"
#include "mgmt/events.h"
#include "mgmt/http_request_private.h"

#define BLOCK_SIZE 4096u
/* Now and then a comment: it is how we notice that a reader has gone. */
#define PING_NS (15ULL * 1000000000)
/* Who has read nothing for so long may have to make room. */
#define STALL_MS 5000u

struct http_stream {
	struct http_stream *next;
	struct http *http;
	struct MHD_Connection *conn;
	struct http_conn *client;
	uint64_t since_ms; /* it last took something */
	uint64_t number;   /* of the event to send next */
	char *text;	 /* being sent */
	size_t sent;
	bool suspended;
	bool ping;
	bool ending;
};

/* The next piece of text to send; NULL: there is nothing. */
static char *stream_next_text(struct http_stream *stream)
{
	const struct events *events = stream->http->mgmt->events;

	if (stream->number < events_oldest(events)) {
		stream->number = events_oldest(events);
		return strdup("event: lost\ndata: {}\n\n");
	}
	if (stream->number < events_next(events))
		return strdup(events_text(events, stream->number++));
	if (stream->ping) {
		stream->ping = false;
		return strdup(":\n\n");
	}
	return NULL;
}

static ssize_t stream_read(void *opaque, uint64_t pos, char *buf, size_t max)
{
	struct http_stream *stream = opaque;
	size_t len;

	if (stream->ending)
		return MHD_CONTENT_READER_END_OF_STREAM;
	stream->since_ms = clock_now_ms();
	if (!stream->text) {
		bool more = stream->number < events_next(stream->http->mgmt->events);

		stream->text = stream_next_text(stream);
		stream->sent = 0;
		if (!stream->text && more) /* out of memory: who reads may ask again from there */
			return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	if (!stream->text) {
		stream->suspended = true;
		MHD_suspend_connection(stream->conn);
		return 0;
	}
	len = MIN(strlen(stream->text + stream->sent), max);
	memcpy(buf, stream->text + stream->sent, len);
	stream->sent += len;
	if (!stream->text[stream->sent]) {
		free(stream->text);
		stream->text = NULL;
	}
	return (ssize_t)len;
}

static void stream_free(void *opaque)
{
	struct http_stream **link, *stream = opaque;

	for (link = &stream->http->streams; *link != stream; link = &(*link)->next)
		;
	*link = stream->next;
	if (!stream->ending)
		stream->http->stats.streams--;
	free(stream->text);
	free(stream);
}

static void stream_resume(struct http_stream *stream)
{
	if (!stream->suspended)
		return;
	stream->suspended = false;
	MHD_resume_connection(stream->conn);
}

static void stream_end(struct http_stream *stream)
{
	stream->ending = true;
	stream->http->stats.streams--;
	http_conn_close(stream->client);
	stream_resume(stream);
}

/* Who has gone, or does not read, gives his place to who comes. */
static bool streams_have_room(struct http *http)
{
	struct http_stream *stalest = NULL;

	if (http->stats.streams < HTTP_MAX_STREAMS)
		return true;
	for (struct http_stream *stream = http->streams; stream; stream = stream->next) {
		if (stream->ending)
			continue;
		if (http_conn_has_gone(stream->client))
			stream_end(stream);
		else if (!stream->suspended && (!stalest || stream->since_ms < stalest->since_ms))
			stalest = stream;
	}
	if (http->stats.streams == HTTP_MAX_STREAMS && stalest &&
	    clock_now_ms() - stalest->since_ms >= STALL_MS)
		stream_end(stalest);
	return http->stats.streams < HTTP_MAX_STREAMS;
}

void request_reply_events(struct http_request *request, uint64_t next)
{
	struct http *http = request->http;
	struct http_stream *stream;
	struct MHD_Response *response;

	stream = streams_have_room(http) ? calloc(1, sizeof(*stream)) : NULL;
	if (!stream) {
		request_refuse(request, 503, NULL, "%u readers of events are the most",
			       HTTP_MAX_STREAMS);
		return;
	}
	*stream = (struct http_stream){ .http = http, .conn = request->conn,
					.client = request->client, .number = next, .ping = true,
					.since_ms = clock_now_ms() };
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_SIZE, stream_read,
						     stream, stream_free);
	if (!response) {
		free(stream);
		request_refuse(request, 503, NULL, "out of memory");
		return;
	}
	stream->next = http->streams;
	http->streams = stream;
	http->stats.streams++;
	MHD_add_response_header(response, "Content-Type", "text/event-stream");
	MHD_add_response_header(response, "Cache-Control", "no-cache");
	request_answer(request, 200, response);
	http_conn_set_state(request->client, CONN_BUSY);
	MHD_set_connection_option(request->conn, MHD_CONNECTION_OPTION_TIMEOUT,
				  http->mgmt->options->client_seconds);
}

static void streams_resume(struct http *http)
{
	for (struct http_stream *stream = http->streams; stream; stream = stream->next)
		stream_resume(stream);
	http_kick(http);
}

static void events_on_new(void *opaque)
{
	streams_resume(opaque);
}

static void events_on_ping(void *opaque)
{
	struct http *http = opaque;

	for (struct http_stream *stream = http->streams; stream; stream = stream->next)
		stream->ping = true;
	streams_resume(http);
	if (loop_timer_arm(http->ping, PING_NS) < 0)
		log_err("event streams are kept alive no more: out of memory");
}

int http_events_init(struct http *http)
{
	http->ping = loop_timer_create(http->mgmt->loop, events_on_ping, http);
	if (!http->ping)
		return -ENOMEM;
	events_listen(http->mgmt->events, events_on_new, http);
	return loop_timer_arm(http->ping, PING_NS);
}

void http_events_fini(struct http *http)
{
	events_listen(http->mgmt->events, NULL, NULL);
	for (struct http_stream *stream = http->streams; stream; stream = stream->next)
		stream->ending = true;
	http->stats.streams = 0;
	if (http->daemon)
		streams_resume(http);
	loop_timer_destroy(http->ping);
}
