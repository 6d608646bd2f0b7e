/*
 * The HTTP server: libmicrohttpd without threads of its own, driven by the loop. A handler answers
 * its request at once or later, exactly once; until then the connection is set aside. Main thread
 * only.
 */
#ifndef MGMT_HTTP_H
#define MGMT_HTTP_H

#include "mgmt/mgmt.h"
#include "mgmt/router.h"

#define HTTP_MAX_CONNECTIONS 512u
#define HTTP_MAX_ASIDE 256u		/* requests that wait for another process */
#define HTTP_MAX_HELD (64u << 20)	/* bytes of bodies and answers under way */
#define HTTP_HEAD_MAX_SIZE (32u << 10)	/* request line and headers */

struct http;

struct http_stats {
	unsigned int open;    /* connections */
	unsigned int aside;   /* requests that wait for another process */
	unsigned int streams; /* readers of events */
	uint64_t accepted;
	uint64_t forbidden;   /* connections of users who may not */
	uint64_t timed_out;
	uint64_t crowded_out; /* ended to make room for others */
	uint64_t busy;	      /* requests refused, for HTTP_MAX_ASIDE wait already */
};

/* Takes over a listening socket. NULL: said why. routes: static. */
struct http *http_create(struct mgmt *mgmt, int listen_fd, const struct route *routes);
/* Open requests are answered 503. NULL is allowed. */
void http_destroy(struct http *http);

void http_stats_get(const struct http *http, struct http_stats *stats);

#endif
