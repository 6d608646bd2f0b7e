#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "devemu/host_bridge.h"

#define ECAM 0xb0000000u

struct fixture {
	struct io_bus *pio, *mmio;
	struct pci_bus *bus;
	struct host_bridge *bridge;
	struct device *dev;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct pci_host host = {0};
	struct host_bridge_config config = { .id = "mch", .ecam_base = ECAM, .ecam_buses = 256 };

	host.pio = f->pio = io_bus_create("pio");
	host.mmio = f->mmio = io_bus_create("mmio");
	config.bus = f->bus = pci_bus_create(&host);
	assert_int_equal(pci_bus_attach_cf8(f->bus), 0);
	assert_int_equal(host_bridge_create(&config, &f->bridge), 0);
	f->dev = host_bridge_device(f->bridge);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	pci_bus_destroy(f->bus);
	io_bus_destroy(f->pio);
	io_bus_destroy(f->mmio);
	free(f);
	return 0;
}

static void set(struct fixture *f, uint16_t reg, unsigned int len, uint32_t value)
{
	pci_bus_config_write(f->bus, 0, 0, reg, len, value);
}

static uint32_t get(struct fixture *f, uint16_t reg, unsigned int len)
{
	return pci_bus_config_read(f->bus, 0, 0, reg, len);
}

static bool ecam_at(struct fixture *f, uint64_t base)
{
	uint64_t v;

	return io_bus_read(f->mmio, base, 4, &v) && v == 0x29c08086;
}

static void test_identity_and_pam(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0, 4), 0x29c08086);
	assert_int_equal(get(f, PCI_CLASS_DEVICE, 2), 0x0600);
	set(f, 0x90, 4, 0xffffffff);
	set(f, 0x94, 4, 0xffffffff);
	assert_int_equal(get(f, 0x90, 4), 0x33333330);
	assert_int_equal(get(f, 0x94, 4), 0x00333333);
}

static void test_pciexbar_moves_the_window(void **state)
{
	struct fixture *f = *state;
	uint64_t v;

	assert_true(ecam_at(f, ECAM));
	assert_int_equal(get(f, 0x60, 4), ECAM | 1);
	set(f, 0x60, 4, 0);
	assert_false(ecam_at(f, ECAM));
	set(f, 0x64, 4, 0x4); /* above 4 GiB, 64 buses */
	set(f, 0x60, 4, 0xc4000000 | 2 << 1 | 1);
	assert_true(ecam_at(f, 0x4c4000000ULL));
	assert_false(io_bus_read(f->mmio, 0x4c4000000ULL + (64 << 20), 4, &v));
	/* Bits below the length do not count; a reserved length turns it off. */
	set(f, 0x60, 4, 0xc4000000 | 1);
	assert_true(ecam_at(f, 0x4c0000000ULL));
	set(f, 0x60, 4, 0xc0000000 | 3 << 1 | 1);
	assert_false(ecam_at(f, 0x4c0000000ULL));
	/* Reset: as firmware left it. */
	device_enter(f->dev);
	f->dev->ops->reset(f->dev);
	device_leave(f->dev);
	assert_true(ecam_at(f, ECAM));
}

static void test_state_carries_window_and_address_register(void **state)
{
	struct fixture *f = *state, *twin;
	size_t size = f->dev->ops->state_size;
	uint8_t *saved = malloc(size);
	void *other;
	uint64_t v;

	set(f, 0x60, 4, 0xc0000000 | 1);
	set(f, 0x91, 1, 0x33);
	io_bus_write(f->pio, 0xcf8, 4, 0x80000090);
	f->dev->ops->save(f->dev, saved);
	setup(&other);
	twin = other;
	device_enter(twin->dev);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size + 1, 1), -EINVAL);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), 0);
	device_leave(twin->dev);
	assert_true(ecam_at(twin, 0xc0000000));
	assert_false(ecam_at(twin, ECAM));
	assert_true(io_bus_read(twin->pio, 0xcfd, 1, &v));
	assert_int_equal(v, 0x33);
	teardown(&other);
	free(saved);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity_and_pam),
		T(test_pciexbar_moves_the_window),
		T(test_state_carries_window_and_address_register),
	};

	return cmocka_run_group_tests_name("host_bridge", tests, NULL, NULL);
}
