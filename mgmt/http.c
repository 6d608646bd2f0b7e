#include "mgmt/http.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/json_text.h"
#include "core/log.h"
#include "mgmt/http_events.h"
#include "mgmt/http_request_private.h"
#include "mgmt/vm_spec.h"

/* Of a body that is too large this much is read and thrown away, so that the answer is heard. */
#define DISCARD_MAX (64u * 1024 * 1024)
/* So long requests that cost much may take before others are looked at. */
#define TURN_MS 10u
/* A body or an answer this large leaves memory behind that is worth giving back. */
#define TRIM_SIZE (64u * 1024)

static bool turn_is_over(const struct http *http)
{
	return clock_now_ms() - http->turn_began_ms >= TURN_MS;
}

/* Half of the places are for those who only ask. */
static bool request_finds_place(struct http_request *request)
{
	struct http_stats *stats = &request->http->stats;
	unsigned int max = !strcmp(request->method, "GET") ? HTTP_MAX_ASIDE : HTTP_MAX_ASIDE / 2;

	if (!(request->match.route->flags & ROUTE_WAITS) || stats->aside - request->suspended < max)
		return true;
	stats->busy++;
	request_refuse(request, 503, NULL, "%u requests wait for other processes; try again",
		       stats->aside);
	return false;
}

/* Its handler has seen it. */
static void request_forget_body(struct http_request *request)
{
	if (!request->response)
		http_conn_hold(request->client, 0);
	if (request->size > TRIM_SIZE)
		request->http->trim = true;
	free(request->data);
	request->data = NULL;
	request->size = 0;
	request->len = 0;
}

static void request_dispatch(struct http_request *request)
{
	int status = router_find(request->http->routes, request->method, request->path,
				 &request->match);

	http_conn_set_state(request->client, CONN_BUSY);
	request->refusals = json_text_refusals();
	if (request->discarded)
		request_refuse(request, 413, NULL, "the body may have %u bytes at most",
			       BODY_MAX_SIZE);
	else if (status == 404)
		request_refuse(request, 404, NULL, "there is nothing at %s", request->path);
	else if (status == 405)
		request_refuse(request, 405, NULL, "%s is not possible at %s; allowed: %s",
			       request->method, request->path, request->match.allowed);
	else if (request_finds_place(request))
		request->match.route->handle(request);
	request_forget_body(request);
}

static void request_set_aside(struct http_request *request)
{
	request->next = request->http->waiting;
	request->http->waiting = request;
	request->http->stats.aside++;
}

/* Until its turn or its answer has come. */
static void request_suspend(struct http_request *request)
{
	request->suspended = true;
	MHD_suspend_connection(request->conn);
}

static bool request_takes_turns(const struct http_request *request)
{
	struct http *http = request->http;
	struct route_match match;

	return (!TAILQ_EMPTY(&http->queue) || turn_is_over(http)) &&
	       router_find(http->routes, request->method, request->path, &match) == 0 &&
	       match.route->flags & ROUTE_TURN;
}

static void request_enter_queue(struct http_request *request)
{
	TAILQ_INSERT_TAIL(&request->http->queue, request, link);
	request->client->queued = request;
	http_conn_set_state(request->client, CONN_QUEUED);
	request_suspend(request);
}

static void queue_take_out(struct http_request *request)
{
	TAILQ_REMOVE(&request->http->queue, request, link);
	request->client->queued = NULL;
}

/* Its connection ends before its turn has come. */
static void request_leave_queue(struct http_request *request)
{
	queue_take_out(request);
	request->suspended = false;
	MHD_resume_connection(request->conn);
}

/* The oldest of the process whose last turn is longest ago. */
static struct http_request *queue_next(struct http *http)
{
	struct http_request *request, *next = TAILQ_FIRST(&http->queue);

	TAILQ_FOREACH(request, &http->queue, link) {
		if (request->client->peer->turn < next->client->peer->turn)
			next = request;
	}
	return next;
}

/* One at least, so that all are served in the end. */
static void http_serve_queue(struct http *http)
{
	struct http_request *request;

	while ((request = queue_next(http))) {
		if (http_conn_has_gone(request->client)) {
			http_conn_close(request->client);
			continue;
		}
		request->client->peer->turn = ++http->turn;
		queue_take_out(request);
		request_set_aside(request);
		request_dispatch(request);
		if (turn_is_over(http))
			break;
	}
}

/* Serves what there is to serve. Not from within a handler. */
static void http_run(void *opaque)
{
	struct http *http = opaque;
	unsigned long long ms;

	http->turn_began_ms = clock_now_ms();
	http_serve_queue(http);
	MHD_run(http->daemon);
	if (http->trim)
		malloc_trim(0);
	http->trim = false;
	if (!TAILQ_EMPTY(&http->queue))
		http_kick(http);
	else if (MHD_get_timeout(http->daemon, &ms) != MHD_YES)
		loop_timer_disarm(http->timer);
	else if (loop_timer_arm(http->timer, ms * 1000000ULL) < 0)
		log_err("HTTP time-outs are off: out of memory");
}

static void http_on_io(void *opaque, int fd, unsigned int events)
{
	http_run(opaque);
}

struct framing {
	unsigned int lengths; /* how often the body's length is told */
	bool unclear;
};

static enum MHD_Result framing_look(void *opaque, enum MHD_ValueKind kind, const char *name,
				    const char *value)
{
	struct framing *framing = opaque;
	bool chunked = !strcasecmp(name, "Transfer-Encoding");

	if (chunked || !strcasecmp(name, "Content-Length"))
		framing->lengths++;
	if (chunked && (!value || strcasecmp(value, "chunked") != 0))
		framing->unclear = true;
	/* "Content-Length : 5" is not ours to guess (RFC 9112 5.1). */
	for (; *name; name++) {
		if (*name <= ' ' || *name >= 0x7f)
			framing->unclear = true;
	}
	return MHD_YES;
}

/*
 * RFC 9112 6.3: where a body ends must be beyond doubt, else who stands between the client and us
 * may see other requests than we do.
 */
static bool request_is_framed_well(struct http_request *request)
{
	struct framing framing = { 0 };

	MHD_get_connection_values(request->conn, MHD_HEADER_KIND, framing_look, &framing);
	if (framing.lengths <= 1 && !framing.unclear)
		return true;
	request_refuse(request, 400, NULL,
		       "the headers leave open where the body ends; allowed: one Content-Length, "
		       "or \"Transfer-Encoding: chunked\", and names without blanks");
	return false;
}

/* False: the client sends without end, or memory is out. */
static bool request_take(struct http_request *request, const char *data, size_t len)
{
	size_t size = request->size ? request->size : 4096;
	char *grown;

	if (request->len + len > BODY_MAX_SIZE || request->discarded) {
		request_forget_body(request);
		request->discarded += len;
		return request->discarded <= DISCARD_MAX;
	}
	while (size < request->len + len)
		size *= 2;
	if (size != request->size) {
		grown = realloc(request->data, size);
		if (!grown)
			return false;
		request->data = grown;
		request->size = size;
		http_conn_hold(request->client, size);
	}
	memcpy(request->data + request->len, data, len);
	request->len += len;
	return true;
}

static enum MHD_Result request_send(struct http_request *request)
{
	enum MHD_Result result;

	if (!request->response)
		return MHD_NO;
	result = MHD_queue_response(request->conn, request->status, request->response);
	MHD_destroy_response(request->response);
	request->response = NULL;
	return result;
}

static enum MHD_Result http_on_request(void *opaque, struct MHD_Connection *conn, const char *url,
				       const char *method, const char *version, const char *data,
				       size_t *len, void **slot)
{
	struct http_request *request = *slot;
	struct http *http = opaque;

	if (http_conn_of(conn)->state == CONN_CLOSING)
		return MHD_NO;
	if (!request) {
		request = calloc(1, sizeof(*request));
		if (!request)
			return MHD_NO;
		*request = (struct http_request){ .http = http, .conn = conn,
						  .client = http_conn_of(conn) };
		*slot = request;
		return request_is_framed_well(request) ? MHD_YES : request_send(request);
	}
	if (*len) {
		bool taken = request_take(request, data, *len);

		*len = 0;
		return taken ? MHD_YES : MHD_NO;
	}
	if (request->answered)
		return request_send(request);
	request->method = method;
	request->path = url;
	if (request_takes_turns(request)) {
		request_enter_queue(request);
		return MHD_YES;
	}
	request_dispatch(request);
	if (request->answered)
		return request_send(request);
	request_set_aside(request);
	request_suspend(request);
	return MHD_YES;
}

/* The request line is there: so is a client who can be told what goes wrong. */
static void *http_on_line(void *opaque, const char *uri, struct MHD_Connection *conn)
{
	http_conn_of(conn)->begun = true;
	return NULL;
}

static size_t http_unescape(void *opaque, struct MHD_Connection *conn, char *text)
{
	return router_unescape(text);
}

static void http_on_completed(void *opaque, struct MHD_Connection *conn, void **slot,
			      enum MHD_RequestTerminationCode code)
{
	struct http_request *request = *slot;
	struct http_conn *client = http_conn_of(conn);
	struct http *http = opaque;

	client->begun = false;
	if (client->held > TRIM_SIZE)
		http->trim = true;
	http_conn_hold(client, 0);
	http_conn_set_state(client, CONN_RECEIVING);
	if (!request)
		return;
	if (request->response)
		MHD_destroy_response(request->response);
	free(request->data);
	free(request);
	*slot = NULL;
}

__attribute__((format(printf, 2, 0))) static void http_on_log(void *opaque, const char *fmt,
							      va_list ap)
{
	char text[256];

	vsnprintf(text, sizeof(text), fmt, ap);
	log_debug("HTTP: %s", text);
}

static int http_watch(struct http *http)
{
	const union MHD_DaemonInfo *info;

	info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -EINVAL;
	http->io = loop_io_add(http->mgmt->loop, info->epoll_fd, LOOP_READ, http_on_io, http);
	return http->io ? 0 : -ENOMEM;
}

/* Connections come from us, and how long they may take is ours to say. */
static struct MHD_Daemon *http_start_daemon(struct http *http)
{
	return MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
			MHD_USE_ERROR_LOG,
		0, NULL, NULL, http_on_request, http,
		MHD_OPTION_EXTERNAL_LOGGER, http_on_log, http,
		MHD_OPTION_CONNECTION_LIMIT, HTTP_MAX_CONNECTIONS + HTTP_ACCEPT_BATCH,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEAD_MAX_SIZE,
		MHD_OPTION_CONNECTION_TIMEOUT, 0u,
		MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_NOTIFY_CONNECTION, http_conn_notify, &http->conns,
		MHD_OPTION_URI_LOG_CALLBACK, http_on_line, http,
		MHD_OPTION_UNESCAPE_CALLBACK, http_unescape, http,
		MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, http, MHD_OPTION_END);
}

static void http_on_kick(void *opaque)
{
	http_kick(opaque);
}

static const struct http_conns_owner conns_owner = {
	.serve = http_run,
	.kick = http_on_kick,
	.leave_queue = request_leave_queue,
};

struct http *http_create(struct mgmt *mgmt, int listen_fd, const struct route *routes)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http) {
		close(listen_fd);
		return NULL;
	}
	http->mgmt = mgmt;
	http->routes = routes;
	TAILQ_INIT(&http->queue);
	http->conns = (struct http_conns){
		.loop = mgmt->loop,
		.listen_fd = listen_fd,
		.patience_ms = mgmt->options->client_seconds * 1000,
		.stats = &http->stats,
		.owner = &conns_owner,
		.opaque = http,
	};
	http_conns_init(&http->conns);
	http->timer = loop_timer_create(mgmt->loop, http_run, http);
	http->daemon = http->timer ? http_start_daemon(http) : NULL;
	if (!http->daemon || http_watch(http) < 0 ||
	    http_events_init(http) < 0 || http_conns_open(&http->conns, http->daemon) < 0) {
		log_err("the HTTP server cannot be started");
		http_destroy(http);
		return NULL;
	}
	return http;
}

void http_destroy(struct http *http)
{
	if (!http)
		return;
	http_events_fini(http);
	while (!TAILQ_EMPTY(&http->queue))
		http_conn_close(TAILQ_FIRST(&http->queue)->client);
	while (http->waiting)
		request_refuse(http->waiting, 503, NULL, "the daemon ends");
	if (http->daemon) {
		MHD_run(http->daemon);
		MHD_stop_daemon(http->daemon);
	}
	loop_io_remove(http->io);
	http_conns_fini(&http->conns);
	loop_timer_destroy(http->timer);
	free(http);
}

void http_stats_get(const struct http *http, struct http_stats *stats)
{
	*stats = http->stats;
	stats->open = http->conns.n;
}
