#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "core/pci_bus.h"
#include "core/pci_msix.h"
#include "tests/fakes/fake_hypervisor.h"

#define VECTORS 3u
#define TABLE	0x800u
#define PBA	0xc00u

struct fixture {
	struct fake_hypervisor fake;
	struct pci_device pci;
	struct pci_msix *msix;
	uint8_t cap;
};

static const struct device_ops ops = { .type = "dev" };

static void written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	struct fixture *f = container_of(pci, struct fixture, pci);

	pci_msix_config_written(f->msix, offset, len);
}

static int setup(void **state)
{
	static const struct pci_id id = { .vendor = 1, .device = 2 };
	struct fixture *f = calloc(1, sizeof(*f));

	fake_hypervisor_init(&f->fake);
	device_init(&f->pci.dev, "dev", &ops);
	pci_device_init(&f->pci, &id);
	f->pci.devfn = 0x18;
	f->pci.config_written = written;
	assert_int_equal(pci_msix_create(&f->pci, &f->fake.hv, VECTORS, 1, TABLE, PBA, &f->msix),
			 0);
	f->cap = f->pci.config[PCI_CAPABILITY_LIST];
	pci_device_config_write(&f->pci, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pci_msix_destroy(f->msix);
	device_fini(&f->pci.dev);
	for (unsigned int i = 0; i < FAKE_GSIS; i++)
		assert_false(f->fake.routes[i].used);
	free(f);
	return 0;
}

static void control(struct fixture *f, uint16_t flags)
{
	pci_device_config_write(&f->pci, f->cap + PCI_MSIX_FLAGS, 2, flags);
}

static void program(struct fixture *f, unsigned int vector, uint32_t data, bool masked)
{
	uint64_t at = TABLE + vector * 16;

	pci_msix_write(f->msix, at, 4, 0xfee00003);
	pci_msix_write(f->msix, at + 4, 4, 0);
	pci_msix_write(f->msix, at + 8, 4, data);
	pci_msix_write(f->msix, at + 12, 4, masked);
}

static void test_capability_and_table(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->pci.config[f->cap], PCI_CAP_ID_MSIX);
	control(f, 0xffff);
	assert_int_equal(pci_device_config_read(&f->pci, f->cap + PCI_MSIX_FLAGS, 2), 0xc002);
	assert_int_equal(pci_device_config_read(&f->pci, f->cap + PCI_MSIX_TABLE, 4), 0x801);
	assert_int_equal(pci_device_config_read(&f->pci, f->cap + PCI_MSIX_PBA, 4), 0xc01);
	control(f, 0);
	assert_true(pci_msix_claims(f->msix, TABLE));
	assert_true(pci_msix_claims(f->msix, TABLE + 47));
	assert_false(pci_msix_claims(f->msix, TABLE + 48));
	assert_true(pci_msix_claims(f->msix, PBA + 7));
	assert_false(pci_msix_claims(f->msix, PBA + 8));
	/* Masked at power-on. */
	assert_int_equal(pci_msix_read(f->msix, TABLE + 12, 4), 1);
	pci_msix_write(f->msix, TABLE + 16, 8, 0x1111222233334447ULL);
	assert_true(pci_msix_read(f->msix, TABLE + 16, 8) == 0x1111222233334444ULL);
	pci_msix_write(f->msix, TABLE + 28, 4, 0xffffffff);
	assert_int_equal(pci_msix_read(f->msix, TABLE + 28, 4), 1);
	/* Bytes, misaligned and outside: nothing. */
	pci_msix_write(f->msix, TABLE + 16, 1, 0xff);
	pci_msix_write(f->msix, TABLE + 18, 4, 0xff);
	pci_msix_write(f->msix, PBA, 8, UINT64_MAX);
	pci_msix_write(f->msix, TABLE + 48, 4, 1);
	assert_true(pci_msix_read(f->msix, TABLE + 16, 8) == 0x1111222233334444ULL);
	assert_int_equal(pci_msix_read(f->msix, PBA, 8), 0);
	assert_int_equal(pci_msix_read(f->msix, TABLE + 2, 2), 0);
}

static void test_a_vector_reaches_the_guest_when_nothing_masks_it(void **state)
{
	struct fixture *f = *state;

	program(f, 1, 0x31, false);
	pci_msix_notify(f->msix, 1);
	assert_int_equal(fake_hypervisor_poll(&f->fake), 0); /* not enabled */
	assert_int_equal(pci_msix_read(f->msix, PBA, 4), 2);
	control(f, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	assert_true(pci_msix_enabled(f->msix));
	assert_int_equal(f->fake.message_count, 0);
	control(f, PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(f->fake.message_count, 1);
	assert_int_equal(fake_hypervisor_last(&f->fake)->data, 0x31);
	assert_true(fake_hypervisor_last(&f->fake)->addr == 0xfee00000);
	assert_int_equal(fake_hypervisor_last(&f->fake)->requester, 0x18);
	assert_int_equal(pci_msix_read(f->msix, PBA, 4), 0);
	/* One vector masked, another not. */
	program(f, 0, 0x30, false);
	pci_msix_write(f->msix, TABLE + 16 + 12, 4, 1);
	pci_msix_notify(f->msix, 0);
	pci_msix_notify(f->msix, 1);
	pci_msix_notify(f->msix, 7);
	assert_int_equal(fake_hypervisor_poll(&f->fake), 1);
	assert_int_equal(fake_hypervisor_last(&f->fake)->data, 0x30);
	assert_int_equal(pci_msix_read(f->msix, PBA, 8), 2);
	/* Moved to another message while masked, then let go. */
	pci_msix_write(f->msix, TABLE + 16 + 8, 4, 0x77);
	pci_msix_write(f->msix, TABLE + 16 + 12, 4, 0);
	assert_int_equal(fake_hypervisor_last(&f->fake)->data, 0x77);
	/* The eventfd is what a back end signals. */
	assert_int_equal(eventfd_write(pci_msix_fd(f->msix, 0), 1), 0);
	assert_int_equal(fake_hypervisor_poll(&f->fake), 1);
	assert_int_equal(pci_msix_fd(f->msix, VECTORS), -1);
}

static void test_reset_forgets(void **state)
{
	struct fixture *f = *state;

	control(f, PCI_MSIX_FLAGS_ENABLE);
	program(f, 0, 0x30, false);
	pci_msix_notify(f->msix, 2);
	pci_msix_reset(f->msix);
	assert_false(pci_msix_enabled(f->msix));
	assert_int_equal(pci_msix_read(f->msix, TABLE, 8), 0);
	assert_int_equal(pci_msix_read(f->msix, TABLE + 12, 4), 1);
	assert_int_equal(pci_msix_read(f->msix, PBA, 8), 0);
	pci_msix_notify(f->msix, 0);
	assert_int_equal(fake_hypervisor_poll(&f->fake), 0);
}

static void test_state_travels_with_what_is_pending(void **state)
{
	struct fixture *f = *state;
	static struct pci_msix_state saved;
	static struct pci_state pci;
	struct fixture *twin;
	void *other;

	control(f, PCI_MSIX_FLAGS_ENABLE);
	program(f, 0, 0x30, false);
	program(f, 1, 0x31, true);
	pci_msix_notify(f->msix, 1);
	pci_device_save(&f->pci, &pci);
	pci_msix_save(f->msix, &saved);
	assert_int_equal(saved.pending, 2);

	setup(&other);
	twin = other;
	assert_int_equal(pci_device_load(&twin->pci, &pci), 0);
	assert_int_equal(pci_msix_load(twin->msix, &saved), 0);
	assert_true(pci_msix_enabled(twin->msix));
	assert_int_equal(twin->fake.message_count, 0);
	pci_msix_write(twin->msix, TABLE + 16 + 12, 4, 0);
	assert_int_equal(twin->fake.message_count, 1);
	assert_int_equal(fake_hypervisor_last(&twin->fake)->data, 0x31);
	pci_msix_notify(twin->msix, 0);
	assert_int_equal(fake_hypervisor_poll(&twin->fake), 1);
	saved.pending = 1u << VECTORS;
	assert_int_equal(pci_msix_load(twin->msix, &saved), -EINVAL);
	teardown(&other);
}

/* A message is a write to memory like any other: only a bus master sends one. */
static void test_nothing_is_sent_without_bus_mastering(void **state)
{
	struct fixture *f = *state;

	control(f, PCI_MSIX_FLAGS_ENABLE);
	program(f, 0, 0x30, false);
	pci_device_config_write(&f->pci, PCI_COMMAND, 2, 0);
	pci_msix_notify(f->msix, 0);
	assert_int_equal(fake_hypervisor_poll(&f->fake), 0);
	assert_int_equal(pci_msix_read(f->msix, PBA, 4), 1);
	pci_device_config_write(&f->pci, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(f->fake.message_count, 1);
	assert_int_equal(pci_msix_read(f->msix, PBA, 4), 0);
}

/* What the hypervisor refuses leaves a masked vector, not one that raises its old message. */
static void test_an_undeliverable_message_silences_its_vector(void **state)
{
	struct fixture *f = *state;

	control(f, PCI_MSIX_FLAGS_ENABLE);
	program(f, 0, 0x30, false);
	program(f, 1, 0x31, false);
	f->fake.fail = -EINVAL;
	pci_msix_write(f->msix, TABLE, 8, 0xdeadbeefdeadbeefULL);
	f->fake.fail = 0;
	pci_msix_notify(f->msix, 0);
	pci_msix_notify(f->msix, 1);
	assert_int_equal(fake_hypervisor_poll(&f->fake), 1);
	assert_int_equal(fake_hypervisor_last(&f->fake)->data, 0x31);
	assert_int_equal(pci_msix_read(f->msix, PBA, 4), 1);
	pci_msix_write(f->msix, TABLE, 8, 0xfee00000);
	assert_int_equal(f->fake.message_count, 2);
	assert_int_equal(fake_hypervisor_last(&f->fake)->data, 0x30);
}

static void test_a_million_toggles_cost_a_call_each_and_leave_nothing(void **state)
{
	struct fixture *f = *state;
	unsigned int routes = 0;

	control(f, PCI_MSIX_FLAGS_ENABLE);
	program(f, 0, 0x30, false);
	program(f, 2, 0x32, false);
	for (unsigned int i = 0; i < 1000000; i++) {
		unsigned long before = f->fake.calls;

		pci_msix_write(f->msix, TABLE + 2 * 16 + 12, 4, !(i & 1));
		assert_true(f->fake.calls - before <= 2);
	}
	for (unsigned int i = 0; i < 10000; i++) {
		unsigned long before = f->fake.calls;

		control(f, PCI_MSIX_FLAGS_ENABLE | (i & 1 ? 0 : PCI_MSIX_FLAGS_MASKALL));
		assert_true(f->fake.calls - before <= 2 * VECTORS);
	}
	for (unsigned int i = 0; i < FAKE_GSIS; i++)
		routes += f->fake.routes[i].used;
	assert_int_equal(routes, 2);
	pci_msix_notify(f->msix, 2);
	assert_int_equal(fake_hypervisor_poll(&f->fake), 1);
	assert_int_equal(fake_hypervisor_last(&f->fake)->data, 0x32);
}

/* Every width at every offset about the ends of table and PBA: only whole aligned words count. */
static void test_odd_accesses_change_nothing(void **state)
{
	struct fixture *f = *state;
	static struct pci_msix_state before, after;
	static const struct {
		uint64_t from, to;
	} ends[] = { { TABLE - 16, TABLE + 1 }, { TABLE + VECTORS * 16, TABLE + VECTORS * 16 + 17 },
		     { PBA - 16, PBA + 24 } };

	for (unsigned int v = 0; v < VECTORS; v++)
		program(f, v, 0x30 + v, v & 1);
	pci_msix_save(f->msix, &before);
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++)
		for (uint64_t at = ends[i].from; at < ends[i].to; at++)
			for (unsigned int size = 1; size <= 8; size *= 2) {
				if (at >= TABLE && at < TABLE + VECTORS * 16 && size >= 4 &&
				    !(at & (size - 1)))
					continue;
				pci_msix_write(f->msix, at, size, UINT64_MAX);
				pci_msix_read(f->msix, at, size);
			}
	for (uint64_t at = TABLE; at < TABLE + VECTORS * 16; at++)
		for (unsigned int size = 1; size <= 8; size *= 2)
			if (size < 4 || at & (size - 1)) {
				pci_msix_write(f->msix, at, size, UINT64_MAX);
				assert_int_equal(pci_msix_read(f->msix, at, size), 0);
			}
	pci_msix_save(f->msix, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	/* The very last word of the table is one of its own. */
	pci_msix_write(f->msix, TABLE + VECTORS * 16 - 8, 8, 0x177777777ULL);
	assert_true(pci_msix_read(f->msix, TABLE + VECTORS * 16 - 8, 8) == 0x177777777ULL);
	assert_int_equal(pci_msix_read(f->msix, TABLE + VECTORS * 16, 8), 0);
}

static void test_impossible_layouts_are_refused(void **state)
{
	struct fixture *f = *state;
	struct pci_msix *m = NULL;

	assert_int_equal(pci_msix_create(&f->pci, &f->fake.hv, 0, 0, 0, 64, &m), -EINVAL);
	assert_int_equal(pci_msix_create(&f->pci, &f->fake.hv, 65, 0, 0, 2048, &m), -EINVAL);
	assert_int_equal(pci_msix_create(&f->pci, &f->fake.hv, 1, 6, 0, 64, &m), -EINVAL);
	assert_int_equal(pci_msix_create(&f->pci, &f->fake.hv, 1, 0, 4, 64, &m), -EINVAL);
	pci_msix_destroy(NULL);
	assert_null(m);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_capability_and_table),
		T(test_a_vector_reaches_the_guest_when_nothing_masks_it),
		T(test_reset_forgets),
		T(test_state_travels_with_what_is_pending),
		T(test_impossible_layouts_are_refused),
		T(test_nothing_is_sent_without_bus_mastering),
		T(test_an_undeliverable_message_silences_its_vector),
		T(test_a_million_toggles_cost_a_call_each_and_leave_nothing),
		T(test_odd_accesses_change_nothing),
	};

	return cmocka_run_group_tests_name("pci_msix", tests, NULL, NULL);
}
