/* The device's side against rings that a hostile driver wrote by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring_env.h"

#define SIZE 8u
#define RING ENV_BASE
#define BUFFER (ENV_BASE + 0x4000)
#define TABLE (ENV_BASE + 0x8000)
#define IOVS 16u

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

struct fixture {
	struct ring_env env;
	struct vring_addrs addrs;
	struct vring_device_config config;
	struct vring_device vr;
	struct vring_chain chains[VRING_BURST];
	struct iovec iov[IOVS];
	uint64_t addr[IOVS];
	struct vring_sg sg;
};

static void start(struct fixture *f, uint64_t features)
{
	f->config.features = features;
	vring_device_start(&f->vr, &f->config);
}

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	ring_env_init(&f->env);
	vring_block_layout(SIZE, &f->addrs);
	f->addrs.desc += RING;
	f->addrs.avail += RING;
	f->addrs.used += RING;
	f->config = (struct vring_device_config){
		.dma = &f->env.dma,
		.size = SIZE,
		.used_addr = f->addrs.used,
	};
	assert_int_equal(vring_device_map(&f->env.dma, SIZE, &f->addrs, &f->config.parts),
			 VHOST_FAULT_NONE);
	f->sg = (struct vring_sg){ .iov = f->iov, .addr = f->addr, .capacity = IOVS };
	start(f, 1ull << VIRTIO_RING_F_INDIRECT_DESC);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ring_env_fini(&f->env);
	test_free(f);
	return 0;
}

static void desc(struct fixture *f, unsigned int i, uint64_t addr, uint32_t len, uint16_t flags,
		 uint16_t next)
{
	f->config.parts.desc[i] = (struct vring_desc){ addr, len, flags, next };
}

static void table(struct fixture *f, unsigned int i, uint64_t addr, uint32_t len, uint16_t flags,
		  uint16_t next)
{
	struct vring_desc *t = ring_env_ptr(&f->env, TABLE);

	t[i] = (struct vring_desc){ addr, len, flags, next };
}

static void offer(struct fixture *f, uint16_t head)
{
	struct vring_avail *avail = f->config.parts.avail;

	avail->ring[avail->idx % SIZE] = head;
	avail->idx++;
}

static unsigned int pop(struct fixture *f, unsigned int count)
{
	return vring_device_pop(&f->vr, f->chains, count, &f->sg);
}

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

static void a_chain_becomes_pieces_in_order(void **state)
{
	struct fixture *f = *state;

	desc(f, 2, BUFFER, 12, NEXT, 5);
	desc(f, 5, BUFFER + 100, 1500, NEXT, 1);
	desc(f, 1, BUFFER + 2000, 64, WRITE, 0);
	offer(f, 2);
	assert_int_equal(vring_device_available(&f->vr), 1);
	assert_int_equal(pop(f, 4), 1);
	assert_int_equal(f->chains[0].head, 2);
	assert_int_equal(f->chains[0].readable, 2);
	assert_int_equal(f->chains[0].writable, 1);
	assert_int_equal(f->chains[0].readable_len, 1512);
	assert_int_equal(f->chains[0].writable_len, 64);
	assert_ptr_equal(f->chains[0].iov[1].iov_base, ring_env_ptr(&f->env, BUFFER + 100));
	assert_int_equal(f->chains[0].iov[1].iov_len, 1500);
	assert_int_equal(f->chains[0].addr[2], BUFFER + 2000);
	assert_int_equal(f->sg.used, 3);
	assert_int_equal(pop(f, 4), 0);
	assert_int_equal(f->vr.fault, VHOST_FAULT_NONE);
}

static void a_buffer_across_windows_comes_in_two_pieces(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, ENV_SEAM - 10, 30, 0, 0);
	offer(f, 0);
	assert_int_equal(pop(f, 1), 1);
	assert_int_equal(f->chains[0].readable, 2);
	assert_int_equal(f->chains[0].readable_len, 30);
	assert_int_equal(f->chains[0].iov[0].iov_len, 10);
	assert_ptr_equal(f->chains[0].iov[1].iov_base, f->env.half[1]);
}

static void an_indirect_table_may_end_a_chain(void **state)
{
	struct fixture *f = *state;

	desc(f, 0, BUFFER, 12, NEXT, 1);
	desc(f, 1, TABLE, 3 * 16, INDIRECT | WRITE, 0); /* WRITE is to be ignored here */
	table(f, 0, BUFFER + 100, 10, NEXT, 2);
	table(f, 2, BUFFER + 200, 20, WRITE, 99);
	offer(f, 0);
	assert_int_equal(pop(f, 1), 1);
	assert_int_equal(f->chains[0].readable, 2);
	assert_int_equal(f->chains[0].writable, 1);
	assert_int_equal(f->chains[0].writable_len, 20);
}

static void a_full_table_is_a_chain(void **state)
{
	struct fixture *f = *state;

	for (uint16_t i = 0; i < SIZE; i++)
		desc(f, i, BUFFER + i, 1, i + 1u < SIZE ? NEXT : 0, (uint16_t)(i + 1));
	offer(f, 0);
	assert_int_equal(pop(f, 1), 1);
	assert_int_equal(f->chains[0].readable, SIZE);
}

static void what_does_not_fit_waits(void **state)
{
	struct fixture *f = *state;

	f->sg.capacity = 3;
	for (uint16_t i = 0; i < 4; i += 2) {
		desc(f, i, BUFFER, 5, NEXT, (uint16_t)(i + 1));
		desc(f, i + 1u, BUFFER, 5, 0, 0);
		offer(f, i);
	}
	assert_int_equal(pop(f, 8), 1);
	assert_int_equal(f->vr.fault, VHOST_FAULT_NONE);
	assert_int_equal(pop(f, 8), 1);
	assert_int_equal(f->chains[0].head, 2);
}

static void unpopped_chains_come_again(void **state)
{
	struct fixture *f = *state;

	for (uint16_t i = 0; i < 3; i++) {
		desc(f, i, BUFFER + i, 5, 0, 0);
		offer(f, i);
	}
	assert_int_equal(pop(f, 8), 3);
	vring_device_unpop(&f->vr, 2);
	assert_int_equal(vring_device_base(&f->vr), 1);
	assert_int_equal(vring_device_available(&f->vr), 2);
	assert_int_equal(pop(f, 8), 2);
	assert_int_equal(f->chains[0].head, 1);
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

static void used_entries_appear_with_publish_only(void **state)
{
	struct fixture *f = *state;
	struct vring_used *used = f->config.parts.used;

	for (uint16_t i = 0; i < 2; i++) {
		desc(f, i, BUFFER, 10, WRITE, 0);
		offer(f, i);
	}
	assert_int_equal(pop(f, 8), 2);
	vring_device_put(&f->vr, &f->chains[1], 7);
	vring_device_put(&f->vr, &f->chains[0], 3);
	assert_int_equal(used->idx, 0);
	vring_device_publish(&f->vr);
	assert_int_equal(used->idx, 2);
	assert_int_equal(used->ring[0].id, 1);
	assert_int_equal(used->ring[0].len, 7);
	assert_int_equal(used->ring[1].id, 0);
}

static void start_goes_on_from_the_used_index(void **state)
{
	struct fixture *f = *state;

	f->config.parts.used->idx = 0xffff;
	f->config.parts.avail->idx = 0xffff;
	f->config.base = VRING_BASE_FROM_USED;
	start(f, 0);
	assert_int_equal(vring_device_base(&f->vr), 0xffff);
	f->config.parts.avail->ring[0xffff % SIZE] = 4;
	f->config.parts.avail->idx++;
	desc(f, 4, BUFFER, 1, 0, 0);
	assert_int_equal(pop(f, 8), 1);
	assert_int_equal(f->chains[0].head, 4);
	vring_device_put(&f->vr, &f->chains[0], 0);
	vring_device_publish(&f->vr);
	assert_int_equal(f->config.parts.used->idx, 0);
	assert_int_equal(f->config.parts.used->ring[0xffff % SIZE].id, 4);
}

static void complete_one(struct fixture *f)
{
	desc(f, 0, BUFFER, 1, 0, 0);
	offer(f, 0);
	assert_int_equal(pop(f, 1), 1);
	vring_device_put(&f->vr, &f->chains[0], 0);
	vring_device_publish(&f->vr);
}

static void interrupts_follow_the_flag(void **state)
{
	struct fixture *f = *state;

	assert_true(vring_device_should_notify(&f->vr)); /* once, whatever was lost before */
	assert_false(vring_device_should_notify(&f->vr));
	complete_one(f);
	assert_true(vring_device_should_notify(&f->vr));
	assert_false(vring_device_should_notify(&f->vr));
	f->config.parts.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	complete_one(f);
	assert_false(vring_device_should_notify(&f->vr));
}

static void interrupts_follow_the_event(void **state)
{
	struct fixture *f = *state;
	__virtio16 *used_event = vring_used_event_ptr(f->config.parts.avail, SIZE);

	start(f, 1ull << VIRTIO_RING_F_EVENT_IDX);
	assert_true(vring_device_should_notify(&f->vr));
	f->config.parts.avail->flags = VRING_AVAIL_F_NO_INTERRUPT; /* means nothing now */
	*used_event = 2;
	complete_one(f);
	assert_false(vring_device_should_notify(&f->vr));
	complete_one(f);
	assert_false(vring_device_should_notify(&f->vr));
	complete_one(f);
	assert_true(vring_device_should_notify(&f->vr));
	complete_one(f);
	assert_false(vring_device_should_notify(&f->vr));
}

static void kicks_are_asked_for_by_flag_or_event(void **state)
{
	struct fixture *f = *state;
	struct vring_used *used = f->config.parts.used;

	vring_device_kicks_disable(&f->vr);
	assert_int_equal(used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(vring_device_kicks_enable(&f->vr));
	assert_int_equal(used->flags, 0);

	start(f, 1ull << VIRTIO_RING_F_EVENT_IDX);
	vring_device_kicks_disable(&f->vr);
	assert_int_equal(used->flags, 0);
	complete_one(f);
	assert_int_equal(*vring_avail_event_ptr(used, SIZE), 0);
	offer(f, 0);
	assert_true(vring_device_kicks_enable(&f->vr)); /* one came meanwhile */
	assert_int_equal(*vring_avail_event_ptr(used, SIZE), 1);
}

static void writes_reach_the_dirty_log(void **state)
{
	struct fixture *f = *state;

	atomic_store(&f->env.dma.logging, true);
	desc(f, 0, BUFFER, 12, NEXT, 1);
	desc(f, 1, ENV_SEAM - 4, 8, WRITE | NEXT, 2);
	desc(f, 2, BUFFER + 100, 100, WRITE, 0);
	offer(f, 0);
	assert_int_equal(pop(f, 1), 1);
	vring_device_put(&f->vr, &f->chains[0], 10);
	vring_device_publish(&f->vr);
	assert_false(ring_env_any_dirty(&f->env, BUFFER, 100));
	assert_true(ring_env_all_dirty(&f->env, ENV_SEAM - 4, 8));
	assert_true(ring_env_all_dirty(&f->env, BUFFER + 100, 2));
	assert_false(ring_env_any_dirty(&f->env, BUFFER + 102, 98));
	assert_true(ring_env_all_dirty(&f->env, f->addrs.used + 2, 2 + 8));
}

static void all_of_a_wrapped_batch_reaches_the_dirty_log(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < SIZE - 1; i++)
		complete_one(f);
	atomic_store(&f->env.dma.logging, true);
	for (unsigned int i = 0; i < 2; i++)
		offer(f, 0);
	assert_int_equal(pop(f, 2), 2);
	vring_device_put(&f->vr, &f->chains[0], 0);
	vring_device_put(&f->vr, &f->chains[1], 0);
	vring_device_publish(&f->vr);
	assert_true(ring_env_all_dirty(&f->env, f->addrs.used + 4 + 8 * (SIZE - 1), 8));
	assert_true(ring_env_all_dirty(&f->env, f->addrs.used + 4, 8));
	assert_false(ring_env_any_dirty(&f->env, f->addrs.used + 12, 8));
}

static void stale_windows_are_looked_up_again(void **state)
{
	struct fixture *f = *state;
	unsigned int before;

	complete_one(f);
	before = f->env.lookups;
	complete_one(f);
	assert_int_equal(f->env.lookups, before);
	atomic_fetch_add(&f->env.dma.generation, 1);
	complete_one(f);
	assert_int_equal(f->env.lookups, before + 1);
}

static void a_ring_must_be_whole(void **state)
{
	struct fixture *f = *state;
	struct vring_addrs a = f->addrs;
	struct vring_parts parts;

	a.used = ENV_SEAM - 4;
	assert_int_equal(vring_device_map(&f->env.dma, SIZE, &a, &parts), VHOST_FAULT_RING_ADDRESS);
	a.used = 0;
	assert_int_equal(vring_device_map(&f->env.dma, SIZE, &a, &parts), VHOST_FAULT_RING_ADDRESS);
	a = f->addrs;
	a.desc = ENV_END - 64;
	assert_int_equal(vring_device_map(&f->env.dma, SIZE, &a, &parts), VHOST_FAULT_RING_ADDRESS);
	assert_int_equal(vring_device_map(&f->env.dma, 6, &f->addrs, &parts), VHOST_FAULT_RING_SIZE);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_chain_becomes_pieces_in_order),
		T(a_buffer_across_windows_comes_in_two_pieces),
		T(an_indirect_table_may_end_a_chain),
		T(a_full_table_is_a_chain),
		T(what_does_not_fit_waits),
		T(unpopped_chains_come_again),
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
		T(used_entries_appear_with_publish_only),
		T(start_goes_on_from_the_used_index),
		T(interrupts_follow_the_flag),
		T(interrupts_follow_the_event),
		T(kicks_are_asked_for_by_flag_or_event),
		T(writes_reach_the_dirty_log),
		T(all_of_a_wrapped_batch_reaches_the_dirty_log),
		T(stale_windows_are_looked_up_again),
		T(a_ring_must_be_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
