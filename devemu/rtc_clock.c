#include "devemu/rtc_clock.h"

#include <time.h>

#include "devemu/rtc.h"
#include "devemu/rtc_regs.h"

#define HOUR_PM 0x80u /* in 12-hour mode */

static uint8_t to_byte(uint8_t reg_b, unsigned int value)
{
	return (uint8_t)(reg_b & REG_B_DM ? value : value / 10 << 4 | value % 10);
}

static int from_byte(uint8_t reg_b, uint8_t byte)
{
	return reg_b & REG_B_DM ? byte : (byte >> 4) * 10 + (byte & 0x0f);
}

static uint8_t hour_to_byte(uint8_t reg_b, unsigned int hour)
{
	unsigned int half = hour % 12;

	if (reg_b & REG_B_24H)
		return to_byte(reg_b, hour);
	return to_byte(reg_b, half ? half : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int hour_from_byte(uint8_t reg_b, uint8_t byte)
{
	if (reg_b & REG_B_24H)
		return from_byte(reg_b, byte);
	return from_byte(reg_b, byte & ~HOUR_PM) % 12 + (byte & HOUR_PM ? 12 : 0);
}

void rtc_clock_encode(uint8_t *cmos, uint8_t reg_b, int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	gmtime_r(&t, &tm);
	cmos[RTC_SECONDS] = to_byte(reg_b, (unsigned int)tm.tm_sec);
	cmos[RTC_MINUTES] = to_byte(reg_b, (unsigned int)tm.tm_min);
	cmos[RTC_HOURS] = hour_to_byte(reg_b, (unsigned int)tm.tm_hour);
	cmos[RTC_WEEKDAY] = to_byte(reg_b, (unsigned int)tm.tm_wday + 1);
	cmos[RTC_DAY] = to_byte(reg_b, (unsigned int)tm.tm_mday);
	cmos[RTC_MONTH] = to_byte(reg_b, (unsigned int)tm.tm_mon + 1);
	cmos[RTC_YEAR] = to_byte(reg_b, ((unsigned int)tm.tm_year + 1900) % 100);
	cmos[RTC_CENTURY_REG] = to_byte(reg_b, ((unsigned int)tm.tm_year + 1900) / 100 % 100);
}

int64_t rtc_clock_decode(const uint8_t *cmos, uint8_t reg_b)
{
	struct tm tm = {
		.tm_sec = from_byte(reg_b, cmos[RTC_SECONDS]),
		.tm_min = from_byte(reg_b, cmos[RTC_MINUTES]),
		.tm_hour = hour_from_byte(reg_b, cmos[RTC_HOURS]),
		.tm_mday = from_byte(reg_b, cmos[RTC_DAY]),
		.tm_mon = from_byte(reg_b, cmos[RTC_MONTH]) - 1,
		.tm_year = from_byte(reg_b, cmos[RTC_CENTURY_REG]) * 100 - 1900 +
			   from_byte(reg_b, cmos[RTC_YEAR]),
	};

	return (int64_t)timegm(&tm);
}

static bool matches(int alarm, int value)
{
	return alarm < 0 || alarm == value;
}

int64_t rtc_clock_next_alarm(const uint8_t *cmos, uint8_t reg_b, int64_t seconds)
{
	uint8_t s = cmos[RTC_SECONDS_ALARM], m = cmos[RTC_MINUTES_ALARM];
	uint8_t h = cmos[RTC_HOURS_ALARM];
	int sec = s >= RTC_ANY ? -1 : from_byte(reg_b, s);
	int min = m >= RTC_ANY ? -1 : from_byte(reg_b, m);
	/* In 12-hour mode C1h is a don't-care too: no afternoon hour reaches it. */
	int hour = h >= RTC_ANY ? -1 : hour_from_byte(reg_b, h);
	int64_t t = seconds + 1, end = seconds + 1 + 86400;

	while (t < end) {
		if (!matches(hour, (int)(t / 3600 % 24)))
			t = (t / 3600 + 1) * 3600;
		else if (!matches(min, (int)(t / 60 % 60)))
			t = (t / 60 + 1) * 60;
		else if (!matches(sec, (int)(t % 60)))
			t++;
		else
			return t;
	}
	return -1;
}
