/*
 * The registers of the PCI transport: what lies in BAR 0, and the window onto it in configuration
 * space. Between virtio_pci_function.c and virtio_pci_regs.c only. vCPU threads, lock held.
 */
#ifndef VHOST_USER_VIRTIO_PCI_REGS_H
#define VHOST_USER_VIRTIO_PCI_REGS_H

#include "vhost-user/virtio_pci_impl.h"

extern const struct io_ops virtio_pci_register_ops; /* opaque: struct virtio_pci */

/* The capability VIRTIO_PCI_CAP_PCI_CFG (virtio 1.2 §4.1.4.9). */
void virtio_pci_window_reading(struct virtio_pci *vp, uint16_t offset, unsigned int len);
void virtio_pci_window_written(struct virtio_pci *vp, uint16_t offset, unsigned int len);

#endif
