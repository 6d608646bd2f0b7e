/*
 * A control socket's whole server side, fed with what a client could send. Input: a byte that says in
 * how large pieces, and the bytes. Whatever comes, each answer is one message of JSON-RPC, and there
 * are no more than questions; calls that are answered late are, or their client has gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/rpc_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_INPUT 4096u
#define MAX_LATE 64u

static struct loop *loop;
static struct rpc_call *late[MAX_LATE];
static unsigned int n_late, n_calls;

static void handle_echo(struct rpc_call *call, const json_t *params, void *opaque)
{
	n_calls++;
	rpc_reply(call, params ? json_deep_copy(params) : json_null());
}

static void handle_refuse(struct rpc_call *call, const json_t *params, void *opaque)
{
	n_calls++;
	rpc_fail(call, RPC_INVALID_PARAMS, "a.b", "%s",
		 json_string_value(json_object_get(params, "why")) ?
			 json_string_value(json_object_get(params, "why")) : "for no reason");
}

static void handle_late(struct rpc_call *call, const json_t *params, void *opaque)
{
	n_calls++;
	if (n_late == MAX_LATE)
		rpc_reply(call, json_null());
	else
		late[n_late++] = call;
}

static void answer_late(void)
{
	while (n_late)
		rpc_reply(late[--n_late], json_true());
}

static void handle_now(struct rpc_call *call, const json_t *params, void *opaque)
{
	n_calls++;
	answer_late();
	rpc_reply(call, json_null());
}

static const struct rpc_method methods[] = {
	{ "echo", 1, handle_echo }, { "refuse", 1, handle_refuse }, { "late", 1, handle_late },
	{ "now", 1, handle_now },   { "never", 2, handle_echo },    { 0 },
};

static void on_gone(void *opaque)
{
	loop_stop(loop);
}

static void expect_answers(const char *text, size_t len, size_t lines_sent)
{
	size_t answers = 0;

	while (len) {
		const char *end = memchr(text, '\n', len);
		struct jsonrpc_message msg;
		char why[100];

		if (!end) /* the server was ended while it wrote */
			break;
		if (jsonrpc_parse(text, (size_t)(end - text), &msg, why, sizeof(why)) != 0 ||
		    msg.kind != JSONRPC_RESPONSE || ++answers > lines_sent)
			abort();
		jsonrpc_release(&msg);
		len -= (size_t)(end + 1 - text);
		text = end + 1;
	}
}

/* All of it fits into the socket's buffers: nobody waits for anybody. */
static void send_in_pieces(int fd, const uint8_t *data, size_t size, size_t piece)
{
	for (size_t at = 0; at < size; at += piece) {
		if (send(fd, data + at, MIN(piece, size - at), MSG_NOSIGNAL) < 0)
			break;
	}
	shutdown(fd, SHUT_WR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char answers[1 << 20];
	struct rpc_server_config config = { .listen_fd = -1, .methods = methods, .gone = on_gone };
	struct rpc_server *server;
	size_t lines = 1, len = 0;
	ssize_t n;
	int fds[2];

	if (size < 2 || size > MAX_INPUT)
		return 0;
	loop = loop_create();
	if (!loop || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		abort();
	config.connected_fd = fds[0];
	if (rpc_server_create(loop, &config, &server) < 0)
		abort();
	for (size_t i = 1; i < size; i++)
		lines += data[i] == '\n';
	n_calls = 0;
	send_in_pieces(fds[1], data + 1, size - 1, 64u + data[0] * 16u);
	if (loop_run(loop) < 0 || n_calls > lines)
		abort();
	answer_late(); /* to nobody */
	rpc_server_destroy(server);
	while ((n = read(fds[1], answers + len, sizeof(answers) - len)) > 0)
		len += (size_t)n;
	expect_answers(answers, len, lines);
	close(fds[1]);
	loop_destroy(loop);
	return 0;
}
