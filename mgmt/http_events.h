/*
 * Answers that do not end: the events as they happen (text/event-stream). Main thread only.
 */
#ifndef MGMT_HTTP_EVENTS_H
#define MGMT_HTTP_EVENTS_H

#include "mgmt/http_request.h"

#define HTTP_MAX_STREAMS 32u /* readers of events */

struct http;

/* Answers with an endless stream of the events from number `next` on. */
void request_reply_events(struct http_request *request, uint64_t next);

/* The server comes and goes. fini ends all streams, and is harmless without init. */
must_check int http_events_init(struct http *http);
void http_events_fini(struct http *http);

#endif
