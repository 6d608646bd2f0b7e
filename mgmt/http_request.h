/*
 * A request as its handler sees it, and the ways to answer it: at once or later, exactly once.
 * Main thread only.
 */
#ifndef MGMT_HTTP_REQUEST_H
#define MGMT_HTTP_REQUEST_H

#include "mgmt/mgmt.h"

struct http_request;

struct mgmt *request_mgmt(const struct http_request *request);
/* The nth {part} of the pattern. */
const char *request_param(const struct http_request *request, unsigned int n);
/* What a body named is remembered as if the path had: the body itself goes after its handler. */
void request_set_param(struct http_request *request, unsigned int n, const char *text);
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

#endif
