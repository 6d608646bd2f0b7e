#include "mgmt/problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/jsonrpc.h"

void problem_set(struct problem *problem, int status, const char *field, const char *fmt, ...)
{
	va_list ap;

	problem->status = status;
	problem->gone = false;
	snprintf(problem->field, sizeof(problem->field), "%s", field ? field : "");
	va_start(ap, fmt);
	vsnprintf(problem->detail, sizeof(problem->detail), fmt, ap);
	va_end(ap);
}

static int status_from_rpc(int code)
{
	switch (code) {
	case RPC_INVALID_PARAMS:
	case RPC_REFUSED:
		return 422;
	case RPC_WRONG_STATE:
	case RPC_EXISTS:
		return 409;
	default:
		return 503;
	}
}

void problem_from_rpc(struct problem *problem, const char *what, int code, const char *message,
		      const json_t *data)
{
	const char *field = json_string_value(json_object_get(data, "field"));

	problem_set(problem, status_from_rpc(code), field, "%s: %s", what,
		    message ? message : "no reason was given");
	problem->gone = code == RPC_DISCONNECTED;
}

const char *problem_title(int status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 409:
		return "Conflict";
	case 413:
		return "Content Too Large";
	case 422:
		return "Unprocessable Content";
	case 503:
		return "Service Unavailable";
	default:
		return "Internal Server Error";
	}
}

/* Words of another process may be cut within a character, or be none: what is not ASCII goes. */
json_t *problem_text(const char *text)
{
	char plain[sizeof(((struct problem *)0)->detail)];
	json_t *string = json_string(text);

	if (string)
		return string;
	snprintf(plain, sizeof(plain), "%s", text);
	for (char *c = plain; *c; c++) {
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	}
	return json_string(plain);
}

json_t *problem_json(const struct problem *problem)
{
	json_t *json = json_pack("{s:s, s:s, s:i, s:o}", "type", "about:blank", "title",
				 problem_title(problem->status), "status", problem->status,
				 "detail", problem_text(problem->detail));

	if (json && problem->field[0] &&
	    json_object_set_new(json, "field", problem_text(problem->field)) < 0) {
		json_decref(json);
		return NULL;
	}
	return json;
}
