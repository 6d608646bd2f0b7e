/* What the driver's side refuses, and when it rings and wants to be rung. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring_env.h"

#define SIZE 8u
#define RING (ENV_BASE + 0x1000)
#define BUFFER (ENV_BASE + 0x8000)
#define TABLE (ENV_BASE + 0x9000)

struct ring {
	struct ring_env env;
	struct vring_driver vd;
};

/* Without the event index: the flags alone speak. */
static int set_up(void **state)
{
	static struct ring ring;

	ring_env_init(&ring.env);
	assert_int_equal(vring_driver_init(&ring.vd, SIZE, ring_env_ptr(&ring.env, RING), RING, 0),
			 0);
	*state = &ring;
	return 0;
}

static int tear_down(void **state)
{
	struct ring *ring = *state;

	vring_driver_fini(&ring->vd);
	ring_env_fini(&ring->env);
	return 0;
}

static void offer(struct ring *ring)
{
	const struct vring_buf buf = {BUFFER, 64};

	assert_int_equal(vring_driver_add(&ring->vd, &buf, 1, 0, ring), 0);
	vring_driver_publish(&ring->vd);
}

/* The device gives the head back. */
static void give_back(struct ring *ring, uint32_t head)
{
	struct vring_used *used = ring->vd.parts.used;

	used->ring[used->idx & (SIZE - 1)].id = head;
	used->idx++;
}

static void test_counts(void **state)
{
	struct ring *ring = *state;
	struct vring_buf bufs[2 * SIZE] = {{BUFFER, 64}};
	struct vring_desc *table = ring_env_ptr(&ring->env, TABLE);

	assert_int_equal(vring_driver_add(&ring->vd, bufs, 0, 0, ring), -EINVAL);
	assert_int_equal(vring_driver_add(&ring->vd, bufs, SIZE + 1, 0, ring), -ENOSPC);
	assert_int_equal(vring_driver_add(&ring->vd, bufs, SIZE, SIZE, ring), -ENOSPC);
	/* Sums that wrap. */
	assert_int_equal(vring_driver_add(&ring->vd, bufs, 2, UINT32_MAX, ring), -ENOSPC);
	assert_int_equal(vring_driver_add(&ring->vd, bufs, UINT32_MAX, 2, ring), -ENOSPC);

	assert_int_equal(vring_driver_add_indirect(&ring->vd, bufs, 0, 0, ring, table, TABLE),
			 -EINVAL);
	assert_int_equal(vring_driver_add_indirect(&ring->vd, bufs, SIZE + 1, 0, ring, table, TABLE),
			 -ENOSPC);
	assert_int_equal(vring_driver_add_indirect(&ring->vd, bufs, 0, SIZE + 1, ring, table, TABLE),
			 -ENOSPC);
	assert_int_equal(ring->vd.free_count, SIZE);
}

static void test_doorbell(void **state)
{
	struct ring *ring = *state;

	assert_false(vring_driver_should_kick(&ring->vd));
	offer(ring);
	assert_true(vring_driver_should_kick(&ring->vd));
	assert_false(vring_driver_should_kick(&ring->vd)); /* once */
	ring->vd.parts.used->flags = VRING_USED_F_NO_NOTIFY;
	offer(ring);
	assert_false(vring_driver_should_kick(&ring->vd));
	ring->vd.parts.used->flags = 0;
	offer(ring);
	assert_true(vring_driver_should_kick(&ring->vd));
}

static void test_interrupts(void **state)
{
	struct ring *ring = *state;
	uint32_t written;
	void *token;

	vring_driver_interrupts_disable(&ring->vd);
	assert_int_equal(ring->vd.parts.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	offer(ring);
	assert_false(vring_driver_interrupts_enable(&ring->vd));
	assert_int_equal(ring->vd.parts.avail->flags, 0);
	vring_driver_interrupts_disable(&ring->vd);
	give_back(ring, 0);
	/* It came while nobody wanted to be told: look again. */
	assert_true(vring_driver_interrupts_enable(&ring->vd));
	assert_true(vring_driver_get_used(&ring->vd, &token, &written));
	assert_ptr_equal(token, ring);
	assert_false(vring_driver_get_used(&ring->vd, &token, &written));
}

static void test_device_that_lies(void **state)
{
	struct ring *ring = *state;
	uint32_t written;
	void *token;

	offer(ring);
	give_back(ring, 1); /* a descriptor, but no chain of ours */
	assert_false(vring_driver_get_used(&ring->vd, &token, &written));
	assert_int_equal(ring->vd.fault, VHOST_FAULT_RING_USED_ID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_doorbell, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_interrupts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_device_that_lies, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
