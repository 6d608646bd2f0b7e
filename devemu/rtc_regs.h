/* The MC146818's bytes by the data sheet's names. */
#ifndef DEVEMU_RTC_REGS_H
#define DEVEMU_RTC_REGS_H

#define RTC_SECONDS	  0x00u
#define RTC_SECONDS_ALARM 0x01u
#define RTC_MINUTES	  0x02u
#define RTC_MINUTES_ALARM 0x03u
#define RTC_HOURS	  0x04u
#define RTC_HOURS_ALARM	  0x05u
#define RTC_WEEKDAY	  0x06u
#define RTC_DAY		  0x07u
#define RTC_MONTH	  0x08u
#define RTC_YEAR	  0x09u
#define RTC_REG_A	  0x0au
#define RTC_REG_B	  0x0bu
#define RTC_REG_C	  0x0cu
#define RTC_REG_D	  0x0du

#define REG_A_UIP  0x80u
#define REG_A_RATE 0x0fu

#define REG_B_SET  0x80u
#define REG_B_PIE  0x40u
#define REG_B_AIE  0x20u
#define REG_B_UIE  0x10u
#define REG_B_DM   0x04u /* binary, not BCD */
#define REG_B_24H  0x02u

#define REG_C_IRQF 0x80u
#define REG_C_PF   0x40u
#define REG_C_AF   0x20u
#define REG_C_UF   0x10u

#define REG_D_VRT 0x80u /* the battery is well */

#define RTC_ANY 0xc0u /* an alarm byte from here on matches always */

/* Memory sizes, where PC firmware keeps them. */
#define CMOS_BASE_KIB	 0x15u /* 2 bytes */
#define CMOS_EXT_KIB	 0x17u /* 2 bytes, 1 MiB to 64 MiB */
#define CMOS_EXT_KIB_2	 0x30u /* the same */
#define CMOS_ABOVE_16M	 0x34u /* 2 bytes, units of 64 KiB */
#define CMOS_ABOVE_4G	 0x5bu /* 3 bytes, units of 64 KiB */
#define CMOS_SIZE	 128u

#endif
