/*
 * A guest that means harm, at the ports of the board: every port, of every width, with every kind of
 * value, in every mode of the serial port and of the clock, and floods of what costs the host most.
 * The in-kernel timer is tried by the tiny guest (tests/guest/tiny_hostile.c).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/devemu/board_rig.h"

static const uint32_t values[] = { 0, 1, 0x80, 0x7f, 0xff, 0xfe, 0xd1, 0x60, 0x20, 0xaa, 0x0b0b,
				   0x2000, 0x3c00, 0xffff, 0x80000000, 0xffffffff };

struct fixture {
	struct board_rig *board;
	struct oracle oracle;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->board = board_rig_create();
	oracle_init(&f->oracle, NULL, &f->board->fake);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < f->board->count; i++) {
		struct device *dev = f->board->devices[i];
		void *saved = malloc(dev->ops->state_size + 1);

		device_enter(dev);
		dev->ops->save(dev, saved);
		assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size,
						dev->ops->state_version + 1), -EINVAL);
		assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size + 1,
						dev->ops->state_version), -EINVAL);
		assert_int_equal(dev->ops->load(dev, saved, dev->ops->state_size,
						dev->ops->state_version), 0);
		device_leave(dev);
		free(saved);
	}
	board_rig_recover(f->board);
	oracle_fini(&f->oracle);
	board_rig_destroy(f->board);
	free(f);
	return 0;
}

static void poke(struct fixture *f, uint16_t port, unsigned int size, uint32_t value)
{
	uint64_t got;

	oracle_begin(&f->oracle);
	io_bus_write(f->board->pio, port, size, value);
	io_bus_read(f->board->pio, port, size, &got);
	oracle_end(&f->oracle, BOARD_RIG_CALLS);
	assert_true(size == 4 || got < 1ULL << 8 * size);
}

/* All 65536 ports, and those about each device with every value and width. */
static void test_every_port(void **state)
{
	static const uint16_t bases[] = { 0x60, 0x64, 0x70, 0x80, 0xf4, 0x3f8, BOARD_RIG_PM, 0xcf8 };
	struct fixture *f = *state;

	for (uint32_t port = 0; port < 0x10000; port++)
		poke(f, (uint16_t)port, 1u << port % 3, port * 0x9e3779b9u);
	for (unsigned int b = 0; b < ARRAY_SIZE(bases); b++)
		for (unsigned int at = 0; at < 0x90; at++)
			for (unsigned int i = 0; i < ARRAY_SIZE(values); i++)
				for (unsigned int size = 1; size <= 4; size *= 2)
					poke(f, (uint16_t)(bases[b] - 8 + at), size, values[i]);
}

/* The serial port: FIFOs on and off, loopback, the divisor latch, input that comes meanwhile. */
static void test_the_serial_port_in_every_mode(void **state)
{
	struct fixture *f = *state;
	const struct char_frontend *fe = f->board->chr.frontend;
	static const uint8_t bytes[16];

	for (unsigned int mode = 0; mode < 256; mode++) {
		poke(f, 0x3fa, 1, mode & 1 ? 0xc7 : 0);	   /* FIFO control */
		poke(f, 0x3fb, 1, mode & 2 ? 0x80 : 0x43); /* line control */
		poke(f, 0x3fc, 1, mode & 4 ? 0x1f : 0x0b); /* modem control */
		for (unsigned int i = 0; i < 40; i++) {
			size_t room = fe->room(fe->opaque);

			assert_true(room <= sizeof(bytes));
			/* It is given what there was room for before the guest changed its mind. */
			if (mode & 8)
				poke(f, 0x3fa, 1, i & 1 ? 0xc1 : 0);
			if (room)
				fe->receive(fe->opaque, bytes, room);
			poke(f, 0x3f8, mode & 16 ? 2 : 1, values[i % ARRAY_SIZE(values)]);
			poke(f, (uint16_t)(0x3f8 + i % 8), 1, mode);
		}
	}
}

/* The clock: each byte of it wild, then time goes on by leaps, backwards too. */
static void test_the_clock_with_wild_times(void **state)
{
	static const int64_t leaps[] = { 1, 1000000000, 86400LL * 1000000000, -3600LL * 1000000000,
					 50LL * 366 * 86400 * 1000000000 };
	struct fixture *f = *state;
	const int64_t begin = f->board->now;

	for (unsigned int reg = 0; reg < 128; reg++)
		for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
			if (f->board->now > 3 * begin) /* nanoseconds have an end */
				f->board->now = begin;
			poke(f, 0x70, 2, reg | values[i] << 8);
			poke(f, 0x70, 1, 0x0b);
			poke(f, 0x71, 1, (i & 1 ? 0x70 : 0xf0) | (values[i] & 7));
			f->board->now += leaps[i % ARRAY_SIZE(leaps)];
			poke(f, 0x70, 1, 0x0c);
			poke(f, 0x71, 1, 0);
		}
}

/* What costs the host most: asking for resets, sleep and the end, over and over. */
static void test_floods_of_requests(void **state)
{
	struct fixture *f = *state;
	const unsigned int times = 10000;

	for (unsigned int i = 0; i < times; i++) {
		poke(f, 0x64, 1, 0xfe);
		poke(f, 0xcf9, 1, 0);
		poke(f, 0xcf9, 1, 6);
		poke(f, BOARD_RIG_PM + 4, 2, 7 << 10 | 1 << 13);
		poke(f, 0xf4, 1, i);
	}
	assert_int_equal(f->board->resets, 2 * times);
	assert_int_equal(f->board->power_offs, times);
	assert_int_equal(f->board->exits, times);
}

/* The chipset's own windows on top of others, and at the ends of their space. */
static void test_windows_of_the_chipset_anywhere(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	for (uint32_t base = 0; base < 0x10000; base += 0x80) {
		pci_bus_config_write(f->board->root, 0, LPC_DEVFN, 0x40, 4, base | 1);
		assert_true(board_rig_port(f->board, 0x3fd) != 0xff);
		poke(f, (uint16_t)(base + 0x7f), 4, 0xffffffff);
	}
	for (uint64_t base = 0; base < 1ULL << 36; base += 64 * MIB) {
		pci_bus_config_write(f->board->root, 0, 0, 0x64, 4, (uint32_t)(base >> 32));
		pci_bus_config_write(f->board->root, 0, 0, 0x60, 4, (uint32_t)base | 1);
		io_bus_read(f->board->mmio, base + 256 * MIB - 4, 8, &value);
		io_bus_write(f->board->mmio, base, 8, UINT64_MAX);
	}
}

static struct device *find(struct fixture *f, const char *type)
{
	for (unsigned int i = 0; i < f->board->count; i++)
		if (!strcmp(f->board->devices[i]->ops->type, type))
			return f->board->devices[i];
	fail_msg("no %s", type);
	return NULL;
}

/* A state that was made up: what would lead out of a buffer or past a clock's end is refused. */
static void test_states_that_cannot_be(void **state)
{
	static const struct {
		const char *type;
		unsigned int at, bytes; /* in version 1 of the state */
		int64_t value;
	} wild[] = {
		{ "rtc", 128, 1, 0x80 },      /* index */
		{ "rtc", 136, 8, INT64_MAX }, /* offset */
		{ "rtc", 136, 8, INT64_MIN },
		{ "rtc", 144, 8, -1 },	  /* time that has been seen */
		{ "uart", 0, 1, 0x10 },	  /* interrupt enables */
		{ "uart", 1, 1, 0x02 },	  /* FIFO control */
		{ "uart", 3, 1, 0x20 },	  /* modem control */
		{ "uart", 10, 1, 16 },	  /* first of the FIFO */
		{ "uart", 11, 1, 2 },	  /* how many: without FIFOs there is one */
		{ "i8042", 0, 1, 0x80 },  /* command byte */
	};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(wild); i++) {
		struct device *dev = find(f, wild[i].type);
		uint8_t *made_up = calloc(1, dev->ops->state_size);

		assert_true(wild[i].at + wild[i].bytes <= dev->ops->state_size);
		device_enter(dev);
		dev->ops->save(dev, made_up);
		assert_int_equal(dev->ops->load(dev, made_up, dev->ops->state_size, 1), 0);
		memcpy(made_up + wild[i].at, &wild[i].value, wild[i].bytes);
		assert_int_equal(dev->ops->load(dev, made_up, dev->ops->state_size, 1), -EINVAL);
		device_leave(dev);
		free(made_up);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_every_port),
		T(test_the_serial_port_in_every_mode),
		T(test_the_clock_with_wild_times),
		T(test_floods_of_requests),
		T(test_windows_of_the_chipset_anywhere),
		T(test_states_that_cannot_be),
	};

	return cmocka_run_group_tests_name("devemu_hostile", tests, NULL, NULL);
}
