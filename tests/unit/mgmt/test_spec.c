#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "mgmt/spec.h"

static struct problem problem;

static int check_inner(const json_t *in, const char *path, json_t **out, struct problem *p)
{
	struct spec spec;

	spec_begin(&spec, in, path, p);
	spec_uint(&spec, "n", SPEC_REQUIRED, 1, 9, 0);
	return spec_end(&spec, out);
}

/* Everything a body may hold, at once. */
static int check(const char *text, json_t **out)
{
	static const char *const colours[] = { "red", "green", NULL };
	json_t *in = json_loads(text, JSON_DECODE_ANY, NULL);
	struct spec spec;
	int err;

	assert_non_null(in);
	memset(&problem, 0, sizeof(problem));
	*out = NULL;
	spec_begin(&spec, in, "", &problem);
	spec_uint(&spec, "uint", SPEC_OPTIONAL, 1, 64, 7);
	spec_bool(&spec, "bool", true);
	spec_text(&spec, "text", SPEC_OPTIONAL, 1, 5, NULL);
	spec_choice(&spec, "choice", SPEC_OPTIONAL, colours);
	spec_path(&spec, "path", SPEC_OPTIONAL);
	spec_object(&spec, "inner", SPEC_OPTIONAL, check_inner);
	spec_array(&spec, "list", 2, check_inner);
	err = spec_end(&spec, out);
	json_decref(in);
	return err;
}

static void expect_field(const char *text, const char *field)
{
	json_t *out;

	assert_int_equal(check(text, &out), -EINVAL);
	assert_int_equal(problem.status, 422);
	assert_string_equal(problem.field, field);
	assert_true(strlen(problem.detail) > 0);
	assert_null(out);
}

static void test_defaults(void **state)
{
	json_t *out, *expected = json_pack("{s:i, s:b, s:s, s:[]}", "uint", 7, "bool", 1, "choice",
					   "red", "list");

	assert_int_equal(check("{}", &out), 0);
	assert_true(json_equal(out, expected));
	json_decref(out);
	json_decref(expected);
}

static void test_given_values(void **state)
{
	const char *text = "{\"uint\": 64, \"bool\": false, \"text\": \"12345\","
			   " \"choice\": \"green\", \"path\": \"/a\", \"inner\": {\"n\": 1},"
			   " \"list\": [{\"n\": 1}, {\"n\": 9}]}";
	json_t *out, *expected = json_loads(text, 0, NULL);

	assert_int_equal(check(text, &out), 0);
	assert_true(json_equal(out, expected));
	json_decref(out);
	json_decref(expected);
}

static void test_faults_are_named(void **state)
{
	expect_field("7", "");
	expect_field("null", "");
	expect_field("{\"uint\": 0}", "uint");
	expect_field("{\"uint\": 65}", "uint");
	expect_field("{\"uint\": 1.0}", "uint");
	expect_field("{\"uint\": null}", "uint");
	expect_field("{\"bool\": 1}", "bool");
	expect_field("{\"text\": \"\"}", "text");
	expect_field("{\"text\": \"123456\"}", "text");
	expect_field("{\"text\": \"a\\u0007\"}", "text");
	expect_field("{\"choice\": \"blue\"}", "choice");
	expect_field("{\"choice\": 0}", "choice");
	expect_field("{\"path\": \"a\"}", "path");
	expect_field("{\"inner\": []}", "inner");
	expect_field("{\"inner\": {}}", "inner.n");
	expect_field("{\"inner\": {\"n\": 1, \"m\": 2}}", "inner.m");
	expect_field("{\"list\": {}}", "list");
	expect_field("{\"list\": [{\"n\": 1}, {\"n\": 1}, {\"n\": 1}]}", "list");
	expect_field("{\"list\": [{\"n\": 1}, {\"n\": 10}]}", "list[1].n");
	expect_field("{\"list\": [{\"n\": 1}, 5]}", "list[1]");
	expect_field("{\"more\": 1}", "more");
}

static void test_first_fault_sticks(void **state)
{
	expect_field("{\"uint\": 0, \"bool\": 1, \"more\": 1}", "uint");
}

static void test_what_was_found_is_told(void **state)
{
	json_t *out;

	assert_int_equal(check("{\"uint\": 99}", &out), -EINVAL);
	assert_string_equal(problem.detail,
			    "uint: found 99; allowed: an integer from 1 to 64");
	assert_int_equal(check("{\"inner\": {}}", &out), -EINVAL);
	assert_string_equal(problem.detail,
			    "inner.n: found nothing; allowed: an integer from 1 to 9");
	/* Long and wide values are cut, and stay one line of ASCII. */
	assert_int_equal(check("{\"uint\": \"\xc3\xa4\\n0123456789012345678901234567890123456789"
			       "0123456789012345678901234567890123456789\"}", &out),
			 -EINVAL);
	assert_non_null(strstr(problem.detail, "\\u00E4\\n0123"));
	assert_non_null(strstr(problem.detail, "...; allowed"));
}

static void test_ids(void **state)
{
	static const char *const good[] = { "a", "0", "a-b", "a--b",
					    "abcdefghijklmnopqrstuvwxyz012345" };
	static const char *const bad[] = { "", "-", "-a", "a-", "A", "a.b", "a/b", "a b", "\xc3",
					   "abcdefghijklmnopqrstuvwxyz0123456" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(spec_id_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(spec_id_valid(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_given_values),
		cmocka_unit_test(test_faults_are_named),
		cmocka_unit_test(test_first_fault_sticks),
		cmocka_unit_test(test_what_was_found_is_told),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
