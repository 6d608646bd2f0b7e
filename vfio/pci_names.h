/*
 * What vendors, devices and classes are called, from libpci's list (pci.ids). Only that list is read:
 * neither the network nor a device is asked. One thread at a time for each struct pci_names.
 */
#ifndef VFIO_PCI_NAMES_H
#define VFIO_PCI_NAMES_H

#include "core/bits.h"

struct pci_names;

/* path: the list; NULL: where libpci has it. NULL: out of memory. */
struct pci_names *pci_names_open(const char *path);
void pci_names_close(struct pci_names *names); /* NULL is allowed */

/* Each fills `name`: printable ASCII, cut at `size`; empty where the list has none. */
void pci_names_vendor(struct pci_names *names, char *name, size_t size, uint16_t vendor);
void pci_names_device(struct pci_names *names, char *name, size_t size, uint16_t vendor,
		      uint16_t device);
void pci_names_class(struct pci_names *names, char *name, size_t size, uint32_t class_code);

#endif
