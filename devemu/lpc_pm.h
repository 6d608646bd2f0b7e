/* The ACPI register block of the LPC bridge (ICH9 §13.8.3). Part of lpc; its device's lock. */
#ifndef DEVEMU_LPC_PM_H
#define DEVEMU_LPC_PM_H

#include "devemu/device_timer.h"
#include "devemu/lpc.h"

struct lpc_pm_state {
	uint16_t pm1_sts;
	uint16_t pm1_en;
	uint16_t pm1_cnt;
	uint16_t pad;
	uint32_t timer; /* 24 bits, when saved */
	uint32_t smi_en;
	uint64_t gpe0_sts;
	uint64_t gpe0_en;
};

struct lpc_pm {
	struct device *dev;
	struct lpc_pm_state s;
	struct irq_line sci;
	struct device_timer timer;
	int64_t timer_base; /* now_ns at which the counter was 0 */
	uint64_t timer_seen; /* ticks up to which TMROF_STS has been raised */
	int64_t (*now_ns)(void *opaque);
	void *now_opaque;
	struct lpc_events events;
	bool acpi_mode;
	_Atomic uint64_t sleeps, buttons;
};

must_check int lpc_pm_init(struct lpc_pm *pm, const struct lpc_config *config, struct device *dev);
void lpc_pm_fini(struct lpc_pm *pm);
void lpc_pm_reset(struct lpc_pm *pm);
void lpc_pm_quiesce(struct lpc_pm *pm);
void lpc_pm_resume(struct lpc_pm *pm);
void lpc_pm_save(struct lpc_pm *pm, struct lpc_pm_state *state);
must_check int lpc_pm_load(struct lpc_pm *pm, const struct lpc_pm_state *state);

/* Accesses at offset from PMBASE. */
extern const struct io_ops lpc_pm_io_ops;

void lpc_pm_power_button(struct lpc_pm *pm);
void lpc_pm_gpe_raise(struct lpc_pm *pm, unsigned int bit);

#endif
