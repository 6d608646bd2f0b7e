#include <errno.h>
#include <linux/pci.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/pci_bus.h"

#define INPUTS 128u

struct function {
	struct pci_device pci;
	uint64_t last_offset, last_value;
	unsigned int last_size, accesses;
	int mapped_calls;
	uint64_t mapped_at;
	unsigned int written;
};

struct board {
	struct io_bus *pio, *mmio;
	struct pci_bus *bus;
	bool wire[INPUTS];
	unsigned int wire_calls;
};

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct function *fn = opaque;

	fn->last_offset = offset;
	fn->last_size = size;
	fn->accesses++;
	return 0xabcd;
}

static void bar_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct function *fn = opaque;

	fn->last_offset = offset;
	fn->last_value = value;
	fn->accesses++;
}

static const struct io_ops bar_ops = { .read = bar_read, .write = bar_write };

static void bar_changed(struct pci_device *pci, unsigned int bar, bool mapped, uint64_t addr)
{
	struct function *fn = container_of(pci, struct function, pci);

	fn->mapped_calls += mapped ? 1 : -1;
	fn->mapped_at = mapped ? addr : 0;
}

static void written(struct pci_device *pci, uint16_t offset, unsigned int len)
{
	container_of(pci, struct function, pci)->written++;
}

static const struct device_ops fn_ops = { .type = "function" };
static const struct pci_id fn_id = {
	.vendor = 0x1234, .device = 0x5678, .subsystem_vendor = 0x1af4, .subsystem = 2,
	.class_code = 0x020000, .revision = 3,
};

static void fn_init(struct function *fn, const char *id)
{
	memset(fn, 0, sizeof(*fn));
	device_init(&fn->pci.dev, id, &fn_ops);
	pci_device_init(&fn->pci, &fn_id);
	fn->pci.config_written = written;
	fn->pci.bars[0].changed = bar_changed;
	pci_device_set_bar(&fn->pci, 0, 0x1000, false, false, false, &bar_ops, fn);
	pci_device_set_bar(&fn->pci, 1, 0x20, true, false, false, &bar_ops, fn);
	pci_device_set_bar(&fn->pci, 4, 0x4000, false, true, true, &bar_ops, fn);
	pci_device_set_pin(&fn->pci, 1);
}

static void wire_set(void *sink, unsigned int input, bool level)
{
	struct board *b = sink;

	b->wire[input] = level;
	b->wire_calls++;
}

static int setup(void **state)
{
	struct board *b = calloc(1, sizeof(*b));
	struct pci_host host = { .intx_set = wire_set, .intx_sink = b };

	host.pio = b->pio = io_bus_create("pio");
	host.mmio = b->mmio = io_bus_create("mmio");
	b->bus = pci_bus_create(&host);
	assert_non_null(b->bus);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct board *b = *state;

	pci_bus_destroy(b->bus);
	io_bus_destroy(b->pio);
	io_bus_destroy(b->mmio);
	free(b);
	return 0;
}

static void join(struct board *b, struct function *fn, uint8_t devfn)
{
	assert_int_equal(pci_bus_add(b->bus, &fn->pci, devfn), 0);
}

static void leave(struct function *fn)
{
	pci_bus_remove(&fn->pci);
	device_fini(&fn->pci.dev);
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

static void test_header_and_masks(void **state)
{
	struct board *b = *state;
	struct function fn;

	fn_init(&fn, "fn");
	join(b, &fn, PCI_DEVFN_OF(3, 0));
	assert_int_equal(cfg(b, 0, 0x18, 0, 4), 0x56781234);
	assert_int_equal(cfg(b, 0, 0x18, PCI_CLASS_REVISION, 4), 0x02000003);
	assert_int_equal(cfg(b, 0, 0x18, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x00021af4);
	assert_int_equal(cfg(b, 0, 0x18, 1, 2), 0x7812); /* any alignment */
	/* Read-only bytes stay. */
	set(b, 0, 0x18, 0, 4, 0);
	assert_int_equal(cfg(b, 0, 0x18, 0, 4), 0x56781234);
	/* An absent function, and offsets a conventional function has not. */
	assert_int_equal(cfg(b, 0, 0x20, 0, 4), 0xffffffff);
	assert_int_equal(cfg(b, 7, 0, 0, 2), 0xffff);
	assert_int_equal(cfg(b, 0, 0x18, 0x100, 4), 0xffffffff);
	assert_int_equal(cfg(b, 0, 0x18, 0xfe, 4), 0xffffffff);
	set(b, 0, 0x18, 0x3fe, 4, 1);
	/* Write-1-to-clear in the status register. */
	put_le16(fn.pci.config + PCI_STATUS, PCI_STATUS_REC_MASTER_ABORT);
	set(b, 0, 0x18, PCI_STATUS, 2, 0);
	assert_int_equal(cfg(b, 0, 0x18, PCI_STATUS, 2), PCI_STATUS_REC_MASTER_ABORT);
	set(b, 0, 0x18, PCI_STATUS, 2, 0xffff);
	assert_int_equal(cfg(b, 0, 0x18, PCI_STATUS, 2), 0);
	leave(&fn);
}

static void test_bars_are_sized_decoded_and_moved(void **state)
{
	struct board *b = *state;
	struct function fn;
	uint64_t v;

	fn_init(&fn, "fn");
	join(b, &fn, 8);
	set(b, 0, 8, PCI_BASE_ADDRESS_0, 4, 0xffffffff);
	assert_int_equal(cfg(b, 0, 8, PCI_BASE_ADDRESS_0, 4), 0xfffff000);
	set(b, 0, 8, PCI_BASE_ADDRESS_1, 4, 0xffffffff);
	assert_int_equal(cfg(b, 0, 8, PCI_BASE_ADDRESS_1, 4), 0xffffffe1);
	set(b, 0, 8, PCI_BASE_ADDRESS_4, 4, 0xffffffff);
	set(b, 0, 8, PCI_BASE_ADDRESS_5, 4, 0xffffffff);
	assert_int_equal(cfg(b, 0, 8, PCI_BASE_ADDRESS_4, 4), 0xffffc00c);
	assert_int_equal(cfg(b, 0, 8, PCI_BASE_ADDRESS_5, 4), 0xffffffff);
	assert_int_equal(cfg(b, 0, 8, PCI_BASE_ADDRESS_2, 4), 0);

	set(b, 0, 8, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	set(b, 0, 8, PCI_BASE_ADDRESS_1, 4, 0xc000);
	set(b, 0, 8, PCI_BASE_ADDRESS_4, 4, 0);
	set(b, 0, 8, PCI_BASE_ADDRESS_5, 4, 0x10);
	assert_false(io_bus_read(b->mmio, 0xe0000000, 4, &v));
	set(b, 0, 8, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(io_bus_read(b->mmio, 0xe0000ffc, 4, &v));
	assert_int_equal(fn.last_offset, 0xffc);
	assert_true(io_bus_write(b->mmio, 0x1000000000ULL + 8, 8, 5));
	assert_int_equal(fn.last_offset, 8);
	assert_false(io_bus_read(b->pio, 0xc000, 1, &v));
	set(b, 0, 8, PCI_COMMAND, 1, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	assert_true(io_bus_read(b->pio, 0xc01f, 1, &v));
	assert_int_equal(fn.mapped_calls, 1);

	set(b, 0, 8, PCI_BASE_ADDRESS_0, 4, 0xe0100000);
	assert_int_equal(fn.mapped_calls, 1); /* it ended, and began */
	assert_true(fn.mapped_at == 0xe0100000);
	assert_false(io_bus_read(b->mmio, 0xe0000000, 4, &v));
	assert_true(io_bus_read(b->mmio, 0xe0100000, 4, &v));
	set(b, 0, 8, PCI_COMMAND, 2, 0);
	assert_int_equal(fn.mapped_calls, 0);
	assert_false(io_bus_read(b->mmio, 0xe0100000, 4, &v));
	assert_false(io_bus_read(b->pio, 0xc000, 1, &v));
	assert_true(fn.written > 0);
	leave(&fn);
}

/* A guest may put a BAR anywhere: on another, at the end of the space, beyond 64 KiB of ports. */
static void test_wild_bars_stay_unmapped(void **state)
{
	struct board *b = *state;
	struct function one, two;
	uint64_t v;

	fn_init(&one, "one");
	fn_init(&two, "two");
	join(b, &one, 8);
	join(b, &two, 16);
	for (unsigned int devfn = 8; devfn <= 16; devfn += 8) {
		set(b, 0, (uint8_t)devfn, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
		set(b, 0, (uint8_t)devfn, PCI_BASE_ADDRESS_1, 4, 0x10000);
		set(b, 0, (uint8_t)devfn, PCI_BASE_ADDRESS_4, 4, 0xffffffff);
		set(b, 0, (uint8_t)devfn, PCI_BASE_ADDRESS_5, 4, 0xffffffff);
		set(b, 0, (uint8_t)devfn, PCI_COMMAND, 2, 7);
	}
	assert_int_equal(one.mapped_calls, 1);
	assert_int_equal(two.mapped_calls, 0);
	assert_false(io_bus_read(b->pio, 0x10000, 1, &v));
	assert_true(io_bus_read(b->mmio, UINT64_MAX - 3, 4, &v)); /* where it was told to be */
	/* Once moved away it is decoded. */
	set(b, 0, 16, PCI_BASE_ADDRESS_0, 4, 0xe1000000);
	assert_int_equal(two.mapped_calls, 1);
	set(b, 0, 16, PCI_BASE_ADDRESS_0, 4, 0);
	assert_int_equal(two.mapped_calls, 0);
	leave(&one);
	leave(&two);
	assert_int_equal(one.mapped_calls, 0);
}

static void test_intx_is_shared_and_can_be_disabled(void **state)
{
	struct board *b = *state;
	struct function one, two;

	fn_init(&one, "one");
	fn_init(&two, "two");
	join(b, &one, PCI_DEVFN_OF(2, 0));
	join(b, &two, PCI_DEVFN_OF(2, 1));
	pci_device_set_intx(&one.pci, true);
	assert_true(b->wire[8]);
	assert_int_equal(cfg(b, 0, 0x10, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT,
			 PCI_STATUS_INTERRUPT);
	pci_device_set_intx(&two.pci, true);
	pci_device_set_intx(&one.pci, false);
	assert_true(b->wire[8]);
	assert_int_equal(b->wire_calls, 1);
	/* The status bit tells, the wire does not. */
	set(b, 0, 0x11, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_false(b->wire[8]);
	assert_int_equal(cfg(b, 0, 0x11, PCI_STATUS, 1) & PCI_STATUS_INTERRUPT,
			 PCI_STATUS_INTERRUPT);
	set(b, 0, 0x11, PCI_COMMAND, 2, 0);
	assert_true(b->wire[8]);
	/* Function 0 says that there are more. */
	assert_int_equal(cfg(b, 0, 0x10, PCI_HEADER_TYPE, 1), 0x80);
	leave(&two);
	assert_false(b->wire[8]);
	leave(&one);
}

static void test_capabilities_are_linked(void **state)
{
	struct board *b = *state;
	struct function fn;
	uint16_t first, second;

	fn_init(&fn, "fn");
	first = pci_device_add_cap(&fn.pci, PCI_CAP_ID_VNDR, 0x11);
	second = pci_device_add_cap(&fn.pci, PCI_CAP_ID_EXP, 0x3c);
	assert_int_equal(first, 0x40);
	assert_int_equal(second, 0x54);
	assert_int_equal(fn.pci.config[PCI_CAPABILITY_LIST], first);
	assert_int_equal(fn.pci.config[first + 1], second);
	assert_int_equal(fn.pci.config[second], PCI_CAP_ID_EXP);
	assert_int_equal(fn.pci.config[second + 1], 0);
	assert_true(fn.pci.config[PCI_STATUS] & PCI_STATUS_CAP_LIST);
	assert_int_equal(pci_device_add_cap(&fn.pci, PCI_CAP_ID_VNDR, 0x80), 0);
	assert_int_equal(fn.pci.config[second + 1], 0);
	join(b, &fn, 8);
	leave(&fn);
}

static void test_cf8_and_ecam_reach_the_same_function(void **state)
{
	struct board *b = *state;
	struct function fn;
	uint64_t v;

	fn_init(&fn, "fn");
	fn.pci.express = true;
	put_le32(fn.pci.wmask + 0x150, UINT32_MAX);
	join(b, &fn, PCI_DEVFN_OF(5, 2));
	assert_int_equal(pci_bus_attach_cf8(b->bus), 0);
	io_bus_write(b->pio, 0xcf8, 4, 0x80002a00);
	io_bus_read(b->pio, 0xcf8, 4, &v);
	assert_int_equal(v, 0x80002a00);
	io_bus_read(b->pio, 0xcfc, 4, &v);
	assert_int_equal(v, 0x56781234);
	io_bus_read(b->pio, 0xcfe, 2, &v);
	assert_int_equal(v, 0x5678);
	io_bus_write(b->pio, 0xcf8, 4, 0x80002a00 | PCI_INTERRUPT_LINE);
	io_bus_write(b->pio, 0xcfc, 1, 0x0b);
	assert_int_equal(cfg(b, 0, PCI_DEVFN_OF(5, 2), PCI_INTERRUPT_LINE, 1), 0x0b);
	/* Not enabled: nobody answers. A byte does not reach the address register. */
	io_bus_write(b->pio, 0xcf8, 4, 0x00002a00);
	io_bus_read(b->pio, 0xcfc, 4, &v);
	assert_int_equal(v, 0xffffffff);
	io_bus_write(b->pio, 0xcfb, 1, 0x80);
	io_bus_read(b->pio, 0xcfc, 4, &v);
	assert_int_equal(v, 0xffffffff);
	assert_int_equal(pci_bus_cf8(b->bus), 0x2a00);

	assert_int_equal(pci_bus_set_ecam(b->bus, 0xb0000000, 256), 0);
	io_bus_write(b->mmio, 0xb0000000 + (0x2a << 12) + 0x150, 4, 0x13572468);
	io_bus_read(b->mmio, 0xb0000000 + (0x2a << 12) + 0x152, 2, &v);
	assert_int_equal(v, 0x1357);
	io_bus_read(b->mmio, 0xb0000000 + (0x2a << 12), 8, &v);
	assert_int_equal((uint32_t)v, 0x56781234);
	assert_int_equal(pci_bus_set_ecam(b->bus, 0xc0000000, 64), 0);
	assert_false(io_bus_read(b->mmio, 0xb0000000, 4, &v));
	assert_true(io_bus_read(b->mmio, 0xc0000000, 4, &v));
	assert_int_equal(pci_bus_set_ecam(b->bus, 0, 0), 0);
	assert_false(io_bus_read(b->mmio, 0xc0000000, 4, &v));
	leave(&fn);
}

static void test_reset_and_state(void **state)
{
	struct board *b = *state;
	struct function fn, twin;
	static struct pci_state saved, wrong;
	uint64_t v;

	fn_init(&fn, "fn");
	join(b, &fn, 8);
	set(b, 0, 8, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	set(b, 0, 8, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	set(b, 0, 8, PCI_INTERRUPT_LINE, 1, 11);
	assert_true(pci_device_can_master(&fn.pci));
	pci_device_save(&fn.pci, &saved);
	pci_device_set_intx(&fn.pci, true);
	pci_device_reset(&fn.pci);
	assert_false(b->wire[4]);
	assert_int_equal(cfg(b, 0, 8, PCI_COMMAND, 2), 0);
	assert_int_equal(cfg(b, 0, 8, PCI_BASE_ADDRESS_0, 4), 0);
	assert_int_equal(cfg(b, 0, 8, PCI_BASE_ADDRESS_1, 4), PCI_BASE_ADDRESS_SPACE_IO);
	assert_false(io_bus_read(b->mmio, 0xe0000000, 4, &v));

	fn_init(&twin, "twin");
	join(b, &twin, 16);
	assert_int_equal(pci_device_load(&twin.pci, &saved), 0);
	assert_true(io_bus_read(b->mmio, 0xe0000000, 4, &v));
	assert_int_equal(twin.accesses, 1);
	assert_int_equal(cfg(b, 0, 16, PCI_INTERRUPT_LINE, 1), 11);
	/* Read-only bits are not the saved ones; another chip's state is refused. */
	wrong = saved;
	wrong.config[PCI_CLASS_REVISION] = 0x77;
	assert_int_equal(pci_device_load(&twin.pci, &wrong), 0);
	assert_int_equal(cfg(b, 0, 16, PCI_CLASS_REVISION, 1), 3);
	wrong.config[PCI_DEVICE_ID] ^= 1;
	assert_int_equal(pci_device_load(&twin.pci, &wrong), -EINVAL);
	wrong = saved;
	wrong.config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
	assert_int_equal(pci_device_load(&twin.pci, &wrong), -EINVAL);
	leave(&fn);
	leave(&twin);
}

static void test_a_place_is_taken_once(void **state)
{
	struct board *b = *state;
	struct function fn, other;

	fn_init(&fn, "fn");
	fn_init(&other, "other");
	join(b, &fn, 8);
	assert_int_equal(pci_bus_add(b->bus, &other.pci, 8), -EBUSY);
	assert_ptr_equal(pci_bus_find(b->bus, 0, 8), &fn.pci);
	leave(&fn);
	join(b, &other, 8);
	leave(&other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_header_and_masks),
		T(test_bars_are_sized_decoded_and_moved),
		T(test_wild_bars_stay_unmapped),
		T(test_intx_is_shared_and_can_be_disabled),
		T(test_capabilities_are_linked),
		T(test_cf8_and_ecam_reach_the_same_function),
		T(test_reset_and_state),
		T(test_a_place_is_taken_once),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
