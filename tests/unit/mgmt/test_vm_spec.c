#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "mgmt/vm_spec.h"

#define SMALL "\"id\": \"g1\", \"memory\": {\"size_mib\": 64}, \"boot\": {\"kernel\": \"/k\"}"

static struct problem problem;

/* The checked copy, or NULL with the problem told. */
static json_t *check(const char *text)
{
	json_t *body, *out = NULL;

	memset(&problem, 0, sizeof(problem));
	if (body_parse(text, strlen(text), &body, &problem) < 0)
		return NULL;
	if (vm_spec_check(body, &out, &problem) < 0)
		out = NULL;
	json_decref(body);
	return out;
}

static void expect(const char *text, int status, const char *field)
{
	assert_null(check(text));
	assert_int_equal(problem.status, status);
	assert_string_equal(problem.field, field);
}

static void test_smallest(void **state)
{
	json_t *spec = check("{" SMALL "}");

	assert_non_null(spec);
	assert_int_equal(json_integer_value(json_object_get(spec, "vcpus")), 1);
	assert_string_equal(json_string_value(json_object_get(spec, "restart")), "never");
	assert_true(json_is_false(json_object_get(spec, "autostart")));
	assert_int_equal(json_array_size(json_object_get(spec, "nics")), 0);
	json_decref(spec);
}

static void test_checked_twice_is_the_same(void **state)
{
	json_t *once = check("{" SMALL ", \"nics\": [{\"id\": \"n\"}]}"), *twice;

	assert_non_null(once);
	assert_int_equal(vm_spec_check(once, &twice, &problem), 0);
	assert_true(json_equal(once, twice));
	json_decref(once);
	json_decref(twice);
}

static void test_addresses(void **state)
{
	json_t *spec = check("{" SMALL ", \"nics\": [{\"id\": \"a\"},"
			     " {\"id\": \"b\", \"mac\": \"0A:00:00:00:00:FF\"}]}");
	json_t *nics = json_object_get(spec, "nics");

	assert_memory_equal(json_string_value(json_object_get(json_array_get(nics, 0), "mac")),
			    "52:54:00:", 9);
	assert_string_equal(json_string_value(json_object_get(json_array_get(nics, 1), "mac")),
			    "0a:00:00:00:00:ff");
	json_decref(spec);
	expect("{" SMALL ", \"nics\": [{\"id\": \"a\", \"mac\": \"01:00:00:00:00:00\"}]}", 422,
	       "nics[0].mac");
	expect("{" SMALL ", \"nics\": [{\"id\": \"a\", \"mac\": \"00:00:00:00:00:00\"}]}", 422,
	       "nics[0].mac");
	expect("{" SMALL ", \"nics\": [{\"id\": \"a\", \"mac\": \"+2:00:00:00:00:00\"}]}", 422,
	       "nics[0].mac");
	expect("{" SMALL ", \"nics\": [{\"id\": \"a\", \"mac\": \" 2:00:00:00:00:00\"}]}", 422,
	       "nics[0].mac");
}

static void test_devices_must_not_meet(void **state)
{
	expect("{" SMALL ", \"nics\": [{\"id\": \"a\"}, {\"id\": \"a\"}]}", 422, "nics[1].id");
	expect("{" SMALL ", \"nics\": [{\"id\": \"a\"}],"
	       " \"disks\": [{\"id\": \"a\", \"file\": \"/f\"}]}", 422, "disks[0].id");
	expect("{" SMALL ", \"nics\": [{\"id\": \"a\", \"mac\": \"02:00:00:00:00:01\"},"
	       " {\"id\": \"b\", \"mac\": \"02:00:00:00:00:01\"}]}", 422, "nics[1].mac");
}

static void test_too_many_devices(void **state)
{
	char text[4096] = "{" SMALL ", \"nics\": [";
	size_t len = strlen(text);
	json_t *spec;

	for (int i = 0; i < 23; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s{\"id\": \"n%d\"}",
					i ? "," : "", i);
	snprintf(text + len, sizeof(text) - len, "], \"disks\": [{\"id\": \"d\","
						  " \"file\": \"/f\"}]}");
	spec = check(text);
	assert_non_null(spec);
	json_decref(spec);
	snprintf(text + len, sizeof(text) - len,
		 "], \"disks\": [{\"id\": \"d\", \"file\": \"/f\"},"
		 " {\"id\": \"e\", \"file\": \"/f\"}]}");
	expect(text, 422, "disks[1]");
}

static void test_pages_and_size(void **state)
{
	json_t *spec;

	expect("{\"id\": \"a\", \"boot\": {\"kernel\": \"/k\"},"
	       " \"memory\": {\"size_mib\": 1025, \"page_size\": \"1G\"}}", 422,
	       "memory.size_mib");
	spec = check("{\"id\": \"a\", \"boot\": {\"kernel\": \"/k\"},"
		     " \"memory\": {\"size_mib\": 1024, \"page_size\": \"1G\"}}");
	assert_non_null(spec);
	json_decref(spec);
}

static void test_body(void **state)
{
	char *big = malloc(BODY_MAX_SIZE + 1);
	json_t *json;

	assert_non_null(big);
	memset(big, ' ', BODY_MAX_SIZE + 1);
	memcpy(big, "{}", 2);
	assert_int_equal(body_parse(big, BODY_MAX_SIZE, &json, &problem), 0);
	json_decref(json);
	assert_true(body_parse(big, BODY_MAX_SIZE + 1, &json, &problem) < 0);
	assert_int_equal(problem.status, 413);
	memset(big, '[', 33);
	assert_true(body_parse(big, 33, &json, &problem) < 0);
	assert_int_equal(problem.status, 400);
	free(big);
	expect("{", 400, "");
	expect("{} 1", 400, "");
	expect("{\"id\": 1, \"id\": 1}", 400, "");
	expect("[]", 422, "");
}

static void test_policy(void **state)
{
	json_t *body = json_pack("{s:s}", "restart", "always"), *out;

	assert_int_equal(vm_policy_check(body, &out, &problem), 0);
	assert_true(json_equal(body, out)); /* no defaults: what is not said stays */
	json_decref(out);
	json_decref(body);
	body = json_object();
	assert_true(vm_policy_check(body, &out, &problem) < 0);
	json_decref(body);
}

static void test_found_by_id(void **state)
{
	json_t *spec = check("{" SMALL ", \"disks\": [{\"id\": \"a\", \"file\": \"/f\"},"
			     " {\"id\": \"b\", \"file\": \"/g\"}]}");
	size_t index;

	assert_non_null(spec_find_device(spec, "disks", "b", &index));
	assert_int_equal(index, 1);
	assert_null(spec_find_device(spec, "nics", "b", NULL));
	json_decref(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smallest),
		cmocka_unit_test(test_checked_twice_is_the_same),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_devices_must_not_meet),
		cmocka_unit_test(test_too_many_devices),
		cmocka_unit_test(test_pages_and_size),
		cmocka_unit_test(test_body),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_found_by_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
