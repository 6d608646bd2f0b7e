/* A line of a control socket: parsed, and every accepted message encoded again. */
#include <stdlib.h>

#include "core/jsonrpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jsonrpc_message msg;
	char why[64];
	size_t len;
	char *line;
	int code;

	code = jsonrpc_parse((const char *)data, size, &msg, why, sizeof(why));
	if (msg.id) {
		json_t *answer = jsonrpc_error(msg.id, code, code ? why : "none", NULL);

		line = jsonrpc_encode(answer, &len);
		if (line && memchr(line, '\n', len) != line + len - 1)
			abort(); /* an answer is one line, whatever the id holds */
		free(line);
		json_decref(answer);
	}
	jsonrpc_release(&msg);
	return 0;
}
