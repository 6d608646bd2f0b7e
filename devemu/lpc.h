/*
 * Function 00:1f.0 of a Q35: the ICH9's LPC bridge, 8086:2918 (Intel ICH9 data sheet §13). Interrupt
 * routing of the PCI wires, ACPI power management, reset control (CF9h).
 *
 * Registers: vCPU threads, under the device's lock; the PM timer's overflow: io thread. The INTx
 * sink has a lock of its own, so any device may pull its wire whatever it holds.
 */
#ifndef DEVEMU_LPC_H
#define DEVEMU_LPC_H

#include "core/loop.h"
#include "core/pci_bus.h"

#define LPC_DEVFN PCI_DEVFN_OF(0x1f, 0)

/* The ACPI register block, from PMBASE: for the FADT. */
#define LPC_PM1_EVT	  0x00u /* status 2 bytes, enable 2 bytes */
#define LPC_PM1_CNT	  0x04u /* 2 bytes */
#define LPC_PM_TMR	  0x08u /* 4 bytes, 24 bits count, 3.579545 MHz */
#define LPC_GPE0	  0x20u /* status 8 bytes, enable 8 bytes */
#define LPC_GPE0_LEN	  16u
#define LPC_PM_SIZE	  0x80u
#define LPC_SLP_TYP_S5	  7u /* of \_S5 */
#define LPC_SCI_GSI	  9u
#define LPC_PIRQ_GSI	  16u /* PIRQA; the others follow up to 23 */

/* The PIRQ (0 = A .. 7 = H) that a wire of bus 0 is soldered to; pin 0 = INTA. GSI: 16 more. */
unsigned int lpc_pirq_of(unsigned int slot, unsigned int pin);

struct lpc;

/* On a vCPU thread with the device's lock held: hand it on. */
struct lpc_events {
	void (*power_off)(void *opaque); /* the guest entered S5 */
	void (*reset)(void *opaque);	 /* the guest wrote CF9h */
	void *opaque;
};

struct lpc_config {
	const char *id;
	struct pci_bus *bus; /* bus 0; joins it at LPC_DEVFN */
	struct io_bus *pio;
	struct hypervisor *hv;
	struct loop *loop;
	struct lpc_events events;
	/* As firmware would leave them, also after reset. */
	uint16_t pm_base; /* I/O port, multiple of 80h; 0: disabled until software sets it */
	bool acpi_mode;	  /* SCI_EN is set */
	uint8_t pirq_irq[8]; /* PIC interrupt of PIRQA..H; 0: not routed to the PIC */
	/* Nanoseconds, monotonic; NULL: CLOCK_MONOTONIC. For tests. */
	int64_t (*now_ns)(void *opaque);
	void *now_opaque;
};

must_check int lpc_create(const struct lpc_config *config, struct lpc **lpc);
struct device *lpc_device(struct lpc *lpc);

/* The sink for struct pci_host: input = slot * 4 + pin; sink: the struct lpc. */
void lpc_intx_set(void *sink, unsigned int input, bool level);

/* Presses the power button. io thread, lock not held. */
void lpc_power_button(struct lpc *lpc);

/* Sets a general-purpose event's status bit (0..63). Any thread, lock not held. */
void lpc_gpe_raise(struct lpc *lpc, unsigned int bit);

#endif
