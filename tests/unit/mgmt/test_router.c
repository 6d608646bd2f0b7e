#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "mgmt/router.h"

static void handle(struct http_request *request)
{
}

static const struct route routes[] = {
	{ "GET", "/v1/vms", handle },
	{ "POST", "/v1/vms", handle },
	{ "GET", "/v1/vms/{vm}", handle },
	{ "POST", "/v1/vms/{vm}/start", handle },
	{ "GET", "/v1/vms/{vm}/nics/{nic}", handle },
	{ 0 },
};

static struct route_match match;

static void test_method_and_path(void **state)
{
	assert_int_equal(router_find(routes, "GET", "/v1/vms", &match), 0);
	assert_ptr_equal(match.route, &routes[0]);
	assert_int_equal(router_find(routes, "POST", "/v1/vms", &match), 0);
	assert_ptr_equal(match.route, &routes[1]);
}

static void test_params(void **state)
{
	assert_int_equal(router_find(routes, "GET", "/v1/vms/g1", &match), 0);
	assert_string_equal(match.params[0], "g1");
	assert_int_equal(router_find(routes, "GET", "/v1/vms/g1/nics/net-0", &match), 0);
	assert_ptr_equal(match.route, &routes[4]);
	assert_string_equal(match.params[0], "g1");
	assert_string_equal(match.params[1], "net-0");
}

static void test_unknown_paths(void **state)
{
	static const char *const paths[] = { "", "/", "/v1/vm", "/v1/vmsx", "/v1/vms/",
					     "/v1/vms/a/", "/v1/vms//start", "/v1/vms/a/nics",
					     "/v1/vms/a/start/b", "v1/vms" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_int_equal(router_find(routes, "GET", paths[i], &match), 404);
}

static void test_wrong_method_names_the_right_ones(void **state)
{
	assert_int_equal(router_find(routes, "PUT", "/v1/vms", &match), 405);
	assert_string_equal(match.allowed, "GET, POST");
	assert_int_equal(router_find(routes, "get", "/v1/vms/x", &match), 405);
	assert_string_equal(match.allowed, "GET");
}

static void test_unescape(void **state)
{
	static const char *const pairs[][2] = {
		{ "", "" },
		{ "/v1/vms", "/v1/vms" },
		{ "%67%31", "g1" },
		{ "a%2Db%2db", "a-b-b" },
		{ "%7E%5f%2e", "~_." },
		{ "a%2fb%2F", "a%2fb%2F" },
		{ "%00%0a%20%7f%80%ff", "%00%0a%20%7f%80%ff" },
		{ "%25%36%37", "%2567" },
		{ "%", "%" },
		{ "%6", "%6" },
		{ "%6g%g6%%61", "%6g%g6%a" },
	};
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		strcpy(path, pairs[i][0]);
		assert_int_equal(router_unescape(path), strlen(pairs[i][1]));
		assert_string_equal(path, pairs[i][1]);
	}
}

static void test_part_that_is_too_long(void **state)
{
	char path[300];

	memset(path, 'x', sizeof(path));
	memcpy(path, "/v1/vms/", 8);
	path[8 + ROUTER_PARAM_SIZE - 1] = '\0';
	assert_int_equal(router_find(routes, "GET", path, &match), 0);
	path[8 + ROUTER_PARAM_SIZE - 1] = 'x';
	path[8 + ROUTER_PARAM_SIZE] = '\0';
	assert_int_equal(router_find(routes, "GET", path, &match), 404);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_method_and_path),
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_unknown_paths),
		cmocka_unit_test(test_wrong_method_names_the_right_ones),
		cmocka_unit_test(test_unescape),
		cmocka_unit_test(test_part_that_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
