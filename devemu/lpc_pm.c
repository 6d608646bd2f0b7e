#include "devemu/lpc_pm.h"

#include <errno.h>
#include <stdatomic.h>

#include "core/clock.h"
#include "devemu/lpc_regs.h"

#define SMI_EN	  0x30u
#define SMI_STS	  0x34u
#define HALF_TURN (1u << (PM_TIMER_BITS - 1)) /* bit 23 toggles: overflow */

static int64_t host_now(void *opaque)
{
	return (int64_t)clock_now_ns();
}

/* Ticks since timer_base; 128 bits because 3.58 MHz times nanoseconds leaves 64 within an hour. */
static uint64_t pm_ticks(const struct lpc_pm *pm)
{
	uint64_t ns = (uint64_t)(pm->now_ns(pm->now_opaque) - pm->timer_base);

	return (uint64_t)((unsigned __int128)ns * PM_TIMER_HZ / 1000000000u);
}

static void update_sci(struct lpc_pm *pm)
{
	bool cause = (pm->s.pm1_sts & pm->s.pm1_en & PM1_EN_BITS) ||
		     (pm->s.gpe0_sts & pm->s.gpe0_en);

	irq_line_set(&pm->sci, cause && (pm->s.pm1_cnt & PM1_CNT_SCI_EN));
}

static void catch_up(struct lpc_pm *pm)
{
	uint64_t ticks = pm_ticks(pm);

	if (ticks / HALF_TURN != pm->timer_seen / HALF_TURN)
		pm->s.pm1_sts |= PM1_TMROF_STS;
	pm->timer_seen = ticks;
}

static void schedule(struct lpc_pm *pm)
{
	uint64_t left = HALF_TURN - pm->timer_seen % HALF_TURN;

	if ((pm->s.pm1_en & PM1_TMROF_STS) && !(pm->s.pm1_sts & PM1_TMROF_STS))
		device_timer_arm(&pm->timer, left * 1000000000u / PM_TIMER_HZ + 1);
	else
		device_timer_disarm(&pm->timer);
}

static void settle(struct lpc_pm *pm)
{
	catch_up(pm);
	update_sci(pm);
	schedule(pm);
}

static uint8_t byte_of(uint64_t value, uint64_t index)
{
	return (uint8_t)(value >> (8 * index));
}

static uint8_t read_byte(const struct lpc_pm *pm, uint64_t at)
{
	switch (at) {
	case LPC_PM1_EVT ... LPC_PM1_EVT + 1:
		return byte_of(pm->s.pm1_sts, at);
	case LPC_PM1_EVT + 2 ... LPC_PM1_EVT + 3:
		return byte_of(pm->s.pm1_en, at - 2);
	case LPC_PM1_CNT ... LPC_PM1_CNT + 3:
		return byte_of(pm->s.pm1_cnt, at - LPC_PM1_CNT);
	case LPC_PM_TMR ... LPC_PM_TMR + 3:
		return byte_of(pm->timer_seen & ((1u << PM_TIMER_BITS) - 1), at - LPC_PM_TMR);
	case LPC_GPE0 ... LPC_GPE0 + 7:
		return byte_of(pm->s.gpe0_sts, at - LPC_GPE0);
	case LPC_GPE0 + 8 ... LPC_GPE0 + 15:
		return byte_of(pm->s.gpe0_en, at - LPC_GPE0 - 8);
	case SMI_EN ... SMI_EN + 3:
		return byte_of(pm->s.smi_en, at - SMI_EN);
	default:
		return 0;
	}
}

/* Status bits are cleared by writing 1. */
static void write_byte(struct lpc_pm *pm, uint64_t at, uint8_t value)
{
	uint64_t shift;

	switch (at) {
	case LPC_PM1_EVT ... LPC_PM1_EVT + 1:
		pm->s.pm1_sts &= ~((uint32_t)value << (8 * at));
		break;
	case LPC_PM1_EVT + 2 ... LPC_PM1_EVT + 3:
		shift = 8 * (at - 2);
		pm->s.pm1_en = ((pm->s.pm1_en & ~(0xffu << shift)) | (uint32_t)value << shift) &
			       PM1_EN_BITS;
		break;
	case LPC_GPE0 ... LPC_GPE0 + 7:
		pm->s.gpe0_sts &= ~((uint64_t)value << (8 * (at - LPC_GPE0)));
		break;
	case LPC_GPE0 + 8 ... LPC_GPE0 + 15:
		shift = 8 * (at - LPC_GPE0 - 8);
		pm->s.gpe0_en = (pm->s.gpe0_en & ~(0xffULL << shift)) | (uint64_t)value << shift;
		break;
	case SMI_EN ... SMI_EN + 3:
		/* Kept for reading back: there is no system management mode to enter. */
		shift = 8 * (at - SMI_EN);
		pm->s.smi_en = (pm->s.smi_en & ~(0xffu << shift)) | (uint32_t)value << shift;
		break;
	default:
		break;
	}
}

/* Sleep type and enable come in the high byte, so a byte or a word may ask for it. */
static void write_control(struct lpc_pm *pm, unsigned int size, uint64_t offset, uint64_t value)
{
	uint64_t shift = 8 * (offset - LPC_PM1_CNT);
	uint64_t mask = (size >= 4 ? 0xffffffffULL : (1ULL << (8 * size)) - 1) << shift;
	uint16_t cnt = (uint16_t)((pm->s.pm1_cnt & ~mask) | ((value << shift) & mask));
	bool sleep = cnt & PM1_CNT_SLP_EN;

	pm->s.pm1_cnt = cnt & (PM1_CNT_SCI_EN | PM1_CNT_BM_RLD | PM1_CNT_SLP_TYP);
	if (!sleep)
		return;
	atomic_fetch_add_explicit(&pm->sleeps, 1, memory_order_relaxed);
	/* Only S5 is offered; another sleep type is over at once. */
	if ((cnt & PM1_CNT_SLP_TYP) >> PM1_CNT_SLP_TYP_SHIFT == LPC_SLP_TYP_S5) {
		if (pm->events.power_off)
			pm->events.power_off(pm->events.opaque);
	} else {
		pm->s.pm1_sts |= PM1_WAK_STS;
	}
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct lpc_pm *pm = opaque;
	uint64_t value = 0;

	/* No scheduling here: a guest may use the timer as its clock. */
	catch_up(pm);
	update_sci(pm);
	for (unsigned int i = 0; i < size; i++)
		value |= (uint64_t)read_byte(pm, offset + i) << (8 * i);
	return value;
}

static void pm_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct lpc_pm *pm = opaque;

	catch_up(pm);
	if (offset >= LPC_PM1_CNT && offset < LPC_PM1_CNT + 4)
		write_control(pm, size, offset, value);
	else
		for (unsigned int i = 0; i < size; i++)
			write_byte(pm, offset + i, (uint8_t)(value >> (8 * i)));
	settle(pm);
}

const struct io_ops lpc_pm_io_ops = { .read = pm_read, .write = pm_write };

static void pm_fire(void *opaque)
{
	settle(opaque);
}

int lpc_pm_init(struct lpc_pm *pm, const struct lpc_config *config, struct device *dev)
{
	int err = device_timer_init(&pm->timer, config->loop, dev, pm_fire, pm);

	if (err)
		return err;
	irq_line_init_gsi(&pm->sci, config->hv, LPC_SCI_GSI);
	pm->now_ns = config->now_ns ? config->now_ns : host_now;
	pm->now_opaque = config->now_opaque;
	pm->events = config->events;
	pm->acpi_mode = config->acpi_mode;
	lpc_pm_reset(pm);
	return 0;
}

void lpc_pm_fini(struct lpc_pm *pm)
{
	device_timer_fini(&pm->timer);
}

void lpc_pm_reset(struct lpc_pm *pm)
{
	pm->s = (struct lpc_pm_state){ .pm1_cnt = pm->acpi_mode ? PM1_CNT_SCI_EN : 0 };
	pm->timer_base = pm->now_ns(pm->now_opaque);
	pm->timer_seen = 0;
	settle(pm);
}

void lpc_pm_quiesce(struct lpc_pm *pm)
{
	settle(pm);
	device_timer_disarm(&pm->timer);
}

void lpc_pm_resume(struct lpc_pm *pm)
{
	settle(pm);
}

void lpc_pm_save(struct lpc_pm *pm, struct lpc_pm_state *state)
{
	catch_up(pm);
	*state = pm->s;
	state->timer = pm->timer_seen & ((1u << PM_TIMER_BITS) - 1);
}

int lpc_pm_load(struct lpc_pm *pm, const struct lpc_pm_state *state)
{
	if ((state->pm1_sts & ~PM1_STS_BITS) || (state->pm1_en & ~PM1_EN_BITS) ||
	    (state->pm1_cnt & ~(PM1_CNT_SCI_EN | PM1_CNT_BM_RLD | PM1_CNT_SLP_TYP)) ||
	    state->timer >> PM_TIMER_BITS)
		return -EINVAL;
	pm->s = *state;
	/* The counter goes on from where it stood; half a tick more, lest rounding lose one. */
	pm->timer_base = pm->now_ns(pm->now_opaque) -
			 (int64_t)((state->timer * 1000000000ULL + 500000000u) / PM_TIMER_HZ);
	pm->timer_seen = pm_ticks(pm);
	settle(pm);
	return 0;
}

void lpc_pm_power_button(struct lpc_pm *pm)
{
	atomic_fetch_add_explicit(&pm->buttons, 1, memory_order_relaxed);
	pm->s.pm1_sts |= PM1_PWRBTN_STS;
	settle(pm);
}

void lpc_pm_gpe_raise(struct lpc_pm *pm, unsigned int bit)
{
	if (bit < 64)
		pm->s.gpe0_sts |= 1ULL << bit;
	settle(pm);
}
