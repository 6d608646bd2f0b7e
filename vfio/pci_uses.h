/* What the host itself uses its functions for. */
#ifndef VFIO_PCI_USES_H
#define VFIO_PCI_USES_H

#include "vfio/pci_inventory.h"

/* Fills interfaces, default_route and root_disk of what pci_inventory_read has found. */
void pci_uses_read(const struct host_roots *roots, struct pci_inventory *inventory);

#endif
