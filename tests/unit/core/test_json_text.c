#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/json_text.h"

static unsigned int fail_at, allocations;
static bool fail_rest;

/* The linker puts these in the place of malloc() (--wrap). */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	if (!fail_at || ++allocations < fail_at || (allocations > fail_at && !fail_rest))
		return __real_malloc(size);
	return NULL;
}

#define LONG "0123456789012345678901234567890123456789012345678901234567890123456789"

static const char *const texts[] = {
	"{\"a name of more than sixteen letters\": "
	"[\"a value that is as long as this one is\", 1234567890123456, true]}",
	"[12345678901234567, {\"" LONG "\": {\"" LONG LONG "\": -0.12345678901234567}}]",
	/* Strings for which just what the reserve serves is asked. */
	"[\"12345678901234567890123456789\", \"12345678901234567890123456789\", true, true, true,"
	" true, true, true, true, true, true, true, true, true, true, true, \"" LONG "\"]",
	"[true, true, true, true, true, true, true, true, true, null, null, null, null, null, null,"
	" true, true, true, true, true, true, true, true, true, true, true, true, \"" LONG "\", {}]",
};

/* Whichever allocation fails, alone or with all that follow: the whole value or none, and why. */
static void fail_each(const char *text, bool rest)
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
		fail_rest = rest;
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
	assert_true(n > 5);
	json_decref(whole);
}

static void test_every_allocation(void **state)
{
	for (unsigned int i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		fail_each(texts[i], false);
		fail_each(texts[i], true);
	}
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
