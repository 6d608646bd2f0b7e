#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "devemu/i8042.h"
#include "tests/fakes/fake_hypervisor.h"

struct fixture {
	struct fake_hypervisor fake;
	struct io_bus *pio;
	struct i8042 *kbc;
	struct device *dev;
	unsigned int resets;
};

static void reset_pulled(void *opaque)
{
	((struct fixture *)opaque)->resets++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct i8042_config config = { .id = "i8042", .reset = reset_pulled, .opaque = f };

	fake_hypervisor_init(&f->fake);
	config.pio = f->pio = io_bus_create("pio");
	irq_line_init_gsi(&config.irq, &f->fake.hv, 1);
	assert_int_equal(i8042_create(&config, &f->kbc), 0);
	f->dev = i8042_device(f->kbc);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	io_bus_destroy(f->pio);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	uint64_t v;

	assert_true(io_bus_read(f->pio, port, 1, &v));
	return (uint8_t)v;
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	assert_true(io_bus_write(f->pio, port, 1, value));
}

static void test_self_test_and_config_byte(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, 0x64) & 1, 0);
	out(f, 0x64, 0xaa);
	assert_int_equal(in(f, 0x64) & 0x0d, 0x0d);
	assert_int_equal(in(f, 0x60), 0x55);
	assert_int_equal(in(f, 0x64) & 1, 0);
	out(f, 0x64, 0x60);
	out(f, 0x60, 0x47);
	assert_int_equal(in(f, 0x64) & 0x08, 0);
	out(f, 0x64, 0x20);
	assert_int_equal(in(f, 0x60), 0x47);
	out(f, 0x64, 0xab);
	assert_int_equal(in(f, 0x60), 0x00);
	/* Port 61h is another chip's. */
	assert_false(io_bus_write(f->pio, 0x61, 1, 0));
	assert_false(io_bus_write(f->pio, 0x60, 4, 0));
}

static void test_nobody_answers_on_either_port(void **state)
{
	struct fixture *f = *state;

	out(f, 0x64, 0x60);
	out(f, 0x60, 0x01); /* keyboard interrupt on */
	assert_false(f->fake.level[1]);
	out(f, 0x60, 0xff); /* keyboard reset */
	assert_true(f->fake.level[1]);
	assert_int_equal(in(f, 0x64) & 0x41, 0x41); /* output full, timed out */
	assert_int_equal(in(f, 0x60), 0xfe);
	assert_false(f->fake.level[1]);
	assert_int_equal(in(f, 0x64) & 0x41, 0);
	out(f, 0x64, 0xd3); /* auxiliary loopback: no such port */
	out(f, 0x60, 0x5a);
	assert_int_equal(in(f, 0x64) & 1, 0);
	out(f, 0x64, 0xa9);
	assert_int_equal(in(f, 0x60), 0xff);
	out(f, 0x64, 0xd2);
	out(f, 0x60, 0x1c);
	assert_int_equal(in(f, 0x60), 0x1c);
}

static void test_a20_and_the_ways_to_reset(void **state)
{
	struct fixture *f = *state;

	out(f, 0x64, 0xd0);
	assert_int_equal(in(f, 0x60), 0x03);
	out(f, 0x64, 0xdd);
	out(f, 0x64, 0xd0);
	assert_int_equal(in(f, 0x60), 0x01);
	out(f, 0x64, 0xd1);
	out(f, 0x60, 0x03);
	assert_int_equal(f->resets, 0);
	out(f, 0x64, 0xff); /* pulses no line */
	assert_int_equal(f->resets, 0);
	out(f, 0x64, 0xfe);
	assert_int_equal(f->resets, 1);
	out(f, 0x64, 0xd1);
	out(f, 0x60, 0x02);
	assert_int_equal(f->resets, 2);
}

static void test_state_moves_to_a_fresh_controller(void **state)
{
	struct fixture *f = *state, *twin;
	size_t size = f->dev->ops->state_size;
	uint8_t *saved = malloc(size);
	void *other;

	out(f, 0x64, 0x60);
	out(f, 0x60, 0x01);
	out(f, 0x64, 0x65); /* a RAM byte */
	out(f, 0x60, 0x99);
	out(f, 0x60, 0xed); /* to the keyboard: output full */
	out(f, 0x64, 0x60); /* half a command */
	f->dev->ops->save(f->dev, saved);
	setup(&other);
	twin = other;
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 9), -EINVAL);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), 0);
	assert_true(twin->fake.level[1]);
	assert_int_equal(in(twin, 0x64), in(f, 0x64));
	assert_int_equal(in(twin, 0x60), 0xfe);
	out(twin, 0x60, 0x33); /* the other half */
	out(twin, 0x64, 0x20);
	assert_int_equal(in(twin, 0x60), 0x33);
	out(twin, 0x64, 0x25);
	assert_int_equal(in(twin, 0x60), 0x99);
	memset(saved, 0xff, size);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), -EINVAL);
	teardown(&other);
	free(saved);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_self_test_and_config_byte),
		T(test_nobody_answers_on_either_port),
		T(test_a20_and_the_ways_to_reset),
		T(test_state_moves_to_a_fresh_controller),
	};

	return cmocka_run_group_tests_name("i8042", tests, NULL, NULL);
}
