/*
 * What every machine has: the PCI hierarchy, host bridge and LPC bridge, the serial port, the
 * clock, the keyboard controller and, on request, the debug-exit port. io thread.
 */
#ifndef VMM_BOARD_H
#define VMM_BOARD_H

#include "core/char_backend.h"
#include "core/loop.h"
#include "core/pci_bus.h"
#include "devemu/lpc.h"
#include "vmm/layout.h"

struct board_config {
	struct loop *loop;
	struct hypervisor *hv;
	struct io_bus *pio, *mmio;
	struct char_backend *console; /* borrowed */
	const struct layout *layout;
	bool debug_exit;
	/* The guest asks; on a vCPU thread with a device's lock held: hand it on. */
	void (*power_off)(void *opaque);
	void (*reset)(void *opaque);
	void (*debug)(void *opaque, unsigned int status);
	void *opaque;
};

TAILQ_HEAD(device_list, device);

struct board {
	struct pci_bus *root;
	struct lpc *lpc;
	struct device_list *devices; /* the machine's; in order of creation */
};

/* Creates the devices and appends them to the list. 0 or -errno; board_destroy in both cases. */
must_check int board_create(struct board *board, struct device_list *devices,
			    const struct board_config *config, char *why, size_t why_size);
/* After every device has been destroyed. */
void board_destroy(struct board *board);

/* PIC interrupt of a pin (0 = INTA) of a slot on bus 0. */
uint8_t board_irq_of(void *opaque, unsigned int slot, unsigned int pin);

#endif
