/* Root ports and the assignment of resources behind them. */
#include <errno.h>
#include <linux/pci.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/pci_bus.h"

#define PORT_DEVFN PCI_DEVFN_OF(4, 0)

struct card {
	struct pci_device pci;
	unsigned int reads;
};

struct board {
	struct io_bus *pio, *mmio;
	struct pci_bus *bus;
	struct pci_root_port *port;
	bool wire[128];
};

static uint64_t card_read(void *opaque, uint64_t offset, unsigned int size)
{
	return ++((struct card *)opaque)->reads;
}

static void card_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
}

static const struct io_ops card_ops = { .read = card_read, .write = card_write };
static const struct device_ops card_dev_ops = { .type = "card" };

static void card_init(struct card *card, const char *id)
{
	static const struct pci_id pci_id = { .vendor = 0x1af4, .device = 0x1041 };

	memset(card, 0, sizeof(*card));
	device_init(&card->pci.dev, id, &card_dev_ops);
	pci_device_init(&card->pci, &pci_id);
	pci_device_set_bar(&card->pci, 0, 0x1000, false, false, false, &card_ops, card);
	pci_device_set_bar(&card->pci, 1, 0x40, true, false, false, &card_ops, card);
	pci_device_set_bar(&card->pci, 2, 0x200000, false, true, true, &card_ops, card);
	pci_device_set_pin(&card->pci, 2);
}

static void wire_set(void *sink, unsigned int input, bool level)
{
	((struct board *)sink)->wire[input] = level;
}

static int setup(void **state)
{
	struct board *b = calloc(1, sizeof(*b));
	struct pci_host host = { .intx_set = wire_set, .intx_sink = b };

	host.pio = b->pio = io_bus_create("pio");
	host.mmio = b->mmio = io_bus_create("mmio");
	b->bus = pci_bus_create(&host);
	assert_int_equal(pci_root_port_create(b->bus, PORT_DEVFN, "rp1", 1, &b->port), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct board *b = *state;
	struct device *dev = pci_root_port_device(b->port);

	dev->ops->destroy(dev);
	pci_bus_destroy(b->bus);
	io_bus_destroy(b->pio);
	io_bus_destroy(b->mmio);
	free(b);
	return 0;
}

static uint32_t cfg(struct board *b, uint8_t bus, uint8_t devfn, uint16_t reg, unsigned int len)
{
	return pci_bus_config_read(b->bus, bus, devfn, reg, len);
}

static void set(struct board *b, uint8_t bus, uint8_t devfn, uint16_t reg, unsigned int len,
		uint32_t value)
{
	pci_bus_config_write(b->bus, bus, devfn, reg, len, value);
}

static uint8_t find_cap(struct board *b, uint8_t devfn, uint8_t id)
{
	uint8_t at = (uint8_t)cfg(b, 0, devfn, PCI_CAPABILITY_LIST, 1);

	while (at && cfg(b, 0, devfn, at, 1) != id)
		at = (uint8_t)cfg(b, 0, devfn, at + 1u, 1);
	return at;
}

static void test_the_port_is_a_bridge_with_a_slot(void **state)
{
	struct board *b = *state;
	struct card card;
	uint8_t cap = find_cap(b, PORT_DEVFN, PCI_CAP_ID_EXP);

	assert_int_equal(cfg(b, 0, PORT_DEVFN, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_BRIDGE);
	assert_int_equal(cfg(b, 0, PORT_DEVFN, PCI_CLASS_DEVICE, 2), 0x0604);
	assert_true(cap);
	assert_int_equal(cfg(b, 0, PORT_DEVFN, cap + PCI_EXP_FLAGS, 2), 0x0142);
	assert_int_equal(cfg(b, 0, PORT_DEVFN, cap + PCI_EXP_SLTCAP, 4) >> 19, 1);
	assert_int_equal(cfg(b, 0, PORT_DEVFN, cap + PCI_EXP_SLTSTA, 2), 0);
	card_init(&card, "card");
	assert_int_equal(pci_bus_add(pci_root_port_bus(b->port), &card.pci, 8), -EINVAL);
	assert_int_equal(pci_bus_add(pci_root_port_bus(b->port), &card.pci, 0), 0);
	assert_int_equal(cfg(b, 0, PORT_DEVFN, cap + PCI_EXP_SLTSTA, 2), PCI_EXP_SLTSTA_PDS);
	assert_int_equal(cfg(b, 0, PORT_DEVFN, cap + PCI_EXP_LNKSTA, 2), 0x2011);
	pci_bus_remove(&card.pci);
	assert_int_equal(cfg(b, 0, PORT_DEVFN, cap + PCI_EXP_SLTSTA, 2), 0);
	device_fini(&card.pci.dev);
}

static void test_numbers_and_windows_decide_what_is_reached(void **state)
{
	struct board *b = *state;
	struct card card;
	uint64_t v;

	card_init(&card, "card");
	assert_int_equal(pci_bus_add(pci_root_port_bus(b->port), &card.pci, 0), 0);
	assert_int_equal(cfg(b, 5, 0, 0, 4), 0xffffffff);
	set(b, 0, PORT_DEVFN, PCI_PRIMARY_BUS, 4, 0x00050500);
	assert_int_equal(cfg(b, 5, 0, 0, 4), 0x10411af4);
	assert_int_equal(pci_device_requester(&card.pci), 0x0500);

	set(b, 5, 0, PCI_BASE_ADDRESS_0, 4, 0xe0001000);
	set(b, 5, 0, PCI_BASE_ADDRESS_1, 4, 0xd040);
	set(b, 5, 0, PCI_COMMAND, 2, 3);
	assert_false(io_bus_read(b->mmio, 0xe0001000, 4, &v));
	set(b, 0, PORT_DEVFN, PCI_MEMORY_BASE, 4, 0xe000e000);
	assert_false(io_bus_read(b->mmio, 0xe0001000, 4, &v));
	set(b, 0, PORT_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(io_bus_read(b->mmio, 0xe0001000, 4, &v));
	assert_false(io_bus_read(b->pio, 0xd040, 1, &v));
	set(b, 0, PORT_DEVFN, PCI_IO_BASE, 2, 0xd0d0);
	set(b, 0, PORT_DEVFN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	assert_true(io_bus_read(b->pio, 0xd040, 1, &v));
	/* Window taken away, or the BAR moved out of it. */
	set(b, 0, PORT_DEVFN, PCI_MEMORY_BASE, 4, 0x0000fff0);
	assert_false(io_bus_read(b->mmio, 0xe0001000, 4, &v));
	set(b, 0, PORT_DEVFN, PCI_MEMORY_BASE, 4, 0xe000e000);
	set(b, 5, 0, PCI_BASE_ADDRESS_0, 4, 0xe0100000);
	assert_false(io_bus_read(b->mmio, 0xe0100000, 4, &v));
	/* Prefetchable, above 4 GiB. */
	set(b, 5, 0, PCI_BASE_ADDRESS_3, 4, 0x20);
	set(b, 0, PORT_DEVFN, PCI_PREF_MEMORY_BASE, 4, 0x00100000);
	set(b, 0, PORT_DEVFN, PCI_PREF_BASE_UPPER32, 4, 0x20);
	set(b, 0, PORT_DEVFN, PCI_PREF_LIMIT_UPPER32, 4, 0x20);
	assert_true(io_bus_read(b->mmio, 0x2000000000ULL, 4, &v));
	pci_bus_remove(&card.pci);
	device_fini(&card.pci.dev);
}

static uint8_t irq_of(void *opaque, unsigned int slot, unsigned int pin)
{
	return (uint8_t)(slot * 4 + pin);
}

static const struct pci_windows windows = {
	.mmio32_base = 0xe0000000, .mmio32_size = 0x10000000,
	.mmio64_base = 0x800000000ULL, .mmio64_size = 0x100000000ULL,
	.io_base = 0xc000, .io_size = 0x4000,
};

static void test_assignment_makes_everything_reachable(void **state)
{
	struct board *b = *state;
	struct pci_root_port *empty;
	struct card behind, flat;
	uint64_t v, bar0, bar2;

	card_init(&behind, "behind");
	card_init(&flat, "flat");
	assert_int_equal(pci_root_port_create(b->bus, PCI_DEVFN_OF(5, 0), "rp2", 2, &empty), 0);
	assert_int_equal(pci_bus_add(pci_root_port_bus(b->port), &behind.pci, 0), 0);
	assert_int_equal(pci_bus_add(b->bus, &flat.pci, PCI_DEVFN_OF(6, 0)), 0);
	assert_int_equal(pci_bus_assign(b->bus, &windows, irq_of, NULL), 0);

	assert_int_equal(cfg(b, 0, PORT_DEVFN, PCI_SECONDARY_BUS, 1), 1);
	assert_int_equal(cfg(b, 0, PCI_DEVFN_OF(5, 0), PCI_SECONDARY_BUS, 1), 2);
	bar0 = cfg(b, 1, 0, PCI_BASE_ADDRESS_0, 4);
	bar2 = (cfg(b, 1, 0, PCI_BASE_ADDRESS_2, 4) & ~0xfu) |
	       (uint64_t)cfg(b, 1, 0, PCI_BASE_ADDRESS_3, 4) << 32;
	assert_true(io_bus_read(b->mmio, bar0, 4, &v));
	assert_int_equal(behind.reads, 1);
	assert_true(bar2 >= windows.mmio64_base);
	assert_int_equal(bar2 & 0x1fffff, 0);
	assert_true(io_bus_read(b->mmio, bar2 + 0x1ffffc, 4, &v));
	assert_true(io_bus_read(b->pio, cfg(b, 1, 0, PCI_BASE_ADDRESS_1, 4) & ~3u, 1, &v));
	assert_int_equal(behind.reads, 3);
	bar0 = cfg(b, 0, PCI_DEVFN_OF(6, 0), PCI_BASE_ADDRESS_0, 4);
	assert_true(io_bus_read(b->mmio, bar0, 4, &v));
	assert_int_equal(flat.reads, 1);
	/* INTB of slot 0 behind slot 4 is INTB of slot 4. */
	assert_int_equal(cfg(b, 1, 0, PCI_INTERRUPT_LINE, 1), 4 * 4 + 1);
	assert_int_equal(cfg(b, 0, PCI_DEVFN_OF(6, 0), PCI_INTERRUPT_LINE, 1), 6 * 4 + 1);
	pci_device_set_intx(&behind.pci, true);
	assert_true(b->wire[4 * 4 + 1]);
	/* An empty port's windows are closed. */
	assert_true((cfg(b, 0, PCI_DEVFN_OF(5, 0), PCI_MEMORY_BASE, 2)) >
		    cfg(b, 0, PCI_DEVFN_OF(5, 0), PCI_MEMORY_LIMIT, 2));
	/* Once more, as after a reset: the same places. */
	v = cfg(b, 1, 0, PCI_BASE_ADDRESS_0, 4);
	assert_int_equal(pci_bus_assign(b->bus, &windows, irq_of, NULL), 0);
	assert_int_equal(cfg(b, 1, 0, PCI_BASE_ADDRESS_0, 4), v);
	pci_bus_remove(&behind.pci);
	assert_false(b->wire[4 * 4 + 1]);
	pci_bus_remove(&flat.pci);
	device_fini(&behind.pci.dev);
	device_fini(&flat.pci.dev);
	pci_root_port_device(empty)->ops->destroy(pci_root_port_device(empty));
}

static void test_assignment_tells_when_a_window_is_too_small(void **state)
{
	struct board *b = *state;
	struct pci_windows small = windows;
	struct card card;

	card_init(&card, "card");
	assert_int_equal(pci_bus_add(pci_root_port_bus(b->port), &card.pci, 0), 0);
	small.io_size = 0x20;
	assert_int_equal(pci_bus_assign(b->bus, &small, NULL, NULL), -ENOSPC);
	small = windows;
	small.mmio32_size = 0x800;
	assert_int_equal(pci_bus_assign(b->bus, &small, NULL, NULL), -ENOSPC);
	/* Without a window above 4 GiB everything goes below. */
	small = windows;
	small.mmio64_base = small.mmio64_size = 0;
	assert_int_equal(pci_bus_assign(b->bus, &small, NULL, NULL), 0);
	assert_int_equal(cfg(b, 1, 0, PCI_BASE_ADDRESS_3, 4), 0);
	pci_bus_remove(&card.pci);
	device_fini(&card.pci.dev);
}

static void test_state_brings_back_numbers_and_windows(void **state)
{
	struct board *b = *state;
	struct device *dev = pci_root_port_device(b->port);
	void *saved = malloc(dev->ops->state_size);
	struct card card;
	uint64_t v, bar0;

	card_init(&card, "card");
	assert_int_equal(pci_bus_add(pci_root_port_bus(b->port), &card.pci, 0), 0);
	assert_int_equal(pci_bus_assign(b->bus, &windows, irq_of, NULL), 0);
	bar0 = cfg(b, 1, 0, PCI_BASE_ADDRESS_0, 4);
	dev->ops->save(dev, saved);
	device_enter(dev);
	dev->ops->reset(dev);
	device_leave(dev);
	assert_int_equal(cfg(b, 1, 0, 0, 4), 0xffffffff);
	assert_false(io_bus_read(b->mmio, bar0, 4, &v));
	device_enter(dev);
	assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size, 2), -EINVAL);
	assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size - 1, 1), -EINVAL);
	assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size, 1), 0);
	device_leave(dev);
	assert_int_equal(cfg(b, 1, 0, 0, 4), 0x10411af4);
	assert_true(io_bus_read(b->mmio, bar0, 4, &v));
	free(saved);
	pci_bus_remove(&card.pci);
	device_fini(&card.pci.dev);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_the_port_is_a_bridge_with_a_slot),
		T(test_numbers_and_windows_decide_what_is_reached),
		T(test_assignment_makes_everything_reachable),
		T(test_assignment_tells_when_a_window_is_too_small),
		T(test_state_brings_back_numbers_and_windows),
	};

	return cmocka_run_group_tests_name("pci_root_port", tests, NULL, NULL);
}
