#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/jsonrpc.h"
#include "mgmt/problem.h"

static const char *member(const json_t *json, const char *key)
{
	return json_string_value(json_object_get(json, key));
}

static void test_json(void **state)
{
	struct problem problem;
	json_t *json;

	problem_set(&problem, 422, "memory.size_mib", "found %d", 0);
	json = problem_json(&problem);
	assert_string_equal(member(json, "title"), "Unprocessable Content");
	assert_string_equal(member(json, "detail"), "found 0");
	assert_string_equal(member(json, "field"), "memory.size_mib");
	assert_int_equal(json_integer_value(json_object_get(json, "status")), 422);
	json_decref(json);
	problem_set(&problem, 404, NULL, "nothing");
	json = problem_json(&problem);
	assert_null(json_object_get(json, "field"));
	json_decref(json);
}

static void test_words_that_are_no_utf8(void **state)
{
	struct problem problem;
	json_t *json;

	problem_set(&problem, 503, NULL, "bad \xff\xc3 words");
	json = problem_json(&problem);
	assert_string_equal(member(json, "detail"), "bad ?? words");
	json_decref(json);
}

static void test_words_that_are_too_many(void **state)
{
	struct problem problem;
	char text[2000];
	json_t *json;

	/* Cut within a character of two bytes. */
	memset(text, 'x', sizeof(text));
	for (size_t i = 1; i + 1 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 2);
	text[sizeof(text) - 1] = '\0';
	problem_set(&problem, 503, text, "%s", text);
	json = problem_json(&problem);
	assert_non_null(json);
	assert_non_null(member(json, "detail"));
	json_decref(json);
}

static void test_answers_of_other_processes(void **state)
{
	json_t *data = json_pack("{s:s}", "field", "boot.kernel");
	struct problem problem;

	problem_from_rpc(&problem, "vmm-launch", RPC_INVALID_PARAMS, "no such file", data);
	assert_int_equal(problem.status, 422);
	assert_string_equal(problem.field, "boot.kernel");
	assert_string_equal(problem.detail, "vmm-launch: no such file");
	problem_from_rpc(&problem, "x", RPC_WRONG_STATE, "no", NULL);
	assert_int_equal(problem.status, 409);
	problem_from_rpc(&problem, "x", RPC_DISCONNECTED, NULL, NULL);
	assert_int_equal(problem.status, 503);
	assert_string_equal(problem.field, "");
	json_decref(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_words_that_are_no_utf8),
		cmocka_unit_test(test_words_that_are_too_many),
		cmocka_unit_test(test_answers_of_other_processes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
