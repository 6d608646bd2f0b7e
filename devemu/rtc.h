/*
 * The MC146818 real-time clock with its CMOS memory, at ports 70h and 71h. It tells the host's
 * time in UTC, plus what the guest set. Alarm, periodic and update-ended interrupts. (Motorola
 * MC146818 data sheet; ICH9 data sheet §13.6.)
 *
 * Registers: vCPU threads; timers: the io thread; both under the device's lock.
 */
#ifndef DEVEMU_RTC_H
#define DEVEMU_RTC_H

#include "core/device.h"
#include "core/io_bus.h"
#include "core/irq.h"
#include "core/loop.h"

#define RTC_CENTURY_REG 0x32u /* for the FADT */

struct rtc;

struct rtc_config {
	const char *id;
	struct io_bus *pio;
	struct irq_line irq; /* GSI 8 */
	struct loop *loop;
	uint64_t ram_below_4g; /* bytes of guest RAM, for the memory size fields */
	uint64_t ram_above_4g;
	/* Nanoseconds since 1970, UTC; NULL: CLOCK_REALTIME. For tests. */
	int64_t (*now_ns)(void *opaque);
	void *now_opaque;
};

must_check int rtc_create(const struct rtc_config *config, struct rtc **rtc);
struct device *rtc_device(struct rtc *rtc);

#endif
