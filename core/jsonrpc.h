/*
 * JSON-RPC 2.0 messages, one per line, as values: parse, check, build. Pure; any thread, but parsing
 * is for the main one (json_text.h).
 * (jsonrpc.org specification; framing is newline-delimited, batches are refused.)
 */
#ifndef CORE_JSONRPC_H
#define CORE_JSONRPC_H

#include <jansson.h>

#include "core/bits.h"

#define JSONRPC_MAX_LINE (1u * 1024 * 1024) /* bytes, newline included */
#define JSONRPC_MAX_DEPTH 32u

enum rpc_code {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602, /* data.field names the member */
	RPC_INTERNAL = -32603,
	RPC_WRONG_STATE = -32000,  /* data.state: the present one */
	RPC_NOT_FOUND = -32001,	   /* no such object */
	RPC_EXISTS = -32002,	   /* an object of that id is there already */
	RPC_REFUSED = -32003,	   /* policy or another feature forbids it */
	RPC_HOST_FAILURE = -32004, /* the host did not give what was needed; message says what */
	RPC_BUSY = -32005,	   /* one such operation is already under way */
	RPC_DISCONNECTED = -32006, /* client side only: the peer went away before answering */
};

enum jsonrpc_kind { JSONRPC_REQUEST, JSONRPC_NOTIFICATION, JSONRPC_RESPONSE };

struct jsonrpc_message {
	enum jsonrpc_kind kind;
	json_t *root;	     /* owned; the rest is borrowed from it */
	const char *method;  /* request, notification */
	const json_t *params; /* object or NULL; request, notification */
	const json_t *id;    /* request, response (may be JSON null) */
	const json_t *result; /* response; NULL when error is set */
	const json_t *error;
};

/*
 * Parses one line without its newline. 0, or an rpc_code with a one-line reason in `why`; then
 * msg->id is still set when it could be read (msg->root must be released in every case).
 */
must_check int jsonrpc_parse(const char *line, size_t len, struct jsonrpc_message *msg,
			     char *why, size_t why_size);
void jsonrpc_release(struct jsonrpc_message *msg);

/*
 * Whether arrays and objects nest at most `max_depth` deep in a JSON text: looked at before it is
 * parsed, so that nobody decides how deep our recursion goes. Also for texts which are no messages.
 */
bool jsonrpc_depth_within(const char *text, size_t len, unsigned int max_depth);

/* Builders return a new reference, or NULL when out of memory. `params`, `result`, `data` are
 * stolen; a `result` of NULL is memory that ran out, the others may be left out; `id` is borrowed. */
json_t *jsonrpc_request(int64_t id, const char *method, json_t *params);
json_t *jsonrpc_notification(const char *method, json_t *params);
json_t *jsonrpc_result(const json_t *id, json_t *result);
json_t *jsonrpc_error(const json_t *id, int code, const char *message, json_t *data);

/*
 * The answer for want of memory, itself made without any: a line with its newline, and its length;
 * 0 where the id is no number. `size` is at least JSONRPC_EXHAUSTED_SIZE.
 */
#define JSONRPC_EXHAUSTED_SIZE 128u
must_check size_t jsonrpc_exhausted(const json_t *id, char *line, size_t size);

/* The line with its newline, malloc'd; NULL when out of memory. */
char *jsonrpc_encode(const json_t *message, size_t *len);

#endif
