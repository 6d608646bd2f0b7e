/* Calendar arithmetic of the MC146818: between seconds since 1970 and its bytes. Pure. */
#ifndef DEVEMU_RTC_CLOCK_H
#define DEVEMU_RTC_CLOCK_H

#include "core/bits.h"

/* Writes the time bytes and the century for `seconds`, in the modes that reg_b asks for. */
void rtc_clock_encode(uint8_t *cmos, uint8_t reg_b, int64_t seconds);

/* Reads them back; out-of-range values are taken as they add up, as the chip's counters would. */
int64_t rtc_clock_decode(const uint8_t *cmos, uint8_t reg_b);

/* The first second after `seconds` that the alarm bytes match; -1: they match none. */
int64_t rtc_clock_next_alarm(const uint8_t *cmos, uint8_t reg_b, int64_t seconds);

#endif
