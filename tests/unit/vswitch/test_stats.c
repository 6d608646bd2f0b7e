#include "tests/unit/vswitch/unit.h"
#include "vswitch/stats.h"

static void every_reason_has_its_own_name(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < DROP_REASONS; i++) {
		assert_non_null(stats_drop_name((enum drop_reason)i));
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(stats_drop_name((enum drop_reason)i),
						stats_drop_name((enum drop_reason)j));
	}
}

static void cells_add_up_and_balance(void **state)
{
	struct stats_cell cells[2] = {0};
	struct stats sum = {0}, both = {0};

	(void)state;
	stats_add(&cells[0].rx_frames, 10);
	stats_add(&cells[0].rx_bytes, 1000);
	stats_add(&cells[0].copies, 3);
	stats_add(&cells[1].tx_frames, 9);
	stats_add(&cells[1].tx_bytes, 900);
	stats_drop(&cells[1], DROP_FULL, 3);
	stats_collect(&sum, &cells[0]);
	stats_collect(&sum, &cells[1]);
	assert_int_equal(sum.rx_frames, 10);
	assert_int_equal(sum.tx_bytes, 900);
	assert_int_equal(sum.drops[DROP_FULL], 3);
	assert_int_equal(stats_drop_total(&sum), 3);
	assert_int_equal(stats_imbalance(&sum), 1);
	stats_drop(&cells[0], DROP_DOWN, 1);
	memset(&sum, 0, sizeof(sum));
	stats_collect(&sum, &cells[0]);
	stats_collect(&sum, &cells[1]);
	assert_int_equal(stats_imbalance(&sum), 0);
	stats_merge(&both, &sum);
	stats_merge(&both, &sum);
	assert_int_equal(both.rx_frames, 20);
	assert_int_equal(stats_drop_total(&both), 8);
	assert_int_equal(stats_imbalance(&both), 0);
	both.queued = 2;
	assert_int_equal(stats_imbalance(&both), -2);
}

static void cells_share_no_cache_line(void **state)
{
	struct stats_cell cells[2];

	(void)state;
	assert_int_equal((uintptr_t)&cells[0] % 64, 0);
	assert_int_equal((uintptr_t)&cells[1] % 64, 0);
	assert_true(sizeof(cells[0]) % 64 == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason_has_its_own_name),
		cmocka_unit_test(cells_add_up_and_balance),
		cmocka_unit_test(cells_share_no_cache_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
