/*
 * The tree of buses behind the PCI functions: who is on which bus, and what the bridges forward.
 * Shared by the core/pci*.c files; nobody else includes this.
 *
 * Locks, outermost first: a bridge's device lock, its child's device lock, then one of the leaves:
 * bus->window_lock, root->intx_lock (held while the INTx sink is called).
 */
#ifndef CORE_PCI_TREE_H
#define CORE_PCI_TREE_H

#include <pthread.h>
#include <sys/queue.h>

#include "core/io_bus.h"

#define PCI_DEVFNS 256u
#define PCI_INTX_INPUTS (32u * 4)

struct pci_device;
struct pci_root;

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
	struct io_bus *pio, *mmio; /* where BARs are decoded */
	void (*intx_set)(void *sink, unsigned int input, bool level); /* may be NULL */
	void *intx_sink;
	TAILQ_HEAD(, pci_bus) buses; /* secondary ones, in order of creation */
	pthread_mutex_t intx_lock;
	uint16_t intx_asserted[PCI_INTX_INPUTS]; /* functions that pull the wire, intx_lock */
	_Atomic uint32_t cf8;
	struct io_range cf8_range, ecam_range;
	const struct io_range *reset_control; /* the byte at CF9h; may be NULL */
};

/* An empty bus with closed windows; on the root's list only once its owner puts it there. */
void pci_bus_setup(struct pci_bus *bus, struct pci_root *root, struct pci_device *bridge);
void pci_bus_teardown(struct pci_bus *bus);

/* Whether the bridge above lets the bus see these addresses. */
bool pci_bus_forwards(struct pci_bus *bus, bool io, uint64_t addr, uint64_t size);

#endif
