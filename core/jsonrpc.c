#include "core/jsonrpc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json_text.h"

#define JSONRPC_MAX_METHOD 64u

bool jsonrpc_depth_within(const char *text, size_t len, unsigned int max_depth)
{
	unsigned int depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '[' || c == '{') {
			if (++depth > max_depth)
				return false;
		} else if ((c == ']' || c == '}') && depth) {
			depth--;
		}
	}
	return true;
}

__attribute__((format(printf, 4, 5))) static int refuse(int code, char *why, size_t why_size,
							const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, why_size, fmt, ap);
	va_end(ap);
	return code;
}

static int parse_call(struct jsonrpc_message *msg, const json_t *method, char *why, size_t why_size)
{
	msg->params = json_object_get(msg->root, "params");
	msg->kind = msg->id ? JSONRPC_REQUEST : JSONRPC_NOTIFICATION;
	if (!json_is_string(method) || !json_string_length(method) ||
	    json_string_length(method) > JSONRPC_MAX_METHOD)
		return refuse(RPC_INVALID_REQUEST, why, why_size,
			      "\"method\" must be a string of 1 to %u characters",
			      JSONRPC_MAX_METHOD);
	msg->method = json_string_value(method);
	if (msg->params && !json_is_object(msg->params))
		return refuse(RPC_INVALID_REQUEST, why, why_size, "\"params\" must be an object");
	return 0;
}

static int parse_response(struct jsonrpc_message *msg, char *why, size_t why_size)
{
	msg->kind = JSONRPC_RESPONSE;
	msg->result = json_object_get(msg->root, "result");
	msg->error = json_object_get(msg->root, "error");
	if (!msg->result == !msg->error)
		return refuse(RPC_INVALID_REQUEST, why, why_size,
			      "a request needs \"method\", a response \"result\" or \"error\"");
	if (!msg->id)
		return refuse(RPC_INVALID_REQUEST, why, why_size, "a response needs \"id\"");
	if (msg->error && (!json_is_integer(json_object_get(msg->error, "code")) ||
			   !json_is_string(json_object_get(msg->error, "message"))))
		return refuse(RPC_INVALID_REQUEST, why, why_size,
			      "\"error\" needs an integer \"code\" and a string \"message\"");
	return 0;
}

int jsonrpc_parse(const char *line, size_t len, struct jsonrpc_message *msg, char *why,
		  size_t why_size)
{
	const json_t *id, *method;
	json_error_t error;
	int err;

	*msg = (struct jsonrpc_message){ .kind = JSONRPC_REQUEST };
	if (len >= JSONRPC_MAX_LINE)
		return refuse(RPC_INVALID_REQUEST, why, why_size,
			      "a message may have %u bytes at most", JSONRPC_MAX_LINE);
	if (!jsonrpc_depth_within(line, len, JSONRPC_MAX_DEPTH))
		return refuse(RPC_INVALID_REQUEST, why, why_size,
			      "a message may nest %u deep at most", JSONRPC_MAX_DEPTH);
	err = json_text_load(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &msg->root,
			     &error);
	if (err == -ENOMEM)
		return refuse(RPC_INTERNAL, why, why_size, "out of memory");
	if (err)
		return refuse(RPC_PARSE_ERROR, why, why_size, "not JSON at column %d: %s",
			      error.column, error.text);
	if (!json_is_object(msg->root))
		return refuse(RPC_INVALID_REQUEST, why, why_size,
			      "a message is one object (batches are not served)");
	id = json_object_get(msg->root, "id");
	if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
		return refuse(RPC_INVALID_REQUEST, why, why_size,
			      "\"id\" must be a string, a number or null");
	msg->id = id;
	method = json_object_get(msg->root, "jsonrpc");
	if (!json_is_string(method) || strcmp(json_string_value(method), "2.0") != 0)
		return refuse(RPC_INVALID_REQUEST, why, why_size, "\"jsonrpc\" must be \"2.0\"");
	method = json_object_get(msg->root, "method");
	return method ? parse_call(msg, method, why, why_size) :
			parse_response(msg, why, why_size);
}

void jsonrpc_release(struct jsonrpc_message *msg)
{
	json_decref(msg->root);
	msg->root = NULL;
}

/* Takes over `message` and the value; NULL when either is missing or memory is. */
static json_t *message_with(json_t *message, const char *key, json_t *value)
{
	if (message && value && json_object_set_new(message, key, value) == 0)
		return message;
	if (!message)
		json_decref(value);
	json_decref(message);
	return NULL;
}

json_t *jsonrpc_request(int64_t id, const char *method, json_t *params)
{
	return message_with(jsonrpc_notification(method, params), "id", json_integer(id));
}

json_t *jsonrpc_notification(const char *method, json_t *params)
{
	json_t *message = json_pack("{s:s, s:s}", "jsonrpc", "2.0", "method", method);

	return params ? message_with(message, "params", params) : message;
}

static json_t *jsonrpc_answer(const json_t *id)
{
	json_t *message = json_pack("{s:s}", "jsonrpc", "2.0");

	return message_with(message, "id", id ? json_deep_copy(id) : json_null());
}

json_t *jsonrpc_result(const json_t *id, json_t *result)
{
	return message_with(jsonrpc_answer(id), "result", result);
}

json_t *jsonrpc_error(const json_t *id, int code, const char *message, json_t *data)
{
	json_t *error = json_pack("{s:i, s:s}", "code", code, "message", message);

	/* Not UTF-8: words of a peer; the code still tells. */
	if (!error)
		error = json_pack("{s:i, s:s}", "code", code, "message", "(unprintable)");
	if (data)
		error = message_with(error, "data", data);
	return message_with(jsonrpc_answer(id), "error", error);
}

size_t jsonrpc_exhausted(const json_t *id, char *line, size_t size)
{
	char digits[24] = "null";

	if (id && !json_is_integer(id) && !json_is_null(id))
		return 0;
	if (json_is_integer(id))
		snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, json_integer_value(id));
	return (size_t)snprintf(line, size,
				"{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":%d,"
				"\"message\":\"out of memory\"}}\n", digits, RPC_INTERNAL);
}

char *jsonrpc_encode(const json_t *message, size_t *len)
{
	char *line = json_text_dump(message, JSON_COMPACT, len);

	if (!line)
		return NULL;
	line[(*len)++] = '\n';
	line[*len] = '\0';
	return line;
}
