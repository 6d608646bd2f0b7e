/*
 * The HTTP server: libmicrohttpd without threads of its own, driven by the loop. A handler answers
 * its request at once or later, exactly once; until then the connection is set aside. Main thread
 * only.
 */
#ifndef MGMT_HTTP_H
#define MGMT_HTTP_H

#include "mgmt/http_limits.h"
#include "mgmt/mgmt.h"
#include "mgmt/router.h"

struct http;

/* Takes over a listening socket. NULL: said why. routes: static. */
struct http *http_create(struct mgmt *mgmt, int listen_fd, const struct route *routes);
/* Open requests are answered 503. NULL is allowed. */
void http_destroy(struct http *http);

void http_stats_get(const struct http *http, struct http_stats *stats);

#endif
