/*
 * The connections of the API's socket: who may connect, how many there are, how long each may
 * take, and how much memory all of them make us hold. What is scarce is taken from the process that
 * has most of it, where it has had it longest, so that idle, slow and many clients keep nobody else
 * out. Main thread only.
 */
#ifndef MGMT_HTTP_CONN_H
#define MGMT_HTTP_CONN_H

#include <microhttpd.h>
#include <sys/queue.h>

#include "core/loop.h"
#include "mgmt/http_limits.h"

#define HTTP_ACCEPT_BATCH 256u /* taken in before those that are there get their turn */

enum http_conn_state {
	CONN_RECEIVING, /* waits for a request, or for the rest of one */
	CONN_QUEUED,	/* its request waits for its turn */
	CONN_SENDING,	/* its answer is on the way */
	CONN_LISTED,	/* those above are in lists, the oldest first */
	CONN_BUSY = CONN_LISTED, /* its request is worked on, or it is a stream: not ours to end */
	CONN_CLOSING,	/* libmicrohttpd will notice */
};

enum http_conn_end { CONN_TIMED_OUT, CONN_CROWDED_OUT };

/* A process of a client, as SO_PEERCRED names it, as long as it has connections. */
struct http_peer {
	LIST_ENTRY(http_peer) link;
	pid_t pid;
	unsigned int n;	     /* connections */
	unsigned int listed; /* of these, how many could be ended */
	size_t held;
	uint64_t turn; /* when a request of it had one last; counts up */
};

struct http_conns;
struct http_request;

struct http_conn {
	TAILQ_ENTRY(http_conn) link; /* in the list of its state */
	struct http_conns *conns;
	struct http_peer *peer;
	struct http_request *queued; /* in CONN_QUEUED */
	int fd; /* libmicrohttpd's */
	enum http_conn_state state;
	bool begun;	   /* a request has: it can be told why it is over */
	uint64_t since_ms; /* in this state */
	size_t held;	   /* bytes of a body or an answer kept for it */
};

TAILQ_HEAD(http_conn_list, http_conn);

/* Whose connections they are. */
struct http_conns_owner {
	void (*serve)(void *opaque); /* what there is to serve, now */
	void (*kick)(void *opaque);  /* the same, as soon as the loop turns */
	/* Its connection ends before its turn has come. */
	void (*leave_queue)(struct http_request *request);
};

struct http_conns {
	struct loop *loop;
	int listen_fd; /* taken over by init */
	unsigned int patience_ms;
	struct http_stats *stats;
	const struct http_conns_owner *owner;
	void *opaque; /* of the owner */
	/* What is above is the owner's to fill in. */
	struct MHD_Daemon *daemon;
	struct loop_io *listen;
	struct loop_timer *patience;  /* for the oldest of each list */
	struct loop_timer *breath;    /* until the socket is listened at again */
	struct http_conn *incoming;   /* on its way through MHD_add_connection */
	struct http_conn_list lists[CONN_LISTED];
	LIST_HEAD(, http_peer) peers;
	unsigned int n; /* without those that are closing */
	size_t held;
};

/* init before the daemon is started, open afterwards: 0 or -errno; fini in any case. */
void http_conns_init(struct http_conns *conns);
must_check int http_conns_open(struct http_conns *conns, struct MHD_Daemon *daemon);
void http_conns_fini(struct http_conns *conns);

/* libmicrohttpd's MHD_NotifyConnectionCallback; opaque: the http_conns. */
void http_conn_notify(void *opaque, struct MHD_Connection *conn, void **slot,
		      enum MHD_ConnectionNotificationCode code);
struct http_conn *http_conn_of(struct MHD_Connection *conn);

/* CONN_CLOSING is for good. */
void http_conn_set_state(struct http_conn *conn, enum http_conn_state state);

/* It makes us hold so many bytes from now on; others that do go, if need be. */
void http_conn_hold(struct http_conn *conn, size_t bytes);

/* Its client has closed it: nobody hears an answer. For those libmicrohttpd does not look at. */
bool http_conn_has_gone(const struct http_conn *conn);

/* Ends it, as soon as the loop turns. */
void http_conn_close(struct http_conn *conn);

#endif
