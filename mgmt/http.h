/*
 * The HTTP server: libmicrohttpd without threads of its own, driven by the loop. A handler answers
 * its request at once or later, exactly once; until then the connection is set aside. Main thread
 * only.
 */
#ifndef MGMT_HTTP_H
#define MGMT_HTTP_H

#include "mgmt/mgmt.h"
#include "mgmt/router.h"

#define HTTP_MAX_CONNECTIONS 128u
#define HTTP_MAX_STREAMS 32u /* readers of events */

struct http;
struct http_request;

/* Takes over a listening socket. NULL: said why. routes: static. */
struct http *http_create(struct mgmt *mgmt, int listen_fd, const struct route *routes);
/* Open requests are answered 503. NULL is allowed. */
void http_destroy(struct http *http);

struct mgmt *request_mgmt(const struct http_request *request);
/* The nth {part} of the pattern. */
const char *request_param(const struct http_request *request, unsigned int n);
const char *request_header(const struct http_request *request, const char *name);
/* A new reference; NULL when it was answered already, for it is wrong. optional: none is {}. */
json_t *request_body(struct http_request *request, bool optional);

/* The four ways to answer. body and text are stolen; NULL body: out of memory. */
void request_reply(struct http_request *request, int status, json_t *body);
void request_reply_created(struct http_request *request, const char *location, json_t *body);
void request_reply_text(struct http_request *request, const char *type, char *text);
void request_reply_empty(struct http_request *request);
/* A status without more words, or with. */
void request_fail(struct http_request *request, const struct problem *problem);
__attribute__((format(printf, 4, 5))) void request_refuse(struct http_request *request, int status,
							   const char *field, const char *fmt,
							   ...);

/* Answers with an endless stream of the events from number `next` on. */
void request_reply_events(struct http_request *request, uint64_t next);

#endif
