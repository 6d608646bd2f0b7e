#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/json_text.h"

static unsigned int fail_at, allocations;

/* The linker puts these in the place of malloc() (--wrap). */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return fail_at && ++allocations == fail_at ? NULL : __real_malloc(size);
}

static const char text[] = "{\"a name of more than sixteen letters\": "
			   "[\"a value that is as long as this one is\", 1234567890123456, true]}";

/* Whichever allocation fails: the whole value or none, and the right reason. */
static void test_every_allocation(void **state)
{
	json_t *whole = json_loads(text, 0, NULL), *got;
	json_error_t error;
	unsigned int n = 0;
	int err;

	assert_non_null(whole);
	do {
		n++;
		allocations = 0;
		fail_at = n;
		err = json_text_load(text, strlen(text), 0, &got, &error);
		fail_at = 0;
		if (err) {
			assert_int_equal(err, -ENOMEM);
			assert_null(got);
			assert_string_equal(error.text, "out of memory");
		} else {
			assert_true(json_equal(whole, got));
			json_decref(got);
		}
	} while (allocations >= n);
	assert_true(n > 10);
	json_decref(whole);
}

static void test_no_json(void **state)
{
	json_error_t error;
	json_t *got;

	assert_int_equal(json_text_load("{\"a\":}", 6, 0, &got, &error), -EINVAL);
	assert_null(got);
	assert_int_equal(error.line, 1);
	assert_non_null(strstr(error.text, "unexpected"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_allocation),
		cmocka_unit_test(test_no_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
