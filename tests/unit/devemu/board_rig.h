/*
 * The board's own devices with a fake hypervisor below: serial port, clock, keyboard controller,
 * debug-exit port, chipset, a root port and a card behind it; for hostile tests and fuzz targets.
 * Time stands still but for what `now` is set to. One thread.
 */
#ifndef TESTS_BOARD_RIG_H
#define TESTS_BOARD_RIG_H

#include "core/char_backend.h"
#include "core/pci_bus.h"
#include "core/pci_msix.h"
#include "devemu/lpc.h"
#include "tests/fakes/oracle.h"

#define BOARD_RIG_DEVICES 7u
#define BOARD_RIG_ECAM	  0xb0000000u
#define BOARD_RIG_PM	  0x600u
/* Calls of the hypervisor by one access: a routing register moves all wires, a function mask all
 * vectors. */
#define BOARD_RIG_CALLS 64u

struct board_card {
	struct pci_device pci;
	struct pci_msix *msix;
};

struct board_rig {
	struct fake_hypervisor fake;
	struct io_bus *pio, *mmio;
	struct pci_bus *root;
	struct pci_root_port *port;
	struct loop *loop;
	struct lpc *lpc;
	struct board_card card;
	struct char_backend chr;
	struct device *devices[BOARD_RIG_DEVICES];
	unsigned int count;
	int64_t now; /* ns since 1970 */
	unsigned int resets, power_offs, exits; /* that the guest asked for */
};

struct board_rig *board_rig_create(void);
void board_rig_destroy(struct board_rig *b);

/* A byte from a port. */
uint8_t board_rig_port(struct board_rig *b, uint16_t at);

/*
 * Resets all as the machine does, the youngest first, and aborts unless the chipset's windows are at
 * home again, the serial port sends and receives, clock and keyboard controller answer.
 */
void board_rig_recover(struct board_rig *b);

#endif
