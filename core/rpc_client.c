#include "core/rpc_client.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/line_stream.h"
#include "core/log.h"
#include "core/unix_socket.h"

struct rpc_pending {
	struct rpc_pending *next;
	struct rpc_client *client;
	int64_t id;
	unsigned int timeout_ms;
	struct loop_timer *timer; /* NULL: waits for ever */
	rpc_reply_fn fn;
	void *opaque;
};

struct rpc_client {
	struct loop *loop;
	struct line_stream *stream; /* NULL: gone */
	struct rpc_client_events events;
	struct rpc_pending *pending; /* oldest first */
	int64_t next_id;
	unsigned int refs; /* the owner's, and one for each callback under way */
	bool destroyed;
};

static void client_put(struct rpc_client *client)
{
	if (--client->refs == 0)
		free(client);
}

/* Takes the open request off the list; NULL when it is not (or no longer) there. */
static struct rpc_pending *client_take(struct rpc_client *client, int64_t id)
{
	struct rpc_pending **link, *pending;

	for (link = &client->pending; (pending = *link); link = &pending->next) {
		if (pending->id == id) {
			*link = pending->next;
			return pending;
		}
	}
	return NULL;
}

static void pending_finish(struct rpc_pending *pending, int code, const char *message,
			   const json_t *data, const json_t *result)
{
	rpc_reply_fn fn = pending->fn;
	void *opaque = pending->opaque;

	loop_timer_destroy(pending->timer);
	free(pending);
	fn(opaque, code, message, data, result);
}

static void client_fail_all(struct rpc_client *client)
{
	struct rpc_pending *pending;

	while ((pending = client->pending)) {
		client->pending = pending->next;
		pending_finish(pending, RPC_DISCONNECTED, "the peer is gone", NULL, NULL);
	}
}

/* An error stays one, whatever number the peer chose for it. */
static int client_error_code(const json_t *error)
{
	json_int_t code = json_integer_value(json_object_get(error, "code"));

	return code && code >= INT_MIN && code <= INT_MAX ? (int)code : RPC_INTERNAL;
}

static void client_on_response(struct rpc_client *client, const struct jsonrpc_message *msg)
{
	struct rpc_pending *pending;

	pending = json_is_integer(msg->id) ? client_take(client, json_integer_value(msg->id)) :
					     NULL;
	if (!pending) {
		log_debug("an answer came too late or to no request");
		return;
	}
	if (msg->error)
		pending_finish(pending, client_error_code(msg->error),
			       json_string_value(json_object_get(msg->error, "message")),
			       json_object_get(msg->error, "data"), NULL);
	else
		pending_finish(pending, 0, NULL, NULL, msg->result);
}

static void client_ended(void *opaque, int err)
{
	struct rpc_client *client = opaque;

	client->refs++;
	line_stream_destroy(client->stream);
	client->stream = NULL;
	client_fail_all(client);
	if (!client->destroyed && client->events.gone)
		client->events.gone(client->events.opaque);
	client_put(client);
}

static void client_on_line(void *opaque, const char *line, size_t len)
{
	struct rpc_client *client = opaque;
	struct jsonrpc_message msg;
	char why[200];

	client->refs++;
	if (jsonrpc_parse(line, len, &msg, why, sizeof(why)) != 0) {
		log_guest("a server sent what is no message: %s; disconnecting", why);
		client_ended(client, -EPROTO);
	} else if (msg.kind == JSONRPC_RESPONSE) {
		client_on_response(client, &msg);
	} else if (client->events.notified) {
		client->events.notified(client->events.opaque, msg.method, msg.params);
	}
	jsonrpc_release(&msg);
	client_put(client);
}

struct rpc_client *rpc_client_create(struct loop *loop, int fd,
				     const struct rpc_client_events *events)
{
	struct rpc_client *client = calloc(1, sizeof(*client));
	struct line_stream_config config = {
		.max_line = JSONRPC_MAX_LINE,
		.max_backlog = 4 * JSONRPC_MAX_LINE,
		.line = client_on_line,
		.ended = client_ended,
		.opaque = client,
	};

	if (!client) {
		close(fd);
		return NULL;
	}
	client->loop = loop;
	client->events = *events;
	client->refs = 1;
	client->next_id = 1;
	client->stream = line_stream_create(loop, fd, &config);
	if (!client->stream) {
		free(client);
		return NULL;
	}
	return client;
}

int rpc_client_connect(struct loop *loop, const char *path, const struct rpc_client_events *events,
		       struct rpc_client **client)
{
	int fd = unix_socket_connect(path);

	if (fd < 0)
		return fd;
	*client = rpc_client_create(loop, fd, events);
	return *client ? 0 : -ENOMEM;
}

void rpc_client_destroy(struct rpc_client *client)
{
	if (!client)
		return;
	client->destroyed = true;
	line_stream_destroy(client->stream);
	client->stream = NULL;
	client_fail_all(client);
	client_put(client);
}

static void pending_timed_out(void *opaque)
{
	struct rpc_pending *pending = opaque;
	struct rpc_client *client = pending->client;
	char message[64];

	client->refs++;
	snprintf(message, sizeof(message), "no answer within %u ms", pending->timeout_ms);
	client_take(client, pending->id);
	pending_finish(pending, RPC_BUSY, message, NULL, NULL);
	client_put(client);
}

static int pending_start_timer(struct rpc_pending *pending)
{
	if (!pending->timeout_ms)
		return 0;
	pending->timer = loop_timer_create(pending->client->loop, pending_timed_out, pending);
	if (!pending->timer)
		return -ENOMEM;
	return loop_timer_arm(pending->timer, pending->timeout_ms * 1000000ULL);
}

static int client_send(struct rpc_client *client, const json_t *message)
{
	char *line;
	size_t len;

	if (!client->stream)
		return -ENOTCONN;
	line = message ? jsonrpc_encode(message, &len) : NULL;
	if (!line)
		return -ENOMEM;
	line_stream_send(client->stream, line, len);
	free(line);
	return 0;
}

int rpc_client_call(struct rpc_client *client, const char *method, json_t *params,
		    unsigned int timeout_ms, rpc_reply_fn fn, void *opaque)
{
	struct rpc_pending **last, *pending = calloc(1, sizeof(*pending));
	json_t *message = jsonrpc_request(client->next_id, method, params);
	int err = -ENOMEM;

	if (!pending)
		goto out;
	*pending = (struct rpc_pending){ .client = client, .id = client->next_id,
					 .timeout_ms = timeout_ms, .fn = fn, .opaque = opaque };
	err = pending_start_timer(pending);
	if (!err)
		err = client_send(client, message);
	if (err) {
		loop_timer_destroy(pending->timer);
		free(pending);
		goto out;
	}
	client->next_id++;
	for (last = &client->pending; *last; last = &(*last)->next)
		;
	*last = pending;
out:
	json_decref(message);
	return err;
}
