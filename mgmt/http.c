#include "mgmt/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "mgmt/http_events.h"
#include "mgmt/http_request_private.h"
#include "mgmt/vm_spec.h"

#define IDLE_SECONDS 60u
/* Of a body that is too large this much is read and thrown away, so that the answer is heard. */
#define DISCARD_MAX (64u * 1024 * 1024)

static void http_run(struct http *http)
{
	unsigned long long ms;

	MHD_run(http->daemon);
	if (MHD_get_timeout(http->daemon, &ms) != MHD_YES)
		loop_timer_disarm(http->timer);
	else if (loop_timer_arm(http->timer, ms * 1000000ULL) < 0)
		log_err("HTTP time-outs are off: out of memory");
}

static void http_on_timer(void *opaque)
{
	http_run(opaque);
}

static void http_on_io(void *opaque, int fd, unsigned int events)
{
	http_run(opaque);
}

static void request_dispatch(struct http_request *request, const char *method, const char *path)
{
	int status = router_find(request->http->routes, method, path, &request->match);

	request->dispatched = true;
	if (request->discarded)
		request_refuse(request, 413, NULL, "the body may have %u bytes at most",
			       BODY_MAX_SIZE);
	else if (status == 404)
		request_refuse(request, 404, NULL, "there is nothing at %s", path);
	else if (status == 405)
		request_refuse(request, 405, NULL, "%s is not possible at %s; allowed: %s", method,
			       path, request->match.allowed);
	else
		request->match.route->handle(request);
}

/* False: the client sends without end, or memory is out. */
static bool request_take(struct http_request *request, const char *data, size_t len)
{
	size_t size = request->size ? request->size : 4096;
	char *grown;

	if (request->len + len > BODY_MAX_SIZE) {
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
	}
	memcpy(request->data + request->len, data, len);
	request->len += len;
	return true;
}

static enum MHD_Result request_send(struct http_request *request)
{
	enum MHD_Result result = MHD_queue_response(request->conn, request->status,
						    request->response);

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

	if (!request) {
		request = calloc(1, sizeof(*request));
		if (!request)
			return MHD_NO;
		request->http = http;
		request->conn = conn;
		*slot = request;
		return MHD_YES;
	}
	if (*len) {
		bool taken = request_take(request, data, *len);

		*len = 0;
		return taken ? MHD_YES : MHD_NO;
	}
	if (!request->dispatched)
		request_dispatch(request, method, url);
	if (request->response)
		return request_send(request);
	request->suspended = true;
	request->next = http->waiting;
	http->waiting = request;
	MHD_suspend_connection(conn);
	return MHD_YES;
}

static void http_on_completed(void *opaque, struct MHD_Connection *conn, void **slot,
			      enum MHD_RequestTerminationCode code)
{
	struct http_request *request = *slot;

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

struct http *http_create(struct mgmt *mgmt, int listen_fd, const struct route *routes)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http) {
		close(listen_fd);
		return NULL;
	}
	http->mgmt = mgmt;
	http->routes = routes;
	http->timer = loop_timer_create(mgmt->loop, http_on_timer, http);
	http->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
		http_on_request, http, MHD_OPTION_EXTERNAL_LOGGER, http_on_log, http,
		MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT,
		HTTP_MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
		MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, NULL, MHD_OPTION_END);
	if (!http->daemon)
		close(listen_fd);
	if (!http->timer || !http->daemon || http_watch(http) < 0 || http_events_init(http) < 0) {
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
	while (http->waiting)
		request_refuse(http->waiting, 503, NULL, "the daemon ends");
	if (http->daemon) {
		MHD_run(http->daemon);
		MHD_stop_daemon(http->daemon);
	}
	loop_io_remove(http->io);
	loop_timer_destroy(http->timer);
	free(http);
}
