#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/jsonrpc.h"

static char why[200];

static int parse(const char *line, struct jsonrpc_message *msg)
{
	why[0] = '\0';
	return jsonrpc_parse(line, strlen(line), msg, why, sizeof(why));
}

static void expect_refused(const char *line, int code)
{
	struct jsonrpc_message msg;

	assert_int_equal(parse(line, &msg), code);
	assert_true(strlen(why) > 0);
	jsonrpc_release(&msg);
}

static void test_request(void **state)
{
	struct jsonrpc_message msg;

	assert_int_equal(parse("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"vm.info\","
			       "\"params\":{\"a\":1}}",
			       &msg),
			 0);
	assert_int_equal(msg.kind, JSONRPC_REQUEST);
	assert_string_equal(msg.method, "vm.info");
	assert_int_equal(json_integer_value(msg.id), 7);
	assert_int_equal(json_integer_value(json_object_get(msg.params, "a")), 1);
	jsonrpc_release(&msg);
}

static void test_notification_and_null_id(void **state)
{
	struct jsonrpc_message msg;

	assert_int_equal(parse("{\"jsonrpc\":\"2.0\",\"method\":\"x\"}", &msg), 0);
	assert_int_equal(msg.kind, JSONRPC_NOTIFICATION);
	assert_null(msg.params);
	jsonrpc_release(&msg);
	assert_int_equal(parse("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}", &msg), 0);
	assert_int_equal(msg.kind, JSONRPC_REQUEST);
	jsonrpc_release(&msg);
}

static void test_responses(void **state)
{
	struct jsonrpc_message msg;

	assert_int_equal(parse("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}", &msg), 0);
	assert_int_equal(msg.kind, JSONRPC_RESPONSE);
	assert_true(json_is_null(msg.result));
	assert_null(msg.error);
	jsonrpc_release(&msg);
	assert_int_equal(parse("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":"
			       "{\"code\":-32001,\"message\":\"no\"}}",
			       &msg),
			 0);
	assert_non_null(msg.error);
	jsonrpc_release(&msg);
	expect_refused("{\"jsonrpc\":\"2.0\",\"id\":1}", RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"2.0\",\"result\":1}", RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}", RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":"
		       "{\"code\":\"1\",\"message\":\"no\"}}",
		       RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1,\"error\":"
		       "{\"code\":1,\"message\":\"no\"}}",
		       RPC_INVALID_REQUEST);
}

static void test_what_is_no_message(void **state)
{
	expect_refused("", RPC_PARSE_ERROR);
	expect_refused("{", RPC_PARSE_ERROR);
	expect_refused("{} {}", RPC_PARSE_ERROR);
	expect_refused("{\"a\":1,\"a\":2}", RPC_PARSE_ERROR);
	expect_refused("{\"a\":\"\xff\"}", RPC_PARSE_ERROR);
	expect_refused("17", RPC_INVALID_REQUEST);
	expect_refused("[]", RPC_INVALID_REQUEST);
	expect_refused("{}", RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"1.0\",\"method\":\"x\"}", RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"2.0\",\"method\":7}", RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"2.0\",\"method\":\"\"}", RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":[1]}",
		       RPC_INVALID_REQUEST);
	expect_refused("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"x\"}", RPC_INVALID_REQUEST);
}

static void test_id_survives_a_refusal(void **state)
{
	struct jsonrpc_message msg;

	assert_int_equal(parse("{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":7}", &msg),
			 RPC_INVALID_REQUEST);
	assert_string_equal(json_string_value(msg.id), "q");
	jsonrpc_release(&msg);
}

static void test_depth(void **state)
{
	assert_true(jsonrpc_depth_within("[[1],[2]]", 9, 2));
	assert_false(jsonrpc_depth_within("[[1],[2]]", 9, 1));
	assert_true(jsonrpc_depth_within("\"[[[[\"", 6, 0));
	assert_true(jsonrpc_depth_within("\"\\\"[[\"", 6, 0));
	assert_true(jsonrpc_depth_within("]]]][", 5, 1));
	assert_true(jsonrpc_depth_within("\"\\", 2, 0));
}

static void test_too_deep_or_long(void **state)
{
	struct jsonrpc_message msg;
	char deep[200];
	char *line = malloc(JSONRPC_MAX_LINE);

	memset(deep, '[', sizeof(deep));
	assert_int_equal(jsonrpc_parse(deep, sizeof(deep), &msg, why, sizeof(why)),
			 RPC_INVALID_REQUEST);
	assert_null(msg.root);
	assert_non_null(line);
	memset(line, ' ', JSONRPC_MAX_LINE);
	assert_int_equal(jsonrpc_parse(line, JSONRPC_MAX_LINE, &msg, why, sizeof(why)),
			 RPC_INVALID_REQUEST);
	free(line);
}

static void expect_line(json_t *message, const char *expected)
{
	size_t len = 0;
	char *line = jsonrpc_encode(message, &len);

	assert_non_null(line);
	assert_string_equal(line, expected);
	assert_int_equal(len, strlen(expected));
	free(line);
	json_decref(message);
}

static void test_builders(void **state)
{
	json_t *id = json_string("a");

	expect_line(jsonrpc_request(3, "m", json_pack("{s:s}", "k", "line\nbreak")),
		    "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{\"k\":\"line\\nbreak\"},"
		    "\"id\":3}\n");
	expect_line(jsonrpc_request(3, "m", NULL),
		    "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":3}\n");
	expect_line(jsonrpc_notification("m", NULL), "{\"jsonrpc\":\"2.0\",\"method\":\"m\"}\n");
	expect_line(jsonrpc_result(id, json_null()),
		    "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":null}\n");
	expect_line(jsonrpc_error(NULL, -1, "no", json_pack("{s:s}", "field", "f")),
		    "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-1,\"message\":\"no\","
		    "\"data\":{\"field\":\"f\"}}}\n");
	expect_line(jsonrpc_error(NULL, -1, "\xff", NULL),
		    "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-1,"
		    "\"message\":\"(unprintable)\"}}\n");
	json_decref(id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_notification_and_null_id),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_what_is_no_message),
		cmocka_unit_test(test_id_survives_a_refusal),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_too_deep_or_long),
		cmocka_unit_test(test_builders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
