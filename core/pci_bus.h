/*
 * The PCI hierarchy: bus 0 and the secondary buses of its root ports, reached by CF8h/CFCh and by
 * ECAM. Topology changes on the io thread with the vCPUs paused; configuration accesses come from
 * vCPU threads, which take the function's lock here.
 */
#ifndef CORE_PCI_BUS_H
#define CORE_PCI_BUS_H

#include "core/pci.h"

/* What the hierarchy is attached to. */
struct pci_host {
	struct io_bus *pio;
	struct io_bus *mmio;
	/* INTx sink of bus 0: input = slot * 4 + pin (0 = INTA). */
	void (*intx_set)(void *sink, unsigned int input, bool level);
	void *intx_sink;
};

struct pci_bus *pci_bus_create(const struct pci_host *host); /* bus 0; NULL: out of memory */
void pci_bus_destroy(struct pci_bus *bus); /* its devices must have left */

/* devfn: where; -EBUSY when taken. Connects BAR decoding and the INTx wire. */
must_check int pci_bus_add(struct pci_bus *bus, struct pci_device *pci, uint8_t devfn);
void pci_bus_remove(struct pci_device *pci);

/* The wire at bus 0 that `pin` (0 = INTA) of the function ends on (PCI-to-PCI Bridge 1.2 §9.1). */
void pci_intx_swizzle(const struct pci_device *pci, unsigned int *slot, unsigned int *pin);

/* The function a configuration access reaches, by bus number as the guest set it, or NULL. */
struct pci_device *pci_bus_find(struct pci_bus *root, uint8_t bus, uint8_t devfn);

/* Guest accesses; an absent function reads as ones. */
uint32_t pci_bus_config_read(struct pci_bus *root, uint8_t bus, uint8_t devfn, uint16_t offset,
			     unsigned int len);
void pci_bus_config_write(struct pci_bus *root, uint8_t bus, uint8_t devfn, uint16_t offset,
			  unsigned int len, uint32_t value);

/* Configuration mechanism #1 at 0CF8h (PCI 3.0 §3.2.2.3.2), on host->pio. */
must_check int pci_bus_attach_cf8(struct pci_bus *root);
/* The address register, as it travels with the host bridge's state. */
uint32_t pci_bus_cf8(struct pci_bus *root);
void pci_bus_set_cf8(struct pci_bus *root, uint32_t value);
/*
 * CF9h, the chipset's reset control register, is a byte in the middle of that address register:
 * byte accesses there go to range->ops at offset 0 (range: the owner's; base and size unused;
 * NULL takes it away). Before the vCPUs run.
 */
void pci_bus_set_reset_control(struct pci_bus *root, const struct io_range *range);
/* ECAM window of `buses` MiB at base, on host->mmio; base 0 takes it away. */
must_check int pci_bus_set_ecam(struct pci_bus *root, gpa_t base, unsigned int buses);

/* A PCIe root port with one slot: a bridge on bus 0 and its secondary bus. */
struct pci_root_port;
must_check int pci_root_port_create(struct pci_bus *root, uint8_t devfn, const char *id,
				    uint8_t port_number, struct pci_root_port **port);
struct pci_bus *pci_root_port_bus(struct pci_root_port *port);
struct device *pci_root_port_device(struct pci_root_port *port); /* for the machine's list */

/* Windows from which BARs and bridge windows are taken. */
struct pci_windows {
	gpa_t mmio32_base, mmio32_size;
	gpa_t mmio64_base, mmio64_size;
	uint16_t io_base;
	uint32_t io_size;
};

/*
 * What firmware would do where there is none: numbers the buses, assigns every BAR and bridge
 * window, writes interrupt lines (irq_of(opaque, slot, pin): slot on bus 0 and pin, 0 = INTA, on
 * which the function's wire ends; NULL: no lines), enables decoding. io thread, vCPUs not running.
 * -ENOSPC: a window is too small.
 */
must_check int pci_bus_assign(struct pci_bus *root, const struct pci_windows *windows,
			      uint8_t (*irq_of)(void *opaque, unsigned int slot, unsigned int pin),
			      void *opaque);

#endif
