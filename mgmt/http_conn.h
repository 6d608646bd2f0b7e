/*
 * The connections of the API's socket: who may connect, how many there are, how long each may
 * take, and how much memory all of them make us hold. What is scarce is taken from whoever has had
 * it longest, so that idle and slow clients keep nobody out. Main thread only.
 */
#ifndef MGMT_HTTP_CONN_H
#define MGMT_HTTP_CONN_H

#include <microhttpd.h>
#include <sys/queue.h>

#include "core/loop.h"
#include "mgmt/http.h"

#define HTTP_ACCEPT_BATCH 32u /* taken in before those that are there get their turn */

enum http_conn_state {
	CONN_RECEIVING, /* waits for a request, or for the rest of one */
	CONN_BUSY,	/* its request is being worked on, or it is a stream: not ours to end */
	CONN_SENDING,	/* its answer is on the way */
	CONN_CLOSING,	/* libmicrohttpd will notice */
};

enum http_conn_end { CONN_TIMED_OUT, CONN_CROWDED_OUT };

struct http_conn {
	TAILQ_ENTRY(http_conn) link; /* in the list of its state, the oldest first */
	struct http *http;
	int fd; /* libmicrohttpd's */
	enum http_conn_state state;
	bool begun;	   /* a request has: it can be told why it is over */
	uint64_t since_ms; /* in this state */
	size_t held;	   /* bytes of a body or an answer kept for it */
};

TAILQ_HEAD(http_conn_list, http_conn);

struct http_conns {
	int listen_fd;
	struct loop_io *listen;
	struct loop_timer *patience;  /* for the oldest of the two lists */
	struct loop_timer *breath;    /* until the socket is listened at again */
	struct http_conn *incoming;   /* on its way through MHD_add_connection */
	struct http_conn_list receiving;
	struct http_conn_list sending;
	unsigned int patience_ms;
	unsigned int n; /* without those that are closing */
	size_t held;
	struct http_stats *stats;
};

/* listen_fd is taken over, also on failure. init before the daemon is started, open afterwards. */
void http_conns_init(struct http *http, int listen_fd);
must_check int http_conns_open(struct http *http);
void http_conns_fini(struct http *http);

/* libmicrohttpd's MHD_NotifyConnectionCallback; opaque: the http. */
void http_conn_notify(void *opaque, struct MHD_Connection *conn, void **slot,
		      enum MHD_ConnectionNotificationCode code);
struct http_conn *http_conn_of(struct MHD_Connection *conn);

/* CONN_CLOSING is for good. */
void http_conn_set_state(struct http_conn *conn, enum http_conn_state state);

/* It makes us hold so many bytes from now on; others that do go, the oldest first, if need be. */
void http_conn_hold(struct http_conn *conn, size_t bytes);

/* Ends it, as soon as the loop turns. */
void http_conn_close(struct http_conn *conn);

#endif
