#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "devemu/rtc.h"
#include "devemu/rtc_regs.h"
#include "tests/fakes/fake_hypervisor.h"

#define GSI    8u
#define SECOND 1000000000LL
/* 2024-02-29 23:59:58 UTC, a Thursday */
#define START 1709251198LL

struct fixture {
	struct fake_hypervisor fake;
	struct io_bus *pio;
	struct loop *loop;
	struct loop_timer *limit;
	int64_t now;
	struct rtc *rtc;
	struct device *dev;
	bool late;
};

static int64_t fake_now(void *opaque)
{
	return ((struct fixture *)opaque)->now;
}

static void too_late(void *opaque)
{
	struct fixture *f = opaque;

	f->late = true;
	loop_stop(f->loop);
}

static void wire_set(void *sink, unsigned int input, bool level)
{
	struct fixture *f = sink;

	f->fake.hv.ops->irq_set(&f->fake.hv, input, level);
	if (level)
		loop_stop(f->loop);
}

static void create(struct fixture *f, bool real_clock)
{
	struct rtc_config config = {
		.id = "rtc", .pio = f->pio, .loop = f->loop,
		.irq = { .set = wire_set, .sink = f, .input = GSI },
		.ram_below_4g = 512 * MIB, .ram_above_4g = 6 * GIB,
		.now_ns = real_clock ? NULL : fake_now, .now_opaque = f,
	};

	assert_int_equal(rtc_create(&config, &f->rtc), 0);
	f->dev = rtc_device(f->rtc);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_hypervisor_init(&f->fake);
	f->pio = io_bus_create("pio");
	f->loop = loop_create();
	f->limit = loop_timer_create(f->loop, too_late, f);
	f->now = START * SECOND;
	create(f, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	loop_timer_destroy(f->limit);
	loop_destroy(f->loop);
	io_bus_destroy(f->pio);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, uint8_t reg)
{
	uint64_t v;

	assert_true(io_bus_write(f->pio, 0x70, 1, reg));
	assert_true(io_bus_read(f->pio, 0x71, 1, &v));
	return (uint8_t)v;
}

static void out(struct fixture *f, uint8_t reg, uint8_t value)
{
	assert_true(io_bus_write(f->pio, 0x70, 1, reg | 0x80)); /* the NMI bit is not the index */
	assert_true(io_bus_write(f->pio, 0x71, 1, value));
}

static void expect_time(struct fixture *f, const uint8_t t[7])
{
	static const uint8_t regs[7] = { RTC_CENTURY_REG, RTC_YEAR, RTC_MONTH, RTC_DAY, RTC_HOURS,
					 RTC_MINUTES, RTC_SECONDS };

	for (unsigned int i = 0; i < 7; i++)
		assert_int_equal(in(f, regs[i]), t[i]);
}

static void test_it_tells_the_host_time_in_every_mode(void **state)
{
	struct fixture *f = *state;

	expect_time(f, (uint8_t[]){ 0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58 });
	assert_int_equal(in(f, RTC_WEEKDAY), 5);
	f->now += 2 * SECOND;
	expect_time(f, (uint8_t[]){ 0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00 });
	out(f, RTC_REG_B, REG_B_DM | REG_B_24H);
	f->now -= 2 * SECOND;
	expect_time(f, (uint8_t[]){ 20, 24, 2, 29, 23, 59, 58 });
	out(f, RTC_REG_B, 0); /* BCD, 12 hours */
	assert_int_equal(in(f, RTC_HOURS), 0x91);
	f->now += 2 * SECOND;
	assert_int_equal(in(f, RTC_HOURS), 0x12); /* midnight */
	f->now += 12 * 3600 * SECOND;
	assert_int_equal(in(f, RTC_HOURS), 0x92); /* noon */
	assert_int_equal(in(f, RTC_REG_D), REG_D_VRT);
}

static void test_update_in_progress_is_seen_before_the_second(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, RTC_REG_A), 0x26);
	f->now += SECOND - 2000000;
	assert_int_equal(in(f, RTC_REG_A), 0xa6);
	f->now += 2000000;
	assert_int_equal(in(f, RTC_REG_A), 0x26);
}

static void test_setting_the_time(void **state)
{
	struct fixture *f = *state;

	out(f, RTC_REG_B, REG_B_24H | REG_B_SET);
	out(f, RTC_CENTURY_REG, 0x19);
	out(f, RTC_YEAR, 0x99);
	out(f, RTC_MONTH, 0x12);
	out(f, RTC_DAY, 0x31);
	out(f, RTC_HOURS, 0x23);
	out(f, RTC_MINUTES, 0x59);
	out(f, RTC_SECONDS, 0x59);
	f->now += 30 * SECOND; /* stopped meanwhile */
	expect_time(f, (uint8_t[]){ 0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59 });
	out(f, RTC_REG_B, REG_B_24H);
	f->now += SECOND;
	expect_time(f, (uint8_t[]){ 0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00 });
	/* A single byte while it runs. */
	out(f, RTC_MINUTES, 0x30);
	expect_time(f, (uint8_t[]){ 0x20, 0x00, 0x01, 0x01, 0x00, 0x30, 0x00 });
}

/* Whatever a guest puts in, the clock goes on and nothing overflows. */
static void test_wild_times(void **state)
{
	struct fixture *f = *state;

	for (unsigned int v = 0; v < 256; v += 15) {
		out(f, RTC_REG_B, (uint8_t)(REG_B_SET | (v & 6)));
		for (uint8_t reg = 0; reg < RTC_REG_A; reg++)
			out(f, reg, (uint8_t)v);
		out(f, RTC_CENTURY_REG, (uint8_t)(255 - v));
		out(f, RTC_REG_B, (uint8_t)(REG_B_AIE | REG_B_PIE | REG_B_UIE | (v & 6)));
		f->now += SECOND * 3 + 7;
		in(f, RTC_REG_C);
		in(f, RTC_SECONDS);
	}
}

static void test_flags_without_interrupts(void **state)
{
	struct fixture *f = *state;

	in(f, RTC_REG_C);
	assert_int_equal(in(f, RTC_REG_C), 0);
	f->now += SECOND / 1024 + 1;
	assert_int_equal(in(f, RTC_REG_C), REG_C_PF);
	f->now += SECOND;
	/* Midnight has passed a second later; alarm bytes of zero meet it. */
	assert_int_equal(in(f, RTC_REG_C), REG_C_PF | REG_C_UF);
	f->now += SECOND;
	assert_int_equal(in(f, RTC_REG_C), REG_C_PF | REG_C_UF | REG_C_AF);
	assert_int_equal(in(f, RTC_REG_C), 0);
	assert_int_equal(f->fake.rises[GSI], 0);
	out(f, RTC_REG_A, 0x20); /* rate 0: no periodic flag */
	f->now += SECOND;
	assert_int_equal(in(f, RTC_REG_C), REG_C_UF);
	/* The clock of the host is set back: nothing is made up. */
	f->now -= 100 * SECOND;
	assert_int_equal(in(f, RTC_REG_C), 0);
}

static void test_enabled_flags_raise_the_wire_until_read(void **state)
{
	struct fixture *f = *state;

	in(f, RTC_REG_C);
	f->now += SECOND;
	out(f, RTC_REG_B, REG_B_24H | REG_B_UIE); /* the flag was there before the enable */
	assert_true(f->fake.level[GSI]);
	assert_int_equal(in(f, RTC_REG_C), REG_C_IRQF | REG_C_UF | REG_C_PF);
	assert_false(f->fake.level[GSI]);
	/* SET takes the update interrupt's enable away. */
	out(f, RTC_REG_B, REG_B_24H | REG_B_UIE | REG_B_SET);
	assert_int_equal(in(f, RTC_REG_B), REG_B_24H | REG_B_SET);
}

static void test_alarm_bytes_and_dont_care(void **state)
{
	struct fixture *f = *state;

	out(f, RTC_SECONDS_ALARM, 0x05);
	out(f, RTC_MINUTES_ALARM, 0xc0);
	out(f, RTC_HOURS_ALARM, 0xff);
	out(f, RTC_REG_B, REG_B_24H | REG_B_AIE);
	in(f, RTC_REG_C);
	f->now += 6 * SECOND; /* 00:00:04 */
	in(f, RTC_REG_A);
	assert_false(f->fake.level[GSI]);
	f->now += SECOND;
	in(f, RTC_REG_A);
	assert_true(f->fake.level[GSI]);
	in(f, RTC_REG_C);
	f->now += 60 * SECOND;
	in(f, RTC_REG_A);
	assert_true(f->fake.level[GSI]);
	in(f, RTC_REG_C);
	out(f, RTC_HOURS_ALARM, 0x77); /* never */
	f->now += 86400 * SECOND;
	assert_false(in(f, RTC_REG_C) & REG_C_AF);
}

/* The timer itself, on the host's own clock: an interrupt comes without anybody looking. */
static void test_the_loop_delivers_periodic_interrupts(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	create(f, true);
	in(f, RTC_REG_C);
	assert_int_equal(loop_timer_arm(f->limit, 10 * SECOND), 0);
	out(f, RTC_REG_B, REG_B_24H | REG_B_PIE);
	for (unsigned int i = 0; i < 3; i++) {
		unsigned int before = f->fake.rises[GSI];

		if (!f->fake.level[GSI])
			assert_int_equal(loop_run(f->loop), 0);
		assert_false(f->late);
		assert_true(f->fake.level[GSI]);
		assert_true(f->fake.rises[GSI] >= before);
		assert_true(in(f, RTC_REG_C) & REG_C_PF);
	}
	out(f, RTC_REG_B, REG_B_24H);
}

static void test_memory_sizes_in_cmos(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, CMOS_BASE_KIB) | in(f, CMOS_BASE_KIB + 1) << 8, 640);
	assert_int_equal(in(f, CMOS_EXT_KIB) | in(f, CMOS_EXT_KIB + 1) << 8, 0xffff);
	assert_int_equal(in(f, CMOS_ABOVE_16M) | in(f, CMOS_ABOVE_16M + 1) << 8,
			 (512 - 16) * 16);
	assert_int_equal(in(f, CMOS_ABOVE_4G) | in(f, CMOS_ABOVE_4G + 1) << 8 |
				 in(f, CMOS_ABOVE_4G + 2) << 16,
			 6 * 1024 * 16);
	out(f, 0x7f, 0x42);
	assert_int_equal(in(f, 0x7f), 0x42);
}

static void test_reset_keeps_time_and_bytes(void **state)
{
	struct fixture *f = *state;

	out(f, RTC_MINUTES, 0x10);
	out(f, 0x40, 0x99);
	out(f, RTC_REG_B, REG_B_24H | REG_B_UIE);
	f->now += SECOND;
	in(f, RTC_REG_A);
	assert_true(f->fake.level[GSI]);
	device_enter(f->dev);
	f->dev->ops->reset(f->dev);
	device_leave(f->dev);
	assert_false(f->fake.level[GSI]);
	assert_int_equal(in(f, RTC_REG_B), REG_B_24H);
	assert_int_equal(in(f, RTC_MINUTES), 0x10);
	assert_int_equal(in(f, 0x40), 0x99);
}

static void test_state_moves_to_a_fresh_clock(void **state)
{
	struct fixture *f = *state, *twin;
	size_t size = f->dev->ops->state_size;
	uint8_t *saved = malloc(size);
	void *other;

	out(f, RTC_HOURS, 0x07);
	out(f, RTC_REG_B, REG_B_24H | REG_B_UIE | REG_B_DM);
	f->now += SECOND;
	in(f, 0x40);
	assert_int_equal(f->dev->ops->quiesce(f->dev), 0);
	f->dev->ops->save(f->dev, saved);
	setup(&other);
	twin = other;
	twin->now = f->now;
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 0), -EINVAL);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), 0);
	assert_int_equal(twin->dev->ops->resume(twin->dev), 0);
	assert_int_equal(f->dev->ops->resume(f->dev), 0);
	assert_true(twin->fake.level[GSI]);
	for (unsigned int i = 0; i < 3; i++) {
		for (uint8_t reg = 0; reg < CMOS_SIZE; reg++)
			assert_int_equal(in(f, reg), in(twin, reg));
		f->now += SECOND * 40;
		twin->now = f->now;
	}
	memset(saved, 0xff, size);
	assert_int_equal(twin->dev->ops->load(twin->dev, saved, size, 1), -EINVAL);
	teardown(&other);
	free(saved);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_it_tells_the_host_time_in_every_mode),
		T(test_update_in_progress_is_seen_before_the_second),
		T(test_setting_the_time),
		T(test_wild_times),
		T(test_flags_without_interrupts),
		T(test_enabled_flags_raise_the_wire_until_read),
		T(test_alarm_bytes_and_dont_care),
		T(test_the_loop_delivers_periodic_interrupts),
		T(test_memory_sizes_in_cmos),
		T(test_reset_keeps_time_and_bytes),
		T(test_state_moves_to_a_fresh_clock),
	};

	return cmocka_run_group_tests_name("rtc", tests, NULL, NULL);
}
