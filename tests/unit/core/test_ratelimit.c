#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/ratelimit.h"

static void test_burst_then_silence(void **state)
{
	struct ratelimit rl = RATELIMIT_INIT(1000, 3);
	uint32_t suppressed = 99;

	for (int i = 0; i < 3; i++) {
		assert_true(ratelimit_pass_at(&rl, 5000, &suppressed));
		assert_int_equal(suppressed, 0);
	}
	assert_false(ratelimit_pass_at(&rl, 5000, &suppressed));
	assert_false(ratelimit_pass_at(&rl, 5999, &suppressed));
}

static void test_next_window_tells_suppressed(void **state)
{
	struct ratelimit rl = RATELIMIT_INIT(1000, 1);
	uint32_t suppressed;

	assert_true(ratelimit_pass_at(&rl, 5000, &suppressed));
	for (int i = 0; i < 7; i++)
		assert_false(ratelimit_pass_at(&rl, 5001, &suppressed));
	assert_true(ratelimit_pass_at(&rl, 6000, &suppressed));
	assert_int_equal(suppressed, 7);
	assert_false(ratelimit_pass_at(&rl, 6001, &suppressed));
	assert_true(ratelimit_pass_at(&rl, 8000, &suppressed));
	assert_int_equal(suppressed, 1);
}

static void test_clock_of_another_thread_behind(void **state)
{
	struct ratelimit rl = RATELIMIT_INIT(1000, 1);
	uint32_t suppressed;

	assert_true(ratelimit_pass_at(&rl, 5000, &suppressed));
	assert_false(ratelimit_pass_at(&rl, 4000, &suppressed));
}

static void test_burst_of_none(void **state)
{
	struct ratelimit rl = RATELIMIT_INIT(1000, 0);
	uint32_t suppressed;

	assert_false(ratelimit_pass_at(&rl, 5000, &suppressed));
	assert_false(ratelimit_pass_at(&rl, 50000, &suppressed));
}

static void test_real_clock(void **state)
{
	struct ratelimit rl = RATELIMIT_INIT(UINT32_MAX, 2);
	uint32_t suppressed;

	assert_true(ratelimit_pass(&rl, &suppressed));
	assert_true(ratelimit_pass(&rl, &suppressed));
	assert_false(ratelimit_pass(&rl, &suppressed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_then_silence),
		cmocka_unit_test(test_next_window_tells_suppressed),
		cmocka_unit_test(test_clock_of_another_thread_behind),
		cmocka_unit_test(test_burst_of_none),
		cmocka_unit_test(test_real_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
