#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/log.h"
#include "core/rpc_client.h"

struct fixture {
	struct loop *loop;
	struct rpc_client *client;
	int peer;
	int answers;
	int code;
	int gone;
	int notified;
	json_int_t value;
	bool destroy_in_reply;
	char text[4096];
};

static void on_notified(void *opaque, const char *method, const json_t *params)
{
	struct fixture *f = opaque;

	f->notified++;
	f->value = json_integer_value(json_object_get(params, "n"));
}

static void on_gone(void *opaque)
{
	struct fixture *f = opaque;

	f->gone++;
	rpc_client_destroy(f->client);
	f->client = NULL;
	loop_stop(f->loop);
}

static void on_reply(void *opaque, int code, const char *message, const json_t *data,
		     const json_t *result)
{
	struct fixture *f = opaque;

	f->answers++;
	f->code = code;
	f->value = json_integer_value(result);
	if (f->destroy_in_reply) {
		rpc_client_destroy(f->client);
		f->client = NULL;
	}
	loop_stop(f->loop);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct rpc_client_events events = { on_notified, on_gone, f };
	int fds[2];

	assert_non_null(f);
	f->loop = loop_create();
	assert_non_null(f->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	f->peer = fds[1];
	f->client = rpc_client_create(f->loop, fds[0], &events);
	assert_non_null(f->client);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->destroy_in_reply = false;
	rpc_client_destroy(f->client);
	if (f->peer >= 0)
		close(f->peer);
	loop_destroy(f->loop);
	free(f);
	return 0;
}

static void call(struct fixture *f, unsigned int timeout_ms)
{
	assert_int_equal(rpc_client_call(f->client, "m", NULL, timeout_ms, on_reply, f), 0);
}

static void put(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->peer, text, strlen(text)), (ssize_t)strlen(text));
}

static void test_request_and_result(void **state)
{
	struct fixture *f = *state;
	json_t *params = json_pack("{s:i}", "a", 1);

	assert_int_equal(rpc_client_call(f->client, "vm.info", params, 0, on_reply, f), 0);
	assert_true(read(f->peer, f->text, sizeof(f->text) - 1) > 0);
	assert_string_equal(f->text, "{\"jsonrpc\":\"2.0\",\"method\":\"vm.info\",\"params\":"
				     "{\"a\":1},\"id\":1}\n");
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":42}\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->code, 0);
	assert_int_equal(f->value, 42);
}

static void test_error(void **state)
{
	struct fixture *f = *state;

	call(f, 0);
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32001,\"message\":\"no\"}}\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->code, RPC_NOT_FOUND);
}

static void test_error_numbered_zero_stays_an_error(void **state)
{
	struct fixture *f = *state;

	call(f, 0);
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":0,\"message\":\"no\"}}\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->code, RPC_INTERNAL);
}

static void test_answers_in_any_order(void **state)
{
	struct fixture *f = *state;

	call(f, 0);
	call(f, 0);
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":22}\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->value, 22);
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":99}\n"
	       "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":11}\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->value, 11);
	assert_int_equal(f->answers, 2);
}

static void test_timeout_then_late_answer(void **state)
{
	struct fixture *f = *state;

	call(f, 1);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->code, RPC_BUSY);
	call(f, 0);
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}\n"
	       "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":2}\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->value, 2);
	assert_int_equal(f->answers, 2);
}

static void test_peer_leaves(void **state)
{
	struct fixture *f = *state;

	call(f, 60000);
	call(f, 0);
	close(f->peer);
	f->peer = -1;
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->answers, 2);
	assert_int_equal(f->code, RPC_DISCONNECTED);
	assert_int_equal(f->gone, 1);
	assert_null(f->client);
}

static void test_peer_talks_nonsense(void **state)
{
	struct fixture *f = *state;

	call(f, 0);
	put(f, "hello\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->code, RPC_DISCONNECTED);
	assert_int_equal(f->gone, 1);
}

static void test_destroyed_in_reply(void **state)
{
	struct fixture *f = *state;

	f->destroy_in_reply = true;
	call(f, 0);
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}\n"
	       "{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{\"n\":3}}\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->answers, 1);
	assert_int_equal(f->notified, 0);
	assert_int_equal(f->gone, 0);
}

static void test_destroy_answers_open_requests(void **state)
{
	struct fixture *f = *state;

	call(f, 0);
	rpc_client_destroy(f->client);
	f->client = NULL;
	assert_int_equal(f->answers, 1);
	assert_int_equal(f->code, RPC_DISCONNECTED);
	assert_int_equal(f->gone, 0);
}

static void test_notification(void **state)
{
	struct fixture *f = *state;

	call(f, 0);
	put(f, "{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{\"n\":3}}\n"
	       "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}\n");
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->notified, 1);
}

static void test_connect_errors(void **state)
{
	struct fixture *f = *state;
	struct rpc_client_events events = { 0 };
	struct rpc_client *client;
	char path[300];

	assert_int_equal(rpc_client_connect(f->loop, "/nonexistent/x", &events, &client),
			 -ENOENT);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(rpc_client_connect(f->loop, path, &events, &client), -ENAMETOOLONG);
}

#define RPC_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RPC_TEST(test_request_and_result),
		RPC_TEST(test_error),
		RPC_TEST(test_error_numbered_zero_stays_an_error),
		RPC_TEST(test_answers_in_any_order),
		RPC_TEST(test_timeout_then_late_answer),
		RPC_TEST(test_peer_leaves),
		RPC_TEST(test_peer_talks_nonsense),
		RPC_TEST(test_destroyed_in_reply),
		RPC_TEST(test_destroy_answers_open_requests),
		RPC_TEST(test_notification),
		RPC_TEST(test_connect_errors),
	};

	log_init("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
