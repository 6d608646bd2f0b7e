/* Layout, bounds and index arithmetic of split rings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>
#include <cmocka.h>

#include "vhost-user/vring.h"

static void sizes_are_powers_of_two_up_to_the_limit(void **state)
{
	struct vring_addrs addrs = { 0x1000, 0x2000, 0x3000 };

	assert_int_equal(vring_check(1, &addrs), VHOST_FAULT_NONE);
	assert_int_equal(vring_check(256, &addrs), VHOST_FAULT_NONE);
	assert_int_equal(vring_check(32768, &addrs), VHOST_FAULT_NONE);
	assert_int_equal(vring_check(0, &addrs), VHOST_FAULT_RING_SIZE);
	assert_int_equal(vring_check(3, &addrs), VHOST_FAULT_RING_SIZE);
	assert_int_equal(vring_check(65536, &addrs), VHOST_FAULT_RING_SIZE);
	assert_int_equal(vring_check(UINT32_MAX, &addrs), VHOST_FAULT_RING_SIZE);
}

static void every_part_has_its_alignment(void **state)
{
	struct vring_addrs good = { 0x1010, 0x2002, 0x3004 };
	struct vring_addrs bad[] = {
		{ 0x1008, 0x2002, 0x3004 },
		{ 0x1010, 0x2001, 0x3004 },
		{ 0x1010, 0x2002, 0x3002 },
	};

	assert_int_equal(vring_check(8, &good), VHOST_FAULT_NONE);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(vring_check(8, &bad[i]), VHOST_FAULT_RING_ALIGN);
}

static void no_part_wraps_around(void **state)
{
	struct vring_addrs bad[] = {
		{ UINT64_MAX - 15, 0, 0 },
		{ 0, UINT64_MAX - 1, 0 },
		{ 0, 0, UINT64_MAX - 3 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(vring_check(1, &bad[i]), VHOST_FAULT_RING_ADDRESS);
}

static void a_block_holds_the_parts_one_after_another(void **state)
{
	for (uint32_t size = 1; size <= VRING_MAX_SIZE; size *= 2) {
		struct vring_addrs at;
		uint64_t bytes = vring_block_layout(size, &at);

		assert_int_equal(vring_check(size, &at), VHOST_FAULT_NONE);
		assert_true(at.desc + vring_desc_bytes(size) <= at.avail);
		assert_true(at.avail + vring_avail_bytes(size) <= at.used);
		assert_true(at.used + vring_used_bytes(size) <= bytes);
		assert_int_equal(bytes % VRING_DESC_ALIGN, 0);
	}
}

static void an_event_is_passed_once_and_across_the_wrap(void **state)
{
	assert_true(vring_event_passed(5, 6, 5));
	assert_false(vring_event_passed(5, 5, 4));
	assert_false(vring_event_passed(5, 7, 6));
	assert_true(vring_event_passed(5, 100, 0));
	assert_true(vring_event_passed(0xffff, 2, 0xfff0));
	assert_true(vring_event_passed(1, 2, 0xfff0));
	assert_false(vring_event_passed(2, 2, 0xfff0));
	assert_false(vring_event_passed(7, 9, 9));
	/* The kernel's own statement of the rule agrees everywhere near the wrap. */
	for (unsigned int event = 0xfff0; event < 0x10010; event++)
		for (unsigned int before = 0xfff0; before < 0x10010; before++)
			for (unsigned int n = 0; n < 40; n++)
				assert_int_equal(
					vring_event_passed((uint16_t)event, (uint16_t)(before + n),
							   (uint16_t)before),
					vring_need_event((uint16_t)event, (uint16_t)(before + n),
							 (uint16_t)before));
}

static void every_fault_has_a_name_of_its_own(void **state)
{
	for (int i = 0; i < VHOST_FAULT_COUNT; i++) {
		assert_non_null(vhost_fault_name(i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(vhost_fault_name(i), vhost_fault_name(j));
	}
	assert_string_equal(vhost_fault_name(VHOST_FAULT_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_powers_of_two_up_to_the_limit),
		cmocka_unit_test(every_part_has_its_alignment),
		cmocka_unit_test(no_part_wraps_around),
		cmocka_unit_test(a_block_holds_the_parts_one_after_another),
		cmocka_unit_test(an_event_is_passed_once_and_across_the_wrap),
		cmocka_unit_test(every_fault_has_a_name_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
