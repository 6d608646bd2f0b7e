/*
 * The server's and a request's state, and how an answer is set down: for http.c, which collects and
 * sends, and http_events.c, whose answers are streams.
 */
#ifndef MGMT_HTTP_REQUEST_PRIVATE_H
#define MGMT_HTTP_REQUEST_PRIVATE_H

#include <microhttpd.h>

#include "mgmt/http.h"
#include "mgmt/http_conn.h"
#include "mgmt/http_request.h"
#include "mgmt/router.h"

struct http_stream;

struct http {
	struct mgmt *mgmt;
	struct MHD_Daemon *daemon;
	struct loop_io *io;
	struct loop_timer *timer;
	struct loop_timer *ping;
	const struct route *routes;
	struct http_conns conns;
	struct http_request *waiting; /* set aside until they are answered */
	TAILQ_HEAD(, http_request) queue; /* wait for their turn */
	uint64_t turn; /* counts up */
	uint64_t turn_began_ms;
	bool trim; /* memory has been used that is not used often */
	struct http_stream *streams;
	struct http_stats stats;
};

struct http_request {
	struct http *http;
	struct MHD_Connection *conn;
	struct http_conn *client;
	struct http_request *next; /* in http->waiting */
	TAILQ_ENTRY(http_request) link; /* in http->queue */
	const char *method; /* once it is whole */
	const char *path;
	struct route_match match;
	char *data; /* the body as far as it has come */
	size_t len;
	size_t size;
	size_t discarded; /* bytes beyond BODY_MAX_SIZE */
	unsigned int refusals; /* of memory for JSON, when it was dispatched */
	bool suspended;
	bool answered;
	struct MHD_Response *response; /* NULL when answered: there was no memory for one */
	unsigned int status;
};

/* What there is to serve is, as soon as the loop turns. */
void http_kick(struct http *http);
void request_answer(struct http_request *request, unsigned int status,
		    struct MHD_Response *response);

#endif
