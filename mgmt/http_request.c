#include "mgmt/http_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json_text.h"
#include "core/log.h"
#include "mgmt/http_request_private.h"
#include "mgmt/vm_spec.h"

void http_kick(struct http *http)
{
	if (loop_timer_arm(http->timer, 0) < 0)
		log_err("an answer waits: out of memory");
}

struct mgmt *request_mgmt(const struct http_request *request)
{
	return request->http->mgmt;
}

const char *request_param(const struct http_request *request, unsigned int n)
{
	return request->match.params[n];
}

void request_set_param(struct http_request *request, unsigned int n, const char *text)
{
	snprintf(request->match.params[n], sizeof(request->match.params[n]), "%s", text);
}

const char *request_header(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->conn, MHD_HEADER_KIND, name);
}

json_t *request_body(struct http_request *request, bool optional)
{
	struct problem problem;
	json_t *body;

	if (!request->len && optional)
		return json_object();
	if (!request->len)
		request_refuse(request, 400, NULL, "a JSON body is needed");
	else if (body_parse(request->data, request->len, &body, &problem) < 0)
		request_fail(request, &problem);
	else
		return body;
	return NULL;
}

void request_answer(struct http_request *request, unsigned int status,
		    struct MHD_Response *response)
{
	struct http_request **link;

	http_conn_set_state(request->client, CONN_SENDING);
	request->answered = true;
	request->response = response;
	request->status = status;
	if (!request->suspended)
		return; /* still in its handler */
	for (link = &request->http->waiting; *link != request; link = &(*link)->next)
		;
	*link = request->next;
	request->http->stats.aside--;
	request->suspended = false;
	MHD_resume_connection(request->conn);
	http_kick(request->http);
}

static struct MHD_Response *response_from_text(struct http_request *request, char *text,
					       const char *type)
{
	struct MHD_Response *response;

	if (!text)
		return NULL;
	http_conn_hold(request->client, strlen(text));
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
	} else if (MHD_add_response_header(response, "Content-Type", type) != MHD_YES) {
		MHD_destroy_response(response);
		response = NULL;
	}
	return response;
}

/* body is stolen. */
static struct MHD_Response *response_from_json(struct http_request *request, json_t *body,
					       const char *type)
{
	char *text = body ? json_text_dump(body, JSON_INDENT(2), NULL) : NULL;
	size_t len = text ? strlen(text) : 0;
	char *line = text ? realloc(text, len + 2) : NULL;

	json_decref(body);
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + len, "\n", 2);
	return response_from_text(request, line, type);
}

static struct MHD_Response *response_exhausted(void)
{
	static char text[] = "{\"type\": \"about:blank\", \"title\": \"Service Unavailable\", "
			     "\"status\": 503, \"detail\": \"out of memory\"}\n";
	struct MHD_Response *response;

	log_err("out of memory for an answer");
	response = MHD_create_response_from_buffer(sizeof(text) - 1, text, MHD_RESPMEM_PERSISTENT);
	if (response)
		MHD_add_response_header(response, "Content-Type", "application/problem+json");
	return response;
}

/* Without memory even for saying so, the connection is closed. */
static void reply(struct http_request *request, unsigned int status,
		  struct MHD_Response *response)
{
	if (response)
		request_answer(request, status, response);
	else
		request_answer(request, 503, response_exhausted());
}

/* A body while whose making memory ran out may lack members. Stolen, or as it is. */
static json_t *whole(const struct http_request *request, json_t *body)
{
	if (json_text_refusals() == request->refusals)
		return body;
	json_decref(body);
	return NULL;
}

void request_reply(struct http_request *request, int status, json_t *body)
{
	reply(request, (unsigned int)status,
	      response_from_json(request, whole(request, body), "application/json"));
}

void request_reply_created(struct http_request *request, const char *location, json_t *body)
{
	struct MHD_Response *response = response_from_json(request, whole(request, body),
							   "application/json");

	if (response)
		MHD_add_response_header(response, "Location", location);
	reply(request, 201, response);
}

void request_reply_text(struct http_request *request, const char *type, char *text)
{
	if (json_text_refusals() != request->refusals) {
		free(text);
		text = NULL;
	}
	reply(request, 200, response_from_text(request, text, type));
}

void request_reply_empty(struct http_request *request)
{
	reply(request, 204, MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT));
}

void request_fail(struct http_request *request, const struct problem *problem)
{
	struct MHD_Response *response;

	response = response_from_json(request, problem_json(problem), "application/problem+json");
	if (response && problem->status == 405)
		MHD_add_response_header(response, "Allow", request->match.allowed);
	reply(request, (unsigned int)problem->status, response);
}

void request_refuse(struct http_request *request, int status, const char *field, const char *fmt,
		    ...)
{
	struct problem problem;
	char detail[sizeof(problem.detail)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	problem_set(&problem, status, field, "%s", detail);
	request_fail(request, &problem);
}
