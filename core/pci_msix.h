/*
 * MSI-X: capability, table and pending bits of one function (PCI 3.0 §6.8.2), in one memory BAR.
 * Each vector is an msi_route: its eventfd may be handed to a back end for its whole life.
 */
#ifndef CORE_PCI_MSIX_H
#define CORE_PCI_MSIX_H

#include "core/pci.h"

#define PCI_MSIX_MAX_VECTORS 64u

struct pci_msix;

/*
 * Adds the capability to pci and serves table (at `table_offset`) and PBA (at `pba_offset`) of
 * `bar`: the device's BAR handler passes accesses within pci_msix_claims to pci_msix_read/write.
 * The caller also passes config_written on to pci_msix_config_written. While Bus Master Enable is
 * off the function sends nothing, messages included (PCI 3.0 §6.2.2): vectors count as masked.
 */
must_check int pci_msix_create(struct pci_device *pci, struct hypervisor *hv, unsigned int vectors,
			       unsigned int bar, uint32_t table_offset, uint32_t pba_offset,
			       struct pci_msix **msix);
void pci_msix_destroy(struct pci_msix *msix); /* NULL is allowed */
void pci_msix_reset(struct pci_msix *msix);

bool pci_msix_claims(const struct pci_msix *msix, uint64_t offset);
uint64_t pci_msix_read(struct pci_msix *msix, uint64_t offset, unsigned int size);
void pci_msix_write(struct pci_msix *msix, uint64_t offset, unsigned int size, uint64_t value);
void pci_msix_config_written(struct pci_msix *msix, uint16_t offset, unsigned int len);

bool pci_msix_enabled(const struct pci_msix *msix);
unsigned int pci_msix_vectors(const struct pci_msix *msix);

/* The eventfd that raises `vector`; borrowed, lives as long as msix. -1: no such vector. */
int pci_msix_fd(struct pci_msix *msix, unsigned int vector);
void pci_msix_notify(struct pci_msix *msix, unsigned int vector); /* any thread; bad vector: nothing */

struct pci_msix_state {
	struct {
		uint64_t addr;
		uint32_t data;
		uint32_t control;
	} table[PCI_MSIX_MAX_VECTORS];
	uint64_t pending;
};
void pci_msix_save(const struct pci_msix *msix, struct pci_msix_state *state);
/* After pci_device_load. */
must_check int pci_msix_load(struct pci_msix *msix, const struct pci_msix_state *state);

#endif
