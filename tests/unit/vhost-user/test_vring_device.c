/* What the device's side makes of a driver that keeps the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring_fixture.h"

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

#define T(name) cmocka_unit_test_setup_teardown(name, ring_setup, ring_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_chain_becomes_pieces_in_order),
		T(a_buffer_across_windows_comes_in_two_pieces),
		T(an_indirect_table_may_end_a_chain),
		T(a_full_table_is_a_chain),
		T(what_does_not_fit_waits),
		T(unpopped_chains_come_again),
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
