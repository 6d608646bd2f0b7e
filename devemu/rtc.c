#include "devemu/rtc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "devemu/device_timer.h"
#include "devemu/rtc_clock.h"
#include "devemu/rtc_regs.h"

#define PORT_INDEX 0x70u
#define SECOND_NS  1000000000LL
#define UIP_NS	   2228000LL /* 244 us of warning and 1984 us of update, before the second */
#define PERIOD_HZ  32768LL
/* Seconds; beyond all that the time bytes can say, and far from any overflow. */
#define OFFSET_LIMIT (30000LL * 366 * 86400)

/* Version 1. Guest time is host time plus an offset in whole seconds. */
struct rtc_state {
	uint8_t cmos[CMOS_SIZE]; /* time bytes are valid while SET is on */
	uint8_t index;
	uint8_t pad[7];
	int64_t offset;	 /* seconds */
	int64_t seen_ns; /* host time up to which flags have been raised */
};

struct rtc {
	struct device dev;
	struct io_bus *pio;
	struct io_range range;
	struct irq_line irq;
	struct device_timer timer;
	int64_t (*now_ns)(void *opaque);
	void *now_opaque;
	uint64_t ram_below_4g, ram_above_4g;
	struct rtc_state s;
	_Atomic uint64_t interrupts;
};

static int64_t host_now(void *opaque)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * SECOND_NS + ts.tv_nsec;
}

static int64_t now_of(const struct rtc *rtc)
{
	return rtc->now_ns(rtc->now_opaque);
}

/* Seconds only: a guest may set a year that nanoseconds cannot count to. */
static int64_t guest_seconds(const struct rtc *rtc, int64_t host_ns)
{
	return host_ns / SECOND_NS + rtc->s.offset;
}

/* Length of the periodic interrupt's period; 0: off (rates 1 and 2 are those of 8 and 9). */
static int64_t period_ns(const struct rtc *rtc)
{
	unsigned int rate = rtc->s.cmos[RTC_REG_A] & REG_A_RATE;

	if (!rate)
		return 0;
	if (rate < 3)
		rate += 7;
	return (SECOND_NS << (rate - 1)) / PERIOD_HZ;
}

static void update_irq(struct rtc *rtc)
{
	uint8_t *c = &rtc->s.cmos[RTC_REG_C];
	bool level = *c & rtc->s.cmos[RTC_REG_B] & (REG_C_PF | REG_C_AF | REG_C_UF);

	if (level && !(*c & REG_C_IRQF))
		atomic_fetch_add_explicit(&rtc->interrupts, 1, memory_order_relaxed);
	*c = (*c & ~REG_C_IRQF) | (level ? REG_C_IRQF : 0);
	irq_line_set(&rtc->irq, level);
}

/* Raises the flags of everything that happened since the last look. */
static void catch_up(struct rtc *rtc)
{
	uint8_t *cmos = rtc->s.cmos, reg_b = cmos[RTC_REG_B];
	int64_t now = now_of(rtc), seen = rtc->s.seen_ns, period = period_ns(rtc), alarm;

	rtc->s.seen_ns = now;
	if (now < seen) /* the host's clock was set back */
		return;
	if (period && now / period != seen / period)
		cmos[RTC_REG_C] |= REG_C_PF;
	if (!(reg_b & REG_B_SET) && now / SECOND_NS != seen / SECOND_NS) {
		cmos[RTC_REG_C] |= REG_C_UF;
		alarm = rtc_clock_next_alarm(cmos, reg_b, guest_seconds(rtc, seen));
		if (alarm >= 0 && alarm <= guest_seconds(rtc, now))
			cmos[RTC_REG_C] |= REG_C_AF;
	}
	update_irq(rtc);
}

/* Sets the timer for the next event that interrupts; flags alone are found when read. */
static void schedule(struct rtc *rtc)
{
	uint8_t *cmos = rtc->s.cmos, reg_b = cmos[RTC_REG_B];
	int64_t now = rtc->s.seen_ns, next = INT64_MAX, period = period_ns(rtc), alarm;

	/* While a flag holds the wire up, another of its kind changes nothing. */
	if ((reg_b & REG_B_PIE) && period && !(cmos[RTC_REG_C] & REG_C_PF))
		next = (now / period + 1) * period;
	if (!(reg_b & REG_B_SET) && (reg_b & REG_B_UIE) && !(cmos[RTC_REG_C] & REG_C_UF))
		next = MIN(next, (now / SECOND_NS + 1) * SECOND_NS);
	if (!(reg_b & REG_B_SET) && (reg_b & REG_B_AIE) && !(cmos[RTC_REG_C] & REG_C_AF)) {
		alarm = rtc_clock_next_alarm(cmos, reg_b, guest_seconds(rtc, now));
		if (alarm >= 0)
			next = MIN(next, (alarm - rtc->s.offset) * SECOND_NS);
	}
	if (next == INT64_MAX)
		device_timer_disarm(&rtc->timer);
	else
		device_timer_arm(&rtc->timer, (uint64_t)(next - now));
}

static void rtc_fire(void *opaque)
{
	struct rtc *rtc = opaque;

	catch_up(rtc);
	schedule(rtc);
}

static bool is_time_byte(uint8_t index)
{
	return index == RTC_CENTURY_REG || index == RTC_SECONDS || index == RTC_MINUTES ||
	       index == RTC_HOURS || (index >= RTC_WEEKDAY && index <= RTC_YEAR);
}

/* While SET is off the time bytes are computed when looked at. */
static void latch_time(struct rtc *rtc)
{
	if (!(rtc->s.cmos[RTC_REG_B] & REG_B_SET))
		rtc_clock_encode(rtc->s.cmos, rtc->s.cmos[RTC_REG_B],
				 guest_seconds(rtc, now_of(rtc)));
}

/* The clock runs on from what the time bytes say. */
static void restart_clock(struct rtc *rtc)
{
	rtc->s.seen_ns = now_of(rtc);
	rtc->s.offset = rtc_clock_decode(rtc->s.cmos, rtc->s.cmos[RTC_REG_B]) -
			rtc->s.seen_ns / SECOND_NS;
}

static void write_reg_b(struct rtc *rtc, uint8_t value)
{
	uint8_t *reg_b = &rtc->s.cmos[RTC_REG_B], old = *reg_b;

	latch_time(rtc);
	/* SET aborts an update and takes the update interrupt with it. */
	if (value & REG_B_SET)
		value &= ~REG_B_UIE;
	*reg_b = value;
	if ((old & REG_B_SET) && !(value & REG_B_SET))
		restart_clock(rtc);
}

static uint8_t read_cmos(struct rtc *rtc, uint8_t index)
{
	uint8_t value;

	catch_up(rtc);
	if (is_time_byte(index))
		latch_time(rtc);
	value = rtc->s.cmos[index];
	if (index == RTC_REG_A && !(rtc->s.cmos[RTC_REG_B] & REG_B_SET) &&
	    now_of(rtc) % SECOND_NS >= SECOND_NS - UIP_NS)
		value |= REG_A_UIP;
	if (index == RTC_REG_C) {
		rtc->s.cmos[RTC_REG_C] = 0;
		update_irq(rtc);
		schedule(rtc);
	}
	return value;
}

static void write_cmos(struct rtc *rtc, uint8_t index, uint8_t value)
{
	catch_up(rtc);
	switch (index) {
	case RTC_REG_A:
		rtc->s.cmos[index] = value & ~REG_A_UIP;
		break;
	case RTC_REG_B:
		write_reg_b(rtc, value);
		break;
	case RTC_REG_C:
	case RTC_REG_D:
		break; /* read-only */
	default:
		if (!is_time_byte(index)) {
			rtc->s.cmos[index] = value;
			break;
		}
		latch_time(rtc);
		rtc->s.cmos[index] = value;
		if (!(rtc->s.cmos[RTC_REG_B] & REG_B_SET))
			restart_clock(rtc);
		break;
	}
	update_irq(rtc);
	schedule(rtc);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct rtc *rtc = opaque;

	/* The index cannot be read back; only the byte at 71h is there. */
	return offset == 1 ? read_cmos(rtc, rtc->s.index) : UINT64_MAX;
}

static void rtc_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct rtc *rtc = opaque;

	if (offset == 0)
		rtc->s.index = value & (CMOS_SIZE - 1); /* bit 7 masks NMI: there is none */
	/* A word at 70h is index and data at once. */
	if (offset == 0 && size >= 2)
		write_cmos(rtc, rtc->s.index, (uint8_t)(value >> 8));
	if (offset == 1)
		write_cmos(rtc, rtc->s.index, (uint8_t)value);
}

static const struct io_ops rtc_io_ops = { .read = rtc_read, .write = rtc_write };

static void init_cmos(struct rtc *rtc)
{
	uint8_t *cmos = rtc->s.cmos;
	uint64_t low = rtc->ram_below_4g, high = rtc->ram_above_4g;
	uint64_t ext = low > MIB ? MIN((low - MIB) / KIB, 0xffffu) : 0;
	uint64_t above_16m = low > 16 * MIB ? MIN((low - 16 * MIB) / (64 * KIB), 0xffffu) : 0;

	memset(cmos, 0, CMOS_SIZE);
	cmos[RTC_REG_A] = 0x26; /* 32768 Hz time base, 1024 Hz periodic rate */
	cmos[RTC_REG_B] = REG_B_24H;
	cmos[RTC_REG_D] = REG_D_VRT;
	put_le16(cmos + CMOS_BASE_KIB, 640);
	put_le16(cmos + CMOS_EXT_KIB, (uint16_t)ext);
	put_le16(cmos + CMOS_EXT_KIB_2, (uint16_t)ext);
	put_le16(cmos + CMOS_ABOVE_16M, (uint16_t)above_16m);
	high /= 64 * KIB;
	put_le16(cmos + CMOS_ABOVE_4G, (uint16_t)high);
	cmos[CMOS_ABOVE_4G + 2] = (uint8_t)(high >> 16);
}

/* The reset line clears interrupt enables and flags; battery-backed bytes and time go on. */
static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	catch_up(rtc);
	write_reg_b(rtc, rtc->s.cmos[RTC_REG_B] &
				 ~(REG_B_SET | REG_B_PIE | REG_B_AIE | REG_B_UIE));
	rtc->s.cmos[RTC_REG_C] = 0;
	rtc->s.index = 0;
	update_irq(rtc);
	schedule(rtc);
}

static int rtc_quiesce(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	device_timer_disarm(&rtc->timer);
	catch_up(rtc);
	return 0;
}

static int rtc_resume(struct device *dev)
{
	rtc_fire(container_of(dev, struct rtc, dev));
	return 0;
}

static void rtc_save(struct device *dev, void *state)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	latch_time(rtc);
	memcpy(state, &rtc->s, sizeof(rtc->s));
}

static int rtc_load(struct device *dev, const void *state, size_t size, uint32_t version)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);
	struct rtc_state s;

	if (version != 1 || size != sizeof(s))
		return -EINVAL;
	memcpy(&s, state, sizeof(s));
	if (s.index >= CMOS_SIZE || s.offset > OFFSET_LIMIT || s.offset < -OFFSET_LIMIT ||
	    s.seen_ns < 0)
		return -EINVAL;
	rtc->s = s;
	update_irq(rtc);
	rtc_fire(rtc);
	return 0;
}

static void rtc_counters(struct device *dev, counter_fn emit, void *opaque)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	emit(opaque, "interrupts", atomic_load_explicit(&rtc->interrupts, memory_order_relaxed));
}

static void rtc_destroy(struct device *dev)
{
	struct rtc *rtc = container_of(dev, struct rtc, dev);

	io_bus_remove(rtc->pio, &rtc->range);
	device_timer_fini(&rtc->timer);
	device_fini(dev);
	free(rtc);
}

static const struct device_ops rtc_ops = {
	.type = "rtc",
	.reset = rtc_reset,
	.quiesce = rtc_quiesce,
	.resume = rtc_resume,
	.state_version = 1,
	.state_size = sizeof(struct rtc_state),
	.save = rtc_save,
	.load = rtc_load,
	.counters = rtc_counters,
	.destroy = rtc_destroy,
};

int rtc_create(const struct rtc_config *config, struct rtc **out)
{
	struct rtc *rtc = calloc(1, sizeof(*rtc));
	int err;

	if (!rtc)
		return -ENOMEM;
	device_init(&rtc->dev, config->id, &rtc_ops);
	rtc->pio = config->pio;
	rtc->irq = config->irq;
	rtc->now_ns = config->now_ns ? config->now_ns : host_now;
	rtc->now_opaque = config->now_opaque;
	rtc->ram_below_4g = config->ram_below_4g;
	rtc->ram_above_4g = config->ram_above_4g;
	rtc->range = (struct io_range){
		.name = config->id, .base = PORT_INDEX, .size = 2, .ops = &rtc_io_ops,
		.opaque = rtc, .lock = &rtc->dev.lock,
	};
	init_cmos(rtc);
	rtc->s.seen_ns = now_of(rtc);
	err = device_timer_init(&rtc->timer, config->loop, &rtc->dev, rtc_fire, rtc);
	if (!err)
		err = io_bus_add(rtc->pio, &rtc->range);
	if (err) {
		rtc_destroy(&rtc->dev);
		return err;
	}
	*out = rtc;
	return 0;
}

struct device *rtc_device(struct rtc *rtc)
{
	return &rtc->dev;
}
