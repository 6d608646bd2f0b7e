#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devemu/debug_exit.h"

static unsigned int last, calls;

static void exited(void *opaque, unsigned int status)
{
	last = status;
	calls++;
}

static void test_the_value_becomes_the_status(void **state)
{
	struct io_bus *pio = io_bus_create("pio");
	struct debug_exit_config config = { .id = "exit", .pio = pio, .exit = exited };
	struct debug_exit *de;
	struct device *dev;
	uint64_t v;

	assert_int_equal(debug_exit_create(&config, &de), 0);
	dev = debug_exit_device(de);
	assert_true(io_bus_write(pio, 0xf4, 1, 0));
	assert_int_equal(last, 1);
	assert_true(io_bus_write(pio, 0xf4, 4, 0x10));
	assert_int_equal(last, 0x21);
	assert_true(io_bus_write(pio, 0xf4, 4, 0xffffffff));
	assert_int_equal(last, 0xff);
	assert_int_equal(calls, 3);
	assert_true(io_bus_read(pio, 0xf4, 1, &v));
	assert_int_equal(v, 0);
	dev->ops->save(dev, NULL);
	assert_int_equal(dev->ops->load(dev, NULL, 0, 1), 0);
	assert_int_equal(dev->ops->load(dev, NULL, 1, 1), -EINVAL);
	dev->ops->destroy(dev);
	assert_false(io_bus_write(pio, 0xf4, 1, 0));
	io_bus_destroy(pio);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_value_becomes_the_status),
	};

	return cmocka_run_group_tests_name("debug_exit", tests, NULL, NULL);
}
