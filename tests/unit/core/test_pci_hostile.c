/* A guest that means harm, at the doors of configuration space and with its BARs. */
#include <linux/pci.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/pci_bus.h"
#include "tests/fakes/oracle.h"

#define ECAM	  0xb0000000ULL
#define NEIGHBOUR 0xd0000000ULL
#define RAM	  (1 * MIB)
#define PLAIN	  PCI_DEVFN_OF(3, 0)
#define EXPRESS	  PCI_DEVFN_OF(4, 0)
#define RACES	  20000u

struct function {
	struct pci_device pci;
	atomic_uint accesses, wild; /* wild: beyond the BAR */
	unsigned int changes;
};

struct fixture {
	struct guest_memory *memory;
	struct io_bus *pio, *mmio;
	struct pci_bus *bus;
	struct function plain, express;
	struct oracle oracle;
};

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct function *fn = opaque;

	fn->accesses++;
	fn->wild += !range_within(offset, size, 0x1000);
	return 0;
}

static void bar_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	bar_read(opaque, offset, size);
}

static void changed(struct pci_device *pci, unsigned int bar, bool mapped, uint64_t addr)
{
	container_of(pci, struct function, pci)->changes++;
}

static void join(struct fixture *f, struct function *fn, const char *id, uint8_t devfn)
{
	static const struct io_ops ops = { .read = bar_read, .write = bar_write };
	static const struct device_ops dev_ops = { .type = "function" };
	static const struct pci_id pci_id = { .vendor = 0x1234, .device = 0x5678 };

	device_init(&fn->pci.dev, id, &dev_ops);
	pci_device_init(&fn->pci, &pci_id);
	fn->pci.express = devfn == EXPRESS;
	fn->pci.bars[0].changed = changed;
	pci_device_set_bar(&fn->pci, 0, 0x1000, false, false, false, &ops, fn);
	pci_device_set_bar(&fn->pci, 1, 0x1000, true, false, false, &ops, fn);
	pci_device_set_bar(&fn->pci, 2, 0x1000, false, true, true, &ops, fn);
	pci_device_set_pin(&fn->pci, 1);
	assert_int_equal(pci_bus_add(f->bus, &fn->pci, devfn), 0);
}

static int setup(void **state)
{
	const struct mem_slot_request ram = { .size = RAM, .page_size = 4 * KIB, .name = "ram" };
	struct fixture *f = calloc(1, sizeof(*f));
	struct pci_host host = {0};
	char why[128];

	f->memory = guest_memory_create();
	assert_int_equal(guest_memory_add_slot(f->memory, &ram, why, sizeof(why)), 0);
	host.pio = f->pio = io_bus_create("pio");
	host.mmio = f->mmio = io_bus_create("mmio");
	f->bus = pci_bus_create(&host);
	assert_int_equal(pci_bus_attach_cf8(f->bus), 0);
	assert_int_equal(pci_bus_set_ecam(f->bus, ECAM, 256), 0);
	join(f, &f->plain, "plain", PLAIN);
	join(f, &f->express, "express", EXPRESS);
	oracle_init(&f->oracle, f->memory, NULL);
	oracle_paint(&f->oracle);
	oracle_neighbour_join(&f->oracle, f->bus, f->mmio, PCI_DEVFN_OF(5, 0), NEIGHBOUR);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	oracle_check_memory(&f->oracle);
	oracle_neighbour_check(&f->oracle);
	assert_int_equal(f->plain.wild + f->express.wild, 0);
	oracle_fini(&f->oracle);
	pci_bus_remove(&f->plain.pci);
	pci_bus_remove(&f->express.pci);
	device_fini(&f->plain.pci.dev);
	device_fini(&f->express.pci.dev);
	pci_bus_destroy(f->bus);
	io_bus_destroy(f->pio);
	io_bus_destroy(f->mmio);
	guest_memory_destroy(f->memory);
	free(f);
	return 0;
}

static void set(struct fixture *f, uint8_t devfn, uint16_t reg, unsigned int len, uint32_t value)
{
	pci_bus_config_write(f->bus, 0, devfn, reg, len, value);
}

static uint64_t ones(unsigned int size)
{
	return size >= 8 ? UINT64_MAX : (1ULL << 8 * size) - 1;
}

/* Works again once it is put right: reset, a BAR where there is room, decoding on. */
static bool works(void *opaque)
{
	struct fixture *f = opaque;
	unsigned int before = f->plain.accesses;
	uint64_t value;

	pci_device_reset(&f->plain.pci);
	pci_device_reset(&f->express.pci);
	set(f, PLAIN, PCI_BASE_ADDRESS_0, 4, 0xe0000000);
	set(f, PLAIN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	return io_bus_read(f->mmio, 0xe0000ffc, 4, &value) && f->plain.accesses == before + 1;
}

/* By every road, at every offset, of every width: what straddles the end is not there. */
static void test_accesses_about_the_end_of_configuration_space(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	for (unsigned int at = 0xf0; at <= 0x110; at++)
		for (unsigned int len = 1; len <= 4; len *= 2) {
			bool inside = at + len <= 256;

			value = pci_bus_config_read(f->bus, 0, PLAIN, (uint16_t)at, len);
			assert_int_equal(value, inside ? 0 : ones(len));
			pci_bus_config_write(f->bus, 0, PLAIN, (uint16_t)at, len, UINT32_MAX);
		}
	for (unsigned int at = 0xff0; at < 0x1000; at++)
		for (unsigned int size = 1; size <= 8; size *= 2) {
			uint64_t addr = ECAM + (EXPRESS << 12) + at;
			uint64_t there = at + size <= 0x1000 ? 0 : ones(size);

			io_bus_write(f->mmio, addr, size, UINT64_MAX);
			assert_true(io_bus_read(f->mmio, addr, size, &value));
			if (size == 8 && at + 4 <= 0x1000 && at + 8 > 0x1000)
				there = ones(8) << 32; /* the half that is there reads 0 */
			assert_true(value == there);
		}
	/* The very last bytes of the window, and one beyond. */
	assert_true(io_bus_read(f->mmio, ECAM + 256 * MIB - 8, 8, &value));
	assert_true(value == UINT64_MAX);
	assert_false(io_bus_read(f->mmio, ECAM + 256 * MIB - 4, 8, &value));
	assert_true(works(f));
}

static uint64_t reset_control_read(void *opaque, uint64_t offset, unsigned int size)
{
	++*(unsigned int *)opaque;
	return 0;
}

static void reset_control_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	++*(unsigned int *)opaque;
}

static void test_address_and_data_ports_of_odd_widths(void **state)
{
	static const struct io_ops ops = { .read = reset_control_read,
					   .write = reset_control_write };
	unsigned int resets = 0;
	const struct io_range reset = { .name = "reset", .ops = &ops, .opaque = &resets };
	struct fixture *f = *state;
	uint64_t value;

	pci_bus_set_reset_control(f->bus, &reset);
	io_bus_write(f->pio, 0xcf8, 4, 0x80000000u | PLAIN << 8 | 0xfc);
	for (unsigned int port = 0xcf0; port < 0xd08; port++)
		for (unsigned int size = 1; size <= 4; size *= 2) {
			if (port == 0xcf8 && size == 4)
				continue;
			io_bus_read(f->pio, port, size, &value);
			assert_int_equal(value & ~ones(size), 0);
			io_bus_write(f->pio, port, size, UINT64_MAX);
		}
	assert_int_equal(pci_bus_cf8(f->bus), 0x80000000u | PLAIN << 8 | 0xfc);
	assert_int_equal(resets, 2); /* one read and one write of the byte at CF9h, no other */
	pci_bus_set_reset_control(f->bus, NULL);
	io_bus_write(f->pio, 0xcf8, 4, UINT32_MAX);
	assert_int_equal(pci_bus_cf8(f->bus), 0x80fffffcu);
	assert_true(works(f));
}

/* On the neighbour, the window of configuration space, the interrupt controllers, RAM. */
static void test_bars_where_others_are(void **state)
{
	struct fixture *f = *state;
	static const uint32_t taken[] = { ECAM, ECAM + 0x02345000, ECAM + 0x0ffff000, NEIGHBOUR };
	static const uint32_t open[] = { 0x1000, RAM - 0x1000, 0xfec00000, 0xfee00000, 0xfffff000 };
	uint64_t value;

	set(f, PLAIN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (unsigned int i = 0; i < ARRAY_SIZE(taken); i++) {
		set(f, PLAIN, PCI_BASE_ADDRESS_0, 4, taken[i]);
		assert_false(f->plain.pci.bars[0].mapped);
		assert_true(io_bus_read(f->mmio, ECAM + (PLAIN << 12), 4, &value));
		assert_int_equal(value, 0x56781234);
		oracle_neighbour_check(&f->oracle);
	}
	/* There the processor's own hardware or RAM answers first, as on a real board. */
	for (unsigned int i = 0; i < ARRAY_SIZE(open); i++) {
		unsigned int changes = f->plain.changes;

		set(f, PLAIN, PCI_BASE_ADDRESS_0, 4, open[i]);
		assert_true(f->plain.pci.bars[0].mapped);
		assert_true(f->plain.changes - changes <= 2);
		changes = f->plain.changes; /* what moves nothing, tells nobody */
		set(f, PLAIN, PCI_BASE_ADDRESS_0, 4, open[i]);
		set(f, PLAIN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		assert_int_equal(f->plain.changes, changes);
		io_bus_write(f->mmio, open[i] + 8, 8, UINT64_MAX);
		oracle_check_memory(&f->oracle);
	}
	assert_int_equal(f->plain.accesses, ARRAY_SIZE(open));
	assert_true(works(f));
}

/* A window of configuration space that would lie over a BAR does not come, and comes home. */
static void test_the_window_moved_onto_a_bar(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	assert_true(pci_bus_set_ecam(f->bus, NEIGHBOUR & ~(256 * MIB - 1), 256) < 0);
	oracle_neighbour_check(&f->oracle);
	assert_false(io_bus_read(f->mmio, ECAM, 4, &value));
	set(f, PLAIN, PCI_BASE_ADDRESS_0, 4, ECAM + 0x5000);
	set(f, PLAIN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(pci_bus_set_ecam(f->bus, ECAM, 256) < 0);
	assert_true(works(f));
	assert_int_equal(pci_bus_set_ecam(f->bus, ECAM, 256), 0);
}

/* Every value of every header register: nothing is decoded twice or outlives its device. */
static void test_every_register_takes_anything(void **state)
{
	struct fixture *f = *state;
	static const uint32_t values[] = { 0, UINT32_MAX, 0x00010000, 0x80000001, 0xfffffff0, 0x7 };

	for (unsigned int round = 0; round < 3; round++)
		for (uint16_t reg = 0; reg < PCI_CONFIG_SIZE; reg += 2)
			for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
				unsigned int changes = f->express.changes;

				set(f, EXPRESS, reg, round == 1 ? 2 : 4, values[i]);
				set(f, PLAIN, reg, 1u << round, values[i]);
				/* Only its own BAR, once off and once on. */
				assert_true(f->express.changes - changes <= 2);
			}
	oracle_neighbour_check(&f->oracle);
	assert_true(works(f));
}

struct race {
	struct fixture *f;
	unsigned int seed;
	_Atomic bool over;
};

/* One vCPU moves the BAR to and fro and switches decoding. */
static void *mover(void *opaque)
{
	struct race *race = opaque;

	for (unsigned int i = 0; i < RACES; i++) {
		set(race->f, PLAIN, PCI_BASE_ADDRESS_0, 4, i & 1 ? 0xe0000000 : 0xe0000800 + 0x800);
		if (i % 7 == 0)
			set(race->f, PLAIN, PCI_COMMAND, 2, 0);
		set(race->f, PLAIN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
		io_bus_write(race->f->pio, 0xcf8, 4, 0x80000000u | PLAIN << 8 | (i & 0xfc));
	}
	race->over = true;
	return NULL;
}

/* Others access what it moves, by BAR and by both doors. */
static void *user(void *opaque)
{
	struct race *race = opaque;
	unsigned int i = 0;
	uint64_t value;

	while (!race->over) {
		i = i * 1664525u + 1013904223u;
		io_bus_write(race->f->mmio, 0xe0000000 + (i & 0x1fff), 4, i);
		io_bus_read(race->f->mmio, ECAM + (PLAIN << 12) + (i >> 8 & 0xff), 4, &value);
		io_bus_read(race->f->pio, 0xcfc + (i >> 4 & 3), 1, &value);
	}
	return NULL;
}

static void test_two_vcpus_race_over_a_bar(void **state)
{
	struct fixture *f = *state;
	struct race race = { .f = f };
	pthread_t threads[3];

	assert_int_equal(pthread_create(&threads[0], NULL, mover, &race), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, user, &race), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, user, &race), 0);
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_true(works(f));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_accesses_about_the_end_of_configuration_space),
		T(test_address_and_data_ports_of_odd_widths),
		T(test_bars_where_others_are),
		T(test_the_window_moved_onto_a_bar),
		T(test_every_register_takes_anything),
		T(test_two_vcpus_race_over_a_bar),
	};

	return cmocka_run_group_tests_name("pci_hostile", tests, NULL, NULL);
}
