/*
 * What the core/pci*.c files share among themselves. Nobody else includes this.
 *
 * Locks, outermost first: a bridge's device lock, its child's device lock, then one of the leaves:
 * bus->window_lock, root->intx_lock (held while the INTx sink is called).
 */
#ifndef CORE_PCI_INTERNAL_H
#define CORE_PCI_INTERNAL_H

#include <linux/pci.h>

#include "core/pci_bus.h"

#define PCI_DEVFNS 256u
#define PCI_INTX_INPUTS (32u * 4)

/* Addresses a bridge forwards; closed when limit < base. Both inclusive. */
struct pci_span {
	uint64_t base;
	uint64_t limit;
};

struct pci_bus {
	struct pci_root *root;
	struct pci_device *bridge; /* NULL: bus 0 */
	_Atomic uint8_t number;	   /* as the guest set it; 0 on a secondary bus: not yet */
	struct pci_device *devices[PCI_DEVFNS];
	pthread_mutex_t window_lock;
	struct pci_span io, mem, pref; /* of the bridge, window_lock */
	TAILQ_ENTRY(pci_bus) link;
};

struct pci_root {
	struct pci_bus bus0; /* first: a pci_bus of number 0 is its root */
	struct pci_host host;
	TAILQ_HEAD(, pci_bus) buses; /* secondary ones, in order of creation */
	pthread_mutex_t intx_lock;
	uint16_t intx_asserted[PCI_INTX_INPUTS]; /* functions that pull the wire, intx_lock */
	_Atomic uint32_t cf8;
	struct io_range cf8_range, ecam_range;
	const struct io_range *reset_control; /* the byte at CF9h; may be NULL */
};

void pci_bus_setup(struct pci_bus *bus, struct pci_root *root, struct pci_device *bridge);
void pci_bus_teardown(struct pci_bus *bus);

/* Whether the bridge above lets the bus see these addresses. */
bool pci_bus_forwards(struct pci_bus *bus, bool io, uint64_t addr, uint64_t size);

/* Makes the mapped BARs agree with command register, BARs and bridge. Device lock held. */
void pci_device_decode(struct pci_device *pci);

/* The wire at bus 0 that `pin` (0 = INTA) of the function ends on (PCI-to-PCI Bridge 1.2 §9.1). */
void pci_intx_swizzle(const struct pci_device *pci, unsigned int *slot, unsigned int *pin);

#endif
