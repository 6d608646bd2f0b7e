#include <fcntl.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/log.h"
#include "core/rpc_server.h"

/* The server is driven through its descriptors by a client that is no more than a byte pipe. */
struct fixture {
	struct loop *loop;
	struct rpc_server *server;
	struct rpc_call *held;
	int client;
	unsigned int state;
	bool gone;
	bool destroy_in_handler;
	char dir[64];
	char path[96];
	char answer[4096];
};

static void handle_echo(struct rpc_call *call, const json_t *params, void *opaque)
{
	rpc_reply(call, params ? json_deep_copy(params) : json_null());
}

static void handle_hold(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct fixture *f = opaque;

	f->held = call;
}

static void handle_fail(struct rpc_call *call, const json_t *params, void *opaque)
{
	rpc_fail(call, RPC_INVALID_PARAMS, "memory.size_mib", "found %d, allowed 1 to 9", 10);
}

static void handle_destroy(struct rpc_call *call, const json_t *params, void *opaque)
{
	struct fixture *f = opaque;

	rpc_server_destroy(f->server);
	f->server = NULL;
	rpc_reply(call, json_null()); /* to nobody */
}

static const struct rpc_method methods[] = {
	{ "echo", 3, handle_echo },	  { "hold", 3, handle_hold }, { "fail", 3, handle_fail },
	{ "only-running", 2, handle_echo }, { "destroy", 3, handle_destroy }, { 0 },
};

static unsigned int fixture_state(void *opaque, const char **name)
{
	struct fixture *f = opaque;

	*name = f->state ? "running" : "stopped";
	return f->state;
}

static void fixture_gone(void *opaque)
{
	struct fixture *f = opaque;

	f->gone = true;
}

static struct rpc_server_config base_config(struct fixture *f)
{
	return (struct rpc_server_config){ .listen_fd = -1, .connected_fd = -1, .methods = methods,
					   .state = fixture_state, .gone = fixture_gone,
					   .opaque = f };
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct rpc_server_config config = base_config(f);
	int fds[2];

	assert_non_null(f);
	f->loop = loop_create();
	assert_non_null(f->loop);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	config.connected_fd = fds[0];
	f->client = fds[1];
	assert_int_equal(rpc_server_create(f->loop, &config, &f->server), 0);
	strcpy(f->dir, "/tmp/test_rpc_server.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->held)
		rpc_reply(f->held, json_null());
	if (f->server)
		rpc_server_destroy(f->server);
	if (f->client >= 0)
		close(f->client);
	loop_destroy(f->loop);
	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void stop(void *opaque)
{
	loop_stop(opaque);
}

/* A few turns of the loop: a stop is posted behind what is ready now. */
static void turn(struct fixture *f)
{
	for (int i = 0; i < 4; i++) {
		assert_int_equal(loop_post(f->loop, stop, f->loop), 0);
		assert_int_equal(loop_run(f->loop), 0);
	}
}

static void put(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->client, text, strlen(text)), (ssize_t)strlen(text));
	turn(f);
}

/* What came back, "" for nothing, "EOF" when the server has closed. */
static const char *get(struct fixture *f)
{
	ssize_t n = read(f->client, f->answer, sizeof(f->answer) - 1);

	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return "EOF";
	f->answer[n > 0 ? n : 0] = '\0';
	return f->answer;
}

static void test_answers(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"a\":[true]}}\n");
	assert_string_equal(get(f), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":[true]}}\n");
}

static void test_pieces_and_several_lines(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,");
	assert_string_equal(get(f), "");
	put(f, "\"method\":\"echo\"}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"echo\"}\n{");
	assert_string_equal(get(f), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}\n"
				    "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":null}\n");
}

static void test_typed_errors(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"fail\"}\n");
	assert_string_equal(get(f), "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,"
				    "\"message\":\"found 10, allowed 1 to 9\",\"data\":"
				    "{\"field\":\"memory.size_mib\"}}}\n");
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"nothing\"}\n");
	assert_non_null(strstr(get(f), "-32601"));
	put(f, "]\n");
	assert_non_null(strstr(get(f), "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":"
				       "-32700"));
}

static void test_state_mask(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"only-running\"}\n");
	assert_string_equal(get(f), "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,"
				    "\"message\":\"only-running is not possible in state stopped\","
				    "\"data\":{\"state\":\"stopped\"}}}\n");
	f->state = 1;
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"only-running\"}\n");
	assert_non_null(strstr(get(f), "result"));
}

static void test_client_notification_is_not_answered(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\"}\n");
	put(f, "{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}\n");
	assert_string_equal(get(f), "");
}

static void test_late_answer(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"id\":\"late\",\"method\":\"hold\"}\n");
	assert_non_null(f->held);
	assert_string_equal(get(f), "");
	rpc_reply(f->held, json_integer(5));
	f->held = NULL;
	assert_string_equal(get(f), "{\"jsonrpc\":\"2.0\",\"id\":\"late\",\"result\":5}\n");
}

static void test_answer_after_client_left(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hold\"}\n");
	close(f->client);
	f->client = -1;
	turn(f);
	assert_true(f->gone);
	rpc_reply(f->held, json_integer(5));
	f->held = NULL;
}

/* A result there was no memory for is an error, not a null. */
static void test_no_memory_for_a_result(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"hold\"}\n");
	rpc_reply(f->held, NULL);
	f->held = NULL;
	assert_string_equal(get(f), "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32603,"
				    "\"message\":\"out of memory\"}}\n");
	/* An id that cannot be written without memory: hung up on, as nobody may wait for ever. */
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":\"seven\",\"method\":\"hold\"}\n");
	rpc_reply(f->held, NULL);
	f->held = NULL;
	turn(f);
	assert_true(f->gone);
}

static void test_destroyed_in_handler(void **state)
{
	struct fixture *f = *state;

	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"destroy\"}\n"
	       "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"echo\"}\n");
	assert_null(f->server);
	assert_string_equal(get(f), "EOF");
}

static void test_too_many_open_calls(void **state)
{
	struct fixture *f = *state;
	struct rpc_call *calls[256];

	for (int i = 0; i < 256; i++) {
		put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hold\"}\n");
		calls[i] = f->held;
	}
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":257,\"method\":\"hold\"}\n");
	assert_non_null(strstr(get(f), "-32005"));
	for (int i = 0; i < 256; i++)
		rpc_reply(calls[i], json_null());
	f->held = NULL;
}

static void test_line_too_long(void **state)
{
	struct fixture *f = *state;
	char chunk[4096];
	size_t sent = 0;

	memset(chunk, 'x', sizeof(chunk));
	while (sent < JSONRPC_MAX_LINE) {
		ssize_t n = write(f->client, chunk, sizeof(chunk));

		if (n > 0)
			sent += (size_t)n;
		turn(f);
	}
	assert_non_null(strstr(get(f), "longer than 1 MiB"));
	assert_string_equal(get(f), "EOF");
}

static void test_too_deep(void **state)
{
	struct fixture *f = *state;
	char deep[101];

	memset(deep, '[', 99);
	strcpy(deep + 99, "\n");
	put(f, deep);
	assert_non_null(strstr(get(f), "-32600"));
	assert_string_equal(get(f), "EOF");
}

static void test_client_that_does_not_read(void **state)
{
	struct fixture *f = *state;
	json_t *big = json_object();
	char text[1001];

	memset(text, 'y', 1000);
	text[1000] = '\0';
	for (int i = 0; i < 500; i++) {
		char key[16];

		snprintf(key, sizeof(key), "%d", i);
		json_object_set_new(big, key, json_string(text));
	}
	for (int i = 0; i < 7; i++) {
		rpc_server_notify(f->server, "flood", json_incref(big));
		turn(f);
	}
	assert_false(f->gone); /* 3.5 MB may wait */
	for (int i = 0; i < 4; i++)
		rpc_server_notify(f->server, "flood", json_incref(big));
	turn(f);
	assert_true(f->gone);
	json_decref(big);
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void test_socket_file(void **state)
{
	struct fixture *f = *state;
	struct rpc_server_config config = base_config(f);
	struct rpc_server *server, *second;
	struct stat st;
	int leader;

	config.path = f->path;
	assert_int_equal(rpc_server_create(f->loop, &config, &server), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(rpc_server_create(f->loop, &config, &second), -EADDRINUSE);
	close(f->client);
	f->client = connect_to(f->path);
	assert_true(f->client >= 0);
	put(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}\n");
	assert_non_null(strstr(get(f), "result"));
	leader = connect_to(f->path);
	rpc_server_destroy(server);
	assert_int_equal(stat(f->path, &st), -1);
	assert_string_equal(get(f), "EOF");
	close(leader);
}

static void test_stale_socket_and_foreign_file(void **state)
{
	struct fixture *f = *state;
	struct rpc_server_config config = base_config(f);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct rpc_server *server;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	config.path = f->path;
	strcpy(addr.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* as a killed process leaves it */
	assert_int_equal(rpc_server_create(f->loop, &config, &server), 0);
	rpc_server_destroy(server);
	fd = open(f->path, O_CREAT | O_RDWR, 0600);
	close(fd);
	assert_int_equal(rpc_server_create(f->loop, &config, &server), -EADDRINUSE);
	assert_int_equal(access(f->path, F_OK), 0); /* not ours: not touched */
}

static void test_client_limit(void **state)
{
	struct fixture *f = *state;
	struct rpc_server_config config = base_config(f);
	struct rpc_server *server;
	int fds[RPC_SERVER_MAX_CLIENTS + 1];
	char byte;

	config.path = f->path;
	assert_int_equal(rpc_server_create(f->loop, &config, &server), 0);
	for (unsigned int i = 0; i <= RPC_SERVER_MAX_CLIENTS; i++) {
		fds[i] = connect_to(f->path);
		assert_true(fds[i] >= 0);
		turn(f);
	}
	assert_int_equal(read(fds[RPC_SERVER_MAX_CLIENTS], &byte, 1), 0);
	assert_int_equal(read(fds[0], &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	for (unsigned int i = 0; i <= RPC_SERVER_MAX_CLIENTS; i++)
		close(fds[i]);
	rpc_server_destroy(server);
}

#define RPC_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RPC_TEST(test_answers),
		RPC_TEST(test_pieces_and_several_lines),
		RPC_TEST(test_typed_errors),
		RPC_TEST(test_state_mask),
		RPC_TEST(test_client_notification_is_not_answered),
		RPC_TEST(test_late_answer),
		RPC_TEST(test_answer_after_client_left),
		RPC_TEST(test_no_memory_for_a_result),
		RPC_TEST(test_destroyed_in_handler),
		RPC_TEST(test_too_many_open_calls),
		RPC_TEST(test_line_too_long),
		RPC_TEST(test_too_deep),
		RPC_TEST(test_client_that_does_not_read),
		RPC_TEST(test_socket_file),
		RPC_TEST(test_stale_socket_and_foreign_file),
		RPC_TEST(test_client_limit),
	};

	log_init("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
