/* Registers of the ICH9's LPC bridge by the data sheet's names. */
#ifndef DEVEMU_LPC_REGS_H
#define DEVEMU_LPC_REGS_H

/* Configuration space (§13.1) */
#define LPC_PMBASE     0x40u /* 4 bytes, bit 0 reads 1 */
#define LPC_ACPI_CNTL  0x44u
#define ACPI_CNTL_EN   0x80u
#define LPC_PIRQ_A_D   0x60u /* 4 registers */
#define LPC_PIRQ_E_H   0x68u /* 4 registers */
#define LPC_PIRQ_COUNT 8u
#define PIRQ_OFF       0x80u /* not routed to the PIC */

/* PM1 (§13.8.3) */
#define PM1_TMROF_STS  0x0001u
#define PM1_GBL_STS    0x0020u
#define PM1_PWRBTN_STS 0x0100u
#define PM1_RTC_STS    0x0400u
#define PM1_WAK_STS    0x8000u
#define PM1_STS_BITS   (PM1_TMROF_STS | 0x0010u | PM1_GBL_STS | PM1_PWRBTN_STS | PM1_RTC_STS | \
			0x0800u | 0x4000u | PM1_WAK_STS)
#define PM1_EN_BITS    (PM1_TMROF_STS | PM1_GBL_STS | PM1_PWRBTN_STS | PM1_RTC_STS)

#define PM1_CNT_SCI_EN	0x0001u
#define PM1_CNT_BM_RLD	0x0002u
#define PM1_CNT_GBL_RLS 0x0004u /* write only */
#define PM1_CNT_SLP_TYP_SHIFT 10u
#define PM1_CNT_SLP_TYP 0x1c00u
#define PM1_CNT_SLP_EN	0x2000u /* write only */

#define PM_TIMER_HZ   3579545u
#define PM_TIMER_BITS 24u

/* Reset control, CF9h (§13.7.5) */
#define RST_CNT_SYS_RST	 0x02u
#define RST_CNT_RST_CPU	 0x04u
#define RST_CNT_FULL_RST 0x08u

#endif
