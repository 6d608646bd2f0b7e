#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/irq.h"
#include "tests/fakes/fake_hypervisor.h"

static void test_a_line_reports_edges_once(void **state)
{
	static struct fake_hypervisor fake;
	struct irq_line line, loose = {0};

	fake_hypervisor_init(&fake);
	irq_line_init_gsi(&line, &fake.hv, 4);
	irq_line_set(&line, false);
	irq_line_set(&line, true);
	irq_line_set(&line, true);
	assert_int_equal(fake.rises[4], 1);
	assert_true(fake.level[4]);
	irq_line_set(&line, false);
	irq_line_set(&line, true);
	assert_int_equal(fake.rises[4], 2);
	assert_int_equal(fake.falls[4], 1);
	assert_int_equal(fake.calls, 3); /* a device may set its wire as often as it likes */
	irq_line_set(&loose, true); /* not connected: nothing happens */
}

static void test_a_message_is_raised_by_its_eventfd(void **state)
{
	static struct fake_hypervisor fake;
	struct msi_route route;

	fake_hypervisor_init(&fake);
	assert_int_equal(msi_route_init(&route, &fake.hv, 0x0108), 0);
	assert_int_equal(msi_route_enable(&route, 0xfee00000, 0x41), 0);
	msi_route_notify(&route);
	assert_int_equal(fake_hypervisor_poll(&fake), 1);
	assert_true(fake_hypervisor_last(&fake)->addr == 0xfee00000);
	assert_int_equal(fake_hypervisor_last(&fake)->data, 0x41);
	assert_int_equal(fake_hypervisor_last(&fake)->requester, 0x0108);
	/* Another message on the same route, while unmasked. */
	assert_int_equal(msi_route_enable(&route, 0xfee01000, 0x42), 0);
	msi_route_notify(&route);
	assert_int_equal(fake_hypervisor_poll(&fake), 1);
	assert_int_equal(fake_hypervisor_last(&fake)->data, 0x42);
	msi_route_fini(&route);
	for (unsigned int i = 0; i < FAKE_GSIS; i++)
		assert_false(fake.routes[i].used);
}

static void test_what_comes_while_masked_is_pending(void **state)
{
	static struct fake_hypervisor fake;
	struct msi_route route;

	fake_hypervisor_init(&fake);
	assert_int_equal(msi_route_init(&route, &fake.hv, 0), 0);
	assert_int_equal(msi_route_enable(&route, 0xfee00000, 1), 0);
	msi_route_disable(&route);
	assert_false(msi_route_pending(&route));
	msi_route_notify(&route);
	msi_route_notify(&route);
	assert_true(msi_route_pending(&route));
	assert_int_equal(fake_hypervisor_poll(&fake), 0);
	/* Delivered at unmask, as one. */
	assert_int_equal(msi_route_enable(&route, 0xfee00000, 2), 0);
	assert_int_equal(fake.message_count, 1);
	assert_int_equal(fake_hypervisor_last(&fake)->data, 2);
	assert_false(msi_route_pending(&route));
	msi_route_disable(&route);
	msi_route_notify(&route);
	msi_route_clear(&route);
	assert_false(msi_route_pending(&route));
	msi_route_fini(&route);
}

static void test_a_host_failure_comes_up_and_leaves_it_masked(void **state)
{
	static struct fake_hypervisor fake;
	struct msi_route route;

	fake_hypervisor_init(&fake);
	assert_int_equal(msi_route_init(&route, &fake.hv, 0), 0);
	fake.fail = -ENOSPC;
	assert_int_equal(msi_route_enable(&route, 0xfee00000, 1), -ENOSPC);
	msi_route_notify(&route);
	assert_true(msi_route_pending(&route));
	fake.fail = 0;
	assert_int_equal(msi_route_enable(&route, 0xfee00000, 1), 0);
	assert_int_equal(fake.message_count, 1);
	msi_route_fini(&route);
}

/* The other holder of the eventfd made it blocking: neither filled nor empty may it hold us up. */
static void test_a_blocking_eventfd_blocks_nobody(void **state)
{
	static struct fake_hypervisor fake;
	struct msi_route route;

	fake_hypervisor_init(&fake);
	assert_int_equal(msi_route_init(&route, &fake.hv, 0), 0);
	assert_int_equal(fcntl(route.fd, F_SETFL, 0), 0);
	assert_int_equal(eventfd_write(route.fd, UINT64_MAX - 1), 0);
	alarm(20); /* ends a test that waits for ever */
	msi_route_notify(&route);
	assert_true(msi_route_pending(&route));
	msi_route_clear(&route);
	assert_false(msi_route_pending(&route));
	msi_route_clear(&route);
	alarm(0);
	irq_eventfd_signal(-1);
	msi_route_fini(&route);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_reports_edges_once),
		cmocka_unit_test(test_a_message_is_raised_by_its_eventfd),
		cmocka_unit_test(test_what_comes_while_masked_is_pending),
		cmocka_unit_test(test_a_host_failure_comes_up_and_leaves_it_masked),
		cmocka_unit_test(test_a_blocking_eventfd_blocks_nobody),
	};

	return cmocka_run_group_tests_name("irq", tests, NULL, NULL);
}
