/* The device's side against rings that a hostile driver wrote by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring_fixture.h"

/* Nothing comes out, the reason is kept, and nothing good comes out later either. */
static void assert_broken(struct fixture *f, enum vhost_fault fault)
{
	assert_int_equal(pop(f, 4), 0);
	assert_string_equal(vhost_fault_name(f->vr.fault), vhost_fault_name(fault));
	desc(f, 7, BUFFER, 1, 0, 0);
	offer(f, 7);
	assert_int_equal(pop(f, 4), 0);
	assert_int_equal(vring_device_available(&f->vr), 0);
	assert_int_equal(f->vr.fault, fault);
}

static void avail_idx_may_not_run_ahead(void **state)
{
	struct fixture *f = *state;

	f->config.parts.avail->idx = SIZE + 1;
	assert_broken(f, VHOST_FAULT_RING_AVAIL_IDX);
}

static void avail_idx_may_not_run_back(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, BUFFER, 1, 0, 0);
	offer(f, 0);
	assert_int_equal(pop(f, 1), 1);
	f->config.parts.avail->idx = 0;
	assert_broken(f, VHOST_FAULT_RING_AVAIL_IDX);
}

static void head_must_be_in_the_table(void **state)
{
	offer(*state, SIZE);
	assert_broken(*state, VHOST_FAULT_RING_HEAD);
}

static void next_must_be_in_the_table(void **state)
{
	desc(*state, 0, BUFFER, 1, NEXT, 0xffff);
	offer(*state, 0);
	assert_broken(*state, VHOST_FAULT_RING_NEXT);
}

static void a_loop_ends(void **state)
{
	desc(*state, 0, BUFFER, 1, NEXT, 1);
	desc(*state, 1, BUFFER, 1, NEXT, 0);
	offer(*state, 0);
	assert_broken(*state, VHOST_FAULT_RING_LOOP);
}

static void a_loop_in_a_table_ends(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, TABLE, 2 * 16, INDIRECT, 0);
	table(f, 0, BUFFER, 1, NEXT, 0);
	offer(f, 0);
	assert_broken(f, VHOST_FAULT_RING_LOOP);
}

static void a_chain_of_too_many_pieces_breaks(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, TABLE, (IOVS + 1) * 16, INDIRECT, 0);
	for (uint16_t i = 0; i <= IOVS; i++)
		table(f, i, BUFFER, 1, i < IOVS ? NEXT : 0, (uint16_t)(i + 1));
	offer(f, 0);
	assert_broken(f, VHOST_FAULT_RING_LONG);
}

static void zero_length_breaks(void **state)
{
	desc(*state, 0, BUFFER, 0, 0, 0);
	offer(*state, 0);
	assert_broken(*state, VHOST_FAULT_RING_ZERO_LENGTH);
}

static void readable_after_writable_breaks(void **state)
{
	desc(*state, 0, BUFFER, 1, WRITE | NEXT, 1);
	desc(*state, 1, BUFFER, 1, 0, 0);
	offer(*state, 0);
	assert_broken(*state, VHOST_FAULT_RING_ORDER);
}

static void buffers_must_be_in_memory(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{ 0, 1 },
		{ ENV_BASE - 1, 2 },
		{ ENV_END - 1, 2 },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX - 1, 4 },
		{ ENV_BASE, UINT32_MAX },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fixture *f = *state;

		f->config.parts.avail->idx = 0;
		start(f, 0);
		desc(f, 0, bad[i].addr, bad[i].len, WRITE, 0);
		offer(f, 0);
		assert_broken(f, VHOST_FAULT_RING_BUFFER);
	}
}

static void four_gib_break(void **state)
{
	struct fixture *f = *state;

	/* 16 pieces of almost 1 MiB are fine; lengths alone must not overflow the sum. */
	desc(f, 0, ENV_BASE, ENV_HALF, NEXT, 1);
	desc(f, 1, ENV_BASE, UINT32_MAX, 0, 0);
	offer(f, 0);
	assert_broken(f, VHOST_FAULT_RING_TOO_BIG);
}

static void indirect_needs_its_feature(void **state)
{
	struct fixture *f = *state;

	start(f, 0);
	desc(f, 0, TABLE, 16, INDIRECT, 0);
	table(f, 0, BUFFER, 1, 0, 0);
	offer(f, 0);
	assert_broken(f, VHOST_FAULT_RING_INDIRECT_OFF);
}

static void indirect_tables_are_measured(void **state)
{
	static const uint32_t bad[] = { 0, 1, 15, 17, 16 * VRING_MAX_SIZE + 16, 0xfffffff0 };

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fixture *f = *state;

		f->config.parts.avail->idx = 0;
		start(f, f->config.features);
		desc(f, 0, TABLE, bad[i], INDIRECT, 0);
		offer(f, 0);
		assert_broken(f, VHOST_FAULT_RING_INDIRECT_LENGTH);
	}
}

static void indirect_tables_must_be_in_memory(void **state)
{
	static const uint64_t bad[] = { 0, ENV_END - 16, ENV_SEAM - 16, TABLE + 4 };

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fixture *f = *state;

		f->config.parts.avail->idx = 0;
		start(f, f->config.features);
		desc(f, 0, bad[i], 32, INDIRECT, 0);
		offer(f, 0);
		assert_broken(f, VHOST_FAULT_RING_INDIRECT_TABLE);
	}
}

static void indirect_in_indirect_breaks(void **state)
{
	desc(*state, 0, TABLE, 16, INDIRECT, 0);
	table(*state, 0, TABLE, 16, INDIRECT, 0);
	offer(*state, 0);
	assert_broken(*state, VHOST_FAULT_RING_INDIRECT_NESTED);
}

static void indirect_with_next_breaks(void **state)
{
	desc(*state, 0, TABLE, 16, INDIRECT | NEXT, 1);
	desc(*state, 1, BUFFER, 1, 0, 0);
	offer(*state, 0);
	assert_broken(*state, VHOST_FAULT_RING_INDIRECT_NESTED);
}

static void next_of_a_table_is_bounded_by_the_table(void **state)
{
	desc(*state, 0, TABLE, 32, INDIRECT, 0);
	table(*state, 0, BUFFER, 1, NEXT, 2); /* inside the ring's table, not inside this one */
	offer(*state, 0);
	assert_broken(*state, VHOST_FAULT_RING_NEXT);
}

static void good_chains_before_a_bad_one_come_out(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, BUFFER, 1, 0, 0);
	desc(f, 1, 0, 1, 0, 0);
	offer(f, 0);
	offer(f, 1);
	offer(f, 0);
	assert_int_equal(pop(f, 8), 1);
	assert_int_equal(f->vr.fault, VHOST_FAULT_RING_BUFFER);
	vring_device_put(&f->vr, &f->chains[0], 0);
	vring_device_publish(&f->vr);
	assert_int_equal(f->config.parts.used->idx, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, ring_setup, ring_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(avail_idx_may_not_run_ahead),
		T(avail_idx_may_not_run_back),
		T(head_must_be_in_the_table),
		T(next_must_be_in_the_table),
		T(a_loop_ends),
		T(a_loop_in_a_table_ends),
		T(a_chain_of_too_many_pieces_breaks),
		T(zero_length_breaks),
		T(readable_after_writable_breaks),
		T(buffers_must_be_in_memory),
		T(four_gib_break),
		T(indirect_needs_its_feature),
		T(indirect_tables_are_measured),
		T(indirect_tables_must_be_in_memory),
		T(indirect_in_indirect_breaks),
		T(indirect_with_next_breaks),
		T(next_of_a_table_is_bounded_by_the_table),
		T(good_chains_before_a_bad_one_come_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
